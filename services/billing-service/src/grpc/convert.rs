//! Domain values → messages, and ids ← messages.

use contracts::billing::v1 as proto;
use contracts::scalars::timestamp;
use uuid::Uuid;

use crate::app::invoices::read as invoices;
use crate::app::subscriptions::read as subscriptions;
use crate::domain::account::Account;
use crate::domain::invoice::InvoiceStatus;
use crate::domain::money::Money;
use crate::domain::payment::Payment;
use crate::domain::plan::Plan;
use crate::domain::webhook::Webhook;
use crate::error::Error;

/// Longest part of a hook's body that a list shows.
const SHOWN: usize = 4_000;

/// Largest amount of a request, in minor units: sums of thousands of them do not overflow.
const MOST_MONEY: u64 = 1_000_000_000_000;

pub(super) fn uuid(field: &'static str, text: &str) -> Result<Uuid, Error> {
    Uuid::parse_str(text).map_err(|_| Error::Field { field, message: "must be a UUID" })
}

pub(super) fn plan(plan: Plan) -> proto::Plan {
    proto::Plan {
        tier: plan.tier.as_str().into(),
        billing_period: plan.billing_period.as_str().into(),
        price: Some(proto::Money {
            amount_minor: plan.price.minor(),
            currency: plan.price.currency().to_string(),
        }),
        trial_days: plan.trial_days.into(),
        available: plan.active,
        limits: Some(proto::Limits {
            cpu_millis: plan.cpu_millis,
            memory_mib: plan.memory_mib,
            storage_mib: plan.storage_mib,
        }),
        db_type: plan.db_type.as_str().into(),
        db_tier: plan.db_tier,
        backup_schedule: plan.backup_schedule,
        backups_keep: plan.backups_keep,
        entitlement_version: plan.entitlement_version,
        name: plan.name,
        product: plan.product,
        description: plan.description,
    }
}

/// A subscription, and when its dunning goes on.
pub(super) fn subscription(view: subscriptions::View) -> proto::Subscription {
    let subscriptions::View { subscription, next_step_at } = view;
    proto::Subscription {
        id: subscription.id.to_string(),
        customer_id: subscription.customer_id.to_string(),
        instance_id: subscription.instance_id.to_string(),
        plan_name: subscription.plan_name,
        billing_period: subscription.billing_period.as_str().into(),
        status: subscription.status.as_str().into(),
        trial_ends_at: subscription.trial_ends_at.map(timestamp),
        current_period_start: subscription.current_period_start.map(timestamp),
        current_period_end: subscription.current_period_end.map(timestamp),
        cancel_at: subscription.cancel_at.map(timestamp),
        provider: subscription.provider,
        provider_id: subscription.provider_id,
        created_at: Some(timestamp(subscription.created_at)),
        ladder: Some(proto::Ladder {
            state: subscription.dunning.as_str().into(),
            since: subscription.dunning_since.map(timestamp),
            next_step_at: next_step_at.map(timestamp),
        }),
        pending_change: subscription.pending.map(|pending| proto::PendingChange {
            plan_name: pending.plan_name,
            effective_at: pending.effective_at.map(timestamp),
            invoice_id: pending.invoice_id.map(|id| id.to_string()).unwrap_or_default(),
        }),
    }
}

pub(super) fn money(amount: Money) -> proto::Money {
    proto::Money { amount_minor: amount.minor(), currency: amount.currency().to_string() }
}

/// An amount of a request.
pub(super) fn amount(money: Option<proto::Money>) -> Result<Money, Error> {
    let money = money.ok_or(Error::Field { field: "amount", message: "must be given" })?;
    let currency = money
        .currency
        .parse()
        .map_err(|_| Error::Field { field: "amount", message: "has no known currency" })?;
    if money.amount_minor.unsigned_abs() > MOST_MONEY {
        return Err(Error::Field { field: "amount", message: "is too large" });
    }
    Ok(Money::new(money.amount_minor, currency))
}

