//! What operators take back: payments and invoices. Nothing of it is owed again, now or by a later run.

use billing_service::provider::killbill::KillBill;
use billing_service::provider::killbill::snapshot::{InvoiceState, Snapshot};
use billing_service::provider::killbill::subscriptions::When;
use billing_service::provider::{CancelWhen, PaidBy, Provider as _, ProviderError};
use time::{Duration, OffsetDateTime};
use uuid::Uuid;

use super::{PATIENCE, usd, wanted};

/// A customer with a subscription, by its provider.
struct Case<'a> {
    provider: &'a KillBill,
    customer: Uuid,
    subscription: Uuid,
}

impl<'a> Case<'a> {
    async fn begin(provider: &'a KillBill, now: OffsetDateTime) -> Self {
        let customer = Uuid::now_v7();
        let order = wanted(customer, "basic-monthly", false, now);
        provider.create_subscription(&order).await.unwrap();
        Self { provider, customer, subscription: order.id }
    }

    async fn state(&self) -> Snapshot {
        self.provider.snapshot(self.customer).await.unwrap().unwrap()
    }

    async fn first(&self) -> InvoiceState {
        self.state().await.invoices.into_iter().next().unwrap()
    }

    async fn pay(&self, cents: i64) -> Uuid {
        let (invoice, key) = (self.first().await.provider_id, Uuid::now_v7());
        self.provider.pay(self.customer, invoice, key, usd(cents)).await.unwrap();
        key
    }

    async fn refund(&self, payment: Uuid, key: Uuid, cents: i64) -> Result<(), ProviderError> {
        self.provider.give_back(&PaidBy::Key(payment), key, usd(cents)).await
    }
}

fn refused(outcome: &Result<(), ProviderError>) {
    assert!(matches!(outcome, Err(ProviderError::Refused(_))), "{outcome:?}");
}

/// BIL-29: in parts, once for each key, at most what was paid; the invoice as it was issued, and not owed
/// again.
async fn refunds(provider: &KillBill, now: OffsetDateTime) {
    let case = Case::begin(provider, now).await;
    let (paid, key) = (case.pay(450).await, Uuid::now_v7());
    // Both look before either is there: Kill Bill refuses the key of one of them.
    let (one, other) = tokio::join!(case.refund(paid, key, 125), case.refund(paid, key, 125));
    one.and(other).unwrap();
    case.refund(paid, key, 125).await.unwrap();
    let state = case.state().await;
    let invoice = &state.invoices[0];
    assert_eq!((invoice.total, invoice.balance), (usd(900), usd(450)), "{state:?}");
    assert_eq!(invoice.adjustments.iter().map(|part| part.amount.minor()).collect::<Vec<_>>(), [125]);
    assert_eq!(invoice.lines.len(), 1, "the document as it was issued: {state:?}");
    assert_eq!((state.payments[0].amount, state.payments[0].refunded), (usd(450), usd(125)));
    refused(&case.refund(paid, Uuid::now_v7(), 326).await);
    refused(&case.refund(Uuid::now_v7(), Uuid::now_v7(), 1).await);
    // By the provider's own id, as for a payment that was made there.
    let id = state.payments[0].provider_id.to_string();
    provider.give_back(&PaidBy::ProviderId(&id), Uuid::now_v7(), usd(325)).await.unwrap();
    let state = case.state().await;
    assert_eq!((state.invoices[0].balance, state.payments[0].refunded), (usd(450), usd(450)), "{state:?}");
    refused(&case.refund(paid, Uuid::now_v7(), 1).await);
}

/// BIL-29: what became credit already is paid out of that credit while it is there.
async fn refunds_out_of_credit(provider: &KillBill, now: OffsetDateTime) {
    let case = Case::begin(provider, now).await;
    let paid = case.pay(900).await;
    provider.cancel(case.subscription, CancelWhen::Now).await.unwrap();
    let state = test_kit::eventually("the unused time as credit", PATIENCE, || async {
        let state = case.state().await;
        (state.credit.minor() > 0).then_some(state)
    })
    .await;
    assert_eq!(state.credit, usd(900), "{state:?}");
    let key = Uuid::now_v7();
    for _ in 0..2 {
        case.refund(paid, key, 900).await.unwrap();
    }
    let state = case.state().await;
    assert_eq!((state.credit, state.payments[0].refunded), (usd(0), usd(900)), "{state:?}");
    assert!(state.invoices.iter().all(|invoice| invoice.balance == usd(0)), "{state:?}");
}

/// BIL-29: an upgrade used a part of the first payment; no more than the rest can be taken back, and the next
/// runs go on.
async fn refunds_after_an_upgrade(provider: &KillBill, now: OffsetDateTime) -> Uuid {
    let case = Case::begin(provider, now).await;
    let paid = case.pay(900).await;
    provider.change(case.subscription, "standard-monthly", When::Now).await.unwrap();
    test_kit::eventually("the invoice of the change", PATIENCE, || async {
        (case.state().await.invoices.len() == 2).then_some(())
    })
    .await;
    refused(&case.refund(paid, Uuid::now_v7(), 900).await);
    case.customer
}

/// BIL-29, BIL-18: nothing of it is asked for any more, what was paid of it is credit, and told again it is
/// the same.
async fn voids(provider: &KillBill, now: OffsetDateTime) -> Uuid {
    let case = Case::begin(provider, now).await;
    case.pay(400).await;
    let invoice = case.first().await.provider_id;
    for _ in 0..2 {
        provider.void(invoice).await.unwrap();
    }
    let state = case.state().await;
    assert_eq!((state.invoices[0].balance, state.credit), (usd(0), usd(400)), "{state:?}");
    let unpaid = Case::begin(provider, now).await;
    provider.void(unpaid.first().await.provider_id).await.unwrap();
    let state = unpaid.state().await;
    assert_eq!((state.invoices[0].balance, state.credit), (usd(0), usd(0)), "{state:?}");
    case.customer
}

/// A customer whose only payment was given back in full.
async fn all_given_back(provider: &KillBill, now: OffsetDateTime) -> Uuid {
    let case = Case::begin(provider, now).await;
    let paid = case.pay(900).await;
    case.refund(paid, Uuid::now_v7(), 900).await.unwrap();
    assert_eq!(case.first().await.balance, usd(0));
    case.customer
}

/// Moves the clock: each period is billed once, also those that were taken back.
pub(super) async fn corrections(provider: &KillBill, now: OffsetDateTime) {
    refunds(provider, now).await;
    refunds_out_of_credit(provider, now).await;
    let upgraded = refunds_after_an_upgrade(provider, now).await;
    let (voided, refunded) = (voids(provider, now).await, all_given_back(provider, now).await);
    provider.move_clock(now + Duration::days(35)).await.unwrap();
    for (customer, before, balance) in [(voided, 1, 500), (refunded, 1, 900), (upgraded, 2, 1900)] {
        let state = test_kit::eventually("the next period", PATIENCE, || async {
            let state = provider.snapshot(customer).await.unwrap().unwrap();
            (state.invoices.len() == before + 1).then_some(state)
        })
        .await;
        let next = state.invoices.last().unwrap();
        assert_eq!((next.balance, next.adjustments.len()), (usd(balance), 0), "{state:?}");
    }
}
