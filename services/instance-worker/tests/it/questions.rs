//! The gRPC answers for instance-service.

use contracts::services;
use contracts::worker::v1 as api;
use contracts::worker::v1::worker_service_client::WorkerServiceClient;
use contracts::worker::v1::worker_service_server::WorkerServiceServer;
use instance_worker::grpc::{Handlers, POLICIES};
use runtime::grpc::Refusal;
use sqlx::PgPool;
use test_kit::identity::Keyring;
use tonic::Code;
use tonic::service::Routes;
use uuid::Uuid;

use crate::stack::Stack;

/// INS-35, INS-36, INS-37, SEC-02
#[sqlx::test(migrator = "instance::MIGRATIONS")]
async fn instance_service_gets_logs_probe_and_password_and_nobody_else_does(database: PgPool) {
    let stack = Stack::running(database).await;
    let id = stack.running_instance().await;
    let routes = Routes::new(WorkerServiceServer::new(Handlers { worker: stack.worker.clone() }));
    let running = test_kit::grpc::serve(services::WORKER, POLICIES, &Keyring::new(), routes).await;
    let mut client = WorkerServiceClient::new(running.channel_as(services::INSTANCE));

    let instance_id = id.to_string();
    let probe =
        client.probe_instance(api::ProbeInstanceRequest { instance_id: instance_id.clone() }).await.unwrap();
    assert!(probe.get_ref().ok && probe.get_ref().at.is_some());
    let password = client
        .get_admin_password(api::GetAdminPasswordRequest { instance_id: instance_id.clone() })
        .await
        .unwrap()
        .into_inner();
    assert_eq!(password.admin_email, "admin@acme.test");
    assert!(password.admin_password.len() >= 20);
    let compared = client
        .compare_cluster(api::CompareClusterRequest { instance_id: Some(instance_id.clone()) })
        .await
        .unwrap();
    assert!(compared.get_ref().differences.is_empty(), "{compared:?}");
    let logs = client
        .get_pod_logs(api::GetPodLogsRequest { instance_id: instance_id.clone(), lines: 50, previous: false })
        .await;
    assert!(logs.is_ok_and(|logs| logs.get_ref().lines.len() <= 50));

    let unknown = Uuid::now_v7().to_string();
    let refused = client
        .get_pod_logs(api::GetPodLogsRequest { instance_id: unknown, lines: 50, previous: false })
        .await
        .unwrap_err();
    assert_eq!(
        (refused.code(), Refusal::from_status(&refused).reason.as_str()),
        (Code::FailedPrecondition, "no_pod")
    );
    let mut stranger = WorkerServiceClient::new(running.channel_as(services::GATEWAY));
    let refused =
        stranger.get_admin_password(api::GetAdminPasswordRequest { instance_id }).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);
    stack.end().await;
}
