//! Rates of tax by country, each from a day on (BIL-36).

use runtime::page::Page;
use sqlx::{PgExecutor, PgPool};
use time::Date;

use super::number;
use crate::domain::tax::{TaxRate, TaxRateFilter, TaxRule};

/// What is charged in a country on a day, if anything.
pub async fn rule_on(db: impl PgExecutor<'_>, country: &str, day: Date) -> sqlx::Result<Option<TaxRule>> {
    let row = sqlx::query!(
        "SELECT name, rate_bp, reverse_charge FROM tax_rates WHERE country = $1 AND valid_from <= $2 ORDER BY valid_from DESC LIMIT 1",
        country,
        day,
    )
    .fetch_optional(db)
    .await?;
    let Some(row) = row else { return Ok(None) };
    let rule = row.rate_bp.map(|rate| {
        Ok(TaxRule { name: row.name, rate_bp: number(rate)?, reverse_charge: row.reverse_charge })
    });
    rule.transpose()
}

/// Begins one on a day, or changes one that begins on that day and has not begun before `open_from`. `false`:
/// it has, and nothing was changed.
pub async fn put(
    db: impl PgExecutor<'_>,
    country: &str,
    valid_from: Date,
    rule: Option<&TaxRule>,
    open_from: Date,
) -> sqlx::Result<bool> {
    let done = sqlx::query!(
        "INSERT INTO tax_rates (country, valid_from, name, rate_bp, reverse_charge) VALUES ($1, $2, $3, $4, $5)
         ON CONFLICT (country, valid_from) DO UPDATE SET name = excluded.name, rate_bp = excluded.rate_bp, reverse_charge = excluded.reverse_charge
         WHERE tax_rates.valid_from >= $6",
        country,
        valid_from,
        rule.map_or("", |rule| &rule.name),
        rule.map(|rule| i32::from(rule.rate_bp)),
        rule.is_some_and(|rule| rule.reverse_charge),
        open_from,
    )
    .execute(db)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Takes a rate, or an end, away that begins on a day after `today`. `false`: there is none.
pub async fn withdraw(
    db: impl PgExecutor<'_>,
    country: &str,
    valid_from: Date,
    today: Date,
) -> sqlx::Result<bool> {
    let done = sqlx::query!(
        "DELETE FROM tax_rates WHERE country = $1 AND valid_from = $2 AND valid_from > $3",
        country,
        valid_from,
        today,
    )
    .execute(db)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// A page of them, by country and newest first, and how many there are.
pub async fn list(pool: &PgPool, filter: &TaxRateFilter, page: Page) -> sqlx::Result<(Vec<TaxRate>, i64)> {
    let rows = sqlx::query!(
        r#"SELECT country, name, rate_bp AS "rate_bp!", reverse_charge, valid_from, valid_until
           FROM (SELECT country, name, rate_bp, reverse_charge, valid_from,
                        lead(valid_from) OVER (PARTITION BY country ORDER BY valid_from) AS valid_until FROM tax_rates) AS rates
           WHERE rate_bp IS NOT NULL AND ($1::text IS NULL OR country = $1)
             AND ($2::date IS NULL OR (valid_from <= $2 AND (valid_until IS NULL OR valid_until > $2)))
           ORDER BY country, valid_from DESC LIMIT $3 OFFSET $4"#,
        filter.country,
        filter.on,
        page.limit(),
        page.offset(),
    )
    .fetch_all(pool)
    .await?;
    let total = sqlx::query_scalar!(
        r#"SELECT count(*) AS "count!"
           FROM (SELECT country, rate_bp, valid_from, lead(valid_from) OVER (PARTITION BY country ORDER BY valid_from) AS valid_until
                 FROM tax_rates) AS rates
           WHERE rate_bp IS NOT NULL AND ($1::text IS NULL OR country = $1)
             AND ($2::date IS NULL OR (valid_from <= $2 AND (valid_until IS NULL OR valid_until > $2)))"#,
        filter.country,
        filter.on,
    )
    .fetch_one(pool)
    .await?;
    let rates = rows.into_iter().map(|row| {
        Ok(TaxRate {
            rule: TaxRule {
                name: row.name,
                rate_bp: number(row.rate_bp)?,
                reverse_charge: row.reverse_charge,
            },
            country: row.country,
            valid_from: row.valid_from,
            valid_until: row.valid_until,
        })
    });
    Ok((rates.collect::<sqlx::Result<_>>()?, total))
}

/// Does any country have a rate on this day?
pub async fn any_on(db: impl PgExecutor<'_>, day: Date) -> sqlx::Result<bool> {
    sqlx::query_scalar!(
        r#"SELECT EXISTS (
               SELECT FROM (SELECT DISTINCT ON (country) rate_bp FROM tax_rates WHERE valid_from <= $1
                            ORDER BY country, valid_from DESC) AS present
               WHERE rate_bp > 0) AS "any!""#,
        day,
    )
    .fetch_one(db)
    .await
}
