//! Operators take back payments and invoices whose books Kill Bill keeps, by the same calls as with the
//! ledger (BIL-29).

use billing_service::app::provider::provider_commands;
use billing_service::domain::dunning::DunningState;
use billing_service::domain::invoice::Invoice;
use billing_service::domain::invoice::{InvoiceKind, InvoiceStatus};
use billing_service::domain::payment::Payment;
use billing_service::domain::payment::PaymentState;
use billing_service::domain::subscription::{ProvisionPolicy, Status};
use billing_service::store::payments::{self};
use contracts::billing::v1 as proto;
use contracts::billing::v1::billing_admin_service_client::BillingAdminServiceClient;
use runtime::identity::Role;
use sqlx::PgPool;
use test_kit::killbill::{Fault, Line};
use tonic::{Code, Status as Refusal};
use uuid::Uuid;

use super::{Life, PATIENCE, advance, usd};
use crate::world::World;

impl Life<'_> {
    async fn first(&self) -> Invoice {
        test_kit::eventually("the first invoice", PATIENCE, || async {
            self.look().await;
            self.invoices().await.first().cloned()
        })
        .await
    }

    async fn payment(&self) -> Payment {
        let id: Uuid = sqlx::query_scalar("SELECT id FROM payments WHERE customer_id = $1")
            .bind(self.customer)
            .fetch_one(&self.world.pool)
            .await
            .unwrap();
        payments::find(&self.world.pool, id).await.unwrap().unwrap()
    }

    async fn refund(&self, cents: i64, key: &str) -> Result<proto::RefundPaymentResponse, Refusal> {
        let request = proto::RefundPaymentRequest {
            payment_id: self.payment().await.id.to_string(),
            amount: Some(proto::Money { amount_minor: cents, currency: "USD".into() }),
            reason: "a complaint".into(),
            idempotency_key: key.into(),
        };
        let request = self.world.by(Uuid::now_v7(), Role::Admin, request);
        let mut admin = BillingAdminServiceClient::new(self.world.api.channel());
        Ok(admin.refund_payment(request).await?.into_inner())
    }

    async fn void(&self, invoice: &Invoice) -> Result<proto::GetInvoiceResponse, Refusal> {
        let request =
            proto::CloseInvoiceRequest { invoice_id: invoice.id.to_string(), reason: "a mistake".into() };
        let request = self.world.by(Uuid::now_v7(), Role::Admin, request);
        let mut admin = BillingAdminServiceClient::new(self.world.api.channel());
        Ok(admin.void_invoice(request).await?.into_inner())
    }

    async fn tell(&self) {
        sqlx::query("UPDATE provider_calls SET next_at = now() WHERE state = 'waiting'")
            .execute(&self.world.pool)
            .await
            .unwrap();
        provider_commands::work(&self.world.app).await.unwrap();
    }

    async fn credit(&self) -> i64 {
        billing_service::store::credits::left(&self.world.pool, self.customer, "USD").await.unwrap()
    }

    async fn audited(&self, action: &str) -> i64 {
        let count = "SELECT count(*) FROM audit_log WHERE action = $1 AND customer_id = $2";
        sqlx::query_scalar(count).bind(action).bind(self.customer).fetch_one(&self.world.pool).await.unwrap()
    }
}

