//! Payments: money that arrived or is on its way.

use runtime::page::Page;
use sqlx::{PgConnection, PgExecutor, PgPool};
use time::OffsetDateTime;
use uuid::Uuid;

use super::{corrupt, readable};
use crate::domain::money::{Currency, Money};
use crate::domain::payment::{Payment, PaymentFilter, PaymentState};

struct Row {
    id: Uuid,
    customer_id: Uuid,
    invoice_id: Uuid,
    amount: i64,
    refunded: i64,
    currency: String,
    method: String,
    gateway: String,
    reference: String,
    gateway_reference: String,
    gateway_status: String,
    state: String,
    settled: bool,
    poll_url: String,
    redirect_url: String,
    polls: i32,
    reason: String,
    received_at: Option<OffsetDateTime>,
    created_at: OffsetDateTime,
}

impl TryFrom<Row> for Payment {
    type Error = sqlx::Error;
    fn try_from(row: Row) -> sqlx::Result<Self> {
        let currency: Currency = row.currency.parse().map_err(corrupt)?;
        Ok(Self {
            state: row.state.parse().map_err(corrupt)?,
            amount: Money::new(row.amount, currency),
            refunded: Money::new(row.refunded, currency),
            id: row.id,
            customer_id: row.customer_id,
            invoice_id: row.invoice_id,
            method: row.method,
            gateway: row.gateway,
            reference: row.reference,
            gateway_reference: row.gateway_reference,
            gateway_status: row.gateway_status,
            settled: row.settled,
            poll_url: row.poll_url,
            redirect_url: row.redirect_url,
            polls: row.polls,
            reason: row.reason,
            received_at: row.received_at,
            created_at: row.created_at,
        })
    }
}

/// A payment to be written, always as pending.
#[derive(Debug, Clone)]
pub struct NewPayment<'a> {
    /// Our id.
    pub id: Uuid,
    /// Whose.
    pub customer_id: Uuid,
    /// For which invoice.
    pub invoice_id: Uuid,
    /// How much.
    pub amount: Money,
    /// How.
    pub method: &'a str,
    /// Through whom.
    pub gateway: &'a str,
    /// One payment each at a gateway.
    pub reference: &'a str,
    /// Why an admin recorded it.
    pub reason: &'a str,
    /// Who recorded it.
    pub actor: &'a str,
    /// When the money arrived, if it has.
    pub received_at: Option<OffsetDateTime>,
    /// Now.
    pub created_at: OffsetDateTime,
}

