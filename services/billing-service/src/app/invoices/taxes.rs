//! Rates of tax, each from a day on (BIL-36). The past stays as it was: a rate that has begun is followed by
//! another one, never changed.

use runtime::page::Page;
use time::{Date, OffsetDateTime};

use crate::app::App;
use crate::app::caller::Caller;
use crate::domain::tax::{TaxRate, TaxRateFilter};
use crate::domain::tax::{TaxRule, day};
use crate::error::Error;
use crate::store::audit;
use crate::store::tax_rates::{self};

/// A rate begins.
pub async fn put(
    app: &App,
    by: &Caller,
    country: &str,
    from: Date,
    rule: &TaxRule,
    now: OffsetDateTime,
) -> Result<TaxRate, Error> {
    rule.check().map_err(|(field, message)| Error::Field { field, message })?;
    let details = serde_json::json!({
        "country": country, "valid_from": from.to_string(), "name": rule.name, "rate_bp": rule.rate_bp, "reverse_charge": rule.reverse_charge,
    });
    write(app, by, ("tax_rate_set", details), country, "valid_from", from, Some(rule), now).await?;
    on(app, country, from).await
}

/// From a day on there is no tax, until another rate begins. The rate that ends with it.
pub async fn end(
    app: &App,
    by: &Caller,
    country: &str,
    until: Date,
    now: OffsetDateTime,
) -> Result<TaxRate, Error> {
    let last = until.previous_day().ok_or(Error::Field { field: "valid_until", message: "is too early" })?;
    let refused = Error::Refused("no_rate", "no rate is in force on the day before");
    if tax_rates::rule_on(&app.pool, country, last).await?.is_none() {
        return Err(refused);
    }
    let details = serde_json::json!({ "country": country, "valid_until": until.to_string() });
    write(app, by, ("tax_rate_ended", details), country, "valid_until", until, None, now).await?;
    on(app, country, last).await
}

/// A planned rate, or a planned end of one, is taken back before its day has come: what was there before it
/// goes on. The rate that is in force on that day then, if there is one.
pub async fn withdraw(
    app: &App,
    by: &Caller,
    country: &str,
    from: Date,
    now: OffsetDateTime,
) -> Result<Option<TaxRate>, Error> {
    let today = day(now);
    if from <= today {
        return Err(Error::Refused(
            "rate_in_force",
            "the rate of this day applies already; let another one begin tomorrow",
        ));
    }
    let mut tx = app.pool.begin().await?;
    if !tax_rates::withdraw(&mut *tx, country, from, today).await? {
        return Err(Error::Refused("no_rate", "nothing is planned for this day"));
    }
    let details = serde_json::json!({ "country": country, "valid_from": from.to_string() });
    audit::write(&mut tx, &by.audit_of_rule("tax_rate_withdrawn", details)).await?;
    tx.commit().await?;
    found(app, country, from).await
}

#[expect(clippy::too_many_arguments, reason = "one private step of two use cases")]
async fn write(
    app: &App,
    by: &Caller,
    (action, details): (&str, serde_json::Value),
    country: &str,
    field: &'static str,
    from: Date,
    rule: Option<&TaxRule>,
    now: OffsetDateTime,
) -> Result<(), Error> {
    let today = day(now);
    if country.len() != 2 || !country.bytes().all(|byte| byte.is_ascii_uppercase()) {
        return Err(Error::Field { field: "country", message: "must be two capitals, such as DE" });
    }
    if from < today {
        return Err(Error::Field { field, message: "must not be past" });
    }
    let mut tx = app.pool.begin().await?;
    // What begins today applies already.
    let open_from = today.next_day().unwrap_or(today);
    if !tax_rates::put(&mut *tx, country, from, rule, open_from).await? {
        if from == today && tax_rates::rule_on(&mut *tx, country, today).await?.as_ref() == rule {
            return Ok(());
        }
        return Err(Error::Refused(
            "rate_in_force",
            "the rate of this day applies already; let the next one begin tomorrow",
        ));
    }
    audit::write(&mut tx, &by.audit_of_rule(action, details)).await?;
    Ok(tx.commit().await?)
}

async fn on(app: &App, country: &str, day: Date) -> Result<TaxRate, Error> {
    found(app, country, day).await?.ok_or(Error::Conflict)
}

async fn found(app: &App, country: &str, day: Date) -> Result<Option<TaxRate>, Error> {
    let filter = TaxRateFilter { country: Some(country.to_owned()), on: Some(day) };
    let page = Page::try_new(1, 1).map_err(|_| Error::Conflict)?;
    Ok(tax_rates::list(&app.pool, &filter, page).await?.0.pop())
}

/// A page of rates, and how many there are.
pub async fn list(app: &App, filter: &TaxRateFilter, page: Page) -> Result<(Vec<TaxRate>, i64), Error> {
    Ok(tax_rates::list(&app.pool, filter, page).await?)
}
