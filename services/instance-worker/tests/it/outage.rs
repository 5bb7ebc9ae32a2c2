//! The way to the API server is cut for a while: what was deleted meanwhile is back within seconds (K8S-21,
//! K8S-31).

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use instance_worker::cluster::{Cluster, Connection, Metrics, Source};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Secret, Service};
use k8s_openapi::api::networking::v1::{Ingress, NetworkPolicy};
use kube::api::DeleteParams;
use sqlx::PgPool;
use test_kit::eventually;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::stack::{SOON, Stack};

/// A way that can be cut: all connections end, and no new ones are let through.
struct Way {
    address: SocketAddr,
    open: watch::Sender<bool>,
}

impl Way {
    async fn to(server: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (open, is_open) = watch::channel(true);
        let server: Arc<str> = server.into();
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                tokio::spawn(pass(near, Arc::clone(&server), is_open.clone()));
            }
        });
        Self { address, open }
    }
}

async fn pass(mut near: TcpStream, server: Arc<str>, mut open: watch::Receiver<bool>) {
    if !*open.borrow() {
        return;
    }
    let Ok(mut far) = TcpStream::connect(&*server).await else { return };
    tokio::select! {
        _ = tokio::io::copy_bidirectional(&mut near, &mut far) => {}
        _ = open.wait_for(|open| !open) => {}
    }
}

async fn server() -> String {
    let file = kube::config::Kubeconfig::read_from(test_kit::environment::kubeconfig()).unwrap();
    let options = kube::config::KubeConfigOptions::default();
    let config = kube::Config::from_custom_kubeconfig(file, &options).await.unwrap();
    config.cluster_url.authority().unwrap().to_string()
}

#[sqlx::test(migrator = "instance::MIGRATIONS")]
async fn what_is_deleted_during_an_outage_of_the_api_server_is_back_within_seconds(database: PgPool) {
    let log = Log::default();
    let _captured = log.capture();
    let way = Way::to(server().await).await;
    let mut stack = Stack::start_through(database, Some(way.address)).await;
    stack.engine("engine-1", 4);
    stack.lead("leader-1");
    let id = stack.running_instance().await;
    let name = format!("odoo-{id}");

    way.open.send_replace(false);
    let gone = DeleteParams::background();
    stack.api::<Service>().delete(&name, &gone).await.unwrap();
    stack.api::<Ingress>().delete(&name, &gone).await.unwrap();
    stack.api::<NetworkPolicy>().delete(&name, &gone).await.unwrap();
    stack.api::<Secret>().delete(&name, &gone).await.unwrap();
    stack.api::<Deployment>().delete(&name, &gone).await.unwrap();
    eventually("a worker that knows it", SOON, || async {
        (!stack.worker.cluster.cache().services.is_fresh()).then_some(())
    })
    .await;
    assert!(stack.api::<Service>().get_opt(&name).await.unwrap().is_none(), "the worker is cut off");
    way.open.send_replace(true);

    eventually("every object", SOON, || async {
        let there = stack.api::<Service>().get_opt(&name).await.unwrap().is_some()
            && stack.api::<Ingress>().get_opt(&name).await.unwrap().is_some()
            && stack.api::<NetworkPolicy>().get_opt(&name).await.unwrap().is_some()
            && stack.api::<Secret>().get_opt(&name).await.unwrap().is_some()
            && stack.api::<Deployment>().get_opt(&name).await.unwrap().is_some();
        there.then_some(())
    })
    .await;
    for word in ["watch stream", "reconnect", "timeout", "monitoring"] {
        assert!(log.text().contains(word), "K8S-23: operators search for {word:?}");
    }
    stack.end().await;
}

/// K8S-02: without a cluster the worker lives, is not ready, and tries again until there is one.
#[sqlx::test(migrator = "instance::MIGRATIONS")]
async fn a_worker_without_a_cluster_is_not_ready_until_there_is_one(database: PgPool) {
    let server = server().await;
    let way = Way::to(server.clone()).await;
    way.open.send_replace(false);
    let folder = PathBuf::from(test_kit::environment::scratch()).join(uuid::Uuid::new_v4().to_string());
    std::fs::create_dir_all(&folder).unwrap();
    let kubeconfig = folder.join("kubeconfig");
    let text = std::fs::read_to_string(test_kit::environment::kubeconfig()).unwrap();
    std::fs::write(&kubeconfig, text.replace(&server, &way.address.to_string())).unwrap();
    let stack = Stack::start(database).await;
    let mut worker = stack.worker.clone();
    let stop = CancellationToken::new();
    let source = Source { kubeconfig: Some(kubeconfig), timeout: Duration::from_secs(5) };
    let (connection, connecting) = Connection::open(source, stop.clone());
    worker.cluster = Cluster::new(connection, 500, Metrics::default());
    let connecting = tokio::spawn(connecting);
    let health = instance_worker::health(&worker);

    for _ in 0..3 {
        assert_eq!(health.failing().await, ["kubernetes"]);
    }
    assert!(!connecting.is_finished(), "it tries again");

    way.open.send_replace(true);
    eventually("a worker that is ready", SOON, || async { health.failing().await.is_empty().then_some(()) })
        .await;
    stop.cancel();
    connecting.await.unwrap().unwrap();
    std::fs::remove_dir_all(&folder).unwrap();
    stack.end().await;
}

/// What the tasks of this test write to the log.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn capture(&self) -> tracing::subscriber::DefaultGuard {
        let log = self.clone();
        let subscriber = tracing_subscriber::fmt().with_env_filter("info").with_writer(move || log.clone());
        tracing::subscriber::set_default(subscriber.finish())
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().unwrap()).into_owned()
    }
}

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
