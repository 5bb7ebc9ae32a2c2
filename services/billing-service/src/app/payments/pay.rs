//! A customer pays an invoice through a gateway (BIL-27): the row first, then the gateway, then what it
//! answered. Whatever is lost in between, the row finds out what became of it by our own id (`poll.rs`).

use time::{Duration, OffsetDateTime};
use uuid::Uuid;

use super::poll;
use super::report::take;
use super::settle::lock;
use crate::app::App;
use crate::domain::invoice::InvoiceStatus;
use crate::domain::money::Money;
use crate::domain::payment::Payment;
use crate::domain::payment::{Method, PaymentState};
use crate::error::Error;
use crate::gateway::{Begun, Charge, GatewayError, PaymentGateway};
use crate::store::payments::{self, NewPayment};
use crate::store::polls;

/// Until the gateway is asked for the first time.
const FIRST_LOOK: Duration = Duration::seconds(5);
/// What stands in the way of a second payment.
const WAITS: &str = "a payment of this invoice is on its way";

/// What a customer wants.
#[derive(Debug, Clone)]
pub struct Wish {
    /// Who pays; the invoice must be his.
    pub customer_id: Uuid,
    /// What.
    pub invoice_id: Uuid,
    /// Through whom.
    pub gateway: String,
    /// How.
    pub method: Method,
    /// Whose phone, for mobile money.
    pub phone: String,
    /// A part of it; none: all that is left.
    pub amount: Option<Money>,
}

/// Begins a payment. `now` is billing time.
pub async fn pay(app: &App, wish: &Wish, now: OffsetDateTime) -> Result<Payment, Error> {
    let gateway = app.gateways.get(&wish.gateway).ok_or(Error::GatewayOff)?;
    check_phone(wish)?;
    let (payment, about) = match write(app, wish, gateway.as_ref(), now).await? {
        Written::New(payment, about) => (payment, about),
        // It may be over, and nobody has told us: then the next one may begin.
        Written::Waits(other) => {
            poll::ask(app, other, app.real_now().await).await?;
            match write(app, wish, gateway.as_ref(), now).await? {
                Written::New(payment, about) => (payment, about),
                Written::Waits(_) => return Err(Error::Refused("payment_pending", WAITS)),
            }
        }
    };
    app.fail.at("pay.row_written");
    let charge = Charge {
        payment: payment.id,
        reference: &payment.reference,
        amount: payment.amount,
        method: wish.method,
        phone: &wish.phone,
        about: &about,
    };
    let begun = gateway.begin(&charge).await;
    app.fail.at("pay.gateway_answered");
    answered(app, &payment, begun, now).await
}

fn check_phone(wish: &Wish) -> Result<(), Error> {
    let phone = wish.phone.as_bytes();
    let good = phone.len() == 10 && phone.starts_with(b"07") && phone.iter().all(u8::is_ascii_digit);
    if wish.method.needs_phone() == phone.is_empty() || (!phone.is_empty() && !good) {
        let message = "must have 10 digits and start with 07 for mobile money, and be absent else";
        return Err(Error::Field { field: "phone", message });
    }
    Ok(())
}

enum Written {
    /// With what the customer reads about it.
    New(Box<Payment>, String),
    /// Another payment of the invoice is on its way.
    Waits(Uuid),
}

/// The row of the payment, when the invoice may be paid. The lock of the invoice lets one of many through.
async fn write(
    app: &App,
    wish: &Wish,
    gateway: &dyn PaymentGateway,
    now: OffsetDateTime,
) -> Result<Written, Error> {
    let mut tx = app.pool.begin().await?;
    let (_, invoice) = lock(&mut tx, wish.invoice_id).await?;
    if invoice.customer_id != wish.customer_id || invoice.status == InvoiceStatus::Draft {
        return Err(Error::NotFound("invoice"));
    }
    if invoice.status != InvoiceStatus::Open || invoice.balance.minor() <= 0 {
        return Err(Error::Refused("invoice_not_open", "the invoice is not open"));
    }
    let amount = wish.amount.unwrap_or(invoice.balance);
    if amount.currency() != invoice.currency() || !(1..=invoice.balance.minor()).contains(&amount.minor()) {
        return Err(Error::Field {
            field: "amount",
            message: "must be positive and at most what is left to pay",
        });
    }
    if gateway.currency().is_some_and(|currency| currency != invoice.currency()) {
        return Err(Error::Refused("gateway_refused", "the payment gateway does not take this currency"));
    }
    if let Some(other) = polls::on_its_way(&mut tx, invoice.id).await? {
        return Ok(Written::Waits(other.id));
    }
    let id = Uuid::now_v7();
    // The end of the id is its random part.
    let reference = format!("{}-{}", invoice.number, &id.simple().to_string()[20..]);
    let new = NewPayment {
        id,
        customer_id: invoice.customer_id,
        invoice_id: invoice.id,
        amount,
        method: wish.method.as_str(),
        gateway: gateway.name(),
        reference: &reference,
        reason: "",
        actor: "",
        received_at: None,
        created_at: now,
    };
    if !payments::insert(&mut tx, &new).await? {
        return Err(Error::Conflict);
    }
    let begun = app.real_now_within(&mut tx).await;
    polls::begin(&mut tx, id, begun, gateway.patience(), FIRST_LOOK).await?;
    let payment = payments::find(&mut *tx, id).await?.ok_or(Error::Conflict)?;
    app.fail.at("pay.before_commit");
    tx.commit().await?;
    Ok(Written::New(Box::new(payment), format!("Invoice {}", invoice.number)))
}

/// Notes what the gateway said. No answer: the payment stays on its way, since it may have begun, and is
/// asked about.
async fn answered(
    app: &App,
    payment: &Payment,
    begun: Result<Begun, GatewayError>,
    now: OffsetDateTime,
) -> Result<Payment, Error> {
    match begun {
        Ok(begun) => {
            polls::note_begun(
                &app.pool,
                payment.id,
                &begun.poll_url,
                &begun.redirect_url,
                &begun.gateway_reference,
            )
            .await?;
            app.fail.at("pay.answer_noted");
            app.metrics.gateway(&payment.gateway, "begun");
            if let Some(report) = begun.report {
                take(app, payment.id, &report, now).await?;
            }
            payments::find(&app.pool, payment.id).await?.ok_or(Error::NotFound("payment"))
        }
        Err(GatewayError::Refused(text)) => {
            app.metrics.gateway(&payment.gateway, "refused");
            tracing::info!(payment.id = %payment.id, "the payment gateway refused");
            let mut tx = app.pool.begin().await?;
            payments::set_state(&mut tx, payment.id, PaymentState::Failed, "Error", &text, now).await?;
            tx.commit().await?;
            Err(Error::GatewayRefused(text))
        }
        Err(GatewayError::Unavailable(cause)) => {
            app.metrics.gateway(&payment.gateway, "no_answer");
            tracing::warn!(payment.id = %payment.id, error = format!("{cause:#}"), "the payment gateway gave no answer; it is asked again");
            Err(Error::GatewayAway)
        }
    }
}
