//! Refunds and the race for one invoice; the books are balanced after all of it.

use billing_service::app::caller::Caller;
use billing_service::app::invoices::issue::issue_invoice;
use billing_service::app::payments::record_manual;
use billing_service::app::payments::refund::refund;
use billing_service::app::payments::settle::settle;
use billing_service::domain::invoice::Invoice;
use billing_service::domain::invoice::{InvoiceKind, InvoiceStatus, Line, LineKind, NewInvoice};
use billing_service::domain::money::{Currency, Money};
use billing_service::domain::payment::Payment;
use billing_service::domain::payment::PaymentState;
use billing_service::error::Error;
use billing_service::store::invoices::{self};
use billing_service::store::payments::{self, NewPayment};
use billing_service::store::{credits, journal};
use futures::future::join_all;
use runtime::clock;
use sqlx::PgPool;
use uuid::Uuid;

use crate::world::World;

fn by() -> Caller {
    Caller {
        actor: "admin-1".into(),
        role: "admin",
        reason: "a letter of the bank".into(),
        request_id: String::new(),
    }
}

fn usd(minor: i64) -> Money {
    Money::new(minor, Currency::USD)
}

struct Case {
    world: World,
    customer: Uuid,
}

impl Case {
    async fn begin(pool: &PgPool) -> Self {
        let world = World::start(pool).await;
        let customer = world.directory.add("ada@example.com");
        world.order(customer, Uuid::now_v7()).await.unwrap();
        Self { world, customer }
    }

    /// An invoice of its own, over 8.00 and 1.00 tax.
    async fn invoice(&self, key: &str) -> Invoice {
        let now = clock::now();
        let lines = vec![
            Line::one(LineKind::Manual, "Help", usd(800), None),
            Line::one(LineKind::Tax, "Tax", usd(100), None),
        ];
        let new = NewInvoice {
            customer_id: self.customer,
            subscription_id: None,
            kind: InvoiceKind::Manual,
            claim: billing_service::domain::invoice::Claim::Debt,
            key: key.into(),
            currency: Currency::USD,
            lines,
            note: String::new(),
            corrects_id: None,
            issued_at: now,
            due_at: now,
        };
        let mut tx = self.world.pool.begin().await.unwrap();
        let issued = issue_invoice(&mut tx, &self.world.app, new).await.unwrap();
        tx.commit().await.unwrap();
        issued
    }

    async fn record(&self, invoice: &Invoice, minor: i64, reference: &str) -> Result<Payment, Error> {
        let now = clock::now();
        record_manual::record_payment(&self.world.app, &by(), invoice.id, usd(minor), reference, now, now)
            .await
    }

    async fn refund(&self, payment: &Payment, minor: i64, key: &str) -> Result<(Payment, Uuid), Error> {
        let done = refund(&self.world.app, &by(), payment.id, usd(minor), key, clock::now()).await?;
        assert!(done.done, "our own books have it at once");
        Ok((done.payment, done.id))
    }

    async fn now(&self, invoice: &Invoice) -> Invoice {
        invoices::find(&self.world.pool, invoice.id).await.unwrap().unwrap()
    }

    async fn audited(&self, action: &str) -> i64 {
        self.world.count(&format!("audit_log WHERE action = '{action}' AND reason = '{}'", by().reason)).await
    }

    async fn proof(&self) {
        assert_eq!(journal::unbalanced(&self.world.pool).await.unwrap(), 0);
        assert_eq!(journal::receivable_differences(&self.world.pool).await.unwrap(), 0);
        let owed: i64 = sqlx::query_scalar(
            "SELECT coalesce(-sum(amount_minor), 0)::bigint FROM journal_lines WHERE account = 'credit'",
        )
        .fetch_one(&self.world.pool)
        .await
        .unwrap();
        let left = credits::left(&self.world.pool, self.customer, "USD").await.unwrap();
        assert_eq!(owed, left, "the books know each credit");
    }
}

