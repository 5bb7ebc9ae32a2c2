//! Settings in the two forms that Odoo images use: Bitnami's `ODOO_…` names and the official image's `HOST`,
//! `PORT`, `USER`, `PASSWORD`. Arguments of a real Odoo are accepted and, but for the database's name,
//! ignored.

use std::net::IpAddr;
use std::path::PathBuf;

use clap::Parser;
use secrecy::SecretString;

/// Stands in for Odoo on a machine without a container engine.
#[derive(Debug, Parser)]
#[command(version, about)]
struct Settings {
    /// Database server.
    #[arg(long, env = "ODOO_DATABASE_HOST")]
    database_host: Option<String>,
    /// Port of the database server.
    #[arg(long, env = "ODOO_DATABASE_PORT_NUMBER")]
    database_port: Option<u16>,
    /// Name of the database.
    #[arg(long, short = 'd', env = "ODOO_DATABASE_NAME")]
    database: Option<String>,
    /// Role in the database.
    #[arg(long, env = "ODOO_DATABASE_USER")]
    database_user: Option<String>,
    /// Password of the role.
    #[arg(long, env = "ODOO_DATABASE_PASSWORD", hide_env_values = true)]
    database_password: Option<SecretString>,

    /// Database server, as the official image names it.
    #[arg(long, env = "HOST")]
    db_host: Option<String>,
    /// Port of the database server, as the official image names it.
    #[arg(long, env = "PORT")]
    db_port: Option<u16>,
    /// Role, as the official image names it.
    #[arg(long, env = "USER")]
    db_user: Option<String>,
    /// Password, as the official image names it.
    #[arg(long, env = "PASSWORD", hide_env_values = true)]
    db_password: Option<SecretString>,

    /// Login of the first user.
    #[arg(long, env = "ODOO_EMAIL", default_value = "admin")]
    email: String,
    /// Password of the first user; without one nobody can log in.
    #[arg(long, env = "ODOO_PASSWORD", hide_env_values = true)]
    password: Option<SecretString>,
    /// Whether to add demonstration data to a new database (`yes`, `true`, `1`).
    #[arg(long, env = "ODOO_LOAD_DEMO_DATA", default_value = "no")]
    load_demo_data: String,

    /// Address to listen on.
    #[arg(long, env = "ODOO_BIND", default_value = "127.0.0.1")]
    bind: IpAddr,
    /// Port to listen on.
    #[arg(long, env = "ODOO_PORT_NUMBER", default_value_t = 8069)]
    http_port: u16,
    /// Folder of the filestore, in the pod's volume.
    #[arg(long, env = "ODOO_DATA_DIR", default_value = "/var/lib/odoo")]
    data_dir: PathBuf,
    /// Seconds to wait for the database at the start.
    #[arg(long, env = "ODOO_START_DEADLINE_SECONDS", default_value_t = 60)]
    start_deadline_seconds: u64,
}

/// What the process works with, whichever form it came in.
#[derive(Debug)]
pub struct Config {
    /// Database server.
    pub host: String,
    /// Port of the database server.
    pub port: u16,
    /// Name of the database.
    pub database_name: String,
    /// Role in the database.
    pub user: String,
    /// Password of the role.
    pub db_password: SecretString,
    /// Login of the first user.
    pub email: String,
    /// Password of the first user.
    pub password: Option<SecretString>,
    /// Whether a new database gets demonstration data.
    pub demo: bool,
    /// Address to listen on.
    pub bind: IpAddr,
    /// Port to listen on.
    pub http_port: u16,
    /// Folder of the filestore.
    pub data_dir: PathBuf,
    /// Seconds to wait for the database at the start.
    pub start_deadline_seconds: u64,
}

impl Config {
    /// Reads arguments and environment; ends the process with a message when something is missing.
    pub fn from_process() -> Self {
        Settings::parse_from(known(std::env::args())).into()
    }
}

impl From<Settings> for Config {
    fn from(settings: Settings) -> Self {
        let user = settings.database_user.or(settings.db_user).unwrap_or_else(|| "odoo".to_owned());
        Self {
            host: settings.database_host.or(settings.db_host).unwrap_or_else(|| "db".to_owned()),
            port: settings.database_port.or(settings.db_port).unwrap_or(5432),
            database_name: settings.database.unwrap_or_else(|| user.clone()),
            user,
            db_password: settings.database_password.or(settings.db_password).unwrap_or_default(),
            email: settings.email,
            password: settings.password,
            demo: ["yes", "true", "1"].contains(&settings.load_demo_data.to_ascii_lowercase().as_str()),
            bind: settings.bind,
            http_port: settings.http_port,
            data_dir: settings.data_dir,
            start_deadline_seconds: settings.start_deadline_seconds,
        }
    }
}

/// Keeps the program's name, `--help`, `--version` and the database's name in any of Odoo's spellings.
fn known(args: impl IntoIterator<Item = String>) -> Vec<String> {
    let mut args = args.into_iter();
    let mut kept: Vec<String> = args.next().into_iter().collect();
    while let Some(arg) = args.next() {
        if ["--help", "--version"].contains(&arg.as_str()) {
            kept.push(arg);
        } else if ["--database", "--db-name", "-d"].contains(&arg.as_str()) {
            kept.extend(args.next().map(|name| format!("--database={name}")));
        } else if let Some((_, name)) =
            arg.split_once('=').filter(|(key, _)| ["--database", "--db-name"].contains(key))
        {
            kept.push(format!("--database={name}"));
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strings(args: &[&str]) -> Vec<String> {
        args.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn the_arguments_of_a_real_odoo_are_accepted() {
        let args = [
            "odoo",
            "--proxy-mode",
            "--database",
            "shop",
            "--db-filter=^shop$",
            "--no-database-list",
            "-i",
            "base",
        ];
        assert_eq!(known(strings(&args)), ["odoo", "--database=shop"]);
        assert_eq!(known(strings(&["odoo", "--db-name=shop"])), ["odoo", "--database=shop"]);
    }

    #[test]
    fn the_official_names_are_used_where_the_others_are_absent() {
        let settings = Settings::parse_from([
            "odoo",
            "--db-host=pg",
            "--db-port=6432",
            "--db-user=u1",
            "--db-password=p",
            "--database=shop",
            "--load-demo-data=yes",
        ]);
        let config = Config::from(settings);
        assert_eq!((config.host.as_str(), config.port, config.user.as_str()), ("pg", 6432, "u1"));
        assert_eq!((config.database_name.as_str(), config.demo), ("shop", true));
    }

    #[test]
    fn bitnami_names_win() {
        let settings =
            Settings::parse_from(["odoo", "--db-user=shell", "--database-user=tenant", "--database-host=h"]);
        let config = Config::from(settings);
        assert_eq!(
            (config.user.as_str(), config.database_name.as_str(), config.port),
            ("tenant", "tenant", 5432)
        );
    }
}
