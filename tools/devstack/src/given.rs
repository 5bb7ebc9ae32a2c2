//! Servers that are there already and are used instead of our own: by address in the environment, or from
//! compose.

use std::path::PathBuf;

use crate::services::HostPort;

/// A server with a user and a password.
#[derive(Clone)]
pub struct Server {
    /// Where it answers.
    pub at: HostPort,
    /// User; empty where there is none.
    pub user: String,
    /// Password.
    pub password: String,
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Server({}:{})", self.at.host, self.at.port)
    }
}

/// A mail server and, when there is one, the HTTP address of its mails.
#[derive(Debug, Clone)]
pub struct Mail {
    /// SMTP.
    pub smtp: HostPort,
    /// Address of an interface like Mailpit's.
    pub http: String,
}

/// A Kubernetes cluster.
#[derive(Debug, Clone)]
pub struct Cluster {
    /// Its kubeconfig, with administrator rights.
    pub kubeconfig: PathBuf,
    /// Program that talks to it.
    pub kubectl: PathBuf,
    /// How services reach pods: `port-forward` for a cluster whose network we are not in.
    pub addressing: String,
    /// Where its ingress listens.
    pub ingress: String,
    /// Storage class of the instances.
    pub storage_class: Option<String>,
}

/// A Kill Bill.
#[derive(Clone)]
pub struct Killbill {
    /// Address without a path.
    pub url: String,
    /// User.
    pub user: String,
    /// Password.
    pub password: String,
}

impl std::fmt::Debug for Killbill {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Killbill({})", self.url)
    }
}

/// All that is given; what is `None` is started.
#[derive(Debug, Clone, Default)]
pub struct Given {
    /// PostgreSQL with its superuser.
    pub postgres: Option<Server>,
    /// Redis.
    pub redis: Option<Server>,
    /// RabbitMQ; the virtual host `saasodoo` is there.
    pub rabbitmq: Option<Server>,
    /// Mail.
    pub mail: Option<Mail>,
    /// Kubernetes.
    pub cluster: Option<Cluster>,
    /// Kill Bill, for the billing provider of that name.
    pub killbill: Option<Killbill>,
}