/// Writes it. `false`: the gateway has a payment with this reference already (BIL-26).
pub async fn insert(connection: &mut PgConnection, new: &NewPayment<'_>) -> sqlx::Result<bool> {
    let done = sqlx::query!(
        "INSERT INTO payments (id, customer_id, invoice_id, amount_minor, currency, method, gateway, reference, reason, actor, received_at, created_at, updated_at)
         VALUES ($1, $2, $3, $4::bigint, $5, $6, $7, $8, $9, $10, $11, $12, $12)
         ON CONFLICT (gateway, reference) DO NOTHING",
        new.id,
        new.customer_id,
        new.invoice_id,
        new.amount.minor(),
        new.amount.currency().to_string(),
        new.method,
        new.gateway,
        new.reference,
        new.reason,
        new.actor,
        new.received_at,
        new.created_at,
    )
    .execute(connection)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// By its id.
pub async fn find(db: impl PgExecutor<'_>, id: Uuid) -> sqlx::Result<Option<Payment>> {
    let row = sqlx::query_as!(
        Row,
        r#"SELECT id, customer_id, invoice_id, amount_minor::bigint AS "amount!", refunded_minor::bigint AS "refunded!", currency AS "currency!", method, gateway,
                  reference, gateway_reference, gateway_status, state, (settled_at IS NOT NULL) AS "settled!", poll_url, redirect_url, polls, reason, received_at, created_at
           FROM payments WHERE id = $1"#,
        id,
    )
    .fetch_optional(db)
    .await?;
    row.map(Payment::try_from).transpose()
}

/// By the reference at its gateway.
pub async fn find_by_reference(
    db: impl PgExecutor<'_>,
    gateway: &str,
    reference: &str,
) -> sqlx::Result<Option<Payment>> {
    let row = sqlx::query_as!(
        Row,
        r#"SELECT id, customer_id, invoice_id, amount_minor::bigint AS "amount!", refunded_minor::bigint AS "refunded!", currency AS "currency!", method, gateway,
                  reference, gateway_reference, gateway_status, state, (settled_at IS NOT NULL) AS "settled!", poll_url, redirect_url, polls, reason, received_at, created_at
           FROM payments WHERE gateway = $1 AND reference = $2"#,
        gateway,
        reference,
    )
    .fetch_optional(db)
    .await?;
    row.map(Payment::try_from).transpose()
}

/// As it stands, kept from others until the transaction ends. Lock subscription and invoice before it.
pub async fn lock(connection: &mut PgConnection, id: Uuid) -> sqlx::Result<Option<Payment>> {
    sqlx::query!("SELECT id FROM payments WHERE id = $1 FOR UPDATE", id)
        .fetch_optional(&mut *connection)
        .await?;
    find(connection, id).await
}

/// The money is here.
pub async fn set_paid(connection: &mut PgConnection, id: Uuid, now: OffsetDateTime) -> sqlx::Result<()> {
    sqlx::query!(
        "UPDATE payments SET state = 'paid', settled_at = $2, received_at = coalesce(received_at, $2), next_poll_at = NULL, updated_at = $2 WHERE id = $1",
        id,
        now,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Another state than paid, with the gateway's word and a safe reason. `false`: it was in none that leads
/// there.
pub async fn set_state(
    connection: &mut PgConnection,
    id: Uuid,
    state: PaymentState,
    gateway_status: &str,
    reason: &str,
    now: OffsetDateTime,
) -> sqlx::Result<bool> {
    let from: Vec<String> = PaymentState::ALL
        .iter()
        .filter(|present| present.may_become(state) && **present != state)
        .map(|present| present.as_str().to_owned())
        .collect();
    let done = sqlx::query!(
        "UPDATE payments SET state = $2, gateway_status = $3, reason = $4, next_poll_at = NULL, updated_at = $5 WHERE id = $1 AND state = ANY($6)",
        id,
        state.as_str(),
        gateway_status,
        reason,
        now,
        &from,
    )
    .execute(connection)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Newest first, and the number of all.
pub async fn list(pool: &PgPool, filter: &PaymentFilter, page: Page) -> sqlx::Result<(Vec<Payment>, i64)> {
    let rows = sqlx::query_as!(
        Row,
        r#"SELECT id, customer_id, invoice_id, amount_minor::bigint AS "amount!", refunded_minor::bigint AS "refunded!", currency AS "currency!", method, gateway,
                  reference, gateway_reference, gateway_status, state, (settled_at IS NOT NULL) AS "settled!", poll_url, redirect_url, polls, reason, received_at, created_at
           FROM payments WHERE ($1::uuid IS NULL OR customer_id = $1) AND ($2::text IS NULL OR state = $2) AND ($3::text IS NULL OR gateway = $3)
           ORDER BY created_at DESC, id DESC LIMIT $4 OFFSET $5"#,
        filter.customer_id,
        filter.state,
        filter.gateway,
        page.limit(),
        page.offset(),
    )
    .fetch_all(pool)
    .await?;
    let total = sqlx::query_scalar!(
        r#"SELECT count(*) AS "count!" FROM payments
           WHERE ($1::uuid IS NULL OR customer_id = $1) AND ($2::text IS NULL OR state = $2) AND ($3::text IS NULL OR gateway = $3)"#,
        filter.customer_id,
        filter.state,
        filter.gateway,
    )
    .fetch_one(pool)
    .await?;
    Ok((readable("payments", rows)?, total))
}
