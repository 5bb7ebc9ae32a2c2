//! Settings of notification-service: one clap struct, names of requirements part 14.

use std::time::Duration;

use anyhow::bail;
use clap::{Args, Parser, Subcommand};
use runtime::config::{Common, Environment, Postgres, Rabbit, ServiceIdentity, UserTokens, require_strong};
use runtime::database::Owned;
use secrecy::SecretString;

/// Database and role that this service owns.
pub const OWNED: Owned = Owned { database: "communication", role: "notification_service" };

/// Mail of the platform: templates, queue, SMTP, history.
#[derive(Debug, Parser)]
#[command(name = "notification-service", version)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serve until stopped
    Serve(Box<Config>),
    /// Apply the database migrations and end
    Migrate(Box<Migrate>),
    /// Put dead messages back into their queues, and end
    Redrive(Box<messaging::Redrive>),
}

/// Settings of `migrate`.
#[derive(Debug, Clone, Args)]
pub struct Migrate {
    #[command(flatten)]
    /// Shared settings.
    pub common: Common,
    #[command(flatten)]
    /// Own database.
    pub postgres: Postgres,
}

/// Settings of `serve`.
#[derive(Debug, Clone, Args)]
pub struct Config {
    #[command(flatten)]
    /// Shared settings.
    pub common: Common,
    #[command(flatten)]
    /// Own database.
    pub postgres: Postgres,
    #[command(flatten)]
    /// The message broker.
    pub rabbit: Rabbit,
    #[command(flatten)]
    /// Verification of access tokens.
    pub users: UserTokens,
    #[command(flatten)]
    /// Identity between services.
    pub identity: ServiceIdentity,
    /// Port of /health, /health/ready and /metrics
    #[arg(long, env = "HTTP_PORT", default_value_t = 5000)]
    pub http_port: u16,
    /// gRPC address of user-service
    #[arg(long, env = "USER_SERVICE_URL", default_value = "http://user-service:50051")]
    pub user_service_url: String,
    /// Domain of the platform; the default sender is noreply@BASE_DOMAIN
    #[arg(long, env = "BASE_DOMAIN", default_value = "saasodoo.local")]
    pub base_domain: String,
    /// Address of the portal; links in mails begin with it
    #[arg(long, env = "FRONTEND_URL", default_value = "http://app.saasodoo.local")]
    pub frontend_url: String,
    #[command(flatten)]
    /// The mail server.
    pub smtp: Smtp,
    #[command(flatten)]
    /// Sender and pace.
    pub sending: Sending,
}

/// The mail server.
#[derive(Debug, Clone, Args)]
pub struct Smtp {
    /// Host of the mail server
    #[arg(long, env = "SMTP_HOST", default_value = "mailhog")]
    pub smtp_host: String,
    /// Port of the mail server
    #[arg(long, env = "SMTP_PORT", default_value_t = 1025)]
    pub smtp_port: u16,
    /// STARTTLS, verified
    #[arg(long, env = "SMTP_USE_TLS", default_value_t = false, action = clap::ArgAction::Set)]
    pub smtp_use_tls: bool,
    /// Implicit TLS, verified
    #[arg(long, env = "SMTP_USE_SSL", default_value_t = false, action = clap::ArgAction::Set)]
    pub smtp_use_ssl: bool,
    /// PEM file of a CA to trust besides the system's
    #[arg(long, env = "SMTP_CA_FILE")]
    pub smtp_ca_file: Option<std::path::PathBuf>,
    /// Seconds until a command to the mail server is given up
    #[arg(long, env = "SMTP_TIMEOUT", default_value_t = 30)]
    pub smtp_timeout: u64,
    /// User name at the mail server
    #[arg(long, env = "SMTP_USERNAME")]
    pub smtp_username: Option<String>,
    /// Password at the mail server
    #[arg(long, env = "SMTP_PASSWORD", hide_env_values = true)]
    pub smtp_password: Option<SecretString>,
    /// Seconds before the second attempt; each further pause is twice as long, up to one hour
    #[arg(long, env = "SMTP_RETRY_BASE_SECONDS", default_value_t = 30)]
    pub smtp_retry_base_seconds: u32,
    /// Mails in work at once, and connections to the mail server
    #[arg(long, env = "SMTP_CONNECTIONS", default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=64))]
    pub smtp_connections: u32,
}

