//! Coupons as admins see and change them.

use runtime::page::Page;
use sqlx::{PgConnection, PgExecutor, PgPool};

use super::Row;
use crate::domain::coupon::{Coupon, CouponUse, Discount, ListedCoupon};
use crate::store::{number, readable};

impl TryFrom<Row> for ListedCoupon {
    type Error = sqlx::Error;
    fn try_from(row: Row) -> sqlx::Result<Self> {
        Ok(Self { created_at: row.created_at, coupon: row.try_into()? })
    }
}

/// One of them.
pub async fn find(db: impl PgExecutor<'_>, code: &str) -> sqlx::Result<Option<ListedCoupon>> {
    let row = sqlx::query_as!(
        Row,
        "SELECT code, percent_bp, amount_minor::bigint AS amount, currency, invoices, max_uses, uses, active, starts_at, expires_at, once_per_customer,
                created_at
         FROM coupons WHERE code = $1",
        code,
    )
    .fetch_optional(db)
    .await?;
    row.map(ListedCoupon::try_from).transpose()
}

/// A page of them, newest first, and how many there are.
pub async fn list(pool: &PgPool, active: Option<bool>, page: Page) -> sqlx::Result<(Vec<ListedCoupon>, i64)> {
    let rows = sqlx::query_as!(
        Row,
        "SELECT code, percent_bp, amount_minor::bigint AS amount, currency, invoices, max_uses, uses, active, starts_at, expires_at, once_per_customer,
                created_at
         FROM coupons WHERE $1::bool IS NULL OR active = $1 ORDER BY created_at DESC, code LIMIT $2 OFFSET $3",
        active,
        page.limit(),
        page.offset(),
    )
    .fetch_all(pool)
    .await?;
    let total = sqlx::query_scalar!(
        r#"SELECT count(*) AS "count!" FROM coupons WHERE $1::bool IS NULL OR active = $1"#,
        active
    )
    .fetch_one(pool)
    .await?;
    Ok((readable("coupons", rows)?, total))
}

/// `false`: the code is taken.
pub async fn insert(db: impl PgExecutor<'_>, coupon: &Coupon) -> sqlx::Result<bool> {
    let (percent, amount, currency) = match coupon.discount {
        Discount::Percent(bp) => (Some(i32::from(bp)), None, None),
        Discount::Amount(amount) => (None, Some(amount.minor()), Some(amount.currency().to_string())),
    };
    let done = sqlx::query!(
        "INSERT INTO coupons (code, percent_bp, amount_minor, currency, invoices, max_uses, starts_at, expires_at, once_per_customer)
         VALUES ($1, $2, $3::bigint, $4, $5, $6, $7, $8, $9) ON CONFLICT (code) DO NOTHING",
        coupon.code,
        percent,
        amount,
        currency,
        coupon.invoices.map(number::<i32, _>).transpose()?,
        coupon.max_uses.map(number::<i32, _>).transpose()?,
        coupon.starts_at,
        coupon.expires_at,
        coupon.once_per_customer,
    )
    .execute(db)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Writes its limits; it must be locked.
pub async fn set_limits(connection: &mut PgConnection, coupon: &Coupon) -> sqlx::Result<()> {
    sqlx::query!(
        "UPDATE coupons SET active = $2, max_uses = $3, expires_at = $4 WHERE code = $1",
        coupon.code,
        coupon.active,
        coupon.max_uses.map(number::<i32, _>).transpose()?,
        coupon.expires_at,
    )
    .execute(connection)
    .await
    .map(drop)
}

/// A page of the uses of a coupon, newest first, and how many there are.
pub async fn uses(pool: &PgPool, code: &str, page: Page) -> sqlx::Result<(Vec<CouponUse>, i64)> {
    let rows = sqlx::query_as!(
        CouponUse,
        "SELECT subscription_id, customer_id, invoices, redeemed_at FROM coupon_redemptions WHERE code = $1
         ORDER BY redeemed_at DESC, subscription_id LIMIT $2 OFFSET $3",
        code,
        page.limit(),
        page.offset(),
    )
    .fetch_all(pool)
    .await?;
    let total =
        sqlx::query_scalar!(r#"SELECT count(*) AS "count!" FROM coupon_redemptions WHERE code = $1"#, code)
            .fetch_one(pool)
            .await?;
    Ok((rows, total))
}
