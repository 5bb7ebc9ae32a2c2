//! The check of a server (DBS-18, DBS-28): connect as administrator, `SELECT 1`, write and read a probe
//! table, free space, connections.

use std::time::{Duration, Instant};

use sqlx::{Connection as _, PgConnection, Row as _};
use uuid::Uuid;

use super::connections::Tenants;
use super::drops;
use super::owner;
use super::statement::Statement;
use super::target::{Target, TenantError};
use crate::domain::checks::{self, Check, Disk};

/// Longest check.
const DEADLINE: Duration = Duration::from_secs(8);

/// Safe text of a failed handshake.
const NO_TLS: &str = "TLS failed: the server speaks none, or its certificate is not its own";

/// Keeps others from preparing the rights of the same server; nobody who checks it waits for this.
const PREPARATION: &str = "BEGIN; SET LOCAL idle_in_transaction_session_timeout = 0;
    LOCK TABLE platform.probe IN SHARE UPDATE EXCLUSIVE MODE";

/// What a check found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ProbeResult {
    /// Each part, in its order; the ones after a failure are left out.
    pub checks: Vec<Check>,
    /// `SHOW server_version`; empty when it was not reached.
    pub version: String,
    /// How long connect, query and write took; absent when one of them failed.
    pub took: Option<Duration>,
    /// Space.
    pub disk: Disk,
    /// Connections in use and at most.
    pub connections: (i32, i32),
}

impl ProbeResult {
    /// Is every part good?
    pub fn is_good(&self) -> bool {
        self.took.is_some() && self.checks.iter().all(|check| check.ok)
    }

    /// Was the server reached, written to and read from, whatever its space and connections are?
    pub fn works(&self) -> bool {
        self.took.is_some()
    }

    /// What is wrong; empty when nothing is.
    pub fn error(&self) -> String {
        let bad: Vec<&str> =
            self.checks.iter().filter(|check| !check.ok).map(|check| check.detail.as_str()).collect();
        bad.join("; ")
    }

    /// A check that could not even begin.
    pub fn unreached(text: &str) -> Self {
        Self { checks: vec![bad("connect", text)], ..Self::default() }
    }
}

fn good(name: &'static str, detail: &str) -> Check {
    Check { name, ok: true, detail: detail.to_owned() }
}

fn bad(name: &'static str, detail: &str) -> Check {
    Check { name, ok: false, detail: detail.to_owned() }
}

impl Tenants {
    /// Checks a server; the texts are safe to show.
    pub async fn probe(target: &Target) -> ProbeResult {
        let start = Instant::now();
        let mut result = ProbeResult::default();
        // A fresh connection: one from the pool would not notice that nobody can log in any more, and the
        // pool hides why it cannot connect.
        match tokio::time::timeout(DEADLINE, probe(target, &mut result, start)).await {
            Ok(Ok(())) => {}
            Ok(Err((step, error))) => result.checks.push(bad(step, &safe_text(&error))),
            Err(_) => {
                let step = ["connect", "query", "write", "disk"].into_iter().nth(result.checks.len());
                let text = ["no answer within ", &DEADLINE.as_secs().to_string(), " s"].concat();
                result.checks.push(bad(step.unwrap_or("connections"), &text));
            }
        }
        result
    }

