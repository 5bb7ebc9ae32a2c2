//! What the invoices of a subscription are made of: their keys, the words of their lines, their dates.

use sqlx::PgConnection;
use time::{Duration, OffsetDateTime};
use uuid::Uuid;

use crate::app::App;
use crate::domain::invoice::{Claim, InvoiceKind, Line, NewInvoice};
use crate::domain::period::BillingPeriod;
use crate::domain::subscription::Subscription;
use crate::error::Error;
use crate::store::orders;

/// An invoice of a subscription.
pub fn of_subscription(
    app: &App,
    row: &Subscription,
    (kind, claim): (InvoiceKind, Claim),
    key: String,
    lines: Vec<Line>,
    now: OffsetDateTime,
) -> NewInvoice {
    NewInvoice {
        customer_id: row.customer_id,
        subscription_id: Some(row.id),
        kind,
        claim,
        key,
        currency: row.price.currency(),
        lines,
        note: String::new(),
        corrects_id: None,
        issued_at: now,
        due_at: now + Duration::days(app.settings.due_days.into()),
    }
}

/// Key of the first invoice of a subscription.
pub fn first_key(subscription: Uuid) -> String {
    format!("first:{subscription}")
}

/// What a line of a period says.
pub async fn describe(connection: &mut PgConnection, row: &Subscription) -> Result<String, Error> {
    sold(connection, row, &row.plan_name, row.billing_period).await
}

/// A plan of a subscription in the words of who bought it: product, rhythm, instance.
pub async fn sold(
    connection: &mut PgConnection,
    row: &Subscription,
    plan: &str,
    period: BillingPeriod,
) -> Result<String, Error> {
    let (product, name) =
        orders::names(connection, row.instance_id, plan).await?.unwrap_or((plan.to_owned(), None));
    let name: String = name.unwrap_or_default().chars().filter(|c| !c.is_control()).take(100).collect();
    let whose = if name.is_empty() { String::new() } else { format!(" for {name}") };
    Ok(format!("{product} ({period}){whose}"))
}