/// Sender and pace.
#[derive(Debug, Clone, Args)]
pub struct Sending {
    /// Address of the sender; default noreply@BASE_DOMAIN
    #[arg(long, env = "DEFAULT_FROM_EMAIL")]
    pub default_from_email: Option<String>,
    /// Name of the sender
    #[arg(long, env = "DEFAULT_FROM_NAME", default_value = "SaaSOdoo")]
    pub default_from_name: String,
    /// Mails in any 60 seconds, over all replicas
    #[arg(long, env = "MAX_EMAILS_PER_MINUTE", default_value_t = 60)]
    pub max_emails_per_minute: u32,
    /// Mails in any 60 minutes, over all replicas
    #[arg(long, env = "MAX_EMAILS_PER_HOUR", default_value_t = 1000)]
    pub max_emails_per_hour: u32,
}

impl Smtp {
    /// Longest wait for one answer.
    pub fn timeout(&self) -> Duration {
        Duration::from_secs(self.smtp_timeout.max(1))
    }

    /// NTF-13: without TLS only to this machine, or in development.
    pub fn check(&self, environment: Environment) -> anyhow::Result<()> {
        if self.smtp_use_tls && self.smtp_use_ssl {
            bail!("SMTP_USE_TLS (STARTTLS) and SMTP_USE_SSL (implicit TLS) exclude each other");
        }
        let plain = !self.smtp_use_tls && !self.smtp_use_ssl;
        if plain && environment != Environment::Development && !is_loopback(&self.smtp_host) {
            bail!(
                "SMTP without TLS is allowed to a loopback host only: set SMTP_USE_TLS=true or SMTP_USE_SSL=true"
            );
        }
        if self.smtp_username.is_some() != self.smtp_password.is_some() {
            bail!("SMTP_USERNAME and SMTP_PASSWORD belong together: set both or none");
        }
        Ok(())
    }
}

/// Does this name mean this machine, whatever a resolver says?
fn is_loopback(host: &str) -> bool {
    host.eq_ignore_ascii_case("localhost")
        || host.trim_matches(['[', ']']).parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

impl Config {
    /// What clap cannot check: fails with the name of the setting (SEC-03, NTF-13).
    pub fn check(&self) -> anyhow::Result<()> {
        let environment = self.common.environment;
        require_strong(environment, "DB_SERVICE_PASSWORD", &self.postgres.db_service_password)?;
        require_strong(environment, "RABBITMQ_PASSWORD", &self.rabbit.rabbitmq_password)?;
        if let Some(password) = &self.smtp.smtp_password {
            require_strong(environment, "SMTP_PASSWORD", password)?;
        }
        if self.sending.max_emails_per_minute == 0 || self.sending.max_emails_per_hour == 0 {
            bail!("MAX_EMAILS_PER_MINUTE and MAX_EMAILS_PER_HOUR must be at least 1");
        }
        self.smtp.check(environment)
    }

    /// Address of the sender.
    pub fn from_email(&self) -> String {
        self.sending.default_from_email.clone().unwrap_or_else(|| format!("noreply@{}", self.base_domain))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn smtp(host: &str, tls: bool, ssl: bool) -> Smtp {
        Smtp {
            smtp_host: host.into(),
            smtp_port: 25,
            smtp_use_tls: tls,
            smtp_use_ssl: ssl,
            smtp_ca_file: None,
            smtp_timeout: 5,
            smtp_username: None,
            smtp_password: None,
            smtp_retry_base_seconds: 30,
            smtp_connections: 1,
        }
    }

    /// NTF-13
    #[test]
    fn plain_smtp_leaves_this_machine_in_development_only() {
        let cases = [
            ("mail.example.com", false, false, Environment::Production, false),
            ("mail.example.com", false, false, Environment::Staging, false),
            ("mail.example.com", false, false, Environment::Development, true),
            ("mail.example.com", true, false, Environment::Production, true),
            ("mail.example.com", false, true, Environment::Production, true),
            ("127.0.0.1", false, false, Environment::Production, true),
            ("[::1]", false, false, Environment::Production, true),
            ("localhost", false, false, Environment::Production, true),
            ("localhost.example.com", false, false, Environment::Production, false),
        ];
        for (host, tls, ssl, environment, allowed) in cases {
            let outcome = smtp(host, tls, ssl).check(environment);
            assert_eq!(outcome.is_ok(), allowed, "{host} tls={tls} ssl={ssl} {environment:?}");
        }
        assert!(smtp("localhost", true, true).check(Environment::Development).is_err());
    }

    #[test]
    fn the_command_line_is_well_formed() {
        use clap::CommandFactory as _;
        Cli::command().debug_assert();
    }
}