    /// Rights that hold for the whole server: tenants connect to their own database and to `postgres`, make
    /// nothing in the latter, and see nothing of each other. One question when all is there already.
    pub async fn prepare_server(&self, target: &Target) -> Result<(), String> {
        let admin = self.admin(target);
        let text = |error| match error {
            TenantError::Server(error) => safe_text(&error),
            other => other.to_string(),
        };
        if let Err(error) = drops::sweep_gone(target, &admin).await {
            tracing::warn!(server = target.name, error = %error, "roles of dropped tenants stay for now");
        }
        if self.is_prepared(target).await.map_err(|error| safe_text(&error))? {
            return Ok(());
        }
        // One at a time; the lock ends with its session, however this ends. It is on a table that no tenant
        // reaches: an advisory lock is anybody's.
        let mut guard = admin.acquire().await.map_err(|error| safe_text(&error))?.detach();
        sqlx::raw_sql(PREPARATION).execute(&mut guard).await.map_err(|error| safe_text(&error))?;
        if self.is_prepared(target).await.map_err(|error| safe_text(&error))? {
            return Ok(());
        }
        let statements = [
            "REVOKE ALL ON DATABASE template1 FROM PUBLIC",
            "REVOKE CREATE, TEMPORARY ON DATABASE postgres FROM PUBLIC",
            "REVOKE CREATE ON SCHEMA public FROM PUBLIC",
            // Large objects need no right on any schema; no tenant's quota would count them here.
            "REVOKE EXECUTE ON FUNCTION pg_catalog.lo_creat(integer), pg_catalog.lo_create(oid), pg_catalog.lo_from_bytea(oid, bytea) FROM PUBLIC",
        ];
        for statement in statements {
            Statement::new(statement).execute(&admin).await.map_err(|error| safe_text(&error))?;
        }
        owner::ensure(target, &mut *admin.acquire().await.map_err(|error| safe_text(&error))?)
            .await
            .map_err(text)?;
        self.make_template(target).await.map_err(text)?;
        self.make_private(target).await.map_err(text)?;
        let _ = guard.close().await;
        Ok(())
    }
}

/// Fills `result` step by step; the error names the step that failed.
async fn probe(
    target: &Target,
    result: &mut ProbeResult,
    start: Instant,
) -> Result<(), (&'static str, sqlx::Error)> {
    let step = |name: &'static str| move |error: sqlx::Error| (name, error);
    let mut connection =
        PgConnection::connect_with(&target.options("postgres")).await.map_err(step("connect"))?;
    result.checks.push(good("connect", "signed in as the administrator"));
    result.version = query(&mut connection).await.map_err(step("query"))?;
    result.checks.push(good("query", "SELECT 1 answered"));
    write(&mut connection).await.map_err(step("write"))?;
    result.checks.push(good("write", "a row was written and read back"));
    result.took = Some(start.elapsed());
    result.disk = disk(&mut connection).await.map_err(step("disk"))?;
    result.checks.push(checks::disk(result.disk));
    let (used, max) = connections(&mut connection).await.map_err(step("connections"))?;
    result.connections = (used, max);
    result.checks.push(checks::connections(used, max));
    let _ = connection.close().await;
    Ok(())
}

async fn query(connection: &mut PgConnection) -> sqlx::Result<String> {
    sqlx::query("SELECT 1").execute(&mut *connection).await?;
    sqlx::query_scalar("SELECT current_setting('server_version')").fetch_one(connection).await
}

/// One message, which is one transaction.
async fn make_table(connection: &mut PgConnection) -> sqlx::Result<()> {
    sqlx::raw_sql(
        "CREATE SCHEMA IF NOT EXISTS platform;
         CREATE TABLE IF NOT EXISTS platform.probe (
             id integer PRIMARY KEY, token uuid NOT NULL, at timestamptz NOT NULL)",
    )
    .execute(connection)
    .await
    .map(drop)
}

async fn write(connection: &mut PgConnection) -> sqlx::Result<()> {
    let exists: bool = sqlx::query_scalar("SELECT to_regclass('platform.probe') IS NOT NULL")
        .fetch_one(&mut *connection)
        .await?;
    if !exists && let Err(error) = make_table(connection).await {
        // `IF NOT EXISTS` alone does not keep two first checks at once from failing over each other: then the
        // other one made it.
        let other = matches!(&error, sqlx::Error::Database(cause)
            if matches!(cause.code().as_deref(), Some("23505" | "42P06" | "42P07" | "42710")));
        if !other {
            return Err(error);
        }
    }
    let token = Uuid::now_v7();
    // One transaction: another check of the same server waits for the row and does not change it in between.
    let mut tx = connection.begin().await?;
    sqlx::query(
        "INSERT INTO platform.probe (id, token, at) VALUES (1, $1, now()) ON CONFLICT (id) DO UPDATE SET token = $1, at = now()",
    )
    .bind(token)
    .execute(&mut *tx)
    .await?;
    let read: Uuid =
        sqlx::query_scalar("SELECT token FROM platform.probe WHERE id = 1").fetch_one(&mut *tx).await?;
    tx.commit().await?;
    if read != token {
        return Err(sqlx::Error::Protocol("the probe row reads back differently".into()));
    }
    Ok(())
}

