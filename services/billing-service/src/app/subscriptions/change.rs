//! Upgrade, downgrade, cancel, and their undo (BIL-21 to BIL-23). With the ledger one transaction; a provider
//! that keeps the books is told by `provider_commands.rs`, and the rows follow its state.

use contracts::events::topics;
use messaging::outbox;
use sqlx::PgConnection;
use time::OffsetDateTime;
use uuid::Uuid;

use super::end::{self, withdraw_offer};
use crate::app::App;
use crate::app::caller::Caller;
use crate::app::facts::{announce_change, announce_fact, save_and_announce, subscription_fact};
use crate::app::invoices::charges;
use crate::app::invoices::issue::issue_invoice;
use crate::app::invoices::new::{of_subscription, sold};
use crate::app::payments::settle::paid;
use crate::app::provider::provider_commands::{Wish, carry_out};
use crate::domain::dunning::DunningState;
use crate::domain::invoice::Invoice;
use crate::domain::invoice::{Claim, InvoiceKind, InvoiceStatus, Line, LineKind};
use crate::domain::money::Money;
use crate::domain::plan::Plan;
use crate::domain::proration::{Charge, left, unused};
use crate::domain::subscription::Subscription;
use crate::domain::subscription::{ProvisionPolicy, Status};
use crate::error::Error;
use crate::provider::{CancelWhen, PlanChange, ProviderError};
use crate::store::subscriptions::{self};
use crate::store::{audit, credits, invoices, journal, mirror, plans};

/// What an upgrade costs, and what became of it.
#[derive(Debug, Clone)]
pub struct Quote {
    /// Plan now.
    pub current: Plan,
    /// Plan then.
    pub target: Plan,
    /// To be paid.
    pub amount_due: Money,
    /// What is left of the present period.
    pub credit: Money,
    /// preview, applied, awaiting_payment.
    pub status: &'static str,
    /// Its invoice.
    pub invoice: Option<Invoice>,
    /// As it stands then.
    pub subscription: Subscription,
}

/// A subscription of the customer, locked. `None` as customer: an operator.
pub async fn own(
    connection: &mut PgConnection,
    customer: Option<Uuid>,
    id: Uuid,
) -> Result<Subscription, Error> {
    subscriptions::lock(connection, id)
        .await?
        .filter(|row| customer.is_none_or(|customer| row.customer_id == customer))
        .ok_or(Error::NotFound("subscription"))
}

pub(super) async fn plan_for_sale(connection: &mut PgConnection, name: &str) -> Result<Plan, Error> {
    plans::find(connection, name, None)
        .await?
        .filter(|plan| plan.active)
        .ok_or_else(|| Error::PlanUnavailable(name.to_owned()))
}

/// Plan changes need a subscription that lives and owes nothing for long.
pub(super) async fn changeable(connection: &mut PgConnection, row: &Subscription) -> Result<(), Error> {
    if !matches!(row.status, Status::Trialing | Status::Active | Status::PastDue)
        || row.dunning != DunningState::None
    {
        return Err(Error::Refused("change_blocked", "the plan cannot be changed in this state"));
    }
    if row.status == Status::PastDue || invoices::oldest_due(connection, row.id).await?.is_some() {
        return Err(Error::Refused("unpaid_invoices", "pay the open invoices first"));
    }
    Ok(())
}

