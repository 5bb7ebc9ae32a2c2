//! What a provider that keeps the books is told. No row is locked and no connection is held while it is
//! asked: the wish is written and committed, the provider is called, and what became of it is read back from
//! its state. A crash or a lost answer in between leaves the written wish, which the sweep settles: money is
//! told again until it was heard, and for a wish of a customer the provider's state says whether it was done.

use serde_json::json;
use sqlx::{PgConnection, Postgres, Transaction};
use time::{Duration, OffsetDateTime};
use uuid::Uuid;

use super::sync;
use crate::app::App;
use crate::app::caller::Caller;
use crate::domain::money::Money;
use crate::domain::plan::Plan;
use crate::domain::subscription::Subscription;
use crate::error::Error;
use crate::provider::{CancelWhen, NewCredit, NewRefund, OutsidePayment, PaidBy, PlanChange, ProviderError};
use crate::store::audit;
use crate::store::provider_calls::{self, Call, CallKind, CallState};
use crate::store::refunds::NewRefund as RefundRow;
use crate::store::subscriptions::{self};
use crate::store::{clock, invoices, mirror, payments, refunds};

/// After this time nobody waits for the answer to a wish any more; longer than a call to the provider may
/// take.
const WISH: Duration = Duration::seconds(30);
/// How long a claimed call is ours.
const HOLD: Duration = Duration::seconds(60);
/// Longest pause between two tries.
const LONGEST_PAUSE: Duration = Duration::minutes(10);
/// Calls in one round.
const BATCH: i64 = 100;

/// What a customer wants of a subscription.
#[derive(Debug, Clone)]
pub enum Wish<'a> {
    /// Another plan, now or with the period.
    Change {
        /// Wanted.
        plan: &'a Plan,
        /// With the period; else now.
        at_period_end: bool,
    },
    /// Not the plan that waits.
    UndoChange,
    /// The end.
    Cancel {
        /// When.
        when: CancelWhen,
        /// For the books.
        reason: &'a str,
    },
    /// No end.
    UndoCancel,
}

impl Wish<'_> {
    fn kind(&self) -> CallKind {
        match self {
            Self::Change { .. } => CallKind::Change,
            Self::UndoChange => CallKind::UndoChange,
            Self::Cancel { .. } => CallKind::Cancel,
            Self::UndoCancel => CallKind::UndoCancel,
        }
    }

    fn details(&self) -> serde_json::Value {
        match self {
            Self::Change { plan, at_period_end } => {
                json!({ "plan": plan.name, "at_period_end": at_period_end })
            }
            Self::Cancel { when, reason } => {
                let when = if *when == CancelWhen::Now { "now" } else { "period_end" };
                json!({ "when": when, "reason": reason })
            }
            Self::UndoChange | Self::UndoCancel => json!({}),
        }
    }

    async fn tell(&self, app: &App, row: &Subscription) -> Result<(), ProviderError> {
        let provider = &app.provider;
        match self {
            Self::Change { plan, at_period_end } => {
                let change = PlanChange {
                    subscription_id: row.id,
                    plan_name: &plan.name,
                    billing_period: plan.billing_period,
                    price: plan.price,
                    at_period_end: *at_period_end,
                };
                provider.change(&change).await
            }
            Self::UndoChange => provider.undo_change(row.id).await,
            Self::Cancel { when, .. } => provider.cancel(row.id, *when).await,
            Self::UndoCancel => provider.undo_cancel(row.id).await,
        }
    }
}

/// Carries out a wish that was checked in `tx`, which ends here: the wish is committed with it. The
/// subscription as it stands afterwards.
pub async fn carry_out(
    app: &App,
    mut tx: Transaction<'_, Postgres>,
    row: &Subscription,
    wish: Wish<'_>,
) -> Result<Subscription, Error> {
    let check_at = app.real_now_within(&mut tx).await + WISH;
    let (kind, details) = (wish.kind(), wish.details());
    let id = provider_calls::wish(&mut tx, kind, row.customer_id, row.id, &details, check_at)
        .await?
        .ok_or(Error::Conflict)?;
    tx.commit().await?;
    match wish.tell(app, row).await {
        Ok(()) => {}
        Err(ProviderError::Refused(text)) => {
            tracing::warn!(subscription.id = %row.id, text, "the provider refused a wish");
            provider_calls::close(&app.pool, id, "refused", "refused").await?;
            return Err(Error::Refused("change_blocked", "the billing provider refused the change"));
        }
        Err(error) => {
            tracing::warn!(subscription.id = %row.id, error = format!("{error:#}"), "the provider did not answer a wish");
            return Err(Error::ProviderUnavailable);
        }
    }
    // It was done. When its state cannot be read now, the sweep reads it.
    sync::customer(app, row.customer_id, sync::Cause::Hook).await?;
    provider_calls::close(&app.pool, id, "done", "").await?;
    subscriptions::find(&app.pool, row.id).await?.ok_or(Error::NotFound("subscription"))
}

