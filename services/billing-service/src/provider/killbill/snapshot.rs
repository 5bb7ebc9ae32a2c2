//! All that Kill Bill holds about one customer, in our words: the read model is compared with it.

use time::OffsetDateTime;
use uuid::Uuid;

use super::KillBill;
use super::fault::Fault;
use super::model::{Bundle, Event, Invoice, Item, Payment, Subscription};
use super::values::Decimal;
use crate::domain::money::{Currency, Money, MoneyError};
use crate::provider::ProviderError;

/// Takes a part of another item back, on the invoice of that item.
const ADJUSTMENT: &str = "ITEM_ADJ";

/// One customer's state at the provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// The provider's id of the account.
    pub account: Uuid,
    /// Credit that waits for the next invoice.
    pub credit: Money,
    /// Subscriptions, ended ones too.
    pub subscriptions: Vec<SubscriptionState>,
    /// Invoices in the order of their issue.
    pub invoices: Vec<InvoiceState>,
    /// Payments.
    pub payments: Vec<PaymentState>,
}

/// A subscription at the provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubscriptionState {
    /// Our id.
    pub id: Uuid,
    /// The provider's id.
    pub provider_id: Uuid,
    /// Plan now.
    pub plan_name: String,
    /// Plan later, and from when on.
    pub pending_plan: Option<(String, OffsetDateTime)>,
    /// End of the trial that it is in.
    pub trial_ends_at: Option<OffsetDateTime>,
    /// Paid periods until then.
    pub charged_through: Option<OffsetDateTime>,
    /// It will end then.
    pub cancel_at: Option<OffsetDateTime>,
    /// It ended then.
    pub ended_at: Option<OffsetDateTime>,
}

/// An invoice at the provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvoiceState {
    /// The provider's id.
    pub provider_id: Uuid,
    /// Number there.
    pub number: String,
    /// Issued (COMMITTED), and not void.
    pub issued: bool,
    /// Void.
    pub void: bool,
    /// Day of issue.
    pub issued_at: OffsetDateTime,
    /// Sum when it was issued.
    pub total: Money,
    /// What is left to pay.
    pub balance: Money,
    /// Lines when it was issued.
    pub lines: Vec<LineState>,
    /// What was taken back of it since.
    pub adjustments: Vec<AdjustmentState>,
}

/// A part of a charge that was taken back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdjustmentState {
    /// The provider's id.
    pub provider_id: Uuid,
    /// How much.
    pub amount: Money,
    /// When.
    pub at: OffsetDateTime,
}

/// A line at the provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LineState {
    /// The provider's id.
    pub provider_id: Uuid,
    /// The provider's id of the subscription.
    pub subscription: Option<Uuid>,
    /// RECURRING, FIXED, REPAIR_ADJ, CBA_ADJ, …
    pub kind: String,
    /// For people.
    pub description: String,
    /// Period.
    pub period: Option<(OffsetDateTime, OffsetDateTime)>,
    /// Amount.
    pub amount: Money,
}

/// A payment at the provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PaymentState {
    /// The provider's id.
    pub provider_id: Uuid,
    /// Our id, or what somebody else wrote there.
    pub key: String,
    /// The provider's id of the invoice.
    pub invoice: Option<Uuid>,
    /// What was paid.
    pub amount: Money,
    /// What was given back.
    pub refunded: Money,
    /// When it was made.
    pub at: Option<OffsetDateTime>,
}

impl KillBill {
    /// Pulls the state of a customer; `None`: there is no account.
    pub async fn snapshot(&self, customer: Uuid) -> Result<Option<Snapshot>, ProviderError> {
        self.ensure_ready().await?;
        let Some(account) = self.account_by_key(customer).await? else { return Ok(None) };
        let currency = account.currency.as_deref().unwrap_or("USD");
        let currency: Currency =
            currency.parse().map_err(|_| Fault::Nonsense("an account without a currency".into()))?;
        let bundles: Vec<Bundle> =
            self.get(&format!("/accounts/{}/bundles", account.account_id), &[]).await?;
        // Only of a change it must be known whether it lies ahead.
        let has_change = |found: &Subscription| found.events.iter().any(Event::is_change);
        let now = if bundles.iter().flat_map(|bundle| &bundle.subscriptions).any(has_change) {
            self.server_time().await?
        } else {
            runtime::clock::now()
        };
        let invoices = self.invoices(account.account_id).await?;
        let payments = self.payments(account.account_id).await?;
        let credit =
            account.credit.as_ref().map_or(Ok(Money::zero(currency)), |credit| money(credit, currency))?;
        let mut invoices: Vec<InvoiceState> = invoices.into_iter().map(invoice).collect::<Result<_, _>>()?;
        invoices.sort_by(|a, b| (a.issued_at, &a.number).cmp(&(b.issued_at, &b.number)));
        Ok(Some(Snapshot {
            account: account.account_id,
            credit,
            // What was made by hand at the provider has no id of ours and is not ours.
            subscriptions: bundles
                .into_iter()
                .flat_map(|bundle| bundle.subscriptions)
                .filter_map(|found| subscription(&found, now))
                .collect(),
            invoices,
            payments: payments.into_iter().map(payment).collect::<Result<_, _>>()?,
        }))
    }
}

