//! The account of the worker in the namespaces of a test: the roles of the manifests, and a token. A right
//! that is missing there fails the tests.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::config::AuthInfo;
use kube::{Api, Client, Config};
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

/// Folder of the manifests.
pub fn manifests() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../infrastructure/orchestration/kubernetes")
}

/// A manifest for the namespaces of a test: `run` tells its objects of the whole cluster apart from those of
/// others.
pub fn manifest(name: &str, tenants: &str, platform: &str, run: &str) -> String {
    let file = manifests().join(name);
    let text = std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    text.replace("namespace: saasodoo", &format!("namespace: {platform}"))
        .replace("namespace: odoo-instances", &format!("namespace: {tenants}"))
        .replace("metadata.name: saasodoo", &format!("metadata.name: {platform}"))
        .replace("metadata.name: odoo-instances", &format!("metadata.name: {tenants}"))
        .replace("serviceaccount:saasodoo:", &format!("serviceaccount:{platform}:"))
        .replace("name: instance-worker-reader", &format!("name: instance-worker-reader-{run}"))
        .replace("instance-worker-pool-objects-only", &format!("pool-objects-only-{run}"))
}

/// What kubectl says to the administrator.
pub async fn kubectl_output(args: &[&str]) -> String {
    let mut command = Command::new(test_kit::environment::kubectl());
    command.env("KUBECONFIG", test_kit::environment::kubeconfig()).args(args);
    let ended = command.output().await.expect("kubectl");
    assert!(ended.status.success(), "kubectl {args:?}: {}", String::from_utf8_lossy(&ended.stderr));
    String::from_utf8(ended.stdout).expect("text")
}

/// Runs kubectl as the administrator, with `input`.
pub async fn kubectl(args: &[&str], input: &str) {
    let mut process = Command::new(test_kit::environment::kubectl())
        .env("KUBECONFIG", test_kit::environment::kubeconfig())
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("kubectl");
    process.stdin.take().expect("its input").write_all(input.as_bytes()).await.expect("written");
    let ended = process.wait_with_output().await.expect("its end");
    assert!(ended.status.success(), "kubectl {args:?}: {}", String::from_utf8_lossy(&ended.stderr));
}

/// Accounts and roles of the manifests, in these namespaces.
pub async fn prepare(tenants: &str, platform: &str, run: &str) {
    let files = ["00-service-accounts", "10-role-odoo-instances", "11-role-saasodoo"];
    let texts =
        files.map(|name| manifest(&format!("services/instance-worker/{name}.yaml"), tenants, platform, run));
    kubectl(&["apply", "-f", "-"], &texts.join("\n---\n")).await;
}

/// Takes away what is not in the namespaces.
pub async fn forget(run: &str) {
    let reader = format!("instance-worker-reader-{run}");
    kubectl(&["delete", "--ignore-not-found", "clusterrole,clusterrolebinding", &reader], "").await;
}

/// A configuration with a token of this account instead of the administrator's certificate.
pub async fn config_as(admin: &Client, config: &Config, namespace: &str, account: &str) -> Config {
    let accounts: Api<ServiceAccount> = Api::namespaced(admin.clone(), namespace);
    let spec = TokenRequestSpec { expiration_seconds: Some(3600), ..TokenRequestSpec::default() };
    let request = TokenRequest { spec, ..TokenRequest::default() };
    let token = accounts.create_token_request(account, &kube::api::PostParams::default(), &request).await;
    let token = token.expect("a token").status.expect("a status").token;
    let mut own = config.clone();
    own.auth_info = AuthInfo { token: Some(token.into()), ..AuthInfo::default() };
    own
}
