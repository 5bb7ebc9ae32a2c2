//! Settings of this service; `--help` is their manual. Nothing else reads the environment, with one
//! exception: the password of the first administrator, which must not be an argument.

use clap::{Args, Parser, Subcommand};
use runtime::config::{Common, Postgres, Rabbit, Redis, ServiceIdentity, UserTokens};
use secrecy::SecretString;
use time::Duration;

/// Accounts, sessions and roles of SaaSOdoo
#[derive(Debug, Parser)]
#[command(name = "user-service", version, propagate_version = true)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What the program does.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serve gRPC, health and metrics until stopped
    Serve(Box<Config>),
    /// Bring the database to the newest schema, then end
    Migrate(DatabaseSettings),
    /// Commands on administrators
    Admin {
        /// Which one.
        #[command(subcommand)]
        command: AdminCommand,
    },
}

/// Commands on administrators.
#[derive(Debug, Subcommand)]
pub enum AdminCommand {
    /// Create the first super_admin, verified and active; refuses when there is one already
    ///
    /// The password is taken from the environment variable ADMIN_PASSWORD, or from the first line of standard
    /// input; it is never an argument.
    Create(AdminSettings),
}

/// What the commands besides `serve` need.
#[derive(Debug, Clone, Args)]
pub struct DatabaseSettings {
    /// Settings of every service.
    #[command(flatten)]
    pub common: Common,
    /// The database `auth`.
    #[command(flatten)]
    pub postgres: Postgres,
}

impl DatabaseSettings {
    /// Logs for a command that is no process of its own.
    pub fn telemetry(&self) -> anyhow::Result<telemetry::Guard> {
        telemetry::init(&telemetry::Settings {
            service: contracts::services::USER,
            level: self.common.effective_log_level(),
            otlp_endpoint: None,
        })
    }
}

/// Settings of `admin create`.
#[derive(Debug, Clone, Args)]
pub struct AdminSettings {
    /// Where the account goes.
    #[command(flatten)]
    pub database: DatabaseSettings,
    /// Address of the administrator
    #[arg(long)]
    pub email: String,
    /// First name
    #[arg(long, default_value = "Platform")]
    pub first_name: String,
    /// Last name
    #[arg(long, default_value = "Administrator")]
    pub last_name: String,
}

/// The password of the first administrator: `ADMIN_PASSWORD`, or the first line of standard input.
#[expect(
    clippy::disallowed_methods,
    reason = "a clap setting would also be an argument, which every user of the machine can read"
)]
pub fn admin_password() -> anyhow::Result<SecretString> {
    use anyhow::Context as _;
    if let Ok(password) = std::env::var("ADMIN_PASSWORD") {
        return Ok(SecretString::from(password));
    }
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).context("cannot read the password from standard input")?;
    let password = line.trim_end_matches(['\r', '\n']);
    anyhow::ensure!(!password.is_empty(), "ADMIN_PASSWORD is not set and standard input has no password");
    Ok(SecretString::from(password))
}

/// Settings of `serve`.
#[derive(Debug, Clone, Args)]
pub struct Config {
    /// Settings of every service.
    #[command(flatten)]
    pub common: Common,
    /// Port of health and metrics
    #[arg(long, env = "HTTP_PORT", default_value_t = 8001)]
    pub http_port: u16,
    /// The database `auth`.
    #[command(flatten)]
    pub postgres: Postgres,
    /// The message broker.
    #[command(flatten)]
    pub rabbit: Rabbit,
    /// Counters of failed log-ins.
    #[command(flatten)]
    pub redis: Redis,
    /// Access tokens.
    #[command(flatten)]
    pub user_tokens: UserTokens,
    /// Private key of EdDSA access tokens: base64 of PKCS#8 DER; only this service has it
    #[arg(long, env = "JWT_PRIVATE_KEY", hide_env_values = true)]
    pub jwt_private_key: Option<SecretString>,
    /// Identity towards other services.
    #[command(flatten)]
    pub identity: ServiceIdentity,
    /// URL of billing-service (gRPC)
    #[arg(long, env = "BILLING_SERVICE_URL", default_value = "http://billing-service:50051")]
    pub billing_service_url: String,
    /// URL of instance-service (gRPC)
    #[arg(long, env = "INSTANCE_SERVICE_URL", default_value = "http://instance-service:50051")]
    pub instance_service_url: String,
    /// URL of notification-service (gRPC)
    #[arg(long, env = "NOTIFICATION_SERVICE_URL", default_value = "http://notification-service:50051")]
    pub notification_service_url: String,
    /// Rules of accounts and sessions.
    #[command(flatten)]
    pub rules: Rules,
}