/// BIL-29, BIL-17: parts and the rest, each with its credit note; the invoice stays as it was issued and
/// paid.
async fn a_refund(world: &World) {
    let life = Life::begin(world, "basic-monthly", false).await;
    let first = life.first().await;
    life.pay(&first).await;
    assert_eq!(life.refund(901, "k").await.unwrap_err().code(), Code::FailedPrecondition);
    let (one, again) = (life.refund(400, "k").await.unwrap(), life.refund(400, "k").await.unwrap());
    assert_eq!((one.state.as_str(), one.refund_id.as_str()), ("done", again.refund_id.as_str()));
    assert_eq!(life.refund(300, "k").await.unwrap_err().code(), Code::FailedPrecondition);
    let payment = life.payment().await;
    assert_eq!((payment.state, payment.refunded), (PaymentState::Paid, usd(400)));
    let rows = life.invoices().await;
    assert_eq!((rows[0].status, rows[0].total, rows[0].balance), (InvoiceStatus::Paid, usd(900), usd(0)));
    let note = &rows[1];
    assert_eq!((note.kind, note.corrects_id), (InvoiceKind::CreditNote, Some(first.id)));
    assert_eq!((note.total, note.balance, note.status), (usd(-400), usd(0), InvoiceStatus::Paid));
    assert_eq!(note.number, format!("{}-1", first.number));
    assert_eq!(life.refund(501, "l").await.unwrap_err().code(), Code::FailedPrecondition);
    life.refund(500, "l").await.unwrap();
    let payment = life.payment().await;
    assert_eq!((payment.state, payment.refunded), (PaymentState::Refunded, usd(900)));
    assert_eq!(life.refund(1, "m").await.unwrap_err().code(), Code::FailedPrecondition);
    assert_eq!((life.audited("payment_refunded").await, life.invoices().await.len()), (2, 3));
    assert_eq!((life.look().await.changes, life.row().await.status), (0, Status::Active));
}

/// BIL-18: nothing of a void invoice is owed, here and there; what was paid of it is credit, and a suspended
/// customer is back.
async fn a_void_invoice(world: &World) {
    let life = Life::begin(world, "basic-monthly", false).await;
    let first = life.first().await;
    advance(world, 15).await;
    assert_eq!(life.row().await.dunning, DunningState::Suspended);
    let closed = life.void(&first).await.unwrap().invoice.unwrap();
    assert_eq!(closed.status, "void");
    assert_eq!((life.row().await.status, life.row().await.dunning), (Status::Active, DunningState::None));
    assert_eq!(life.void(&first).await.unwrap_err().code(), Code::FailedPrecondition);
    life.tell().await;
    let row = &life.invoices().await[0];
    assert_eq!((row.status, row.balance, life.credit().await), (InvoiceStatus::Void, usd(0), 0));
    assert_eq!(
        (life.look().await.changes, life.invoices().await.len()),
        (0, 1),
        "and no credit note besides"
    );
    assert_eq!(life.audited("invoice_voided").await, 1);
    // A paid one is refunded instead.
    let other = Life::begin(world, "basic-monthly", false).await;
    let paid = other.first().await;
    other.pay(&paid).await;
    assert_eq!(other.void(&paid).await.unwrap_err().code(), Code::FailedPrecondition);
}

/// The same with a fake and with a real one.
pub(crate) async fn all(world: &World) {
    a_refund(world).await;
    a_void_invoice(world).await;
}

#[sqlx::test(migrator = "billing_service::MIGRATIONS")]
async fn corrections_with_the_fake_of_the_0_22_line(pool: PgPool) {
    let (world, _) = World::killbill(&pool, ProvisionPolicy::OnInvoice, Line::V22).await;
    all(&world).await;
}

#[sqlx::test(migrator = "billing_service::MIGRATIONS")]
async fn corrections_with_the_fake_of_the_0_24_line(pool: PgPool) {
    let (world, _) = World::killbill(&pool, ProvisionPolicy::OnInvoice, Line::V24).await;
    all(&world).await;
}

/// BIL-29: 500 after the work was done, and a process that died between: one refund, one credit note, one
/// adjustment of the void invoice.
#[sqlx::test(migrator = "billing_service::MIGRATIONS")]
async fn a_lost_answer_gives_nothing_back_twice(pool: PgPool) {
    let (world, fake) = World::killbill(&pool, ProvisionPolicy::OnInvoice, Line::V24).await;
    let life = Life::begin(&world, "basic-monthly", false).await;
    let first = life.first().await;
    life.pay(&first).await;
    let unpaid = Life::begin(&world, "basic-monthly", false).await;
    let open = unpaid.first().await;
    fake.set(Fault::FailAfter);
    assert_eq!(life.refund(400, "k").await.unwrap().state, "done");
    unpaid.void(&open).await.unwrap();
    for _ in 0..3 {
        unpaid.tell().await;
    }
    fake.set(Fault::None);
    unpaid.tell().await;
    // As if nobody had noted that it was told.
    sqlx::query(
        "UPDATE provider_calls SET state = 'waiting', finished_at = NULL WHERE kind IN ('refund', 'void')",
    )
    .execute(&pool)
    .await
    .unwrap();
    life.tell().await;
    assert_eq!(life.refund(400, "k").await.unwrap().state, "done");
    assert_eq!(fake.corrections(&world.api_key), (1, 2));
    assert_eq!(world.count("refunds").await, 1);
    assert_eq!(world.count("invoices WHERE kind = 'credit_note'").await, 1);
    assert_eq!(world.count("provider_calls WHERE state <> 'done'").await, 0);
}

