//! Refunds of payments whose books the provider keeps. The refund is written before the provider is told, and
//! told until it was heard; the payment follows the provider's count. What waits is taken, so that nobody
//! gives it back a second time.

use serde_json::json;
use sqlx::{PgConnection, Postgres, Transaction};
use time::Duration;
use uuid::Uuid;

use super::provider_commands::{Heard, tell};
use crate::app::App;
use crate::app::caller::Caller;
use crate::domain::money::Money;
use crate::domain::payment::Payment;
use crate::domain::payment::PaymentState;
use crate::error::Error;
use crate::store::payments::{self};
use crate::store::provider_calls::{self, Call, CallKind, CallState};
use crate::store::{audit, mirror};

/// The caller tells it himself; longer than a call to the provider may take.
const OURS: Duration = Duration::seconds(30);

/// A refund that was taken on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refunded {
    /// The payment after it.
    pub payment: Payment,
    /// The refund.
    pub id: Uuid,
    /// The books have it; else the provider that keeps them hears of it later.
    pub done: bool,
}

/// Gives money back at the provider. `payment` is locked in `tx`, which ends here.
pub async fn refund(
    app: &App,
    mut tx: Transaction<'_, Postgres>,
    by: &Caller,
    payment: &Payment,
    amount: Money,
    key: &str,
) -> Result<Refunded, Error> {
    if let Some(before) = provider_calls::find_by_key(&mut *tx, key).await? {
        tx.commit().await?;
        if before.amount() != Some(amount) {
            return Err(Error::Refused("idempotency_mismatch", "the key was used for another refund"));
        }
        return tell_now(app, &before).await;
    }
    if payment.state != PaymentState::Paid {
        return Err(Error::Refused("not_refundable", "the payment has not so much to give back"));
    }
    let at = app.real_now_within(&mut tx).await + OURS;
    queue(&mut tx, by, payment, amount, key, at).await?;
    let call = provider_calls::find_by_key(&mut *tx, key).await?.ok_or(Error::Conflict)?;
    tx.commit().await?;
    tell_now(app, &call).await
}

/// Writes a refund that the provider shall make, once for its key. The payment must be locked.
pub async fn queue(
    connection: &mut PgConnection,
    by: &Caller,
    payment: &Payment,
    amount: Money,
    key: &str,
    at: time::OffsetDateTime,
) -> Result<(), Error> {
    if amount.currency() != payment.amount.currency() {
        return Err(Error::Field { field: "amount", message: "must have the currency of the payment" });
    }
    if provider_calls::find_by_key(&mut *connection, key).await?.is_some() {
        return Ok(());
    }
    // What was paid too much, or after somebody else, is credit there: no part of this payment.
    let told = provider_calls::find_by_key(&mut *connection, &format!("payment:{}", payment.id)).await?;
    let known = match &told {
        Some(call) if call.state == CallState::Refused => 0,
        Some(call) => call.amount().map_or(0, Money::minor),
        None if payment.gateway == mirror::EXTERNAL_PROVIDER => payment.amount.minor(),
        None => 0,
    };
    let waiting = provider_calls::refunds_waiting(&mut *connection, payment.id).await?;
    if amount.minor() <= 0 || amount.minor() > known - payment.refunded.minor() - waiting {
        return Err(Error::Refused("not_refundable", "the payment has not so much to give back"));
    }
    let mut details = provider_calls::amount(amount);
    if let Some(object) = details.as_object_mut() {
        object.extend([("reason".into(), json!(by.reason)), ("actor".into(), json!(by.actor))]);
    }
    let (kind, whose) = (CallKind::Refund, payment.customer_id);
    let id =
        provider_calls::queue_for(connection, kind, whose, Some(payment.id), key, &details, Some(at)).await?;
    let id = id.ok_or(Error::Conflict)?;
    let details = json!({ "payment_id": payment.id, "amount_minor": amount.minor() });
    audit::write(connection, &by.audit("payment_refunded", whose, id, details)).await?;
    Ok(())
}

async fn tell_now(app: &App, call: &Call) -> Result<Refunded, Error> {
    let refused = Error::Refused("not_refundable", "the billing provider refused the refund");
    let done = match call.state {
        CallState::Waiting => match tell(app, call).await {
            Ok(Heard::Done) => true,
            Ok(Heard::Refused) => return Err(refused),
            // It is told until it was heard.
            Err(error) => {
                tracing::warn!(call.id = %call.id, error = format!("{error:#}"), "the refund is told later");
                false
            }
        },
        CallState::Done => true,
        CallState::Refused | CallState::Dropped => return Err(refused),
    };
    let payment = call.subject_id.unwrap_or(Uuid::nil());
    let payment = payments::find(&app.pool, payment).await?.ok_or(Error::NotFound("payment"))?;
    Ok(Refunded { payment, id: call.id, done })
}