/// Rules of accounts and sessions.
#[derive(Debug, Clone, Args)]
pub struct Rules {
    /// Life of an access token, in minutes
    #[arg(long, env = "JWT_EXPIRE_MINUTES", default_value_t = 1440, value_parser = clap::value_parser!(u32).range(1..=43200))]
    pub jwt_expire_minutes: u32,
    /// Seconds after which an unused session ends; 0: only its refresh token ends it
    #[arg(long, env = "SESSION_TIMEOUT", default_value_t = 0)]
    pub session_timeout: u32,
    /// Sessions of one account; the oldest ends when there are more
    #[arg(long, env = "MAX_SESSIONS_PER_USER", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub max_sessions_per_user: u32,
    /// Days after which a closed account is pseudonymised
    #[arg(long, env = "ACCOUNT_ERASURE_DAYS", default_value_t = 30, value_parser = clap::value_parser!(u32).range(0..=3650))]
    pub account_erasure_days: u32,
    /// Failed log-ins of one account before it is blocked for a while
    #[arg(long, env = "LOGIN_MAX_FAILURES", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=10000))]
    pub login_max_failures: u32,
    /// Failed log-ins from one address before it is blocked for a while
    #[arg(long, env = "LOGIN_MAX_FAILURES_PER_ADDRESS", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub login_max_failures_per_address: u32,
    /// Start of our keys in Redis, so that several platforms can share one
    #[arg(long, env = "REDIS_KEY_PREFIX", default_value = "saasodoo:user")]
    pub redis_key_prefix: String,
}

impl Rules {
    /// `JWT_EXPIRE_MINUTES`.
    pub fn access_life(&self) -> Duration {
        Duration::minutes(i64::from(self.jwt_expire_minutes))
    }

    /// `SESSION_TIMEOUT`, unless it is off.
    pub fn idle_limit(&self) -> Option<Duration> {
        (self.session_timeout > 0).then(|| Duration::seconds(i64::from(self.session_timeout)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_consistent_and_hides_secrets() {
        Cli::command().debug_assert();
        let mut command = Cli::command();
        let serve = command.find_subcommand_mut("serve").unwrap();
        for argument in serve.get_arguments() {
            let name = argument.get_env().and_then(|name| name.to_str()).unwrap_or_default();
            let secret = name.contains("PASSWORD") || name.contains("SECRET") || name.contains("PRIVATE");
            assert!(!secret || argument.is_hide_env_values_set(), "{name} would be printed");
        }
        assert!(serve.render_long_help().to_string().contains("MAX_SESSIONS_PER_USER"));
    }

    /// USR-23, SEC-04
    #[test]
    fn the_password_of_the_administrator_is_no_argument() {
        let mut command = Cli::command();
        let create = command.find_subcommand_mut("admin").unwrap().find_subcommand_mut("create").unwrap();
        let names: Vec<&str> = create.get_arguments().filter_map(clap::Arg::get_long).collect();
        assert!(
            names.contains(&"email")
                && !names.iter().any(|name| name.contains("admin-password") || *name == "password")
        );
        assert!(create.render_long_help().to_string().contains("ADMIN_PASSWORD"));
    }
}