/// Quotes an upgrade, or makes it: with policy `on_payment` after the payment of its invoice, else at once.
pub async fn upgrade(
    app: &App,
    customer: Option<Uuid>,
    id: Uuid,
    target: &str,
    preview: bool,
    now: OffsetDateTime,
) -> Result<Quote, Error> {
    let mut tx = app.pool.begin().await?;
    let mut row = own(&mut tx, customer, id).await?;
    let current = plans::find(&mut *tx, &row.plan_name, Some(row.entitlement_version))
        .await?
        .ok_or(Error::NotFound("plan"))?;
    let target = plan_for_sale(&mut tx, target).await?;
    if target.tier <= current.tier {
        return Err(Error::Refused("not_an_upgrade", "the plan is not of a higher tier"));
    }
    if target.price.currency() != row.price.currency() {
        return Err(Error::Refused("change_blocked", "the plan is sold in another currency"));
    }
    if let Some(quote) = asked_before(&mut tx, &row, &current, &target).await? {
        return Ok(quote);
    }
    changeable(&mut tx, &row).await?;
    let credit = left_of_period(&mut tx, &row, now).await?;
    let names = (
        sold(&mut tx, &row, &target.name, target.billing_period).await?,
        sold(&mut tx, &row, &current.name, current.billing_period).await?,
    );
    let lines = price(&row, credit, &target, names, now)?;
    let due = charges::quote(&mut tx, row.customer_id, target.price.currency(), &lines, now).await?.total;
    let mut quote = Quote {
        current,
        target,
        amount_due: Money::new(due.minor().max(0), due.currency()),
        credit,
        status: "preview",
        invoice: None,
        subscription: row.clone(),
    };
    if preview {
        drop(tx);
        if !app.provider.is_books_local() {
            quote.amount_due = preview_via_provider(app, &row, &quote.target).await?;
        }
        return Ok(quote);
    }
    if row.pending.is_some() {
        return Err(Error::Refused("change_blocked", "another change waits already"));
    }
    if !app.provider.is_books_local() {
        let wish = Wish::Change { plan: &quote.target, at_period_end: false };
        let row = carry_out(app, tx, &row, wish).await?;
        return upgraded_via_provider(app, quote, row).await;
    }
    let waits = row.wait_for_upgrade(&quote.target);
    // Each quote has its own document; the same question asked again found the pending change above.
    let key = format!("upgrade:{}:{}", row.id, Uuid::now_v7());
    // What is made at once is owed at once.
    let at_once = app.policy == ProvisionPolicy::OnInvoice || due.minor() <= 0;
    let claim = if at_once { Claim::Debt } else { Claim::Offer };
    let new = of_subscription(app, &row, (InvoiceKind::Upgrade, claim), key, lines, now);
    subscriptions::save(&mut tx, &row, now).await?;
    let offer = issue_invoice(&mut tx, app, new).await?;
    if due.minor() < 0 {
        give_back(&mut tx, &row, &offer, now).await?;
    }
    if let Some(pending) = row.pending.as_mut() {
        pending.invoice_id = Some(offer.id);
    }
    subscriptions::save(&mut tx, &row, now).await?;
    if offer.status == InvoiceStatus::Paid || claim == Claim::Debt {
        quote.subscription = paid(&mut tx, app, row, &offer, now).await?;
        quote.status = "applied";
    } else {
        announce_fact(&mut tx, &row, waits, now).await?;
        quote.subscription = row;
        quote.status = "awaiting_payment";
    }
    quote.invoice = invoices::find(&mut *tx, offer.id).await?;
    app.fail.at("upgrade.before_commit");
    tx.commit().await?;
    app.fail.at("upgrade.ended");
    Ok(quote)
}

/// What the provider says that the change would cost; nothing is held while it is asked.
async fn preview_via_provider(app: &App, row: &Subscription, target: &Plan) -> Result<Money, Error> {
    let change = PlanChange {
        subscription_id: row.id,
        plan_name: &target.name,
        billing_period: target.billing_period,
        price: target.price,
        at_period_end: false,
    };
    let due = app.provider.preview_change(&change).await.map_err(|error| away(&error))?;
    Ok(Money::new(due.minor().max(0), due.currency()))
}

/// The quote of an upgrade that the provider made: its invoice may come a moment later.
async fn upgraded_via_provider(app: &App, mut quote: Quote, row: Subscription) -> Result<Quote, Error> {
    quote.status = if row.plan_name == quote.target.name { "applied" } else { "awaiting_payment" };
    let waiting = row.pending.as_ref().and_then(|pending| pending.invoice_id);
    quote.invoice = match waiting {
        Some(id) => invoices::find(&app.pool, id).await?,
        None => mirror::newest_upgrade(&app.pool, row.id).await?,
    };
    if let Some(invoice) = &quote.invoice {
        quote.amount_due = invoice.total;
    }
    quote.subscription = row;
    Ok(quote)
}

/// The same upgrade was asked for before and waits for its payment: the same answer.
async fn asked_before(
    connection: &mut PgConnection,
    row: &Subscription,
    current: &Plan,
    target: &Plan,
) -> Result<Option<Quote>, Error> {
    let Some(pending) = row.pending.as_ref().filter(|pending| pending.plan_name == target.name) else {
        return Ok(None);
    };
    let Some(id) = pending.invoice_id else { return Ok(None) };
    let Some(offer) = invoices::find(connection, id).await? else { return Ok(None) };
    Ok(Some(Quote {
        current: current.clone(),
        target: target.clone(),
        amount_due: offer.balance,
        credit: row.zero(),
        status: "awaiting_payment",
        invoice: Some(offer),
        subscription: row.clone(),
    }))
}

