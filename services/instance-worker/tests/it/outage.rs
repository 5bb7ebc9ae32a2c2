//! The way to the API server is cut for a while: what was deleted meanwhile is back within seconds (K8S-21,
//! K8S-31).

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Secret, Service};
use k8s_openapi::api::networking::v1::{Ingress, NetworkPolicy};
use kube::api::DeleteParams;
use sqlx::PgPool;
use test_kit::eventually;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

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
    tokio::time::sleep(Duration::from_secs(3)).await;
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
    stack.end().await;
}
