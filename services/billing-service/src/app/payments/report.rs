//! Takes what a gateway says about a payment: one transaction with everything that follows (BIL-26, BIL-27).

use contracts::events::topics;
use messaging::outbox;
use serde_json::json;
use sqlx::PgConnection;
use time::{Duration, OffsetDateTime};
use uuid::Uuid;

use super::refund::give_back;
use super::settle::{lock, settle};
use crate::app::App;
use crate::app::caller::Caller;
use crate::app::facts::{money_fact, to_event_amount};
use crate::app::provider::refund_via_provider;
use crate::domain::invoice::Invoice;
use crate::domain::payment::Payment;
use crate::domain::payment::PaymentState;
use crate::domain::report::{Known, Report, Verdict, judge};
use crate::error::Error;
use crate::store::audit::{self, Audit};
use crate::store::payments::{self};
use crate::store::{self, mirror, polls};

/// A payment that ended without money is looked at again, so often and so long: money may come late.
pub(super) const AFTERWARDS: Duration = Duration::hours(6);

/// Takes a report that was asked for, once or ten times, in any order. The state of the payment after it.
pub async fn take(
    app: &App,
    payment: Uuid,
    report: &Report,
    now: OffsetDateTime,
) -> Result<PaymentState, Error> {
    let found = payments::find(&app.pool, payment).await?.ok_or(Error::NotFound("payment"))?;
    let mut tx = app.pool.begin().await?;
    let (_, invoice) = lock(&mut tx, found.invoice_id).await?;
    let found = payments::lock(&mut tx, payment).await?.ok_or(Error::NotFound("payment"))?;
    let known = Known { state: found.state, settled: found.settled, amount: found.amount };
    let verdict = judge(known, report);
    match verdict {
        Verdict::Nothing => {}
        Verdict::Wait => {
            polls::note_word(&mut tx, payment, &report.gateway_reference, &report.word, &report.poll_url)
                .await?;
        }
        Verdict::Settle => {
            polls::note_word(&mut tx, payment, &report.gateway_reference, &report.word, &report.poll_url)
                .await?;
            settle(&mut tx, app, invoice.id, payment, now).await?;
        }
        Verdict::End(state) => {
            end(&mut tx, &found, &invoice, state, report, now).await?;
        }
        Verdict::Dispute(why) => {
            payments::set_state(&mut tx, payment, PaymentState::Disputed, &report.word, why, now).await?;
            tracing::error!(payment.id = %payment, why, "somebody must look at a payment");
            write_audit(&mut tx, &found, "payment_disputed", why, report).await?;
        }
        Verdict::Restore => {
            payments::set_state(&mut tx, payment, PaymentState::Paid, &report.word, "", now).await?;
            write_audit(&mut tx, &found, "payment_dispute_won", "the gateway says so", report).await?;
        }
        Verdict::GiveBack => {
            given_back(&mut tx, app, &found, &invoice, report, now).await?;
        }
    }
    let after = payments::find(&mut *tx, payment).await?.ok_or(Error::Conflict)?;
    app.fail.at("report.before_commit");
    tx.commit().await?;
    app.fail.at("report.booked");
    if verdict != Verdict::Nothing && verdict != Verdict::Wait {
        app.metrics.gateway(&found.gateway, after.state.as_str());
        tracing::info!(payment.id = %payment, state = after.state.as_str(), "the payment gateway reported");
    }
    Ok(after.state)
}

/// It ended without money: the customer hears why, since he thinks that he paid.
async fn end(
    connection: &mut PgConnection,
    payment: &Payment,
    invoice: &Invoice,
    state: PaymentState,
    report: &Report,
    now: OffsetDateTime,
) -> Result<(), Error> {
    let reason = if state == PaymentState::Failed { "declined" } else { "cancelled" };
    polls::note_word(connection, payment.id, &report.gateway_reference, &report.word, &report.poll_url)
        .await?;
    if !payments::set_state(connection, payment.id, state, &report.word, reason, now).await? {
        return Ok(());
    }
    // Money may come all the same.
    let real = store::clock::real(&mut *connection).await?;
    polls::schedule(&mut *connection, payment.id, Some(real + AFTERWARDS)).await?;
    let mut fact = money_fact(payment.customer_id, now);
    fact.subscription_id = invoice.subscription_id;
    fact.invoice_id = Some(invoice.id);
    fact.invoice_number = Some(invoice.number.clone());
    fact.amount = Some(to_event_amount(payment.amount));
    fact.balance = Some(to_event_amount(invoice.balance));
    fact.reason = Some(reason.to_owned());
    outbox::enqueue(connection, topics::PAYMENT_FAILED, payment.customer_id, &fact).await?;
    Ok(())
}

/// The gateway gave the rest of a payment back by itself: the books follow, as after a refund of ours.
async fn given_back(
    connection: &mut PgConnection,
    app: &App,
    payment: &Payment,
    invoice: &Invoice,
    report: &Report,
    now: OffsetDateTime,
) -> Result<(), Error> {
    let left = payment.amount.checked_add(payment.refunded.checked_neg()?)?;
    let by = Caller {
        actor: payment.gateway.clone(),
        role: "gateway",
        reason: "the payment gateway gave the money back".into(),
        request_id: String::new(),
    };
    let key = format!("gateway-refund:{}", payment.id);
    let given = if invoice.provider == mirror::EXTERNAL_PROVIDER {
        let at = app.real_now_within(&mut *connection).await;
        refund_via_provider::queue(connection, &by, payment, left, &key, at).await
    } else {
        give_back(connection, app, &by, payment, invoice, left, &key, now).await.map(drop)
    };
    match given {
        Ok(()) => Ok(()),
        // Its credit was used meanwhile: the books cannot say who lost it. A person decides.
        Err(Error::Refused(..)) => {
            let why = "refunded_but_used";
            payments::set_state(connection, payment.id, PaymentState::Disputed, &report.word, why, now)
                .await?;
            tracing::error!(payment.id = %payment.id, why, "somebody must look at a payment");
            write_audit(connection, payment, "payment_disputed", why, report).await
        }
        Err(error) => Err(error),
    }
}

/// What was said, in full, for the person who looks.
async fn write_audit(
    connection: &mut PgConnection,
    payment: &Payment,
    action: &str,
    reason: &str,
    report: &Report,
) -> Result<(), Error> {
    let row = Audit {
        actor: &payment.gateway,
        role: "gateway",
        action,
        customer_id: Some(payment.customer_id),
        subject_id: Some(payment.id),
        reason,
        request_id: "",
        details: json!({
            "reference": payment.reference,
            "expected_minor": payment.amount.minor(),
            "currency": payment.amount.currency().to_string(),
            "said_minor": report.amount.map(crate::domain::money::Money::minor),
            "word": report.word,
        }),
    };
    audit::write(connection, &row).await?;
    Ok(())
}
