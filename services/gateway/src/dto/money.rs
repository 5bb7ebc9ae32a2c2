//! Invoices, accounts, changes of plans, the test clock.

use ::time::OffsetDateTime;
use contracts::billing::v1 as pb;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::billing::{Plan, Subscription};
use super::scalars::{Cpu, Money, Size, Time, text, time};

#[derive(Debug, Serialize, ToSchema)]
pub struct InvoiceLine {
    pub description: String,
    pub period_start: Option<Time>,
    pub period_end: Option<Time>,
    pub quantity: i32,
    pub unit_amount: Option<Money>,
    pub amount: Option<Money>,
    /// plan, proration, discount, credit, tax, manual
    #[schema(example = "plan")]
    pub kind: String,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct Invoice {
    #[schema(format = Uuid)]
    pub invoice_id: String,
    #[schema(example = "INV-000001")]
    pub number: String,
    #[schema(format = Uuid)]
    pub customer_id: String,
    pub subscription_ids: Vec<String>,
    /// open, paid, void, written_off
    #[schema(example = "open")]
    pub status: String,
    /// unpaid, partial, paid, none
    #[schema(example = "unpaid")]
    pub payment_state: String,
    #[schema(example = "USD")]
    pub currency: Option<String>,
    pub subtotal: Option<Money>,
    pub tax: Option<Money>,
    pub total: Option<Money>,
    pub balance: Option<Money>,
    pub issued_at: Option<Time>,
    pub due_at: Option<Time>,
    pub paid_at: Option<Time>,
    pub days_overdue: u32,
    /// first, recurring, upgrade, manual, credit_note
    pub kind: String,
    #[schema(format = Uuid)]
    pub corrects_id: Option<String>,
    pub note: Option<String>,
    pub lines: Vec<InvoiceLine>,
}

impl From<pb::Invoice> for Invoice {
    fn from(invoice: pb::Invoice) -> Self {
        Self {
            currency: invoice.total.as_ref().map(|total| total.currency.clone()),
            issued_at: time(invoice.issued_at.as_ref()),
            due_at: time(invoice.due_at.as_ref()),
            paid_at: time(invoice.paid_at.as_ref()),
            subtotal: invoice.subtotal.map(Money::from),
            tax: invoice.tax.map(Money::from),
            total: invoice.total.map(Money::from),
            balance: invoice.balance.map(Money::from),
            invoice_id: invoice.id,
            number: invoice.number,
            customer_id: invoice.customer_id,
            subscription_ids: invoice.subscription_ids,
            status: invoice.status,
            payment_state: invoice.payment_state,
            days_overdue: invoice.days_overdue,
            kind: invoice.kind,
            corrects_id: text(invoice.corrects_id),
            note: text(invoice.note),
            lines: invoice
                .lines
                .into_iter()
                .map(|line| InvoiceLine {
                    period_start: time(line.period_start.as_ref()),
                    period_end: time(line.period_end.as_ref()),
                    description: line.description,
                    quantity: line.quantity,
                    unit_amount: line.unit_amount.map(Money::from),
                    amount: line.amount.map(Money::from),
                    kind: line.kind,
                })
                .collect(),
        }
    }
}

#[derive(Debug, Serialize, ToSchema)]
pub struct InvoiceList {
    pub success: bool,
    pub invoices: Vec<Invoice>,
    pub invoice_count: u64,
    pub total: u64,
    pub page: u32,
    pub page_size: u32,
    pub limit: u32,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct OneInvoice {
    pub success: bool,
    pub invoice: Invoice,
}

#[derive(Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Address {
    pub street: String,
    pub city: String,
    pub postal_code: String,
    pub region: String,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct BillingAccount {
    #[schema(format = Uuid)]
    pub customer_id: String,
    pub company: Option<String>,
    pub tax_id: Option<String>,
    pub billing_email: Option<String>,
    pub address: Address,
    #[schema(example = "ZW")]
    pub country: Option<String>,
    pub currency: String,
    pub credit: Option<Money>,
    pub created_at: Option<Time>,
}

impl From<pb::Account> for BillingAccount {
    fn from(account: pb::Account) -> Self {
        let address = account.address.unwrap_or_default();
        Self {
            created_at: time(account.created_at.as_ref()),
            credit: account.credit.map(Money::from),
            customer_id: account.customer_id,
            company: text(account.company),
            tax_id: text(account.tax_id),
            billing_email: text(account.billing_email),
            address: Address {
                street: address.street,
                city: address.city,
                postal_code: address.postal_code,
                region: address.region,
            },
            country: text(account.country),
            currency: account.currency,
        }
    }
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ChangeAccount {
    #[schema(max_length = 200)]
    pub company: Option<String>,
    #[schema(max_length = 50)]
    pub tax_id: Option<String>,
    pub address: Option<Address>,
    #[schema(max_length = 254)]
    pub billing_email: Option<String>,
    /// ISO 3166-1 alpha-2
    #[schema(example = "ZW")]
    pub country: Option<String>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct Overview {
    pub account: Option<BillingAccount>,
    pub active_subscriptions: Vec<Subscription>,
    pub pending_subscriptions: Vec<Subscription>,
    pub outstanding_invoices: Vec<Invoice>,
    pub total_outstanding: Option<Money>,
    pub credit: Option<Money>,
    pub next_billing_date: Option<Time>,
    pub next_billing_amount: Option<Money>,
    pub trial_info: Option<super::billing::TrialEligibility>,
    /// none, warning, suspended, terminated
    #[schema(example = "none")]
    pub ladder_state: String,
    /// Instances that the subscriptions are for.
    pub customer_instances: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stale_since: Option<Time>,
}

impl From<pb::GetOverviewResponse> for Overview {
    fn from(found: pb::GetOverviewResponse) -> Self {
        let all = found.active_subscriptions.iter().chain(&found.pending_subscriptions);
        Self {
            customer_instances: all.map(|row| row.instance_id.clone()).collect(),
            next_billing_date: time(found.next_billing_date.as_ref()),
            stale_since: time(found.stale_since.as_ref()),
            account: found.account.map(BillingAccount::from),
            active_subscriptions: found.active_subscriptions.into_iter().map(Subscription::from).collect(),
            pending_subscriptions: found.pending_subscriptions.into_iter().map(Subscription::from).collect(),
            outstanding_invoices: found.outstanding_invoices.into_iter().map(Invoice::from).collect(),
            total_outstanding: found.total_outstanding.map(Money::from),
            credit: found.credit.map(Money::from),
            next_billing_amount: found.next_billing_amount.map(Money::from),
            trial_info: found.trial_info.map(super::billing::TrialEligibility::from),
            ladder_state: found.ladder_state,
        }
    }
}

#[derive(Debug, Serialize, ToSchema)]
pub struct OverviewAnswer {
    pub success: bool,
    pub data: Overview,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ChangePlan {
    #[schema(example = "standard-monthly")]
    pub target_plan_name: String,
    #[serde(default)]
    pub preview: bool,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct Resources {
    pub cpu_limit: Cpu,
    pub memory_limit: Size,
    #[schema(example = "20Gi")]
    pub storage_limit: Size,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct UpgradeAnswer {
    pub success: bool,
    pub current_plan: Option<Plan>,
    pub target_plan: Option<Plan>,
    pub amount_due: Option<Money>,
    pub credit: Option<Money>,
    pub effective_at: Option<Time>,
    pub invoice: Option<Invoice>,
    pub new_resources: Option<Resources>,
    /// The database goes to a server of another type; the instance is off meanwhile.
    pub moves_database: bool,
    /// preview, applied, awaiting_payment
    #[schema(example = "preview")]
    pub status: String,
}

impl From<pb::UpgradeSubscriptionResponse> for UpgradeAnswer {
    fn from(answer: pb::UpgradeSubscriptionResponse) -> Self {
        let limits = answer.target_plan.as_ref().and_then(|plan| plan.limits);
        Self {
            success: true,
            effective_at: time(answer.effective_at.as_ref()),
            current_plan: answer.current_plan.map(Plan::from),
            target_plan: answer.target_plan.map(Plan::from),
            amount_due: answer.amount_due.map(Money::from),
            credit: answer.credit.map(Money::from),
            invoice: answer.invoice.map(Invoice::from),
            new_resources: limits.map(|limits| Resources {
                cpu_limit: Cpu(limits.cpu_millis),
                memory_limit: Size(limits.memory_mib),
                storage_limit: Size(limits.storage_mib),
            }),
            moves_database: answer.moves_database,
            status: answer.status,
        }
    }
}

#[derive(Debug, Serialize, ToSchema)]
pub struct ChangeAnswer {
    pub success: bool,
    pub effective_at: Option<Time>,
    pub subscription: Option<Subscription>,
}

impl From<pb::ChangeResponse> for ChangeAnswer {
    fn from(answer: pb::ChangeResponse) -> Self {
        Self {
            success: true,
            effective_at: time(answer.effective_at.as_ref()),
            subscription: answer.subscription.map(Subscription::from),
        }
    }
}

/// A downgrade that waits for the end of the period, or in a preview would.
#[derive(Debug, Serialize, ToSchema)]
pub struct DowngradeAnswer {
    pub success: bool,
    pub effective_at: Option<Time>,
    pub subscription: Option<Subscription>,
    pub target_plan: Option<Plan>,
    /// What the volume holds; none when the plan gives no less storage, or nobody can look.
    #[schema(example = 1_048_576)]
    pub storage_used_bytes: Option<u64>,
    /// A preview: why it would be refused, as a reason word.
    #[schema(example = "storage_exceeds_plan")]
    pub refusal: Option<String>,
    /// The database goes to a server of another type; the instance is off meanwhile.
    pub moves_database: bool,
    /// preview, waiting
    #[schema(example = "waiting")]
    pub status: &'static str,
}

impl DowngradeAnswer {
    pub fn of(answer: pb::ChangeResponse, preview: bool) -> Self {
        Self {
            success: true,
            effective_at: time(answer.effective_at.as_ref()),
            subscription: answer.subscription.map(Subscription::from),
            target_plan: answer.target_plan.map(Plan::from),
            storage_used_bytes: answer.storage_used_bytes,
            refusal: text(answer.refusal),
            moves_database: answer.moves_database,
            status: if preview { "preview" } else { "waiting" },
        }
    }
}

#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Cancel {
    #[schema(max_length = 500)]
    pub reason: String,
    pub immediate: bool,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct CancelAnswer {
    pub success: bool,
    pub plan_name: String,
    pub cancel_at: Option<Time>,
    pub instance_ends_at: Option<Time>,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Amount {
    #[schema(example = 900)]
    pub amount_minor: i64,
    #[schema(example = "USD")]
    pub currency: String,
}

impl From<Amount> for pb::Money {
    fn from(amount: Amount) -> Self {
        Self { amount_minor: amount.amount_minor, currency: amount.currency }
    }
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RecordPayment {
    #[schema(format = Uuid)]
    pub invoice_id: String,
    pub amount: Amount,
    #[schema(min_length = 1, max_length = 100)]
    pub reference: String,
    /// RFC 3339
    #[serde(default, with = "::time::serde::rfc3339::option")]
    #[schema(value_type = Option<String>)]
    pub received_at: Option<OffsetDateTime>,
    #[schema(min_length = 5, max_length = 500)]
    pub reason: String,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct GiveCredit {
    #[schema(format = Uuid)]
    pub customer_id: String,
    pub amount: Amount,
    #[schema(min_length = 5, max_length = 500)]
    pub reason: String,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct CreditAnswer {
    /// The same for the same `Idempotency-Key`.
    pub credit_id: Option<String>,
    /// All that is left.
    pub credit: Option<Money>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct Payment {
    #[schema(format = Uuid)]
    pub payment_id: String,
    #[schema(format = Uuid)]
    pub customer_id: String,
    #[schema(format = Uuid)]
    pub invoice_id: String,
    pub amount: Option<Money>,
    pub refunded: Option<Money>,
    #[schema(example = "bank")]
    pub payment_method: String,
    #[schema(example = "external")]
    pub gateway: String,
    pub reference: String,
    /// pending, paid, failed, cancelled, refunded, disputed
    #[schema(example = "paid")]
    pub status: String,
    pub gateway_status: Option<String>,
    pub received_at: Option<Time>,
    pub created_at: Option<Time>,
}

impl From<pb::Payment> for Payment {
    fn from(payment: pb::Payment) -> Self {
        Self {
            received_at: time(payment.received_at.as_ref()),
            created_at: time(payment.created_at.as_ref()),
            payment_id: payment.id,
            customer_id: payment.customer_id,
            invoice_id: payment.invoice_id,
            amount: payment.amount.map(Money::from),
            refunded: payment.refunded.map(Money::from),
            payment_method: payment.method,
            gateway: payment.gateway,
            reference: payment.reference,
            status: payment.state,
            gateway_status: text(payment.gateway_status),
        }
    }
}

#[derive(Debug, Serialize, ToSchema)]
pub struct PaymentList {
    pub success: bool,
    pub payments: Vec<Payment>,
    pub total: u64,
    pub page: u32,
    pub page_size: u32,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct OnePayment {
    pub success: bool,
    pub payment: Payment,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ExtendTrial {
    #[schema(minimum = 1, maximum = 30)]
    pub days: u32,
    #[schema(min_length = 5, max_length = 500)]
    pub reason: String,
}

#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Reconcile {
    #[schema(format = Uuid)]
    pub customer_id: Option<uuid::Uuid>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct TaskStarted {
    #[schema(format = Uuid)]
    pub task_id: String,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Advance {
    /// ISO 8601 duration of weeks, days, hours, minutes and seconds
    #[schema(example = "P15D")]
    pub advance: String,
}

impl Advance {
    /// Its length in seconds. Months and years have no length of their own and are refused.
    pub fn seconds(&self) -> Option<u64> {
        let mut rest = self.advance.strip_prefix('P')?;
        let (mut total, mut in_time, mut parts) = (0_u64, false, 0);
        while !rest.is_empty() {
            if let Some(after) = rest.strip_prefix('T').filter(|_| !in_time) {
                (in_time, rest) = (true, after);
                continue;
            }
            let digits = rest.find(|c: char| !c.is_ascii_digit())?;
            let (number, unit) = rest.split_at_checked(digits)?;
            let length: u64 = match (in_time, unit.chars().next()?) {
                (false, 'W') => 7 * 86_400,
                (false, 'D') => 86_400,
                (true, 'H') => 3_600,
                (true, 'M') => 60,
                (true, 'S') => 1,
                _ => return None,
            };
            total = total.checked_add(number.parse::<u64>().ok()?.checked_mul(length)?)?;
            parts += 1;
            rest = unit.get(1..)?;
        }
        (parts > 0).then_some(total)
    }
}

#[derive(Debug, Serialize, ToSchema)]
pub struct ClockAnswer {
    pub now: Option<Time>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_and_months_are_refused() {
        let seconds = |text: &str| Advance { advance: text.into() }.seconds();
        assert_eq!(seconds("P15D"), Some(15 * 86_400));
        assert_eq!(seconds("P1WT1H30M5S"), Some(7 * 86_400 + 5_405));
        for bad in
            ["", "P", "PT", "15D", "P1M", "P1Y", "PD", "P1H", "P-1D", "P99999999999999999999D", "P1DT1H2"]
        {
            assert_eq!(seconds(bad), None, "{bad}");
        }
    }
}
