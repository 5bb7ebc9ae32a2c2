//! Asks gateways about payments on their way (BIL-27): after a hook, and by itself for those whose hook was
//! lost. Every payment ends: paid, not paid within its time, or before a person's eyes.

use std::time::Duration as Wait;

use time::{Duration, OffsetDateTime};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::report::{AFTERWARDS, take};
use crate::app::App;
use crate::domain::payment::PaymentState;
use crate::error::Error;
use crate::gateway::{Asked, GatewayError};
use crate::store::payments;
use crate::store::polls::{self, Due};

/// Payments in one round.
const BATCH: i64 = 20;
/// How long a claimed payment is ours; longer than any answer takes.
const HOLD: Duration = Duration::seconds(60);
/// Between two looks: longer each time, and never longer than a customer would wait for us.
const STEP: Duration = Duration::seconds(5);
const LONGEST: Duration = Duration::minutes(1);
/// A payment that the gateway does not know may not have reached it yet.
const ARRIVES: Duration = Duration::seconds(90);
const FOR: Duration = Duration::hours(48);
/// After so long without any answer a person must look.
const NO_ANSWER: Duration = Duration::hours(24);

/// Polls each `pause` until `stop`. Every replica may: a claimed payment is left alone by the others.
pub async fn run(app: App, pause: Wait, stop: CancellationToken) -> anyhow::Result<()> {
    loop {
        if let Err(error) = poll(&app, app.real_now().await).await {
            tracing::warn!(error = format!("{error:#}"), "payments cannot be polled, trying again");
        }
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            () = tokio::time::sleep(pause) => {}
        }
    }
}

/// One round over the payments that are due. How many were asked about.
pub async fn poll(app: &App, now: OffsetDateTime) -> Result<usize, Error> {
    let due = polls::claim(&app.pool, now, HOLD, BATCH).await?;
    let found = due.len();
    // Side by side: one that hangs must not make the others wait.
    let mut running = JoinSet::new();
    for due in due {
        let app = app.clone();
        running.spawn(async move {
            if let Err(error) = look(&app, &due, now).await {
                tracing::warn!(payment.id = %due.id, error = format!("{error:#}"), "a payment could not be asked about");
            }
        });
    }
    while let Some(ended) = running.join_next().await {
        ended.map_err(|error| Error::Internal(error.into()))?;
    }
    Ok(found)
}

/// One look, and when the next one is.
async fn look(app: &App, due: &Due, now: OffsetDateTime) -> Result<(), Error> {
    let heard = ask(app, due.id, now).await?;
    let state = match heard {
        Heard::State(state) => state,
        Heard::Unknown if now < due.begun_at + ARRIVES => PaymentState::Pending,
        Heard::Unknown => end(app, due.id, PaymentState::Failed, "not_begun").await?,
        Heard::NoAnswer if now >= due.expires_at + NO_ANSWER => {
            end(app, due.id, PaymentState::Disputed, "no_answer").await?
        }
        Heard::NoAnswer => PaymentState::Pending,
    };
    let late = now >= due.expires_at;
    let state = match (state, heard) {
        (PaymentState::Pending, Heard::State(_)) if late => {
            end(app, due.id, PaymentState::Cancelled, "expired").await?
        }
        (state, _) => state,
    };
    let next = match state {
        PaymentState::Pending => Some((STEP * due.polls.max(1)).min(LONGEST)),
        PaymentState::Failed | PaymentState::Cancelled if now < due.expires_at + FOR => Some(AFTERWARDS),
        _ => None,
    };
    polls::schedule(&app.pool, due.id, next.map(|pause| now + pause)).await?;
    Ok(())
}

/// What the gateway told about a payment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heard {
    /// Its state now, after what was told.
    State(PaymentState),
    /// The gateway does not know it.
    Unknown,
    /// Nothing.
    NoAnswer,
}

/// Asks the gateway about a payment and takes what it says.
pub async fn ask(app: &App, payment: Uuid, now: OffsetDateTime) -> Result<Heard, Error> {
    let found = payments::find(&app.pool, payment).await?.ok_or(Error::NotFound("payment"))?;
    let Some(gateway) = app.gateways.get(&found.gateway) else {
        // Switched off meanwhile.
        return Ok(Heard::NoAnswer);
    };
    let asked = Asked {
        payment: found.id,
        reference: &found.reference,
        amount: found.amount,
        poll_url: &found.poll_url,
    };
    let told = gateway.look_up(&asked).await;
    app.fail.at("gateway.asked");
    match told {
        Ok(Some(report)) => {
            // The books are in billing time, the waiting is not.
            let at = app.now().await.max(now);
            Ok(Heard::State(take(app, payment, &report, at).await?))
        }
        Ok(None) => Ok(Heard::Unknown),
        Err(GatewayError::Unavailable(cause)) => {
            tracing::warn!(payment.id = %payment, error = format!("{cause:#}"), "the payment gateway gives no answer");
            Ok(Heard::NoAnswer)
        }
        Err(GatewayError::Refused(why)) => {
            tracing::warn!(payment.id = %payment, why, "the payment gateway refuses to tell");
            Ok(Heard::NoAnswer)
        }
    }
}

/// Ends a payment that is still on its way. Money that comes all the same is taken.
async fn end(app: &App, payment: Uuid, state: PaymentState, why: &str) -> Result<PaymentState, Error> {
    let now = app.now().await;
    let mut tx = app.pool.begin().await?;
    let Some(found) = payments::lock(&mut tx, payment).await? else { return Ok(state) };
    if found.state == PaymentState::Pending {
        payments::set_state(&mut tx, payment, state, &found.gateway_status, why, now).await?;
        if state == PaymentState::Disputed {
            tracing::error!(payment.id = %payment, why, "somebody must look at a payment");
        } else {
            tracing::info!(payment.id = %payment, state = state.as_str(), why, "a payment ended");
        }
    }
    let after = payments::find(&mut *tx, payment).await?.map_or(state, |after| after.state);
    tx.commit().await?;
    Ok(after)
}
