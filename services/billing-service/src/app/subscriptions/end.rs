//! The end of a subscription: our rows first, in one transaction with the announcement; the provider is told
//! after it, until it has heard.

use contracts::events::topics;
use messaging::outbox;
use sqlx::PgConnection;
use time::{Duration, OffsetDateTime};
use uuid::Uuid;

use crate::app::App;
use crate::app::facts::{announce_subscription, subscription_fact};
use crate::app::invoices::close::close;
use crate::app::invoices::credit_note::reverse_invoice;
use crate::app::invoices::new::first_key;
use crate::domain::invoice::Invoice;
use crate::domain::invoice::InvoiceStatus;
use crate::domain::subscription::Status;
use crate::domain::subscription::Subscription;
use crate::error::Error;
use crate::store::{invoices, mirror, orders, subscriptions};

/// Ends it, with the offers that it has, and says until when its data is kept (BIL-24). Debts stay.
pub async fn end(
    connection: &mut PgConnection,
    app: &App,
    row: &Subscription,
    reason: &str,
    now: OffsetDateTime,
) -> Result<(), Error> {
    end_subscription(connection, app, row.id, reason, now).await?;
    if row.status != Status::Pending {
        let mut fact = subscription_fact(row, now);
        fact.ends_at = Some(now);
        // Retention is real time.
        let real = app.real_now_within(&mut *connection).await;
        fact.retained_until = Some(real + Duration::days(app.settings.retention_days.into()));
        fact.reason = Some(reason.to_owned());
        outbox::enqueue(connection, topics::SERVICE_TERMINATED, row.customer_id, &fact).await?;
    }
    Ok(())
}

/// Ends a subscription that was used; a trial stays used, debts stay. Offers that nobody took go.
pub async fn end_subscription(
    connection: &mut PgConnection,
    app: &App,
    subscription: Uuid,
    reason: &str,
    now: OffsetDateTime,
) -> Result<(), Error> {
    let Some(row) = subscriptions::lock(connection, subscription).await? else { return Ok(()) };
    if row.status == Status::Ended {
        return Ok(());
    }
    let mut offers: Vec<Uuid> = row.pending.iter().filter_map(|pending| pending.invoice_id).collect();
    if row.status == Status::Pending {
        let first = invoices::find_by_key(&mut *connection, &first_key(row.id)).await?;
        offers.extend(first.map(|first| first.id));
        offers.extend(mirror::offers(&mut *connection, row.id).await?);
    }
    if reason == "terminated" && row.created_at + app.cooling_off > now {
        offers.extend(hardly_used(connection, &row).await?);
    }
    for offer in offers {
        reverse_invoice(connection, app, offer, reason, now).await?;
    }
    if let Some(ended) = subscriptions::end(connection, subscription, reason, now).await? {
        orders::set_provider_cancel_due(&mut *connection, ended.order_id, true, now).await?;
        announce_subscription(connection, topics::SUBSCRIPTION_ENDED, &ended, Some(reason), now).await?;
        tracing::info!(subscription.id = %subscription, reason, "subscription ended");
    }
    Ok(())
}

/// The first invoice of an order whose instance ended at once, when nothing of it was paid. An instance that
/// came back has none: its data was kept for it.
async fn hardly_used(connection: &mut PgConnection, row: &Subscription) -> Result<Option<Uuid>, Error> {
    if orders::came_back(&mut *connection, row.order_id, row.instance_id).await? {
        return Ok(None);
    }
    let first = invoices::find_by_key(connection, &first_key(row.id)).await?;
    let unpaid = |invoice: &Invoice| {
        invoice.status == InvoiceStatus::Open
            && invoice.balance == invoice.total
            && invoice.provider != mirror::EXTERNAL_PROVIDER
    };
    Ok(first.filter(unpaid).map(|first| first.id))
}

/// Takes an upgrade back that waits for its payment: what could still be paid must still be given. Money that
/// comes for it later, and what was paid of it, is the customer's credit.
pub async fn withdraw_offer(
    connection: &mut PgConnection,
    row: &mut Subscription,
    reason: &str,
    now: OffsetDateTime,
) -> Result<(), Error> {
    let Some(offer) = row.pending.as_ref().and_then(|pending| pending.invoice_id) else { return Ok(()) };
    if row.provider == mirror::EXTERNAL_PROVIDER {
        // The change is made there and its invoice is owed there; it waits here until that is paid or void.
        return Ok(());
    }
    row.pending = None;
    if let Some(offer) = invoices::lock(connection, offer).await? {
        close(connection, &offer, InvoiceStatus::Void, reason, now).await?;
    }
    Ok(())
}
