//! The check of a server (DBS-18, DBS-28): connect as administrator, `SELECT 1`, write and read a probe table.

use std::time::{Duration, Instant};

use sqlx::{Connection as _, PgConnection};
use uuid::Uuid;

use super::statement::Statement;
use super::{Target, Tenants};

/// Longest check.
const DEADLINE: Duration = Duration::from_secs(8);

/// A good check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProbeResult {
    /// `SHOW server_version`.
    pub version: String,
    /// How long it took.
    pub took: Duration,
}

impl Tenants {
    /// Checks a server; the error is safe to show: it names no secret.
    pub async fn probe(target: &Target) -> Result<ProbeResult, String> {
        let start = Instant::now();
        // A fresh connection: one from the pool would not notice that nobody can log in any more, and the pool hides why it cannot connect.
        match tokio::time::timeout(DEADLINE, probe(target)).await {
            Ok(Ok(version)) => Ok(ProbeResult { version, took: start.elapsed() }),
            Ok(Err(error)) => Err(safe_text(&error)),
            Err(_) => Err(["no answer within ", &DEADLINE.as_secs().to_string(), " s"].concat()),
        }
    }

    /// Rights that hold for the whole server: tenants connect to their own database and to `postgres`, and make nothing in the latter.
    pub async fn prepare_server(&self, target: &Target) -> Result<(), String> {
        let admin = self.admin(target);
        let statements = [
            "REVOKE ALL ON DATABASE template1 FROM PUBLIC",
            "REVOKE CREATE, TEMPORARY ON DATABASE postgres FROM PUBLIC",
            "REVOKE CREATE ON SCHEMA public FROM PUBLIC",
        ];
        for statement in statements {
            Statement::new(statement).execute(&admin).await.map_err(|error| safe_text(&error))?;
        }
        Ok(())
    }
}

async fn probe(target: &Target) -> sqlx::Result<String> {
    let mut conn = PgConnection::connect_with(&target.options("postgres")).await?;
    sqlx::query("SELECT 1").execute(&mut conn).await?;
    let exists: bool =
        sqlx::query_scalar("SELECT to_regclass('platform.probe') IS NOT NULL").fetch_one(&mut conn).await?;
    if !exists {
        sqlx::query("CREATE SCHEMA IF NOT EXISTS platform").execute(&mut conn).await?;
        sqlx::query("CREATE TABLE IF NOT EXISTS platform.probe (id integer PRIMARY KEY, token uuid NOT NULL, at timestamptz NOT NULL)")
            .execute(&mut conn)
            .await?;
    }
    let token = Uuid::now_v7();
    sqlx::query(
        "INSERT INTO platform.probe (id, token, at) VALUES (1, $1, now()) ON CONFLICT (id) DO UPDATE SET token = $1, at = now()",
    )
    .bind(token)
    .execute(&mut conn)
    .await?;
    let read: Uuid =
        sqlx::query_scalar("SELECT token FROM platform.probe WHERE id = 1").fetch_one(&mut conn).await?;
    if read != token {
        return Err(sqlx::Error::Protocol("the probe row reads back differently".into()));
    }
    let version = sqlx::query_scalar("SELECT current_setting('server_version')").fetch_one(&mut conn).await?;
    conn.close().await?;
    Ok(version)
}

/// What an operator may read: kind of failure and PostgreSQL's own message, without addresses.
fn safe_text(error: &sqlx::Error) -> String {
    match error {
        sqlx::Error::Database(error) => error.message().to_owned(),
        sqlx::Error::PoolTimedOut => "no connection in time".to_owned(),
        sqlx::Error::Io(error) => ["connection failed: ", &error.kind().to_string()].concat(),
        sqlx::Error::Tls(_) => "TLS failed".to_owned(),
        _ => "the server answered something unexpected".to_owned(),
    }
}
