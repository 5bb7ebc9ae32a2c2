//! What visitors see while an instance does not answer (GTW-18, INS-24), through the Ingress of the node: the
//! page is the workload of the manifests.

use instance::domain::{DesiredState, OperationKind, OperationState, Status};
use reqwest::header::{HOST, RETRY_AFTER};
use sqlx::PgPool;
use test_kit::eventually;
use uuid::Uuid;

use crate::account;
use crate::stack::{SOON, Stack};

/// What a visitor gets at the host name of an instance.
async fn visit(stack: &Stack, port: u64, id: Uuid) -> (u16, Option<u32>, String) {
    let host = stack.worker.settings.host(&stack.row(id).await.subdomain);
    let request = reqwest::Client::new().get(format!("http://127.0.0.1:{port}/odoo")).header(HOST, host);
    let answer = request.send().await.unwrap();
    let after = answer.headers().get(RETRY_AFTER).map(|after| after.to_str().unwrap().parse().unwrap());
    (answer.status().as_u16(), after, answer.text().await.unwrap())
}

async fn shows(stack: &Stack, port: u64, id: Uuid, words: &str) {
    let (status, after, page) = eventually(&format!("a page with {words:?}"), SOON, || async {
        let seen = visit(stack, port, id).await;
        seen.2.contains(words).then_some(seen)
    })
    .await;
    assert_eq!(status, 503);
    assert!(after.is_some_and(|seconds| seconds > 0) && page.contains("</html>"), "{page}");
}

#[sqlx::test(migrator = "instance::MIGRATIONS")]
async fn the_host_of_an_instance_that_is_off_says_why(database: PgPool) {
    let stack = Stack::running(database).await;
    let file = "services/instance-off/instance-off.yaml";
    let page = account::manifest(file, &stack.tenants, &stack.platform, "x");
    account::kubectl(&["apply", "-f", "-"], &page).await;
    let asked = reqwest::get(format!("{}/ingress", test_kit::environment::devnode_url())).await.unwrap();
    let port = asked.json::<serde_json::Value>().await.unwrap()["port"].as_u64().unwrap();
    let id = stack.running_instance().await;
    eventually("the instance", SOON, || async { (visit(&stack, port, id).await.0 != 503).then_some(()) })
        .await;

    let stop = stack.ask(id, OperationKind::Stop, Status::Stopping, DesiredState::Stopped).await;
    stack.ends(stop, OperationState::Succeeded).await;
    shows(&stack, port, id, "This Odoo is switched off").await;

    let suspend = stack.ask(id, OperationKind::Suspend, Status::Stopping, DesiredState::Suspended).await;
    stack.ends(suspend, OperationState::Succeeded).await;
    shows(&stack, port, id, "an invoice is overdue").await;

    let terminate =
        stack.ask(id, OperationKind::Terminate, Status::Terminating, DesiredState::Terminated).await;
    stack.ends(terminate, OperationState::Succeeded).await;
    shows(&stack, port, id, "brought back with all of its data").await;
    stack.end().await;
}
