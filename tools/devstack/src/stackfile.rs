//! `stack.json`: what scripts and tests need to know of a running stack. Paths in it are absolute.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// A log-in.
#[derive(Clone, Serialize, Deserialize)]
pub struct Login {
    /// E-mail.
    pub email: String,
    /// Password.
    pub password: String,
}

impl std::fmt::Debug for Login {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Login({})", self.email)
    }
}

/// A running stack.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct StackFile {
    /// Public API.
    pub api: String,
    /// Domain of the instances.
    pub base_domain: String,
    /// Ingress listener.
    pub ingress: String,
    /// kubectl.
    pub kubectl: PathBuf,
    /// Administrator's kubeconfig.
    pub kubeconfig: PathBuf,
    /// HTTP address of the mail sink.
    pub mail: String,
    /// First administrator.
    pub admin: Login,
    /// HTTP address of each service (health and metrics).
    pub services: BTreeMap<String, String>,
    /// gRPC address of each service.
    pub grpc: BTreeMap<String, String>,
    /// Address of the switch that stops and starts parts of the stack.
    pub control: String,
    /// Switch of the stand-in for Paynow: pays, cancels, misbehaves; empty when it does not run.
    #[serde(default)]
    pub paynow: String,
    /// Address of Kill Bill; empty when the ledger keeps the books.
    #[serde(default)]
    pub killbill: String,
    /// Its user.
    #[serde(default)]
    pub killbill_user: String,
    /// Fault switch of the local node; empty with a given cluster.
    pub devnode: String,
    /// Superuser URL of PostgreSQL.
    pub database_url: String,
    /// URL of RabbitMQ.
    pub amqp_url: String,
    /// URL of Redis.
    pub redis_url: String,
    /// `host:port` of SMTP.
    pub smtp: String,
    /// Folder of the log files.
    pub logs: PathBuf,
    /// Process that runs the stack.
    pub supervisor: u32,
}
