//! Everything that happens to a subscription by itself, one step and one transaction at a time: reminders,
//! the end of a trial, renewals, the ladder, the cancel date. What the schedule says is due is done; a crash
//! between two steps changes nothing about the next one.

use contracts::events::topics;
use messaging::outbox;
use sqlx::PgConnection;
use time::{Duration, OffsetDateTime};
use tokio::task::JoinSet;
use uuid::Uuid;

use super::end::{end, withdraw_offer};
use crate::app::facts::{announce_change, save_and_announce, subscription_fact, to_event_amount};
use crate::app::invoices::issue::issue_invoice;
use crate::app::invoices::new::{describe, of_subscription};
use crate::app::payments::credit;
use crate::app::{App, repeat};
use crate::domain::dunning::{DunningState, next_step};
use crate::domain::invoice::{Claim, InvoiceKind, InvoiceStatus, Line, LineKind};
use crate::domain::schedule::{Facts, Rules, Step, next};
use crate::domain::subscription::Status;
use crate::domain::subscription::Subscription;
use crate::error::Error;
use crate::store::subscriptions::{self};
use crate::store::{invoices, plans};

/// Subscriptions in one round.
const BATCH: i64 = 500;
/// Steps side by side; the numbers of invoices make them wait for each other anyway.
const SIDE_BY_SIDE: usize = 6;
/// When nothing will ever be due by itself: looked at again all the same.
const FAR: Duration = Duration::days(365);

/// Does all that is due at `now`, for all subscriptions. How many steps were taken.
pub async fn run_due(app: &App, now: OffsetDateTime) -> Result<usize, Error> {
    // First, so that nobody climbs a ladder for a debt that their own credit pays.
    let mut taken = credit::spend_all(app, now).await?;
    loop {
        let ids = subscriptions::due(&app.pool, now, BATCH).await?;
        let found = ids.len();
        let mut failed = 0;
        let mut ids = ids.into_iter();
        let mut running = JoinSet::new();
        loop {
            while running.len() < SIDE_BY_SIDE
                && let Some(id) = ids.next()
            {
                let app = app.clone();
                running.spawn(async move { (id, repeat(|| run_one(&app, id, now)).await) });
            }
            match running.join_next().await {
                None => break,
                Some(Ok((_, Ok(steps)))) => taken += steps,
                Some(Ok((id, Err(error)))) => {
                    failed += 1;
                    tracing::warn!(subscription.id = %id, error = format!("{error:#}"), "what is due could not be done yet");
                }
                Some(Err(error)) => return Err(Error::Internal(error.into())),
            }
        }
        // A round in which nothing worked is left to the next sweep.
        if i64::try_from(found).unwrap_or(0) < BATCH || failed == found {
            return Ok(taken);
        }
    }
}

/// Does all that is due for one subscription, in order.
pub async fn run_one(app: &App, id: Uuid, now: OffsetDateTime) -> Result<usize, Error> {
    let rules = rules(app);
    let mut taken = 0;
    loop {
        let mut tx = app.pool.begin().await?;
        let Some(row) = subscriptions::lock(&mut tx, id).await? else { return Ok(taken) };
        let facts = facts(&mut tx, &row).await?;
        match next(&facts, &rules) {
            Some((at, step)) if at <= now => {
                dispatch_step(&mut tx, app, row, step, at, now).await?;
                let (before, after) = places(step);
                app.fail.at(before);
                tx.commit().await?;
                app.fail.at(after);
                taken += 1;
            }
            later => {
                let at = later.map_or(now + FAR, |(at, _)| at);
                subscriptions::set_next_due(&mut tx, id, at).await?;
                tx.commit().await?;
                return Ok(taken);
            }
        }
    }
}

