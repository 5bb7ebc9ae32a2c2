//! PostgreSQL pods: real servers on the pod's own address.

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{ConfigMap, Secret, Service};
use serde_json::json;

use crate::harness::Node;

/// Makes a database server as the platform makes its pools.
async fn pool(node: &Node) {
    node.create::<Secret>(
        json!({ "metadata": { "name": "pool" }, "stringData": { "password": "it's secret" } }),
    )
    .await;
    let settings = "max_connections = 42\nhba_file = '/var/lib/postgresql/data/pgdata/pg_hba.conf'\n";
    node.create::<ConfigMap>(
        json!({ "metadata": { "name": "pool" }, "data": { "postgresql.conf": settings } }),
    )
    .await;
    node.create::<Service>(json!({
        "metadata": { "name": "pool" },
        "spec": { "clusterIP": "None", "selector": { "app": "pool" }, "ports": [{ "port": 5432 }] },
    }))
    .await;
    let container = json!({
        "name": "postgres",
        "image": "postgres:18.0",
        "args": ["-c", "config_file=/etc/postgresql/postgresql.conf"],
        "env": [
            { "name": "POSTGRES_USER", "value": "admin" },
            { "name": "PGDATA", "value": "/var/lib/postgresql/data/pgdata" },
            { "name": "POSTGRES_DB", "value": "shop" },
            { "name": "POSTGRES_PASSWORD", "valueFrom": { "secretKeyRef": { "name": "pool", "key": "password" } } },
        ],
        "readinessProbe": { "exec": { "command": ["pg_isready", "-U", "admin"] } },
        "volumeMounts": [
            { "name": "data", "mountPath": "/var/lib/postgresql/data" },
            { "name": "config", "mountPath": "/etc/postgresql" },
        ],
    });
    let spec = node.placed(json!({
        "containers": [container],
        "volumes": [{ "name": "config", "configMap": { "name": "pool" } }],
    }));
    node.create::<StatefulSet>(json!({
        "metadata": { "name": "pool" },
        "spec": {
            "serviceName": "pool",
            "selector": { "matchLabels": { "app": "pool" } },
            "template": { "metadata": { "labels": { "app": "pool" } }, "spec": spec },
            "volumeClaimTemplates": [{
                "metadata": { "name": "data" },
                "spec": {
                    "accessModes": ["ReadWriteOnce"],
                    "storageClassName": node.name,
                    "resources": { "requests": { "storage": "1Gi" } },
                },
            }],
        },
    }))
    .await;
}

async fn address(node: &Node) -> String {
    node.ready("pool-0").await.status.unwrap().pod_ip.unwrap()
}

/// psql on this machine, over the network as a client of the platform.
async fn psql(ip: &str, password: &str, statement: &str) -> Result<String, String> {
    let output = tokio::process::Command::new("psql")
        .args(["-h", ip, "-U", "admin", "-d", "shop", "-Atc", statement])
        .env("PGPASSWORD", password)
        .output()
        .await
        .unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap().trim().to_owned();
    if output.status.success() { Ok(text(output.stdout)) } else { Err(text(output.stderr)) }
}

#[tokio::test]
async fn a_database_pod_answers_its_password_and_no_other() {
    let node = Node::start(&[]).await;
    pool(&node).await;
    let ip = address(&node).await;

    assert_eq!(psql(&ip, "it's secret", "show max_connections").await.as_deref(), Ok("42"));
    let refused = psql(&ip, "guess", "select 1").await.unwrap_err();
    assert!(refused.contains("password authentication failed"), "{refused}");
}

#[tokio::test]
async fn a_database_keeps_address_and_data_when_the_node_program_dies() {
    let mut node = Node::start(&[]).await;
    pool(&node).await;
    let before = address(&node).await;
    psql(&before, "it's secret", "create table kept (id int); insert into kept values (7)").await.unwrap();

    node.kill();
    node.launch().await;
    let restarted = node
        .pod_is("pool-0", "was started again", |pod| {
            let status = pod.status.as_ref()?;
            let container = status.container_statuses.as_ref()?.first()?;
            (container.restart_count >= 1 && container.ready).then(|| status.pod_ip.clone().unwrap())
        })
        .await;

    assert_eq!(before, restarted);
    assert_eq!(psql(&restarted, "it's secret", "select id from kept").await.as_deref(), Ok("7"));
}

#[tokio::test]
async fn psql_works_inside_the_pod_without_a_password() {
    let node = Node::start(&[]).await;
    pool(&node).await;
    address(&node).await;

    let output =
        node.run(&["exec", "-i", "pool-0", "--", "psql", "-At", "-d", "shop"], "select 6 * 7;\n").await;

    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        "42\n",
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}