/// Space of databases and log by PostgreSQL; free space by `df` of the server's own folder, which needs the
/// administrator's rights.
async fn disk(connection: &mut PgConnection) -> sqlx::Result<Disk> {
    let used: i64 = sqlx::query_scalar(
        "SELECT ((SELECT coalesce(sum(pg_database_size(oid)), 0) FROM pg_database)
             + (SELECT coalesce(sum(size), 0) FROM pg_ls_waldir()))::bigint",
    )
    .fetch_one(&mut *connection)
    .await?;
    let volume = match df(connection).await {
        Ok(found) => found,
        // Not even the answer of `df` can be written.
        Err(error) if super::target::is_disk_full(&error) => Some((0, 1)),
        Err(error) => {
            tracing::debug!(error = %error, "a server cannot tell its free space");
            None
        }
    };
    Ok(Disk { used, free: volume.map(|(free, _)| free), total: volume.map(|(_, total)| total) })
}

/// Free and all bytes of the volume.
async fn df(connection: &mut PgConnection) -> sqlx::Result<Option<(i64, i64)>> {
    let mut tx = connection.begin().await?;
    sqlx::query("CREATE TEMPORARY TABLE volume (line text) ON COMMIT DROP").execute(&mut *tx).await?;
    // The server's working folder is its data folder. A delimiter that `df` never prints keeps each line
    // whole.
    sqlx::query("COPY volume FROM PROGRAM 'df -Pk .' (DELIMITER E'\\x01')").execute(&mut *tx).await?;
    let lines = sqlx::query("SELECT line FROM volume").fetch_all(&mut *tx).await?;
    tx.rollback().await?;
    let line: Option<String> = lines.last().map(|row| row.try_get(0)).transpose()?;
    Ok(line.as_deref().and_then(parse_df))
}

/// `Filesystem 1024-blocks Used Available Capacity Mounted-on`
fn parse_df(line: &str) -> Option<(i64, i64)> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let kib = |index: usize| words.get(index)?.parse::<i64>().ok()?.checked_mul(1024);
    let (total, free) = (kib(1)?, kib(3)?);
    (total > 0 && free >= 0).then_some((free, total))
}

async fn connections(connection: &mut PgConnection) -> sqlx::Result<(i32, i32)> {
    sqlx::query_as(
        "SELECT (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend')::int, current_setting('max_connections')::int",
    )
    .fetch_one(connection)
    .await
}

/// What an operator may read: kind of failure and PostgreSQL's own message, without addresses.
pub(crate) fn safe_text(error: &sqlx::Error) -> String {
    match error {
        sqlx::Error::Database(error) => error.message().to_owned(),
        sqlx::Error::PoolTimedOut => "no connection in time".to_owned(),
        // The handshake's refusals arrive as bad data.
        sqlx::Error::Io(error) if error.kind() == std::io::ErrorKind::InvalidData => NO_TLS.to_owned(),
        sqlx::Error::Io(error) => ["connection failed: ", &error.kind().to_string()].concat(),
        sqlx::Error::Tls(_) => NO_TLS.to_owned(),
        _ => "the server answered something unexpected".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// DBS-18
    #[test]
    fn free_space_is_read_as_df_writes_it() {
        assert_eq!(
            parse_df("/dev/rbd0 51474912 1024 48836336 1% /var/lib/postgresql/data"),
            Some((48_836_336 * 1024, 51_474_912 * 1024))
        );
        assert_eq!(parse_df("overlay 0 0 0 - /"), None);
        assert_eq!(parse_df("df: .: no such folder"), None);
    }
}