/// BIL-33: one that somebody made VOID at Kill Bill is void here, too; of one that nobody has seen nothing is
/// written.
#[sqlx::test(migrator = "billing_service::MIGRATIONS")]
async fn an_invoice_that_was_made_void_there_is_void_here(pool: PgPool) {
    let (world, fake) = World::killbill(&pool, ProvisionPolicy::OnInvoice, Line::V22).await;
    let (seen, unseen) = (
        Life::begin(&world, "basic-monthly", false).await,
        Life::begin(&world, "basic-monthly", false).await,
    );
    let first = seen.first().await;
    fake.void(&world.api_key, first.provider_id.parse().unwrap());
    seen.look().await;
    let row = &seen.invoices().await[0];
    assert_eq!((row.status, row.balance), (InvoiceStatus::Void, usd(0)));
    let state = world.app.provider.snapshot(unseen.customer).await.unwrap();
    fake.void(&world.api_key, state.invoices[0].provider_id.parse().unwrap());
    unseen.look().await;
    assert_eq!(unseen.invoices().await, []);
}

/// BIL-29, BIL-35: while Kill Bill is away a refund is taken on and told later; meanwhile nobody gives the
/// same money back again.
#[sqlx::test(migrator = "billing_service::MIGRATIONS")]
async fn a_refund_waits_for_a_provider_that_is_away(pool: PgPool) {
    let (world, fake) = World::killbill(&pool, ProvisionPolicy::OnInvoice, Line::V24).await;
    let life = Life::begin(&world, "basic-monthly", false).await;
    let first = life.first().await;
    life.pay(&first).await;
    fake.set(Fault::Down);
    let waits = life.refund(600, "k").await.unwrap();
    assert_eq!(waits.state, "waiting");
    assert_eq!(life.payment().await.refunded, usd(0));
    assert_eq!(life.refund(301, "l").await.unwrap_err().code(), Code::FailedPrecondition, "it is taken");
    assert_eq!(life.refund(600, "k").await.unwrap().refund_id, waits.refund_id);
    fake.set(Fault::None);
    life.tell().await;
    assert_eq!(life.payment().await.refunded, usd(600));
    assert_eq!(life.refund(600, "k").await.unwrap().state, "done");
    assert_eq!(fake.corrections(&world.api_key), (1, 1));
}

/// BIL-29: what somebody gave back at Kill Bill meanwhile is not there any more: the refund is refused, and
/// the log says so.
#[sqlx::test(migrator = "billing_service::MIGRATIONS")]
async fn a_refund_that_kill_bill_refuses_is_no_refund(pool: PgPool) {
    let (world, fake) = World::killbill(&pool, ProvisionPolicy::OnInvoice, Line::V22).await;
    let life = Life::begin(&world, "basic-monthly", false).await;
    let first = life.first().await;
    life.pay(&first).await;
    let killbill = world.killbill.as_ref().unwrap();
    let paid = billing_service::provider::PaidBy::Key(life.payment().await.id);
    killbill.give_back(&paid, Uuid::now_v7(), usd(500)).await.unwrap();
    assert_eq!(life.refund(600, "k").await.unwrap_err().code(), Code::FailedPrecondition);
    assert_eq!(life.refund(600, "k").await.unwrap_err().code(), Code::FailedPrecondition, "for good");
    assert_eq!(life.audited("refund_refused").await, 1);
    assert_eq!(life.payment().await.refunded, usd(500), "the state was pulled");
    life.refund(400, "l").await.unwrap();
    assert_eq!(
        (fake.corrections(&world.api_key), life.payment().await.state),
        ((2, 2), PaymentState::Refunded)
    );
}
