//! Table `audit`: only ever added to (USR-27).

use runtime::page::Page;
use sqlx::PgConnection;
use time::OffsetDateTime;
use uuid::Uuid;

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
pub async fn insert(db: &mut PgConnection, entry: &Entry<'_>, now: OffsetDateTime) -> sqlx::Result<()> {
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
    .execute(db)
    .await?;
    Ok(())
}

/// A stored entry.
#[derive(Debug, Clone)]
#[expect(missing_docs, reason = "the fields are those of the table, where they are explained")]
pub struct Stored {
    pub at: OffsetDateTime,
    pub actor: String,
    pub action: String,
    pub target: String,
    pub customer_id: Option<Uuid>,
    pub request_id: String,
    pub ip: String,
    pub reason: String,
}

/// Which entries; an empty text or absent value matches all.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Exact actor.
    pub actor: String,
    /// Exact action.
    pub action: String,
    /// Exact target.
    pub target: String,
    /// About this account only.
    pub customer: Option<Uuid>,
    /// Not before.
    pub from: Option<OffsetDateTime>,
    /// Before.
    pub to: Option<OffsetDateTime>,
}

/// Newest first, with the number of all.
pub async fn list(db: &mut PgConnection, filter: &Filter, page: Page) -> sqlx::Result<(Vec<Stored>, u64)> {
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
    .fetch_all(&mut *db)
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
    .fetch_one(db)
    .await?;
    Ok((rows, super::unsigned(total)))
}