/// What is left of the present period: what was paid for it, less the time that was given. In the trial
/// nothing was paid. Where others keep the books their invoice may come later: then it is a share of the
/// price.
async fn left_of_period(
    connection: &mut PgConnection,
    row: &Subscription,
    now: OffsetDateTime,
) -> Result<Money, Error> {
    let Some(period) = row.period().filter(|_| !row.in_trial()) else { return Ok(row.zero()) };
    let invoices = invoices::charges(&mut *connection, row.id).await?;
    let Some(last) = invoices.first().and_then(|invoice| invoice.issued_at) else {
        let kept_elsewhere = row.provider == mirror::EXTERNAL_PROVIDER;
        let price = if kept_elsewhere { row.price } else { row.zero() };
        return Ok(unused(price, period.0, period.1, now)?);
    };
    let mut charges = Vec::with_capacity(invoices.len());
    for invoice in invoices {
        let money = |minor| Money::new(minor, invoice.currency());
        let credited = invoices::credited(&mut *connection, invoice.id).await?;
        let written_off = journal::written_off(&mut *connection, invoice.id).await?;
        let open = if invoice.status == InvoiceStatus::Open { invoice.balance.minor() } else { 0 };
        let lost_since = invoices::credited_since(&mut *connection, invoice.id, last).await?;
        charges.push(Charge {
            kind: invoice.kind,
            status: invoice.status,
            subtotal: invoice.subtotal,
            total: invoice.total,
            not_kept: Money::sum(invoice.currency(), [money(credited), money(written_off), money(open)])?,
            lost_since: money(lost_since),
            issued_at: invoice.issued_at.unwrap_or(last),
        });
    }
    Ok(left(row.price, period, &charges, now)?)
}

/// Lines, of which one takes off what is `left` of the old plan. In the trial nothing was paid: the new
/// plan's first period is charged whole.
fn price(
    row: &Subscription,
    left: Money,
    target: &Plan,
    (new, old): (String, String),
    now: OffsetDateTime,
) -> Result<Vec<Line>, Error> {
    let restarts = row.in_trial() || row.billing_period != target.billing_period;
    let (charge, until) = match row.period() {
        Some((start, end)) if !restarts => (unused(target.price, start, end, now)?, end),
        _ => (target.price, target.billing_period.end(now, now.day())),
    };
    let mut lines = vec![Line::one(LineKind::Proration, new, charge, Some((now, until)))];
    if left.minor() != 0 {
        let text = format!("Unused time of {old}");
        lines.push(Line::one(LineKind::Proration, text, left.checked_neg()?, Some((now, until))));
    }
    Ok(lines)
}

/// The old period was worth more than the new one: the rest is the customer's credit, and nothing is left to
/// pay.
async fn give_back(
    connection: &mut PgConnection,
    row: &Subscription,
    offer: &Invoice,
    now: OffsetDateTime,
) -> Result<(), Error> {
    use crate::domain::journal::{CREDIT, Entry, RECEIVABLE};
    let Some(rest) = offer.balance.checked_neg().ok().filter(|rest| rest.minor() > 0) else { return Ok(()) };
    let key = format!("upgrade-rest:{}", offer.id);
    credits::give(connection, row.customer_id, rest, "unused time", "billing-service", &key, now).await?;
    let entry = Entry::new("credit_given", key, row.customer_id, now)
        .of_invoice(offer.id)
        .transfer(CREDIT, RECEIVABLE, rest)?;
    journal::post(connection, &entry).await?;
    invoices::set_balance(connection, offer.id, row.zero(), now).await?;
    Ok(())
}

