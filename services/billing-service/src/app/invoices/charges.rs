//! What is added to the lines of an invoice before it is issued: coupon and tax (BIL-36).

use sqlx::PgConnection;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::domain::coupon::normal;
use crate::domain::invoice::{InvoiceKind, Line, LineKind, NewInvoice, Totals, totals};
use crate::domain::money::{Currency, Money};
use crate::domain::tax::{day, tax};
use crate::domain::tax_id;
use crate::error::Error;
use crate::store::{coupons, customers, tax_rates};

/// Adds discount and tax lines and the tax note; answers who buys, as the invoice will say it for ever. Lines
/// that have a tax already keep it.
pub async fn apply_discounts_and_tax(
    connection: &mut PgConnection,
    invoice: &mut NewInvoice,
) -> Result<serde_json::Value, Error> {
    if let Some(subscription) = invoice.subscription_id
        && matches!(invoice.kind, InvoiceKind::First | InvoiceKind::Recurring)
        && let Some(line) = discount(connection, subscription, invoice.currency, &invoice.lines).await?
    {
        invoice.lines.push(line);
    }
    let (buyer, note) =
        add_tax(connection, invoice.customer_id, invoice.currency, &mut invoice.lines, invoice.issued_at)
            .await?;
    if invoice.note.is_empty() {
        note.clone_into(&mut invoice.note);
    }
    Ok(buyer)
}

/// The invoice was issued: its coupon was on one more.
pub async fn issued(connection: &mut PgConnection, invoice: &NewInvoice) -> Result<(), Error> {
    let discounted = invoice.lines.iter().any(|line| line.kind == LineKind::Discount);
    if let Some(subscription) = invoice.subscription_id.filter(|_| discounted) {
        coupons::count(connection, subscription).await?;
    }
    Ok(())
}

/// The coupon is on plans, not on changes of them.
async fn discount(
    connection: &mut PgConnection,
    subscription: Uuid,
    currency: Currency,
    lines: &[Line],
) -> Result<Option<Line>, Error> {
    let Some((coupon, before)) = coupons::of_subscription(connection, subscription).await? else {
        return Ok(None);
    };
    if !coupon.applies(before) {
        return Ok(None);
    }
    let plans = lines.iter().filter(|line| line.kind == LineKind::Plan).map(|line| line.amount);
    let off = coupon.off(Money::sum(currency, plans)?)?;
    if off.minor() <= 0 {
        return Ok(None);
    }
    Ok(Some(Line::one(LineKind::Discount, coupon.describe(), off.checked_neg()?, None)))
}

async fn add_tax(
    connection: &mut PgConnection,
    customer: Uuid,
    currency: Currency,
    lines: &mut Vec<Line>,
    at: OffsetDateTime,
) -> Result<(serde_json::Value, &'static str), Error> {
    let buyer = customers::buyer(&mut *connection, customer).await?;
    if lines.iter().any(|line| line.kind == LineKind::Tax) {
        return Ok((buyer, ""));
    }
    let text = |name: &str| buyer[name].as_str().unwrap_or_default().trim().to_owned();
    let rule = tax_rates::rule_on(connection, &text("country"), day(at)).await?;
    // What has not the form of a tax number of the country is none, and its buyer pays the tax.
    let number = tax_id::has_form(&text("country"), &text("tax_id"));
    let taxed = tax(rule.as_ref(), totals(currency, lines)?.subtotal, number)?;
    lines.extend(taxed.line);
    Ok((buyer, taxed.note))
}

/// Is there a tax somewhere, and nobody knows whether this customer owes it?
pub async fn needs_country(
    connection: &mut PgConnection,
    customer: Uuid,
    at: OffsetDateTime,
) -> Result<bool, Error> {
    let buyer = customers::buyer(&mut *connection, customer).await?;
    let known = buyer["country"].as_str().is_some_and(|country| !country.trim().is_empty());
    Ok(!known && tax_rates::any_on(connection, day(at)).await?)
}

/// What lines cost a customer with the tax of a moment, before an invoice is made of them: quotes of changes.
pub async fn quote(
    connection: &mut PgConnection,
    customer: Uuid,
    currency: Currency,
    lines: &[Line],
    at: OffsetDateTime,
) -> Result<Totals, Error> {
    let mut lines = lines.to_vec();
    add_tax(connection, customer, currency, &mut lines, at).await?;
    Ok(totals(currency, &lines)?)
}

/// What the next period of a subscription costs, which begins then, with its coupon and with tax.
pub async fn next_period(
    connection: &mut PgConnection,
    customer: Uuid,
    subscription: Uuid,
    price: Money,
    at: OffsetDateTime,
) -> Result<Money, Error> {
    let mut lines = vec![Line::one(LineKind::Plan, "", price, None)];
    let off = discount(connection, subscription, price.currency(), &lines).await?;
    lines.extend(off);
    Ok(quote(connection, customer, price.currency(), &lines, at).await?.total)
}

/// Uses a coupon for a subscription that is ordered, in the transaction of the order.
pub async fn redeem(
    connection: &mut PgConnection,
    code: &str,
    customer: Uuid,
    subscription: Uuid,
    currency: Currency,
    now: OffsetDateTime,
) -> Result<(), Error> {
    let refused = |message| Error::Field { field: "coupon", message };
    let coupon =
        coupons::lock(connection, &normal(code)).await?.ok_or_else(|| refused("is not a valid coupon"))?;
    let used = coupons::used(&mut *connection, &coupon.code, customer).await?;
    if let Some(why) = coupon.refusal(now, currency, used) {
        return Err(refused(why));
    }
    Ok(coupons::redeem(connection, &coupon, customer, subscription, now).await?)
}