/// Where a test lets the process die around a step.
fn places(step: Step) -> (&'static str, &'static str) {
    match step {
        Step::Remind(_) => ("remind.before_commit", "remind.ended"),
        Step::Renew => ("renew.before_commit", "renew.ended"),
        Step::Overdue | Step::Dunning(DunningState::None) => ("overdue.before_commit", "overdue.ended"),
        Step::Dunning(DunningState::Warning) => ("warning.before_commit", "warning.ended"),
        Step::Dunning(DunningState::Suspended) => ("suspended.before_commit", "suspended.ended"),
        Step::Dunning(DunningState::Terminated) => ("terminated.before_commit", "terminated.ended"),
        Step::Expire => ("expire.before_commit", "expire.ended"),
        Step::Cancel => ("end.before_commit", "end.ended"),
    }
}

/// What the schedule goes by.
pub fn rules(app: &App) -> Rules {
    Rules {
        dunning: app.settings.dunning,
        reminder_days: app.settings.reminder_days.clone(),
        pay_within: app.pay_within,
        keeps_books: app.provider.is_books_local(),
    }
}

async fn facts(connection: &mut PgConnection, row: &Subscription) -> Result<Facts, Error> {
    let reminded =
        if row.in_trial() { subscriptions::reminders(&mut *connection, row.id).await? } else { Vec::new() };
    Ok(Facts {
        status: row.status,
        created_at: row.created_at,
        trial_ends_at: row.trial_ends_at,
        period_end: row.current_period_end,
        cancel_at: row.cancel_at,
        dunning: row.dunning,
        dunning_since: row.dunning_since,
        oldest_due: invoices::oldest_due(connection, row.id).await?,
        reminded: reminded
            .iter()
            .filter_map(|kind| kind.strip_prefix("trial-").and_then(|days| days.parse().ok()))
            .collect(),
    })
}

/// When the ladder goes on, for answers and mails. `due`: of the oldest debt.
pub fn next_dunning_step(
    app: &App,
    row: &Subscription,
    due: Option<OffsetDateTime>,
) -> Option<OffsetDateTime> {
    if matches!(row.status, Status::Ended | Status::Pending) {
        return None;
    }
    next_step(row.dunning, row.dunning_since, due?, app.settings.dunning).map(|(at, _)| at)
}

async fn dispatch_step(
    connection: &mut PgConnection,
    app: &App,
    mut row: Subscription,
    step: Step,
    at: OffsetDateTime,
    now: OffsetDateTime,
) -> Result<(), Error> {
    match step {
        Step::Remind(days) => remind(connection, app, &row, days, now).await?,
        Step::Cancel => end(connection, app, &row, "cancelled", now).await?,
        Step::Expire => {
            let fact = subscription_fact(&row, now);
            outbox::enqueue(&mut *connection, topics::SUBSCRIPTION_EXPIRED, row.customer_id, &fact).await?;
            end(connection, app, &row, "payment_timeout", now).await?;
            app.metrics.repaired("unpaid");
        }
        Step::Overdue => {
            let fact = row.fall_due();
            save_and_announce(connection, row, fact, now).await?;
        }
        Step::Dunning(DunningState::Terminated) => {
            row.advance_dunning(DunningState::Terminated, now);
            subscriptions::save(connection, &row, now).await?;
            end(connection, app, &row, "overdue", now).await?;
        }
        Step::Dunning(state) => advance_dunning(connection, app, row, state, now).await?,
        Step::Renew => renew(connection, app, row, at, now).await?,
    }
    tracing::info!(step = ?step, "billing step taken");
    Ok(())
}

/// Once, and only while it is still true (BIL-11): of several that a late look finds due, the last one is
/// told.
async fn remind(
    connection: &mut PgConnection,
    app: &App,
    row: &Subscription,
    days: u16,
    now: OffsetDateTime,
) -> Result<(), Error> {
    if !subscriptions::remind(connection, row.id, &format!("trial-{days}"), now).await? {
        return Ok(());
    }
    let Some(end) = row.trial_ends_at.filter(|end| *end > now) else { return Ok(()) };
    let is_due = |other: u16| end - Duration::days(other.into()) <= now;
    if app.settings.reminder_days.iter().any(|other| *other < days && is_due(*other)) {
        return Ok(());
    }
    let mut fact = subscription_fact(row, now);
    let left = (end - now).whole_seconds();
    fact.days = u32::try_from((left + 86_399) / 86_400).ok();
    fact.ends_at = Some(end);
    fact.amount = Some(to_event_amount(row.price));
    outbox::enqueue(connection, topics::TRIAL_ENDING, row.customer_id, &fact).await?;
    Ok(())
}

