//! Kill Bill behind the trait that all providers share.

use std::sync::atomic::Ordering;

use reqwest::Method;
use secrecy::ExposeSecret as _;
use serde::Deserialize;
use subtle::{Choice, ConstantTimeEq as _};
use time::OffsetDateTime;
use uuid::Uuid;

use super::client::Body;
use super::fault::Fault;
use super::model::Account;
use super::snapshot::{AdjustmentState, InvoiceState, LineState, PaymentState, Snapshot, SubscriptionState};
use super::subscriptions::When;
use super::{KillBill, catalog};
use crate::domain::invoice::{Line, LineKind};
use crate::domain::money::Money;
use crate::provider::{
    CancelWhen, Name, NewCredit, NewRefund, NewSubscription, OutsidePayment, PlanChange, Provider,
    ProviderError, Pulled, SnapshotAdjustment, SnapshotInvoice, SnapshotPayment, SnapshotSubscription,
};
use crate::store::{mirror, plans};

/// The one thing that a hook is believed to hint at.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Hook {
    account_id: Option<Uuid>,
}

#[tonic::async_trait]
impl Provider for KillBill {
    fn name(&self) -> Name {
        Name::Killbill
    }

    fn is_books_local(&self) -> bool {
        false
    }

    async fn ensure_ready(&self) -> Result<(), ProviderError> {
        Self::ensure_ready(self).await
    }

    async fn create_account(&self, customer_id: Uuid) -> Result<String, ProviderError> {
        Self::ensure_ready(self).await?;
        Ok(self.ensure_account(customer_id).await?.to_string())
    }

    async fn create_subscription(&self, wanted: &NewSubscription<'_>) -> Result<String, ProviderError> {
        Self::ensure_ready(self).await?;
        Ok(self.subscribe(wanted).await?.to_string())
    }

    async fn preview_change(&self, change: &PlanChange<'_>) -> Result<Money, ProviderError> {
        Self::ensure_ready(self).await?;
        let plan = plans::find(&self.pool, change.plan_name, None)
            .await
            .map_err(|error| ProviderError::Unavailable(error.into()))?;
        let plan = plan.ok_or_else(|| ProviderError::Refused("there is no such plan".into()))?;
        let period = catalog::period(change.billing_period);
        self.preview(change.subscription_id, plan.tier.as_str(), period, change.price.currency()).await
    }

    async fn change(&self, change: &PlanChange<'_>) -> Result<(), ProviderError> {
        Self::ensure_ready(self).await?;
        let when = if change.at_period_end { When::PeriodEnd } else { When::Now };
        Self::change(self, change.subscription_id, change.plan_name, when).await
    }

    async fn undo_change(&self, subscription_id: Uuid) -> Result<(), ProviderError> {
        Self::ensure_ready(self).await?;
        self.keep_plan(subscription_id).await
    }

    async fn cancel(&self, subscription_id: Uuid, when: CancelWhen) -> Result<(), ProviderError> {
        Self::ensure_ready(self).await?;
        let when = match when {
            CancelWhen::Now => When::Now,
            // The end of a trial is read from Kill Bill itself.
            CancelWhen::PeriodEnd | CancelWhen::TrialEnd(_) => When::PeriodEnd,
        };
        self.end(subscription_id, when).await.map(drop)
    }

    async fn undo_cancel(&self, subscription_id: Uuid) -> Result<(), ProviderError> {
        Self::ensure_ready(self).await?;
        self.keep(subscription_id).await
    }

    async fn record_payment(&self, payment: &OutsidePayment<'_>) -> Result<String, ProviderError> {
        Self::ensure_ready(self).await?;
        let invoice = super::accounts::parse(payment.provider_invoice_id)?;
        self.pay(payment.customer_id, invoice, payment.key, payment.amount).await?;
        Ok(payment.key.to_string())
    }

    async fn credit(&self, credit: &NewCredit<'_>) -> Result<(), ProviderError> {
        Self::ensure_ready(self).await?;
        self.give_credit(credit.customer_id, credit.key, credit.amount).await
    }

    async fn write_off(&self, provider_invoice_id: &str) -> Result<(), ProviderError> {
        Self::ensure_ready(self).await?;
        Self::write_off(self, super::accounts::parse(provider_invoice_id)?).await
    }

    async fn void(&self, provider_invoice_id: &str) -> Result<(), ProviderError> {
        Self::ensure_ready(self).await?;
        Self::void(self, super::accounts::parse(provider_invoice_id)?).await
    }

    async fn refund(&self, refund: &NewRefund<'_>) -> Result<(), ProviderError> {
        Self::ensure_ready(self).await?;
        self.give_back(&refund.payment, refund.key, refund.amount).await
    }

    async fn move_clock(&self, to: OffsetDateTime) -> Result<(), ProviderError> {
        Self::ensure_ready(self).await?;
        Self::move_clock(self, to).await
    }

    async fn pull(&self, subscription_id: Uuid) -> Result<Option<Pulled>, ProviderError> {
        Self::ensure_ready(self).await?;
        let found = self.subscription_by_key(subscription_id).await?;
        Ok(found.map(|found| Pulled {
            provider_id: found.subscription_id.to_string(),
            ended_at: found.cancelled_date.filter(|_| found.is_over()).map(|date| date.0),
        }))
    }

