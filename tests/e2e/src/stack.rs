//! Where the parts of the running stack are.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde::Deserialize;

/// `stack.json`, as `cargo xtask up` and `cargo xtask test` write it.
#[derive(Debug, Clone, Deserialize)]
pub struct Stack {
    /// URL of the gateway.
    pub api: String,
    /// Tenants live at `<subdomain>.<base_domain>`.
    pub base_domain: String,
    /// URL of the Ingress listener.
    pub ingress: String,
    /// Path of kubectl.
    pub kubectl: PathBuf,
    /// Path of an administrator's kubeconfig.
    pub kubeconfig: PathBuf,
    /// URL of the mail sink.
    pub mail: String,
    /// The first administrator.
    pub admin: Login,
    /// HTTP ports of the services.
    #[serde(default)]
    pub services: BTreeMap<String, String>,
    /// gRPC addresses of the services.
    #[serde(default)]
    pub grpc: BTreeMap<String, String>,
    /// Superuser URL of PostgreSQL.
    #[serde(default)]
    pub database_url: String,
    /// URL of the supervisor's switches.
    #[serde(default)]
    pub control: String,
    /// URL of the local node's fault switch.
    #[serde(default)]
    pub devnode: String,
    /// URL of the switch of the stand-in for Paynow.
    #[serde(default)]
    pub paynow: String,
    /// URL of Kill Bill; empty when the ledger keeps the books.
    #[serde(default)]
    pub killbill: String,
    /// Its user.
    #[serde(default)]
    pub killbill_user: String,
    /// Folder of the log files.
    #[serde(default)]
    pub logs: PathBuf,
}

/// A login.
#[derive(Debug, Clone, Deserialize)]
pub struct Login {
    /// Address.
    pub email: String,
    /// Password.
    pub password: String,
}

impl Stack {
    /// Reads the file that the test run names.
    pub fn load() -> anyhow::Result<Self> {
        Self::read(Path::new(&test_kit::environment::stack_file()))
    }

    /// Reads a stack file.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        let text =
            std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        serde_json::from_str(&text).with_context(|| format!("{} is no stack file", path.display()))
    }
}
