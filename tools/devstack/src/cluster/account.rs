//! A kubeconfig with the token of a ServiceAccount: the worker runs with its own rights here as it does in
//! production, so that a right that its role lacks is missed at once.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use super::certificates::write_private;
use crate::process;

/// Namespace and name of the worker's account.
const WORKER: (&str, &str) = ("saasodoo", "instance-worker-sa");
/// The token is made anew at each start of the stack.
const LIFE: &str = "--duration=8760h";

/// Writes the worker's kubeconfig beside the administrator's, after the manifests have made its account.
pub(crate) fn worker(kubectl: &Path, admin: &Path, folder: &Path) -> Result<PathBuf> {
    let (namespace, account) = WORKER;
    let ask = |args: &[&str]| {
        let mut command = Command::new(kubectl);
        command.args(args).arg("--kubeconfig").arg(admin);
        process::run(&mut command, None)
    };
    let token =
        ask(&["create", "token", account, "-n", namespace, LIFE]).context("a token for the worker")?;
    let view = ask(&["config", "view", "--raw", "--minify", "-o", "json"]).context("read the kubeconfig")?;
    let view = serde_json::from_str(&view).context("read the kubeconfig")?;
    let file = folder.join("kubeconfig-worker");
    write_private(&file, &serde_json::to_string_pretty(&with_token(view, account, token.trim()))?)?;
    Ok(file)
}

/// The same cluster for another user.
fn with_token(mut view: Value, account: &str, token: &str) -> Value {
    view["users"] = json!([{ "name": account, "user": { "token": token } }]);
    if let Some(contexts) = view["contexts"].as_array_mut() {
        for context in contexts {
            context["context"]["user"] = account.into();
        }
    }
    view
}

#[cfg(test)]
mod tests {
    use super::*;

    /// K8S-26
    #[test]
    fn the_worker_gets_the_cluster_and_none_of_the_administrators_credentials() {
        let admin = json!({
            "clusters": [{ "name": "dev", "cluster": { "server": "https://127.0.0.1:1" } }],
            "users": [{ "name": "admin", "user": { "client-key-data": "secret" } }],
            "contexts": [{ "name": "dev", "context": { "cluster": "dev", "user": "admin" } }],
            "current-context": "dev",
        });

        let own = with_token(admin, "worker", "t");

        assert_eq!(own["users"], json!([{ "name": "worker", "user": { "token": "t" } }]));
        assert_eq!(own["contexts"][0]["context"], json!({ "cluster": "dev", "user": "worker" }));
        assert!(!own.to_string().contains("secret"));
    }
}