/// Tells what waits. How many calls were settled.
pub async fn work(app: &App) -> Result<usize, Error> {
    let mut settled = 0;
    let now = app.real_now().await;
    for call in provider_calls::claim(&app.pool, now, HOLD, BATCH).await? {
        let outcome =
            if call.kind.is_lasting() { tell(app, &call).await.map(drop) } else { look(app, &call).await };
        match outcome {
            Ok(()) => settled += 1,
            Err(error) => {
                tracing::warn!(call.id = %call.id, error = format!("{error:#}"), "the provider is told later");
                provider_calls::postpone(&app.pool, call.id, now + pause(call.attempts)).await?;
            }
        }
    }
    Ok(settled)
}

fn pause(attempts: i32) -> Duration {
    let doubled = u32::try_from(attempts - 1).unwrap_or(0).min(10);
    (Duration::seconds(2) * 2_i32.pow(doubled)).min(LONGEST_PAUSE)
}

/// A wish whose answer was lost: the provider's state says whether it was done. What was not done is dropped,
/// since the customer heard of no success.
async fn look(app: &App, call: &Call) -> Result<(), Error> {
    sync::customer(app, call.customer_id, sync::Cause::Round).await?;
    if provider_calls::close(&app.pool, call.id, "dropped", "not done at the provider").await? {
        app.metrics.repaired("wish_dropped");
    }
    Ok(())
}

/// What the provider said to a call that lasts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heard {
    /// It did it.
    Done,
    /// It will never do it.
    Refused,
}

/// Tells it now. An error: the provider did not say.
pub async fn tell(app: &App, call: &Call) -> Result<Heard, Error> {
    let outcome = match call.kind {
        CallKind::Payment => tell_payment(app, call).await?,
        CallKind::Credit => tell_credit(app, call).await?,
        CallKind::Refund => tell_refund(app, call).await?,
        _ => tell_closed(app, call).await?,
    };
    let heard = match outcome {
        Ok(()) => {
            let mut tx = app.pool.begin().await?;
            if call.kind == CallKind::Refund {
                note_refund(&mut tx, call).await?;
            }
            provider_calls::close(&mut *tx, call.id, "done", "").await?;
            tx.commit().await?;
            Heard::Done
        }
        Err(ProviderError::Refused(text)) => {
            tracing::error!(call.id = %call.id, kind = call.kind.as_str(), text, "the provider refused money");
            let mut tx = app.pool.begin().await?;
            // Paid by somebody else in the meantime: the money is here all the same, so the customer is owed
            // it.
            if let (CallKind::Payment, Some(amount)) = (call.kind, call.amount()) {
                let key = format!("instead-of:{}", call.id);
                let details = provider_calls::amount(amount);
                provider_calls::queue(
                    &mut tx,
                    CallKind::Credit,
                    call.customer_id,
                    call.subject_id,
                    &key,
                    &details,
                )
                .await?;
            }
            if call.kind == CallKind::Refund {
                note_refused_refund(&mut tx, call, &text).await?;
            }
            provider_calls::close(&mut *tx, call.id, "refused", "refused").await?;
            tx.commit().await?;
            app.metrics.repaired("money_refused");
            Heard::Refused
        }
        Err(error) => {
            tracing::warn!(error = format!("{error:#}"), "no answer");
            return Err(Error::ProviderUnavailable);
        }
    };
    // It was said. When the state cannot be read now, the next round reads it.
    if let Err(error) = sync::customer(app, call.customer_id, sync::Cause::Hook).await {
        tracing::warn!(customer.id = %call.customer_id, error = format!("{error:#}"), "to be compared later");
        mirror::make_due(&app.pool, Some(call.customer_id)).await?;
    }
    Ok(heard)
}

