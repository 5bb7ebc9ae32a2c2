//! How long rows are kept: a property of a table, named once for every table that a service owns.
//!
//! A table that only grows makes each list and each claim slower by the month, and keeps data of persons for
//! ever. A service lists all its tables as [`Retention`]; its sweep calls [`prune`], and a test proves with
//! [`not_covered`] that no table was forgotten.

use std::time::{Duration, Instant};

use sqlx::{AssertSqlSafe, PgConnection, PgPool};
use time::OffsetDateTime;

/// Rows that one statement deletes.
const BATCH: i32 = 1_000;
/// Longest statement; it has to wait for no lock, because locked rows are left out.
const STATEMENT: &str = "SET LOCAL statement_timeout = '20s'";
/// No batch begins later in a round; what is left goes in the next one.
const ROUND: Duration = Duration::from_secs(30);

/// What is kept of one table. A table may have several, one for each class of its rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// The table.
    pub table: &'static str,
    /// What its rows are, such as `audit`, `events` or `money`.
    pub class: &'static str,
    /// How long they are kept.
    pub kept: Kept,
}

/// How long rows are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kept {
    /// They go when they are old.
    Days {
        /// Age in days.
        days: u16,
        /// SQL condition that names the rows that may go; `$1` is the moment before which they may go.
        rows: &'static str,
    },
    /// They go with their row of this table, by `ON DELETE CASCADE`.
    WithParent(&'static str),
    /// They stay; the reason in words.
    Forever(&'static str),
}

/// A table whose old rows are being deleted.
struct Work {
    table: &'static str,
    before: OffsetDateTime,
    statement: String,
}

/// Deletes what is old, a batch of each table at a time, so that no statement is long and no table starves;
/// how many rows went. Rows that somebody works on stay until the next round. Every replica may run this.
///
/// # Errors
/// A table that fails stops no other one; the first failure is told at the end.
pub async fn prune(pool: &PgPool, tables: &[Retention]) -> Result<u64, sqlx::Error> {
    let began = Instant::now();
    let now: OffsetDateTime = sqlx::query_scalar("SELECT now()").fetch_one(pool).await?;
    let mut left: Vec<Work> = tables.iter().filter_map(|entry| work(entry, now)).collect();
    let (mut gone, mut failure) = (0, None);
    while !left.is_empty() && began.elapsed() < ROUND {
        let mut more = Vec::new();
        for work in left {
            match batch(pool, &work).await {
                Ok(deleted) => {
                    gone += deleted;
                    if deleted == u64::from(BATCH.unsigned_abs()) {
                        more.push(work);
                    }
                }
                Err(error) => {
                    tracing::error!(table = work.table, error = %error, "old rows cannot be deleted");
                    failure.get_or_insert(error);
                }
            }
        }
        left = more;
    }
    failure.map_or(Ok(gone), Err)
}

fn work(entry: &Retention, now: OffsetDateTime) -> Option<Work> {
    let Kept::Days { days, rows } = entry.kept else { return None };
    let before = now - time::Duration::days(i64::from(days));
    Some(Work { table: entry.table, before, statement: statement(entry.table, rows) })
}

/// Deletes one batch. Rows are named by their place, which needs no key; a row that was changed since it was
/// chosen has another place and stays.
fn statement(table: &str, rows: &str) -> String {
    format!(
        "DELETE FROM {table} WHERE ctid = ANY(ARRAY(
             SELECT ctid FROM {table} WHERE {rows} LIMIT {BATCH} FOR UPDATE SKIP LOCKED))"
    )
}

async fn batch(pool: &PgPool, work: &Work) -> Result<u64, sqlx::Error> {
    let mut tx = pool.begin().await?;
    sqlx::query(STATEMENT).execute(&mut *tx).await?;
    let deleted =
        sqlx::query(AssertSqlSafe(work.statement.as_str())).bind(work.before).execute(&mut *tx).await?;
    tx.commit().await?;
    Ok(deleted.rows_affected())
}

/// What is wrong with the list, for tests: tables of the database that it does not name, names that are no
/// table, conditions that PostgreSQL does not understand, and parents that take no row with them.
///
/// # Errors
/// The database cannot be asked.
pub async fn not_covered(pool: &PgPool, tables: &[Retention]) -> Result<Vec<String>, sqlx::Error> {
    let mut db = pool.acquire().await?;
    let existing: Vec<String> = sqlx::query_scalar(
        "SELECT c.relname::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
         WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition AND c.relname <> '_sqlx_migrations'
           AND n.nspname NOT IN ('pg_catalog', 'information_schema') AND c.relpersistence <> 't'
         ORDER BY 1",
    )
    .fetch_all(&mut *db)
    .await?;
    let named = |table: &str| tables.iter().any(|entry| entry.table == table);
    let mut faults: Vec<String> = existing.iter().filter(|table| !named(table)).cloned().collect();
    for entry in tables {
        if existing.iter().any(|table| table == entry.table) {
            faults.extend(fault(&mut db, entry).await?);
        } else {
            faults.push(format!("{}: there is no such table", entry.table));
        }
    }
    Ok(faults)
}

async fn fault(db: &mut PgConnection, entry: &Retention) -> Result<Option<String>, sqlx::Error> {
    match entry.kept {
        Kept::Days { rows, .. } => {
            let plan = format!("EXPLAIN {}", statement(entry.table, rows));
            let explained = sqlx::query(AssertSqlSafe(plan)).bind(OffsetDateTime::UNIX_EPOCH);
            let refused = explained.execute(db).await.err();
            Ok(refused.map(|error| format!("{}: {error}", entry.table)))
        }
        Kept::WithParent(parent) => {
            let cascades: bool = sqlx::query_scalar(
                "SELECT EXISTS (SELECT FROM pg_constraint WHERE contype = 'f' AND confdeltype = 'c'
                     AND conrelid = to_regclass($1) AND confrelid = to_regclass($2))",
            )
            .bind(entry.table)
            .bind(parent)
            .fetch_one(db)
            .await?;
            Ok((!cascades).then(|| format!("{}: does not go with {parent}", entry.table)))
        }
        Kept::Forever(reason) => {
            Ok(reason.is_empty().then(|| format!("{}: kept without a reason", entry.table)))
        }
    }
}