fn money(amount: &Decimal, currency: Currency) -> Result<Money, Fault> {
    amount.money(currency).map_err(|error| Fault::Nonsense(error.to_string()))
}

fn currency(code: &str) -> Result<Currency, Fault> {
    code.parse().map_err(|_| Fault::Nonsense("an amount without a currency".into()))
}

fn subscription(found: &Subscription, now: OffsetDateTime) -> Option<SubscriptionState> {
    let over = found.is_over();
    Some(SubscriptionState {
        id: found.external_key.parse().ok()?,
        provider_id: found.subscription_id,
        plan_name: found.plan_name.clone(),
        pending_plan: found.pending_plan(now).map(|(plan, at)| (plan.to_owned(), at)),
        trial_ends_at: found.trial_end().map(|date| date.0),
        charged_through: found.charged_through_date.map(|date| date.0),
        cancel_at: found.ends_at().filter(|_| !over),
        ended_at: found.ends_at().filter(|_| over),
    })
}

fn invoice(found: Invoice) -> Result<InvoiceState, Fault> {
    let currency = currency(&found.currency)?;
    let broken = |error: MoneyError| Fault::Nonsense(error.to_string());
    let (adjusted, items): (Vec<_>, Vec<_>) =
        found.items.unwrap_or_default().into_iter().partition(|item| item.item_type == ADJUSTMENT);
    let lines: Result<Vec<_>, _> = items.into_iter().map(|item| line(item, currency)).collect();
    let adjustments = adjusted.iter().map(|item| adjustment(item, currency));
    let adjustments: Vec<AdjustmentState> = adjustments.collect::<Result<_, _>>()?;
    let taken_back = Money::sum(currency, adjustments.iter().map(|found| found.amount)).map_err(broken)?;
    Ok(InvoiceState {
        provider_id: found.invoice_id,
        number: found.invoice_number.unwrap_or_default(),
        issued: found.status == "COMMITTED",
        void: found.status == "VOID",
        issued_at: found.invoice_date.0,
        total: money(&found.amount, currency)?.checked_add(taken_back).map_err(broken)?,
        balance: money(&found.balance, currency)?,
        lines: lines?,
        adjustments,
    })
}

fn adjustment(item: &Item, currency: Currency) -> Result<AdjustmentState, Fault> {
    let amount = money(&item.amount, currency)?.checked_neg();
    Ok(AdjustmentState {
        provider_id: item.invoice_item_id,
        amount: amount.map_err(|error| Fault::Nonsense(error.to_string()))?,
        at: item.start_date.map_or(OffsetDateTime::UNIX_EPOCH, |date| date.0),
    })
}

fn line(item: Item, currency: Currency) -> Result<LineState, Fault> {
    Ok(LineState {
        provider_id: item.invoice_item_id,
        subscription: item.subscription_id,
        description: item.description.or(item.plan_name).unwrap_or_else(|| item.item_type.clone()),
        kind: item.item_type,
        period: item.start_date.zip(item.end_date).map(|(start, end)| (start.0, end.0)),
        amount: money(&item.amount, currency)?,
    })
}

fn payment(found: Payment) -> Result<PaymentState, Fault> {
    let currency = currency(&found.currency)?;
    let made = found.transactions.iter().find(|step| step.transaction_type == "PURCHASE");
    Ok(PaymentState {
        at: made.map(|step| step.effective_date.0),
        provider_id: found.payment_id,
        key: found.payment_external_key,
        invoice: found.target_invoice_id,
        amount: money(&found.purchased_amount, currency)?,
        refunded: money(&found.refunded_amount, currency)?,
    })
}