type Told = Result<(), ProviderError>;

async fn tell_payment(app: &App, call: &Call) -> Result<Told, Error> {
    let id = call.subject_id.unwrap_or(Uuid::nil());
    let payment = payments::find(&app.pool, id).await?.ok_or(Error::NotFound("payment"))?;
    let invoice = invoices::find(&app.pool, payment.invoice_id).await?.ok_or(Error::NotFound("invoice"))?;
    let told = OutsidePayment {
        key: payment.id,
        customer_id: payment.customer_id,
        provider_invoice_id: &invoice.provider_id,
        amount: call.amount().unwrap_or(payment.amount),
    };
    Ok(app.provider.record_payment(&told).await.map(drop))
}

async fn tell_credit(app: &App, call: &Call) -> Result<Told, Error> {
    let Some(amount) = call.amount() else { return Ok(Err(ProviderError::Refused("no amount".into()))) };
    let credit = NewCredit {
        key: call.id,
        customer_id: call.customer_id,
        amount,
        reason: call.text("reason").unwrap_or_default(),
    };
    Ok(app.provider.credit(&credit).await)
}

/// A payment that the provider has not heard of yet comes first.
async fn tell_refund(app: &App, call: &Call) -> Result<Told, Error> {
    let Some(amount) = call.amount() else { return Ok(Err(ProviderError::Refused("no amount".into()))) };
    let id = call.subject_id.unwrap_or(Uuid::nil());
    let payment = payments::find(&app.pool, id).await?.ok_or(Error::NotFound("payment"))?;
    let told = provider_calls::find_by_key(&app.pool, &format!("payment:{id}")).await?;
    if told.is_some_and(|told| told.state == CallState::Waiting) {
        return Err(Error::ProviderUnavailable);
    }
    let at_provider = if payment.gateway == mirror::EXTERNAL_PROVIDER {
        PaidBy::ProviderId(&payment.reference)
    } else {
        PaidBy::Key(payment.id)
    };
    let refund = NewRefund { key: call.id, payment: at_provider, amount };
    Ok(app.provider.refund(&refund).await)
}

async fn tell_closed(app: &App, call: &Call) -> Result<Told, Error> {
    let id = call.subject_id.unwrap_or(Uuid::nil());
    let invoice = invoices::find(&app.pool, id).await?.ok_or(Error::NotFound("invoice"))?;
    Ok(match call.kind {
        CallKind::Void => app.provider.void(&invoice.provider_id).await,
        _ => app.provider.write_off(&invoice.provider_id).await,
    })
}

/// The provider has made it: a row of ours, with who wanted it and why.
async fn note_refund(connection: &mut PgConnection, call: &Call) -> Result<(), Error> {
    let (Some(payment), Some(amount)) = (call.subject_id, call.amount()) else { return Ok(()) };
    let (reason, actor) = (call.text("reason").unwrap_or_default(), call.text("actor").unwrap_or_default());
    let key = format!("provider-call:{}", call.id);
    let new = RefundRow { id: call.id, payment, amount, reason, actor, key: &key };
    let real = clock::real(&mut *connection).await?;
    refunds::note(connection, &new, real).await?;
    Ok(())
}

/// The provider will never make it: who wanted it, and whoever looks for it later, finds that.
async fn note_refused_refund(connection: &mut PgConnection, call: &Call, text: &str) -> Result<(), Error> {
    let by = Caller {
        actor: mirror::EXTERNAL_PROVIDER.to_owned(),
        role: "provider",
        reason: text.to_owned(),
        request_id: String::new(),
    };
    let details = json!({ "payment_id": call.subject_id, "amount_minor": call.amount().map(Money::minor) });
    audit::write(connection, &by.audit("refund_refused", call.customer_id, call.id, details)).await?;
    Ok(())
}

/// Moves the provider's clock to billing's; for tests.
pub async fn move_clock(app: &App, to: OffsetDateTime) -> Result<(), Error> {
    app.provider.move_clock(to).await.map_err(|error| {
        tracing::warn!(error = format!("{error:#}"), "the provider's clock cannot be moved");
        Error::ProviderUnavailable
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_stay_bearable() {
        assert_eq!(pause(1), Duration::seconds(2));
        assert_eq!(pause(50), LONGEST_PAUSE);
    }
}