/// An invoice with its lines.
pub(super) fn invoice(view: invoices::View) -> proto::Invoice {
    let invoices::View { invoice, lines, read_at } = view;
    let overdue = invoice
        .due_at
        .filter(|_| invoice.status == InvoiceStatus::Open)
        .map_or(0, |due| (read_at - due).whole_days().max(0));
    let payment_state = match invoice.status {
        InvoiceStatus::Paid => "paid",
        InvoiceStatus::Open if invoice.balance == invoice.total => "unpaid",
        InvoiceStatus::Open => "partial",
        InvoiceStatus::Draft | InvoiceStatus::Void | InvoiceStatus::WrittenOff => "none",
    };
    proto::Invoice {
        id: invoice.id.to_string(),
        customer_id: invoice.customer_id.to_string(),
        subscription_ids: invoice.subscription_id.iter().map(ToString::to_string).collect(),
        status: invoice.status.as_str().into(),
        payment_state: payment_state.into(),
        subtotal: Some(money(invoice.subtotal)),
        tax: Some(money(invoice.tax)),
        total: Some(money(invoice.total)),
        balance: Some(money(invoice.balance)),
        issued_at: invoice.issued_at.map(timestamp),
        due_at: invoice.due_at.map(timestamp),
        paid_at: invoice.paid_at.map(timestamp),
        days_overdue: u32::try_from(overdue).unwrap_or(0),
        kind: invoice.kind.as_str().into(),
        corrects_id: invoice.corrects_id.map(|id| id.to_string()).unwrap_or_default(),
        note: invoice.note,
        number: invoice.number,
        lines: lines
            .into_iter()
            .map(|line| proto::InvoiceLine {
                description: line.description,
                period_start: line.period.map(|(start, _)| timestamp(start)),
                period_end: line.period.map(|(_, end)| timestamp(end)),
                quantity: line.quantity,
                unit_amount: Some(money(line.unit)),
                amount: Some(money(line.amount)),
                kind: line.kind.as_str().into(),
            })
            .collect(),
    }
}

pub(super) fn account(account: Account, credit: Money) -> proto::Account {
    let part = |name: &str| account.address[name].as_str().unwrap_or_default().to_owned();
    proto::Account {
        customer_id: account.id.to_string(),
        address: Some(proto::Address {
            street: part("street"),
            city: part("city"),
            postal_code: part("postal_code"),
            region: part("region"),
        }),
        company: account.company,
        tax_id: account.tax_id,
        billing_email: account.billing_email,
        country: account.country,
        currency: account.currency,
        created_at: Some(timestamp(account.created_at)),
        credit: Some(money(credit)),
    }
}

pub(super) fn payment(payment: Payment) -> proto::Payment {
    proto::Payment {
        id: payment.id.to_string(),
        customer_id: payment.customer_id.to_string(),
        invoice_id: payment.invoice_id.to_string(),
        amount: Some(money(payment.amount)),
        refunded: Some(money(payment.refunded)),
        state: payment.state.as_str().into(),
        received_at: payment.received_at.map(timestamp),
        created_at: Some(timestamp(payment.created_at)),
        method: payment.method,
        gateway: payment.gateway,
        reference: payment.reference,
        gateway_status: payment.gateway_status,
        redirect_url: payment.redirect_url,
        reason: payment.reason,
    }
}

pub(super) fn webhook(hook: Webhook) -> proto::Webhook {
    proto::Webhook {
        id: hook.id.to_string(),
        received_at: Some(timestamp(hook.received_at)),
        state: hook.state.as_str().into(),
        deliveries: u32::try_from(hook.deliveries).unwrap_or(0),
        attempts: u32::try_from(hook.attempts).unwrap_or(0),
        processed_at: hook.processed_at.map(timestamp),
        customer_id: hook.customer_id.map(|id| id.to_string()).unwrap_or_default(),
        body: String::from_utf8_lossy(&hook.body)
            .chars()
            .filter(|char| *char != char::REPLACEMENT_CHARACTER)
            .take(SHOWN)
            .collect(),
        provider: hook.provider,
        outcome: hook.outcome,
    }
}