/// Warning or suspension (BIL-14).
async fn advance_dunning(
    connection: &mut PgConnection,
    app: &App,
    mut row: Subscription,
    state: DunningState,
    now: OffsetDateTime,
) -> Result<(), Error> {
    let fact = row.advance_dunning(state, now);
    if state == DunningState::Suspended {
        // A period that begins while the instance is off would be paid for and not given.
        withdraw_offer(connection, &mut row, "suspended", now).await?;
    }
    let row = save_and_announce(connection, row, fact, now).await?;
    let mut fact = subscription_fact(&row, now);
    fact.reason = Some(state.as_str().to_owned());
    let due = invoices::oldest_due(&mut *connection, row.id).await?;
    fact.next_step_at = next_dunning_step(app, &row, due);
    if let Some(debt) = invoices::oldest_debt(&mut *connection, row.id).await? {
        fact.invoice_id = Some(debt.id);
        fact.invoice_number = Some(debt.number.clone());
        fact.amount = Some(to_event_amount(debt.total));
        fact.balance = Some(to_event_amount(debt.balance));
        fact.due_at = debt.due_at;
        let overdue = debt.due_at.map_or(0, |due| (now - due).whole_days());
        fact.days = u32::try_from(overdue).ok();
    }
    outbox::enqueue(connection, topics::OVERDUE, row.customer_id, &fact).await?;
    Ok(())
}

/// The next period begins where the last one ended, and its invoice is issued (BIL-12, BIL-20).
async fn renew(
    connection: &mut PgConnection,
    app: &App,
    mut row: Subscription,
    at: OffsetDateTime,
    now: OffsetDateTime,
) -> Result<(), Error> {
    let was_trial = row.in_trial();
    let changed = settle_pending(connection, &mut row, at, now).await?;
    let end = row.billing_period.end(at, row.anchor_day);
    row.begin_period(at, end, false);
    subscriptions::save(connection, &row, now).await?;
    let text = describe(connection, &row).await?;
    let line = Line::one(LineKind::Plan, text, row.price, Some((at, end)));
    let key = format!("period:{}:{}", row.id, at.unix_timestamp());
    let owed = (InvoiceKind::Recurring, Claim::Debt);
    let invoice =
        issue_invoice(connection, app, of_subscription(app, &row, owed, key, vec![line], now)).await?;
    if was_trial && invoice.status != InvoiceStatus::Paid && row.status == Status::Active {
        row.fall_due();
    }
    // Also a period that is not paid yet changes what the instance shows of its billing.
    if was_trial || changed || invoice.status != InvoiceStatus::Paid {
        let reason = match (was_trial, changed) {
            (true, _) => "trial_ended",
            (false, true) => "downgraded",
            (false, false) => "renewed",
        };
        subscriptions::save(connection, &row, now).await?;
        announce_change(connection, &row, reason, now).await?;
    }
    Ok(())
}

/// A downgrade whose date is here is made; an upgrade that was never paid is dropped with its offer. `true`:
/// the plan is another.
async fn settle_pending(
    connection: &mut PgConnection,
    row: &mut Subscription,
    at: OffsetDateTime,
    now: OffsetDateTime,
) -> Result<bool, Error> {
    withdraw_offer(connection, row, "offer_expired", now).await?;
    let Some(pending) = row.pending.clone() else { return Ok(false) };
    if pending.effective_at.is_some_and(|effective| effective > at) {
        return Ok(false);
    }
    let plan = plans::find(&mut *connection, &pending.plan_name, Some(pending.entitlement_version))
        .await?
        .ok_or(Error::NotFound("plan"))?;
    row.take_plan(&plan);
    Ok(true)
}
