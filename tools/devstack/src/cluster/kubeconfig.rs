//! The administrator's kubeconfig. JSON is YAML, so it is written as JSON.

use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use super::certificates::{Certificates, write_private};

/// Writes `kubeconfig` into the folder, readable by its owner alone.
pub(super) fn write(dir: &Path, port: u16, certificates: &Certificates) -> anyhow::Result<PathBuf> {
    let file = dir.join("kubeconfig");
    let name = "saasodoo-dev";
    let content = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{ "name": name, "cluster": {
            "server": format!("https://127.0.0.1:{port}"),
            "certificate-authority-data": STANDARD.encode(&certificates.ca),
        }}],
        "users": [{ "name": "admin", "user": {
            "client-certificate-data": STANDARD.encode(&certificates.admin.certificate),
            "client-key-data": STANDARD.encode(&certificates.admin.key),
        }}],
        "contexts": [{ "name": name, "context": { "cluster": name, "user": "admin" } }],
        "current-context": name,
    });
    write_private(&file, &serde_json::to_string_pretty(&content)?)?;
    Ok(file)
}
