//! Table `audit`: only ever added to (USR-27).

use runtime::page::Page;
use sqlx::PgConnection;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::domain::audit::{Filter, Stored};

/// Something that was done.
#[derive(Debug, Clone)]
pub struct Entry<'a> {
    /// Account id, or the name of a service or command.
    pub actor: &'a str,
    /// Such as `session.started`.
    pub action: &'a str,
    /// What it was done to.
    pub target: &'a str,
    /// Account that it is about.
    pub customer: Option<Uuid>,
    /// Request that caused it.
    pub request_id: &'a str,
    /// Address of the client.
    pub ip: &'a str,
    /// Reason of an administrator, or empty.
    pub reason: &'a str,
}

/// Adds an entry.
pub async fn insert(
    connection: &mut PgConnection,
    entry: &Entry<'_>,
    now: OffsetDateTime,
) -> sqlx::Result<()> {
    sqlx::query!(
        "INSERT INTO audit (id, at, actor, action, target, customer_id, request_id, ip, reason) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
        Uuid::now_v7(),
        now,
        entry.actor,
        entry.action,
        entry.target,
        entry.customer,
        entry.request_id,
        entry.ip,
        entry.reason
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Blanks what tells of an erased person in words: the addresses that they came from, and the reasons that
/// were given for what was done to them. Who did what and when stays.
pub async fn erase(connection: &mut PgConnection, person: Uuid) -> sqlx::Result<()> {
    sqlx::query!(
        "UPDATE audit SET ip = CASE WHEN actor = $2 THEN '' ELSE ip END,
                reason = CASE WHEN reason <> '' AND (customer_id = $1 OR target = $2) THEN 'erased'
                              ELSE reason END
         WHERE customer_id = $1 OR actor = $2 OR target = $2",
        person,
        person.to_string()
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Newest first, with the number of all.
pub async fn list(
    connection: &mut PgConnection,
    filter: &Filter,
    page: Page,
) -> sqlx::Result<(Vec<Stored>, u64)> {
    let rows = sqlx::query_as!(
        Stored,
        "SELECT at, actor, action, target, customer_id, request_id, ip, reason FROM audit
         WHERE ($1 = '' OR actor = $1) AND ($2 = '' OR action = $2) AND ($3 = '' OR target = $3)
           AND ($4::uuid IS NULL OR customer_id = $4) AND ($5::timestamptz IS NULL OR at >= $5) AND ($6::timestamptz IS NULL OR at < $6)
         ORDER BY at DESC, id DESC LIMIT $7 OFFSET $8",
        filter.actor,
        filter.action,
        filter.target,
        filter.customer,
        filter.from,
        filter.to,
        page.limit(),
        page.offset()
    )
    .fetch_all(&mut *connection)
    .await?;
    let total = sqlx::query_scalar!(
        "SELECT count(*) FROM audit
         WHERE ($1 = '' OR actor = $1) AND ($2 = '' OR action = $2) AND ($3 = '' OR target = $3)
           AND ($4::uuid IS NULL OR customer_id = $4) AND ($5::timestamptz IS NULL OR at >= $5) AND ($6::timestamptz IS NULL OR at < $6)",
        filter.actor,
        filter.action,
        filter.target,
        filter.customer,
        filter.from,
        filter.to
    )
    .fetch_one(connection)
    .await?;
    Ok((rows, super::unsigned(total)))
}
