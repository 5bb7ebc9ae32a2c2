//! Coupons, and who used them.

pub mod manage;

use sqlx::{PgConnection, PgExecutor};
use time::OffsetDateTime;
use uuid::Uuid;

use super::{corrupt, number};
use crate::domain::coupon::{Coupon, Discount};
use crate::domain::money::Money;

struct Row {
    code: String,
    percent_bp: Option<i32>,
    amount: Option<i64>,
    currency: Option<String>,
    invoices: Option<i32>,
    max_uses: Option<i32>,
    uses: i32,
    active: bool,
    starts_at: Option<OffsetDateTime>,
    expires_at: Option<OffsetDateTime>,
    once_per_customer: bool,
    created_at: OffsetDateTime,
}

/// A row that has neither a percentage nor an amount.
#[derive(Debug, thiserror::Error)]
#[error("a coupon without a discount")]
struct NoDiscount;

impl TryFrom<Row> for Coupon {
    type Error = sqlx::Error;
    fn try_from(row: Row) -> sqlx::Result<Self> {
        let discount = match (row.percent_bp, row.amount, row.currency) {
            (Some(bp), ..) => Discount::Percent(number(bp)?),
            (None, Some(amount), Some(currency)) => {
                Discount::Amount(Money::new(amount, currency.parse().map_err(corrupt)?))
            }
            _ => return Err(corrupt(NoDiscount)),
        };
        Ok(Self {
            code: row.code,
            discount,
            invoices: row.invoices.map(number).transpose()?,
            max_uses: row.max_uses.map(number).transpose()?,
            uses: number(row.uses)?,
            active: row.active,
            starts_at: row.starts_at,
            expires_at: row.expires_at,
            once_per_customer: row.once_per_customer,
        })
    }
}

/// A coupon as it stands, kept from others until the transaction ends: two who use it at once wait for each
/// other here.
pub async fn lock(connection: &mut PgConnection, code: &str) -> sqlx::Result<Option<Coupon>> {
    let row = sqlx::query_as!(
        Row,
        "SELECT code, percent_bp, amount_minor::bigint AS amount, currency, invoices, max_uses, uses, active, starts_at, expires_at, once_per_customer,
                created_at
         FROM coupons WHERE code = $1 FOR UPDATE",
        code,
    )
    .fetch_optional(connection)
    .await?;
    row.map(Coupon::try_from).transpose()
}

/// Did the customer use it?
pub async fn used(db: impl PgExecutor<'_>, code: &str, customer: Uuid) -> sqlx::Result<bool> {
    sqlx::query_scalar!(
        r#"SELECT EXISTS (SELECT FROM coupon_redemptions WHERE code = $1 AND customer_id = $2) AS "used!""#,
        code,
        customer,
    )
    .fetch_one(db)
    .await
}

/// Uses it for a subscription; it must be locked.
pub async fn redeem(
    connection: &mut PgConnection,
    coupon: &Coupon,
    customer: Uuid,
    subscription: Uuid,
    now: OffsetDateTime,
) -> sqlx::Result<()> {
    sqlx::query!(
        "INSERT INTO coupon_redemptions (subscription_id, code, customer_id, once, redeemed_at) VALUES ($1, $2, $3, $4, $5)",
        subscription,
        coupon.code,
        customer,
        coupon.once_per_customer,
        now,
    )
    .execute(&mut *connection)
    .await?;
    sqlx::query!("UPDATE coupons SET uses = uses + 1 WHERE code = $1", coupon.code)
        .execute(connection)
        .await
        .map(drop)
}

/// The order came to nothing: it was not used.
pub async fn give_back(connection: &mut PgConnection, subscription: Uuid) -> sqlx::Result<()> {
    let code = sqlx::query_scalar!(
        "DELETE FROM coupon_redemptions WHERE subscription_id = $1 RETURNING code",
        subscription
    )
    .fetch_optional(&mut *connection)
    .await?;
    if let Some(code) = code {
        sqlx::query!("UPDATE coupons SET uses = uses - 1 WHERE code = $1", code).execute(connection).await?;
    }
    Ok(())
}

/// The coupon of a subscription, and on how many invoices it was.
pub async fn of_subscription(
    db: impl PgExecutor<'_>,
    subscription: Uuid,
) -> sqlx::Result<Option<(Coupon, u32)>> {
    let row = sqlx::query!(
        "SELECT c.code, percent_bp, amount_minor::bigint AS amount, currency, c.invoices, max_uses, uses, active, starts_at, expires_at, once_per_customer,
                c.created_at, r.invoices AS before
         FROM coupon_redemptions r JOIN coupons c ON c.code = r.code WHERE r.subscription_id = $1",
        subscription,
    )
    .fetch_optional(db)
    .await?;
    let Some(row) = row else { return Ok(None) };
    let before = number(row.before)?;
    let coupon = Row {
        code: row.code,
        percent_bp: row.percent_bp,
        amount: row.amount,
        currency: row.currency,
        invoices: row.invoices,
        max_uses: row.max_uses,
        uses: row.uses,
        active: row.active,
        starts_at: row.starts_at,
        expires_at: row.expires_at,
        once_per_customer: row.once_per_customer,
        created_at: row.created_at,
    };
    Ok(Some((coupon.try_into()?, before)))
}

/// It was on one more invoice.
pub async fn count(connection: &mut PgConnection, subscription: Uuid) -> sqlx::Result<()> {
    sqlx::query!(
        "UPDATE coupon_redemptions SET invoices = invoices + 1 WHERE subscription_id = $1",
        subscription
    )
    .execute(connection)
    .await
    .map(drop)
}
