//! Servers that the environment names: they are used instead of our own.

use std::path::{Path, PathBuf};

use clap::Args;
use devstack::given::{Cluster, Given, Killbill, Mail, Server};
use devstack::services::HostPort;

use crate::workspace::target;

/// Servers that are there already. Each group is used when its first variable is set.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Given servers")]
pub struct GivenArgs {
    /// Host of a PostgreSQL server to use
    #[arg(long, env = "POSTGRES_HOST")]
    postgres_host: Option<String>,
    /// Its port
    #[arg(long, env = "POSTGRES_PORT", default_value_t = 5432)]
    postgres_port: u16,
    /// Its superuser
    #[arg(long, env = "POSTGRES_USER", default_value = "odoo_user")]
    postgres_user: String,
    /// Password of its superuser
    #[arg(
        long,
        env = "POSTGRES_PASSWORD",
        hide_env_values = true,
        default_value = "",
        hide_default_value = true
    )]
    postgres_password: String,
    /// Host of a Redis server to use
    #[arg(long, env = "REDIS_HOST")]
    redis_host: Option<String>,
    /// Its port
    #[arg(long, env = "REDIS_PORT", default_value_t = 6379)]
    redis_port: u16,
    /// Its password
    #[arg(
        long,
        env = "REDIS_PASSWORD",
        hide_env_values = true,
        default_value = "",
        hide_default_value = true
    )]
    redis_password: String,
    /// Host of a RabbitMQ server to use; it has the virtual host `saasodoo`
    #[arg(long, env = "RABBITMQ_HOST")]
    rabbitmq_host: Option<String>,
    /// Its port
    #[arg(long, env = "RABBITMQ_PORT", default_value_t = 5672)]
    rabbitmq_port: u16,
    /// Its user
    #[arg(long, env = "RABBITMQ_USER", default_value = "saasodoo")]
    rabbitmq_user: String,
    /// Password of its user
    #[arg(
        long,
        env = "RABBITMQ_PASSWORD",
        hide_env_values = true,
        default_value = "",
        hide_default_value = true
    )]
    rabbitmq_password: String,
    /// Host of an SMTP server to use
    #[arg(long, env = "SMTP_HOST")]
    smtp_host: Option<String>,
    /// Its port
    #[arg(long, env = "SMTP_PORT", default_value_t = 1025)]
    smtp_port: u16,
    /// Address of its mails, in Mailpit's form
    #[arg(long, env = "MAIL_URL", default_value = "")]
    mail_url: String,
    /// Kubeconfig of a cluster to use, with administrator rights
    #[arg(long, env = "KUBECONFIG")]
    kubeconfig: Option<PathBuf>,
    /// kubectl for that cluster
    #[arg(long, env = "KUBECTL", default_value = "kubectl")]
    kubectl: PathBuf,
    /// How the services reach pods of that cluster
    #[arg(long, env = "CLUSTER_ADDRESSING", default_value = "port-forward")]
    cluster_addressing: String,
    /// Where the ingress of that cluster listens
    #[arg(long, env = "INGRESS_URL", default_value = "http://127.0.0.1:80")]
    ingress_url: String,
    /// Storage class of that cluster for instances
    #[arg(long, env = "ODOO_STORAGE_CLASS")]
    odoo_storage_class: Option<String>,
    /// Address of a Kill Bill to use with `--billing killbill` and `test --killbill`; its tenant is made when
    /// it is not there
    #[arg(long, env = "KILLBILL_URL")]
    killbill_url: Option<String>,
    /// Its user
    #[arg(long, env = "KILLBILL_USERNAME", default_value = "admin")]
    killbill_username: String,
    /// Password of its user
    #[arg(
        long,
        env = "KILLBILL_PASSWORD",
        hide_env_values = true,
        default_value = "",
        hide_default_value = true
    )]
    killbill_password: String,
}

impl GivenArgs {
    /// What is given.
    pub fn given(&self) -> Given {
        let server = |host: &Option<String>, port: u16, user: &str, password: &str| {
            host.as_ref().map(|host| Server {
                at: HostPort { host: host.clone(), port },
                user: user.to_owned(),
                password: password.to_owned(),
            })
        };
        Given {
            postgres: server(
                &self.postgres_host,
                self.postgres_port,
                &self.postgres_user,
                &self.postgres_password,
            ),
            redis: server(&self.redis_host, self.redis_port, "", &self.redis_password),
            rabbitmq: server(
                &self.rabbitmq_host,
                self.rabbitmq_port,
                &self.rabbitmq_user,
                &self.rabbitmq_password,
            ),
            mail: self.smtp_host.as_ref().map(|host| Mail {
                smtp: HostPort { host: host.clone(), port: self.smtp_port },
                http: self.mail_url.clone(),
            }),
            cluster: self.kubeconfig.as_ref().filter(|path| !is_ours(path)).map(|kubeconfig| Cluster {
                kubeconfig: kubeconfig.clone(),
                kubectl: self.kubectl.clone(),
                addressing: self.cluster_addressing.clone(),
                ingress: self.ingress_url.clone(),
                storage_class: self.odoo_storage_class.clone(),
            }),
            killbill: self.killbill_url.as_ref().map(|url| Killbill {
                url: url.clone(),
                user: self.killbill_username.clone(),
                password: self.killbill_password.clone(),
            }),
        }
    }
}

/// Whether this is the kubeconfig of a stack of this checkout, as `cargo xtask env` exports it: that names no
/// cluster which is given.
fn is_ours(kubeconfig: &Path) -> bool {
    target().is_ok_and(|target| kubeconfig.starts_with(target))
}

/// Names of what is given, for the first line.
pub fn names(given: &Given) -> Vec<&'static str> {
    let all = [
        (given.postgres.is_some(), "PostgreSQL"),
        (given.redis.is_some(), "Redis"),
        (given.rabbitmq.is_some(), "RabbitMQ"),
        (given.mail.is_some(), "mail"),
        (given.cluster.is_some(), "Kubernetes"),
        (given.killbill.is_some(), "Kill Bill"),
    ];
    all.into_iter().filter(|(there, _)| *there).map(|(_, name)| name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kubeconfig_of_our_own_stack_names_no_given_cluster() {
        assert!(is_ours(&target().unwrap().join("dev/kube/kubeconfig")));
        assert!(!is_ours(Path::new("/home/somebody/.kube/config")));
    }
}
