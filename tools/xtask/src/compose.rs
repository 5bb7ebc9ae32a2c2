//! Where a container engine runs, the servers come from `docker-compose.test.yml` instead of Debian packages
//! and our own control plane.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use devstack::given::{Cluster, Given, Killbill, Mail, Server};
use devstack::layout::Layout;
use devstack::ports::Ports;
use devstack::postgres;
use devstack::process::{run, wait_until};
use devstack::progress::Progress;
use devstack::rabbitmq;
use devstack::secrets::{Secrets, write_private};
use devstack::services::HostPort;

/// The servers of one stack in containers.
#[derive(Debug)]
pub struct Compose {
    project: String,
    file: PathBuf,
    settings: PathBuf,
}

/// Whether there is a container engine. A client without its daemon is none.
pub fn available() -> bool {
    run(Command::new("timeout").args(["5", "docker", "info"]), None).is_ok()
        && run(Command::new("docker").args(["compose", "version"]), None).is_ok()
}

impl Compose {
    /// The containers of the stack in `layout`.
    pub fn of(layout: &Layout) -> Self {
        let name =
            layout.dir.file_name().map_or_else(String::new, |name| name.to_string_lossy().to_lowercase());
        Self {
            project: format!("saasodoo-{name}"),
            file: layout.workspace.join("docker-compose.test.yml"),
            settings: layout.dir.join("compose.env"),
        }
    }

    fn command(&self) -> Command {
        let mut command = Command::new("docker");
        command.args(["compose", "--project-name", &self.project, "--file"]).arg(&self.file);
        command.arg("--env-file").arg(&self.settings);
        command
    }

    /// Starts them and waits until they are healthy; gives their addresses. What is given already is left
    /// out.
    pub fn start(&self, layout: &Layout, given: Given, killbill: bool, progress: &Progress) -> Result<Given> {
        fs::create_dir_all(&layout.dir).with_context(|| format!("create {}", layout.dir.display()))?;
        let secrets = Secrets::load_or_generate(&layout.dir.join("secrets.json"))?;
        let mut ports = Ports::load(&layout.dir.join("compose-ports.json"));
        let kubernetes = layout.dir.join("k3s");
        fs::create_dir_all(&kubernetes).with_context(|| format!("create {}", kubernetes.display()))?;
        let mut port = |name: &str| ports.choose(name);
        let (sql, cache, amqp, smtp, mail, api, ingress, hooks) = (
            port("postgres")?,
            port("redis")?,
            port("rabbitmq")?,
            port("smtp")?,
            port("mail")?,
            port("k3s")?,
            port("ingress")?,
            port("killbill")?,
        );
        let users = layout.dir.join("killbill-users.ini");
        let password = &secrets.killbill.password;
        write_private(&users, &format!("[users]\nadmin = {password}, root\n[roles]\nroot = *:*\n"))?;
        let settings = format!(
            "POSTGRES_PORT={sql}\nPOSTGRES_USER={}\nPOSTGRES_PASSWORD={}\nREDIS_PORT={cache}\nREDIS_PASSWORD={}\n\
             RABBITMQ_PORT={amqp}\nRABBITMQ_USER={}\nRABBITMQ_PASSWORD={}\nRABBITMQ_VHOST={}\nSMTP_PORT={smtp}\nMAIL_PORT={mail}\n\
             KUBERNETES_PORT={api}\nINGRESS_PORT={ingress}\nKUBECONFIG_FOLDER={}\n\
             KILLBILL_PORT={hooks}\nKILLBILL_DB_PASSWORD={}\nKILLBILL_USERS_FILE={}\n",
            postgres::SUPERUSER,
            secrets.postgres,
            secrets.redis,
            rabbitmq::USER,
            secrets.rabbitmq,
            rabbitmq::VHOST,
            kubernetes.display(),
            secrets.killbill.password,
            users.display(),
        );
        write_private(&self.settings, &settings)?;

        let names = [
            (given.postgres.is_none(), "postgres"),
            (given.redis.is_none(), "redis"),
            (given.rabbitmq.is_none(), "rabbitmq"),
            (given.mail.is_none(), "mailpit"),
            (given.cluster.is_none(), "k3s"),
            (killbill && given.killbill.is_none(), "killbill"),
        ];
        let wanted: Vec<&str> =
            names.into_iter().filter(|(wanted, _)| *wanted).map(|(_, name)| name).collect();
        if wanted.is_empty() {
            return Ok(given);
        }
        progress.stage("containers", || {
            run(self.command().args(["--profile", "*", "up", "--detach", "--wait"]).args(&wanted), None)
                .map(drop)
        })?;
        let kubeconfig = kubernetes.join("kubeconfig.yaml");
        if wanted.contains(&"k3s") && !wait_until(Duration::from_mins(2), || kubeconfig.exists()) {
            bail!("k3s wrote no kubeconfig within two minutes");
        }
        let server = |port: u16, user: &str, password: &str| {
            Some(Server { at: HostPort::local(port), user: user.to_owned(), password: password.to_owned() })
        };
        Ok(Given {
            postgres: given.postgres.or_else(|| server(sql, postgres::SUPERUSER, &secrets.postgres)),
            redis: given.redis.or_else(|| server(cache, "", &secrets.redis)),
            rabbitmq: given.rabbitmq.or_else(|| server(amqp, rabbitmq::USER, &secrets.rabbitmq)),
            mail: given.mail.or_else(|| {
                Some(Mail { smtp: HostPort::local(smtp), http: format!("http://127.0.0.1:{mail}") })
            }),
            cluster: given.cluster.or_else(|| {
                Some(Cluster {
                    kubeconfig,
                    kubectl: PathBuf::from("kubectl"),
                    addressing: "port-forward".to_owned(),
                    ingress: format!("http://127.0.0.1:{ingress}"),
                    storage_class: Some("local-path".to_owned()),
                })
            }),
            killbill: given.killbill.or_else(|| {
                killbill.then(|| Killbill {
                    url: format!("http://127.0.0.1:{hooks}"),
                    user: "admin".to_owned(),
                    password: secrets.killbill.password.clone(),
                })
            }),
        })
    }

    /// Stops them; with `purge` their data goes too. Does nothing for a stack that had none.
    pub fn stop(&self, purge: bool) -> Result<()> {
        if !self.settings.exists() {
            return Ok(());
        }
        let mut command = self.command();
        command.args(if purge { &["down", "--volumes"][..] } else { &["stop"] });
        run(&mut command, None).map(drop)
    }
}