/// Ends it with the period or the trial, or now (BIL-23). Never writes off debts.
pub async fn cancel(
    app: &App,
    customer: Option<Uuid>,
    id: Uuid,
    reason: &str,
    immediate: bool,
    now: OffsetDateTime,
) -> Result<Subscription, Error> {
    let mut tx = app.pool.begin().await?;
    let mut row = own(&mut tx, customer, id).await?;
    if row.status == Status::Ended || (row.cancel_at.is_some() && !immediate) {
        return Err(Error::Refused("already_cancelled", "the subscription is cancelled already"));
    }
    let end = row.current_period_end.filter(|end| *end > now && !immediate);
    // What is suspended or was never paid has nothing to run out.
    let end = end.filter(|_| !matches!(row.status, Status::Suspended | Status::Pending));
    if !app.provider.is_books_local() {
        let when = match end {
            None => CancelWhen::Now,
            Some(end) if row.in_trial() => CancelWhen::TrialEnd(end),
            Some(_) => CancelWhen::PeriodEnd,
        };
        return carry_out(app, tx, &row, Wish::Cancel { when, reason }).await;
    }
    // Who leaves buys nothing more: an offer that were paid after this would begin a period that ends with
    // the old one.
    withdraw_offer(&mut tx, &mut row, "cancelled", now).await?;
    let cancelled = row.cancel(end.unwrap_or(now), Some(reason), end.is_some());
    subscriptions::save(&mut tx, &row, now).await?;
    let mut fact = subscription_fact(&row, now);
    fact.ends_at = row.cancel_at;
    outbox::enqueue(&mut tx, topics::SUBSCRIPTION_CANCELLED, row.customer_id, &fact).await?;
    if end.is_some() {
        announce_fact(&mut tx, &row, cancelled, now).await?;
    } else {
        end::end(&mut tx, app, &row, "cancelled", now).await?;
    }
    let row = subscriptions::find(&mut *tx, id).await?.ok_or(Error::NotFound("subscription"))?;
    app.fail.at("cancel.before_commit");
    tx.commit().await?;
    app.fail.at("cancel.ended");
    Ok(row)
}

/// Takes a cancellation back whose date has not come.
pub async fn undo_cancel(
    app: &App,
    customer: Option<Uuid>,
    id: Uuid,
    now: OffsetDateTime,
) -> Result<Subscription, Error> {
    let mut tx = app.pool.begin().await?;
    let mut row = own(&mut tx, customer, id).await?;
    if row.status == Status::Ended || row.cancel_at.is_none_or(|at| at <= now) {
        return Err(Error::Refused("nothing_to_undo", "no cancellation waits"));
    }
    if !app.provider.is_books_local() {
        return carry_out(app, tx, &row, Wish::UndoCancel).await;
    }
    let fact = row.undo_cancel();
    let row = save_and_announce(&mut tx, row, fact, now).await?;
    tx.commit().await?;
    Ok(row)
}

/// Lengthens a running trial (operators), with its audit row.
pub async fn extend_trial(
    app: &App,
    by: &Caller,
    id: Uuid,
    days: u32,
    now: OffsetDateTime,
) -> Result<Subscription, Error> {
    if !app.provider.is_books_local() {
        return Err(Error::Refused(
            "invalid_state",
            "Kill Bill cannot move the end of a trial so that it outlives a change of plan: \
             give a credit for the days instead",
        ));
    }
    if !(1..=30).contains(&days) {
        return Err(Error::Field { field: "days", message: "must be from 1 to 30" });
    }
    let mut tx = app.pool.begin().await?;
    let row = lengthen_trial(&mut tx, id, days, now).await?;
    let details = serde_json::json!({ "days": days });
    audit::write(&mut tx, &by.audit("trial_extended", row.customer_id, row.id, details)).await?;
    tx.commit().await?;
    Ok(row)
}

async fn lengthen_trial(
    connection: &mut PgConnection,
    id: Uuid,
    days: u32,
    now: OffsetDateTime,
) -> Result<Subscription, Error> {
    let mut row = own(connection, None, id).await?;
    let Some(end) = row.trial_ends_at.filter(|end| row.in_trial() && *end > now) else {
        return Err(Error::Refused("not_trialing", "the subscription is in no trial"));
    };
    let end = end + time::Duration::days(days.into());
    row.move_trial_end(end);
    if row.cancel_at.is_some() {
        row.move_cancel(end);
    }
    subscriptions::save(connection, &row, now).await?;
    // Those that were sent told of the former end.
    subscriptions::forget_reminders(connection, row.id, end, now).await?;
    announce_change(connection, &row, "trial_extended", now).await?;
    Ok(row)
}

fn away(error: &ProviderError) -> Error {
    tracing::warn!(error = format!("{error:#}"), "the provider did not do it");
    Error::ProviderUnavailable
}
