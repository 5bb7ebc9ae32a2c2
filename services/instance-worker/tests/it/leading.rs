//! One leader at a time (K8S-24, REL-05).

use std::time::{Duration, Instant};

use instance_worker::election::LEASE;
use k8s_openapi::api::coordination::v1::Lease;
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams};
use sqlx::PgPool;
use test_kit::eventually;

use crate::stack::{SOON, Stack};

async fn leader(stack: &Stack) -> String {
    sqlx::query_scalar("SELECT leader FROM monitoring").fetch_one(&stack.database).await.unwrap()
}

async fn becomes_leader(stack: &Stack, name: &str, within: Duration) {
    eventually(&format!("{name} to lead"), within, || async { (leader(stack).await == name).then_some(()) })
        .await;
}

/// K8S-24: takeover < 20 s; a leader that stops gives the lease up at once.
#[sqlx::test(migrator = "instance::MIGRATIONS")]
async fn another_candidate_takes_over_and_only_one_leads(database: PgPool) {
    let mut stack = Stack::start(database).await;
    let first = stack.lead("leader-1");
    becomes_leader(&stack, "leader-1", SOON).await;
    stack.lead("leader-2");
    let api: Api<Lease> = Api::namespaced(stack.client.clone(), &stack.platform);
    for _ in 0..2 {
        let renewed = async || api.get(LEASE).await.unwrap().spec.unwrap().renew_time;
        let before = renewed().await;
        eventually("a renewal", SOON, async || (renewed().await != before).then_some(())).await;
    }
    assert_eq!(leader(&stack).await, "leader-1");

    let began = Instant::now();
    first.cancel();
    becomes_leader(&stack, "leader-2", Duration::from_secs(20)).await;
    assert!(began.elapsed() < Duration::from_secs(10), "a lease that is given up is taken at once");
    stack.end().await;
}

/// K8S-24, REL-05: a holder that is gone without a word loses the lease after its life; a leader whose lease
/// was taken stops.
#[sqlx::test(migrator = "instance::MIGRATIONS")]
async fn a_dead_holder_is_replaced_and_a_robbed_leader_stops(database: PgPool) {
    let mut stack = Stack::start(database).await;
    let api: Api<Lease> = Api::namespaced(stack.client.clone(), &stack.platform);
    let foreign = serde_json::json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": LEASE},
        "spec": {"holderIdentity": "dead", "leaseDurationSeconds": 10, "renewTime": "2026-11-01T00:00:00.000000Z"}});
    let owner = PatchParams::apply("test").force();
    api.patch(LEASE, &owner, &Patch::Apply(&foreign)).await.unwrap();
    let began = Instant::now();
    stack.lead("leader-1");
    becomes_leader(&stack, "leader-1", Duration::from_secs(20)).await;
    assert!(began.elapsed() > Duration::from_secs(9), "the holder's own clock is not trusted");

    let generation: i64 = sqlx::query_scalar("SELECT leader_generation FROM monitoring")
        .fetch_one(&stack.database)
        .await
        .unwrap();
    api.patch(LEASE, &owner, &Patch::Apply(&foreign)).await.unwrap();
    eventually("the former leader to stop", Duration::from_secs(10), || async {
        (!stack.worker.cluster.cache().deployments.is_fresh()).then_some(())
    })
    .await;
    api.delete(LEASE, &DeleteParams::default()).await.unwrap();
    eventually("a new lead", Duration::from_secs(20), || async {
        let now: i64 = sqlx::query_scalar("SELECT leader_generation FROM monitoring")
            .fetch_one(&stack.database)
            .await
            .unwrap();
        (now > generation).then_some(())
    })
    .await;
    stack.end().await;
}

/// K8S-21: a watch that is cut goes on; nothing is deleted or made twice. (The cut of the whole API server is
/// an end-to-end test.)
#[sqlx::test(migrator = "instance::MIGRATIONS")]
async fn a_wished_restart_lists_everything_anew(database: PgPool) {
    let stack = Stack::running(database).await;
    let id = stack.running_instance().await;
    let relisted = || async {
        let at: Option<String> = sqlx::query_scalar("SELECT last_relist_at::text FROM monitoring")
            .fetch_one(&stack.database)
            .await
            .unwrap();
        at
    };
    let before = eventually("a first list", SOON, relisted).await;
    sqlx::query("UPDATE monitoring SET restarts_wanted = restarts_wanted + 1")
        .execute(&stack.database)
        .await
        .unwrap();
    eventually("a fresh list", SOON, || async { relisted().await.filter(|at| *at != before) }).await;
    assert!(!stack.timeline(id).await.contains(&"repaired".to_owned()));
    stack.end().await;
}