fn reason<T: std::fmt::Debug>(result: Result<T, Error>) -> &'static str {
    result.unwrap_err().reason()
}

/// BIL-26, BIL-28: fifty at once for one invoice: one is taken.
#[sqlx::test(migrations = "./migrations")]
async fn of_fifty_payments_of_one_invoice_one_settles(pool: PgPool) {
    let case = Case::begin(&pool).await;
    let invoice = case.invoice("a").await;
    let references: Vec<String> = (0..50).map(|n| format!("b-{}", n / 2)).collect();
    let tries = join_all(references.iter().map(|reference| case.record(&invoice, 900, reference))).await;
    assert_eq!(tries.iter().filter(|tried| tried.is_ok()).count(), 1);
    assert_eq!(case.world.count("payments").await, 1);
    assert_eq!(case.now(&invoice).await.status, InvoiceStatus::Paid);
    case.proof().await;
}

/// BIL-29, BIL-17: a refund is at most what was paid, is one for its key, and leaves a credit note with the
/// tax in its share.
#[sqlx::test(migrations = "./migrations")]
async fn a_refund_gives_back_at_most_what_was_paid_and_writes_a_credit_note(pool: PgPool) {
    let case = Case::begin(&pool).await;
    let invoice = case.invoice("a").await;
    let paid = case.record(&invoice, 900, "b-1").await.unwrap();
    assert_eq!(reason(case.refund(&paid, 901, "k").await), "not_refundable");
    let (after, refund) = case.refund(&paid, 450, "k").await.unwrap();
    assert_eq!((after.state, after.refunded), (PaymentState::Paid, usd(450)));
    let (again, same) = case.refund(&paid, 450, "k").await.unwrap();
    assert_eq!((again.refunded, same), (usd(450), refund));
    assert_eq!(reason(case.refund(&paid, 10, "k").await), "idempotency_mismatch");
    let note =
        invoices::find_by_key(&case.world.pool, &format!("credit-note:{refund}")).await.unwrap().unwrap();
    assert_eq!((note.kind, note.corrects_id), (InvoiceKind::CreditNote, Some(invoice.id)));
    assert_eq!((note.subtotal, note.tax, note.total, note.balance), (usd(-400), usd(-50), usd(-450), usd(0)));
    let (whole, _) = case.refund(&paid, 450, "l").await.unwrap();
    assert_eq!(whole.state, PaymentState::Refunded);
    assert_eq!(reason(case.refund(&paid, 1, "m").await), "not_refundable");
    assert_eq!(case.now(&invoice).await.status, InvoiceStatus::Paid, "the issued document stays as it is");
    assert_eq!(case.audited("payment_refunded").await, 2);
    case.proof().await;
}

/// BIL-29: what was paid too much is given back out of the credit that it became.
#[sqlx::test(migrations = "./migrations")]
async fn what_was_paid_too_much_is_refunded_from_its_credit_first(pool: PgPool) {
    let case = Case::begin(&pool).await;
    let invoice = case.invoice("a").await;
    let (id, now) = (Uuid::now_v7(), clock::now());
    let new = NewPayment {
        id,
        customer_id: case.customer,
        invoice_id: invoice.id,
        amount: usd(1000),
        method: "card",
        gateway: "test",
        reference: "t-1",
        reason: "",
        actor: "",
        received_at: None,
        created_at: now,
    };
    let mut tx = pool.begin().await.unwrap();
    payments::insert(&mut tx, &new).await.unwrap();
    settle(&mut tx, &case.world.app, invoice.id, id, now).await.unwrap();
    tx.commit().await.unwrap();
    let paid = payments::find(&pool, id).await.unwrap().unwrap();
    assert_eq!(credits::left(&pool, case.customer, "USD").await.unwrap(), 100);
    case.refund(&paid, 150, "k").await.unwrap();
    assert_eq!(credits::left(&pool, case.customer, "USD").await.unwrap(), 0);
    assert_eq!(invoices::credited(&pool, invoice.id).await.unwrap(), 50);
    case.proof().await;
}