    async fn snapshot(&self, customer_id: Uuid) -> Result<crate::provider::Snapshot, ProviderError> {
        let Some(state) = Self::snapshot(self, customer_id).await? else {
            return Ok(crate::provider::Snapshot::default());
        };
        Ok(shared(state))
    }

    /// The account of the hook decides, and only if it is one of our tenant's.
    async fn customer_of_hook(&self, body: &[u8]) -> Result<Option<Uuid>, ProviderError> {
        let Ok(Hook { account_id: Some(id) }) = serde_json::from_slice(body) else { return Ok(None) };
        // Most are about accounts that we know: no call is needed for them.
        let known = mirror::customer_of_account(&self.pool, &id.to_string()).await;
        if let Some(customer) = known.map_err(|error| ProviderError::Unavailable(error.into()))? {
            return Ok(Some(customer));
        }
        Self::ensure_ready(self).await?;
        match self.get::<Account>(&format!("/accounts/{id}"), &[]).await {
            Ok(account) => Ok(account.external_key.parse().ok()),
            // Another tenant's, or nobody's.
            Err(fault) if fault.status() == Some(404) => Ok(None),
            Err(fault) => Err(fault.into()),
        }
    }

    fn is_hook_token(&self, given: &str) -> bool {
        let mut known = Choice::from(0);
        for token in self.hook_tokens.iter().map(|token| token.expose_secret().as_bytes()) {
            if !token.is_empty() {
                known |= token.ct_eq(given.as_bytes());
            }
        }
        known.into()
    }

    /// Its health page does not prove that it works: a call as our tenant does.
    async fn health(&self) -> Result<(), ProviderError> {
        Self::ensure_ready(self).await?;
        let outcome = self.client.call(Method::GET, "/catalog/versions", &[], Body::Empty).await;
        if outcome.as_ref().is_err_and(|fault| Fault::status(fault) == Some(401)) {
            // A server that lost its data: set it up again.
            self.ready.store(false, Ordering::Release);
        }
        outcome.map(drop).map_err(Into::into)
    }
}

fn shared(state: Snapshot) -> crate::provider::Snapshot {
    let ours: Vec<(Uuid, Uuid)> =
        state.subscriptions.iter().map(|found| (found.provider_id, found.id)).collect();
    crate::provider::Snapshot {
        account_id: Some(state.account.to_string()),
        subscriptions: state.subscriptions.into_iter().map(subscription).collect(),
        invoices: state
            .invoices
            .into_iter()
            .filter(|found| found.issued || found.void)
            .map(|found| invoice(found, &ours))
            .collect(),
        payments: state.payments.iter().map(payment).collect(),
        credit: Some(state.credit),
    }
}

fn subscription(found: SubscriptionState) -> SnapshotSubscription {
    SnapshotSubscription {
        id: Some(found.id),
        provider_id: found.provider_id.to_string(),
        plan_name: found.plan_name,
        trial_ends_at: found.trial_ends_at,
        charged_through: found.charged_through,
        pending: found.pending_plan,
        cancel_at: found.cancel_at,
        ended_at: found.ended_at,
    }
}

fn invoice(found: InvoiceState, ours: &[(Uuid, Uuid)]) -> SnapshotInvoice {
    let mut about = found.lines.iter().filter_map(|line| line.subscription);
    let subscription =
        about.find_map(|id| ours.iter().find(|(theirs, _)| *theirs == id).map(|(_, own)| *own));
    SnapshotInvoice {
        provider_id: found.provider_id.to_string(),
        number: found.number,
        subscription_id: subscription,
        lines: found.lines.into_iter().map(line).collect(),
        total: found.total,
        balance: found.balance,
        void: found.void,
        issued_at: found.issued_at,
        adjustments: found.adjustments.iter().map(adjustment).collect(),
    }
}

fn line(found: LineState) -> Line {
    let kind = match found.kind.as_str() {
        "RECURRING" | "FIXED" => LineKind::Plan,
        "REPAIR_ADJ" => LineKind::Proration,
        "CBA_ADJ" | "CREDIT_ADJ" => LineKind::Credit,
        "TAX" => LineKind::Tax,
        _ => LineKind::Manual,
    };
    Line::one(kind, found.description, found.amount, found.period)
}

fn adjustment(found: &AdjustmentState) -> SnapshotAdjustment {
    SnapshotAdjustment { provider_id: found.provider_id.to_string(), amount: found.amount, at: found.at }
}

fn payment(found: &PaymentState) -> SnapshotPayment {
    SnapshotPayment {
        key: found.key.parse().ok(),
        provider_id: found.provider_id.to_string(),
        provider_invoice_id: found.invoice.map(|id| id.to_string()).unwrap_or_default(),
        amount: found.amount,
        refunded: found.refunded,
        paid: found.amount.minor() > 0,
        at: found.at.unwrap_or(OffsetDateTime::UNIX_EPOCH),
    }
}
