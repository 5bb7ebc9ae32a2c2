//! Statements of the administrator that tenants could keep waiting for ever, by a transaction that stays open
//! over an object that all of them share. Nobody has a right to that: whoever stands in the way for longer
//! than a moment loses its session.

use std::time::Duration;

use sqlx::{Connection as _, PgConnection};

use super::target::{Target, TenantError};

/// Time between two looks, and how long a statement waits before anybody is ended for it.
const PATIENCE: Duration = Duration::from_secs(2);

/// Nobody is in the way of a statement that does not wait.
const END: &str = "
SELECT count(*) FILTER (WHERE pg_terminate_backend(pid)) FROM pg_stat_activity
WHERE pid = ANY(pg_blocking_pids($1)) AND usename LIKE 'odoo\\_%' AND EXISTS (SELECT FROM pg_locks
    WHERE pid = $1 AND NOT granted AND waitstart < clock_timestamp() - make_interval(secs => $2))";

/// The process of a session.
pub(crate) async fn process(connection: &mut PgConnection) -> sqlx::Result<i32> {
    sqlx::query_scalar("SELECT pg_backend_pid()").fetch_one(connection).await
}

/// Does work in the session of this process, and ends the tenants' sessions that it waits for.
pub(crate) async fn unheld<F: Future>(target: &Target, process: i32, work: F) -> F::Output {
    let watch = async {
        loop {
            tokio::time::sleep(PATIENCE).await;
            match Box::pin(end(target, process)).await {
                Ok(0) => {}
                Ok(ended) => tracing::warn!(
                    server = target.name,
                    ended,
                    "ended tenants' sessions that kept the administrator waiting"
                ),
                Err(error) => {
                    tracing::warn!(server = target.name, error = %error, "cannot look who keeps us waiting");
                }
            }
        }
    };
    tokio::select! {
        done = work => done,
        () = watch => unreachable!("the watch has no end"),
    }
}

async fn end(target: &Target, process: i32) -> Result<i64, TenantError> {
    let mut connection = target.connect("postgres").await?;
    let ended =
        sqlx::query_scalar(END).bind(process).bind(PATIENCE.as_secs_f64()).fetch_one(&mut connection).await?;
    connection.close().await?;
    Ok(ended)
}

/// Somebody holds it, or something hangs on it that somebody made meanwhile.
pub(crate) fn is_held(error: &TenantError) -> bool {
    let TenantError::Server(sqlx::Error::Database(error)) = error else { return false };
    matches!(error.code().as_deref(), Some("55P03" | "2BP01"))
}
