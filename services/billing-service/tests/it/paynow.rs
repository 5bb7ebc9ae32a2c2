//! Payments through Paynow (BIL-27), against a stand-in that is strict and then misbehaves. Every test ends
//! with the proof of the books.

use billing_service::app::caller::Caller;
use billing_service::app::payments::pay::{self, Wish};
use billing_service::app::payments::poll::poll;
use billing_service::app::payments::record_manual;
use billing_service::app::payments::refund;
use billing_service::app::webhooks::handle_webhook::{Outcome, handle_webhook};
use billing_service::domain::invoice::Invoice;
use billing_service::domain::invoice::InvoiceStatus;
use billing_service::domain::money::{Currency, Money};
use billing_service::domain::payment::Payment;
use billing_service::domain::payment::{Method, PaymentState};
use billing_service::domain::subscription::ProvisionPolicy;
use billing_service::error::Error;
use billing_service::gateway::Gateways;
use billing_service::gateway::paynow::Paynow;
use billing_service::gateway::paynow::{Access, RESULT_PATH};
use billing_service::gateway::test_gateway::TestGateway;
use billing_service::store::credits;
use billing_service::store::invoices::{self};
use billing_service::store::payments::{self};
use contracts::billing::v1 as proto;
use contracts::billing::v1::payment_service_client::PaymentServiceClient;
use contracts::billing::v1::webhook_service_client::WebhookServiceClient;
use contracts::events::topics;
use futures::future::join_all;
use runtime::clock;
use runtime::grpc::Refusal;
use runtime::identity::Role;
use sqlx::PgPool;
use test_kit::paynow::{Fault, Paynow as Sim, Settings};
use time::Duration;
use tonic::{Code, Status};
use uuid::Uuid;

use crate::books::proof;
use crate::world::World;

/// The test phone that never answers by itself.
const PHONE: &str = "0779999999";

pub(crate) struct Case {
    pub(crate) world: World,
    pub(crate) sim: Sim,
    pub(crate) customer: Uuid,
    pub(crate) subscription: Uuid,
}

/// A client of the stand-in.
pub(crate) fn client(sim: &Sim) -> Paynow {
    let settings = Settings::default();
    Paynow::try_new(Access {
        base: sim.url.parse().unwrap(),
        integration_id: settings.id,
        integration_key: settings.key.into(),
        merchant_email: settings.email,
        result_url: format!("http://gateway.test{RESULT_PATH}"),
        return_url: "http://portal.test/billing/payment-status".into(),
        currency: Currency::USD,
        patience: Duration::minutes(30),
    })
    .unwrap()
}

impl Case {
    /// A customer with an order of 9.00 that is not paid.
    pub(crate) async fn begin(pool: &PgPool) -> Self {
        let sim = Sim::start(Settings::default()).await.unwrap();
        let gateways = Gateways::default().with(client(&sim)).with(TestGateway);
        let world = World::paying(pool, ProvisionPolicy::OnPayment, gateways).await;
        let customer = world.directory.add("ada@example.com");
        let placed = world.order_plan(customer, Uuid::now_v7(), "basic-monthly", Some(false)).await.unwrap();
        let subscription = placed.subscription.unwrap().id.parse().unwrap();
        Self { world, sim, customer, subscription }
    }

    pub(crate) async fn invoice(&self) -> Invoice {
        invoices::find_by_key(
            &self.world.pool,
            &billing_service::app::invoices::new::first_key(self.subscription),
        )
        .await
        .unwrap()
        .unwrap()
    }

    pub(crate) async fn wish(&self, method: Method) -> Wish {
        Wish {
            customer_id: self.customer,
            invoice_id: self.invoice().await.id,
            gateway: "paynow".into(),
            method,
            phone: if method.needs_phone() { PHONE.into() } else { String::new() },
            amount: None,
        }
    }

    async fn pay(&self, method: Method) -> Result<Payment, Error> {
        pay::pay(&self.world.app, &self.wish(method).await, clock::now()).await
    }

    async fn now(&self, payment: &Payment) -> Payment {
        payments::find(&self.world.pool, payment.id).await.unwrap().unwrap()
    }

    async fn receive(&self, body: &str) -> Result<(), Status> {
        let hook = proto::ReceiveWebhookRequest {
            provider: "paynow".into(),
            body: body.into(),
            content_type: "application/x-www-form-urlencoded".into(),
            ..Default::default()
        };
        WebhookServiceClient::new(self.world.api.channel()).receive_webhook(hook).await.map(drop)
    }

    /// A result comes in and is looked at.
    async fn deliver(&self, body: &str) -> Result<Outcome, Error> {
        self.receive(body).await.unwrap();
        handle_webhook(&self.world.app, "paynow", body.as_bytes()).await
    }

    /// All results that wait at Paynow come in.
    async fn deliver_all(&self) {
        for hook in self.sim.take_hooks() {
            self.deliver(&hook.body).await.unwrap();
        }
    }

    /// The poller looks, so many minutes later.
    pub(crate) async fn look(&self, minutes: i64) {
        poll(&self.world.app, clock::now() + Duration::minutes(minutes)).await.unwrap();
    }

    async fn booked(&self) -> i64 {
        self.world.count("journal_entries WHERE kind = 'payment'").await
    }

    async fn audited(&self, action: &str) -> i64 {
        self.world.count(&format!("audit_log WHERE action = '{action}'")).await
    }

    async fn proof(&self) {
        proof(&self.world.pool).await;
    }
}

fn reason<T: std::fmt::Debug>(result: Result<T, Error>) -> &'static str {
    result.unwrap_err().reason()
}

fn usd(minor: i64) -> Money {
    Money::new(minor, Currency::USD)
}

fn by() -> Caller {
    Caller { actor: "admin-1".into(), role: "admin", reason: "a letter".into(), request_id: String::new() }
}

/// BIL-26, BIL-27: begun over gRPC, told ten times at once, paid once; the subscription begins.
#[sqlx::test(migrations = "./migrations")]
async fn a_result_that_comes_ten_times_is_one_payment(pool: PgPool) {
    let case = Case::begin(&pool).await;
    let invoice = case.invoice().await;
    let asked = proto::InitiatePaymentRequest {
        invoice_id: invoice.id.to_string(),
        gateway: "paynow".into(),
        method: "ecocash".into(),
        phone: PHONE.into(),
        amount: None,
    };
    let mut client = PaymentServiceClient::new(case.world.api.channel());
    let stranger = case.world.by(Uuid::now_v7(), Role::Customer, asked.clone());
    assert_eq!(client.initiate_payment(stranger).await.unwrap_err().code(), Code::NotFound);
    let begun = client.initiate_payment(case.world.by(case.customer, Role::Customer, asked)).await.unwrap();
    let begun = begun.into_inner();
    let payment = begun.payment.unwrap();
    assert_eq!((begun.payment_type.as_str(), payment.state.as_str()), ("mobile", "pending"));
    let [made] = case.sim.transactions().try_into().unwrap();
    assert_eq!((made.reference.as_str(), made.amount.as_str()), (payment.reference.as_str(), "9.00"));
    assert_eq!((made.method.as_str(), made.phone.as_str()), ("ecocash", PHONE));

    case.sim.decide(&payment.reference, "Paid", None);
    let [hook] = case.sim.take_hooks().try_into().unwrap();
    let heard = join_all((0..10).map(|_| case.deliver(&hook.body))).await;
    assert!(heard.iter().all(|heard| *heard.as_ref().unwrap() == Outcome::Asked(case.customer, "paid")));
    case.look(5).await;

    assert_eq!(case.booked().await, 1);
    assert_eq!(case.invoice().await.status, InvoiceStatus::Paid);
    assert_eq!(case.world.count("subscriptions WHERE status = 'active'").await, 1);
    assert_eq!(case.world.count("payments WHERE state = 'paid' AND gateway_reference = '9000'").await, 1);
    assert!(case.world.count("webhook_inbox WHERE provider = 'paynow'").await >= 1, "it is kept");
    assert_eq!(case.sim.refused(), 0);
    case.proof().await;
}

/// BIL-27: a card is paid on the page of Paynow; the address to come back to is ours.
#[sqlx::test(migrations = "./migrations")]
async fn a_card_is_paid_on_the_page_of_paynow(pool: PgPool) {
    let case = Case::begin(&pool).await;
    let payment = case.pay(Method::Card).await.unwrap();
    assert!(payment.redirect_url.starts_with(&format!("{}/Payment/ConfirmPayment/", case.sim.url)));
    let made = case.sim.transaction(&payment.reference).unwrap();
    assert_eq!(made.return_url, format!("http://portal.test/billing/payment-status?payment={}", payment.id));
    assert!(made.result_url.ends_with(RESULT_PATH));
    case.sim.decide(&payment.reference, "Awaiting Delivery", None);
    case.deliver_all().await;
    assert_eq!(case.now(&payment).await.state, PaymentState::Paid);
    case.proof().await;
}

/// BIL-27: phones are checked before anybody is asked.
#[sqlx::test(migrations = "./migrations")]
async fn a_phone_is_a_phone(pool: PgPool) {
    let case = Case::begin(&pool).await;
    for (method, phone) in [
        (Method::Ecocash, ""),
        (Method::Ecocash, "0771"),
        (Method::Onemoney, "0871111111"),
        (Method::Onemoney, "07711111x1"),
        (Method::Card, PHONE),
    ] {
        let wish = Wish { phone: phone.into(), ..case.wish(method).await };
        let tried = pay::pay(&case.world.app, &wish, clock::now()).await;
        assert_eq!(reason(tried), "validation_failed", "{method} {phone}");
    }
    let off = Wish { gateway: "nobody".into(), ..case.wish(Method::Card).await };
    assert_eq!(reason(pay::pay(&case.world.app, &off, clock::now()).await), "unavailable");
    assert_eq!((case.sim.calls(), case.world.count("payments").await), (0, 0));
}

/// BIL-27, BIL-30: forged, cut off and foreign messages change nothing, and what nobody signed is not kept.
#[sqlx::test(migrations = "./migrations")]
async fn a_forged_result_changes_nothing(pool: PgPool) {
    let case = Case::begin(&pool).await;
    let payment = case.pay(Method::Ecocash).await.unwrap();
    let fields = [
        ("reference", payment.reference.as_str()),
        ("paynowreference", "9000"),
        ("amount", "9.00"),
        ("status", "Paid"),
        ("pollurl", "http://127.0.0.1:9/Interface/CheckPayment/?guid=1"),
    ];
    let genuine = case.sim.genuine(&fields);
    for forged in [
        case.sim.forged(&fields),
        genuine.replace("9.00", "0.90"),
        genuine[..genuine.len() / 2].to_owned(),
        genuine[..genuine.len() - 1].to_owned(),
        format!("{genuine}&status=Paid"),
        String::new(),
        "hash=".into(),
    ] {
        let status = case.receive(&forged).await.unwrap_err();
        let refusal = Refusal::from_status(&status);
        assert_eq!((status.code(), refusal.reason.as_str()), (Code::InvalidArgument, "bad_hash"), "{forged}");
    }
    assert_eq!(case.world.count("webhook_inbox").await, 0);

    // Signed, and not true: the gateway itself is asked, at the address that it gave us.
    assert_eq!(case.deliver(&genuine).await.unwrap(), Outcome::Asked(case.customer, "pending"));
    // About a payment that nobody has.
    let nobody = case.sim.genuine(&[("reference", "INV-9-nobody"), ("amount", "9.00"), ("status", "Paid")]);
    assert_eq!(case.deliver(&nobody).await.unwrap(), Outcome::Ignored("about no payment of ours"));
    assert_eq!((case.booked().await, case.invoice().await.balance), (0, usd(900)));
    case.proof().await;
}

/// BIL-27: a result about another tenant's payment touches neither his nor ours.
#[sqlx::test(migrations = "./migrations")]
async fn a_result_for_another_tenant_pays_nobody(pool: PgPool) {
    let case = Case::begin(&pool).await;
    let eve = case.world.directory.add("eve@example.com");
    let placed = case.world.order_plan(eve, Uuid::now_v7(), "basic-monthly", Some(false)).await.unwrap();
    let hers: Uuid = placed.invoice.unwrap().id.parse().unwrap();
    let ours = case.pay(Method::Ecocash).await.unwrap();
    let wish = Wish { customer_id: eve, invoice_id: hers, ..case.wish(Method::Ecocash).await };
    let foreign = pay::pay(&case.world.app, &wish, clock::now()).await.unwrap();
    // Nobody pays another one's invoice either.
    let stolen = Wish { customer_id: eve, ..case.wish(Method::Ecocash).await };
    assert_eq!(reason(pay::pay(&case.world.app, &stolen, clock::now()).await), "not_found");

    case.sim.decide(&foreign.reference, "Paid", None);
    let [hook] = case.sim.take_hooks().try_into().unwrap();
    case.deliver(&hook.body).await.unwrap();

    assert_eq!(case.now(&ours).await.state, PaymentState::Pending);
    assert_eq!(case.now(&foreign).await.state, PaymentState::Paid);
    assert_eq!(case.invoice().await.balance, usd(900));
    case.proof().await;
}

/// BIL-27: another amount is disputed and the invoice stays open; what a result says of the amount counts
/// less than what Paynow says when asked.
#[sqlx::test(migrations = "./migrations")]
async fn another_amount_is_disputed_and_pays_nothing(pool: PgPool) {
    let case = Case::begin(&pool).await;
    let payment = case.pay(Method::Ecocash).await.unwrap();
    case.sim.decide(&payment.reference, "Paid", Some("1.00"));
    case.deliver_all().await;
    case.deliver(&case.sim.genuine(&[
        ("reference", &payment.reference),
        ("amount", "9.00"),
        ("status", "Paid"),
    ]))
    .await
    .unwrap();
    let disputed = case.now(&payment).await;
    assert_eq!((disputed.state, disputed.reason.as_str()), (PaymentState::Disputed, "other_amount"));
    assert_eq!((case.invoice().await.status, case.booked().await), (InvoiceStatus::Open, 0));
    assert_eq!(case.audited("payment_disputed").await, 1, "told twice, noted once");

    // It was cleared up at Paynow.
    case.sim.decide(&payment.reference, "Paid", Some("9.00"));
    case.deliver_all().await;
    assert_eq!((case.now(&payment).await.state, case.booked().await), (PaymentState::Paid, 1));
    case.proof().await;
}

/// BIL-27, BIL-33: every result is lost; the poller ends the payment.
#[sqlx::test(migrations = "./migrations")]
async fn a_payment_whose_results_are_lost_is_found_by_asking(pool: PgPool) {
    let case = Case::begin(&pool).await;
    let payment = case.pay(Method::Onemoney).await.unwrap();
    case.look(1).await;
    assert_eq!(case.now(&payment).await.gateway_status, "Sent");
    case.sim.decide(&payment.reference, "Paid", None);
    drop(case.sim.take_hooks());
    case.look(3).await;
    case.look(5).await;
    assert_eq!((case.now(&payment).await.state, case.booked().await), (PaymentState::Paid, 1));
    let calls = case.sim.calls();
    case.look(60 * 24 * 30).await;
    assert_eq!(case.sim.calls(), calls, "what is over is not asked about");
    case.proof().await;
}

/// BIL-26: results in any order, and after the end; late money is money.
#[sqlx::test(migrations = "./migrations")]
async fn late_and_reordered_results_do_no_harm(pool: PgPool) {
    let case = Case::begin(&pool).await;
    let payment = case.pay(Method::Ecocash).await.unwrap();
    for word in ["Created", "Sent", "Paid"] {
        case.sim.decide(&payment.reference, word, None);
    }
    let mut hooks = case.sim.take_hooks();
    hooks.reverse();
    for hook in hooks.iter().chain(&hooks) {
        case.deliver(&hook.body).await.unwrap();
    }
    assert_eq!((case.now(&payment).await.state, case.booked().await), (PaymentState::Paid, 1));
    assert_eq!(case.now(&payment).await.gateway_status, "Paid");
    case.proof().await;
}

/// Every payment has an end: the customer never answers, and money that comes later counts all the same.
#[sqlx::test(migrations = "./migrations")]
async fn a_payment_that_nobody_answers_expires_and_may_still_be_paid(pool: PgPool) {
    let case = Case::begin(&pool).await;
    let first = case.pay(Method::Card).await.unwrap();
    assert_eq!(reason(case.pay(Method::Card).await), "payment_pending");
    case.look(31).await;
    let expired = case.now(&first).await;
    assert_eq!((expired.state, expired.reason.as_str()), (PaymentState::Cancelled, "expired"));
    // Another may begin; then both are paid, and the second is credit.
    let second = case.pay(Method::Ecocash).await.unwrap();
    for payment in [&second, &first] {
        case.sim.decide(&payment.reference, "Paid", None);
    }
    drop(case.sim.take_hooks());
    case.look(60 * 7).await;
    assert_eq!(case.now(&first).await.state, PaymentState::Paid);
    assert_eq!((case.now(&second).await.state, case.booked().await), (PaymentState::Paid, 2));
    assert_eq!(credits::left(&pool, case.customer, "USD").await.unwrap(), 900);
    case.proof().await;
}

/// BIL-27: declined and cancelled payments say so, once, and the next one may begin.
#[sqlx::test(migrations = "./migrations")]
async fn a_declined_payment_is_told_and_makes_room(pool: PgPool) {
    let case = Case::begin(&pool).await;
    let poor = Wish { phone: "0774444444".into(), ..case.wish(Method::Ecocash).await };
    let refused = pay::pay(&case.world.app, &poor, clock::now()).await.unwrap_err();
    assert_eq!(
        (refused.reason(), refused.to_string().contains("Insufficient balance")),
        ("gateway_refused", true)
    );
    let stopped = case.pay(Method::Ecocash).await.unwrap();
    case.sim.decide(&stopped.reference, "Cancelled", None);
    // No result came: who tries again learns it.
    drop(case.sim.take_hooks());
    let next = case.pay(Method::Ecocash).await.unwrap();
    assert_eq!(case.now(&stopped).await.state, PaymentState::Cancelled);
    case.sim.decide(&next.reference, "Failed", None);
    case.deliver_all().await;
    case.look(10).await;
    assert_eq!(case.now(&next).await.state, PaymentState::Failed);
    let told =
        case.world.announced().await.into_iter().filter(|topic| topic == topics::PAYMENT_FAILED).count();
    assert_eq!((told, case.booked().await), (2, 0));
    case.proof().await;
}

/// BIL-27: Paynow did its work and its answer was lost, forged, cut off or led elsewhere: the payment is
/// found by our own id.
#[sqlx::test(migrations = "./migrations")]
async fn a_lost_answer_loses_no_payment(pool: PgPool) {
    for fault in [Fault::FailAfter, Fault::WrongHash, Fault::CutOff, Fault::OtherHost] {
        let case = Case::begin(&pool).await;
        case.sim.set(fault);
        let tried = case.pay(Method::Ecocash).await;
        assert_eq!(tried.is_ok(), fault == Fault::OtherHost, "{fault:?}");
        if let Err(error) = tried {
            assert_eq!(error.reason(), "unavailable", "{fault:?}");
        }
        case.look(1).await;
        case.sim.set(Fault::None);
        // Nobody charges him twice meanwhile.
        assert_eq!(reason(case.pay(Method::Ecocash).await), "payment_pending", "{fault:?}");
        let [made] = case.sim.transactions().try_into().unwrap();
        case.sim.decide(&made.reference, "Paid", None);
        drop(case.sim.take_hooks());
        case.look(5).await;
        assert_eq!(case.invoice().await.status, InvoiceStatus::Paid, "{fault:?}");
        case.proof().await;
    }
}

/// BIL-27: Paynow was away and knows nothing: the payment fails after a while, and the next one may begin.
#[sqlx::test(migrations = "./migrations")]
async fn a_payment_that_never_arrived_fails(pool: PgPool) {
    let case = Case::begin(&pool).await;
    case.sim.set(Fault::Down);
    assert_eq!(reason(case.pay(Method::Ecocash).await), "unavailable");
    // Away for days: a person must look, nothing hangs for ever.
    case.look(10).await;
    assert_eq!(case.world.count("payments WHERE state = 'pending'").await, 1);
    case.sim.set(Fault::None);
    case.look(20).await;
    assert_eq!(case.world.count("payments WHERE state = 'failed' AND reason = 'not_begun'").await, 1);
    case.pay(Method::Ecocash).await.unwrap();
    case.sim.set(Fault::Down);
    case.look(60 * 25).await;
    case.look(60 * 26).await;
    assert_eq!(case.world.count("payments WHERE state = 'disputed' AND reason = 'no_answer'").await, 1);
    assert_eq!(case.sim.refused(), 0);
    case.proof().await;
}

/// BIL-27: fifty at once for one invoice begin one payment; fifty results at once book it once.
#[sqlx::test(migrations = "./migrations")]
async fn fifty_at_once_pay_an_invoice_once(pool: PgPool) {
    let case = Case::begin(&pool).await;
    let tries = join_all((0..50).map(|_| case.pay(Method::Ecocash))).await;
    assert_eq!(tries.iter().filter(|tried| tried.is_ok()).count(), 1);
    for refused in tries.iter().filter_map(|tried| tried.as_ref().err()) {
        assert_eq!(refused.reason(), "payment_pending");
    }
    let [made] = case.sim.transactions().try_into().unwrap();
    case.sim.decide(&made.reference, "Paid", None);
    let [hook] = case.sim.take_hooks().try_into().unwrap();
    let heard = join_all(
        (0..50).map(|_| async { handle_webhook(&case.world.app, "paynow", hook.body.as_bytes()).await }),
    )
    .await;
    assert!(heard.iter().all(Result::is_ok));
    assert_eq!((case.booked().await, case.world.count("payments").await), (1, 1));
    assert_eq!(case.invoice().await.status, InvoiceStatus::Paid);
    case.proof().await;
}

/// BIL-26: a dispute that is won changes no books; one that is lost gives the money back, once.
#[sqlx::test(migrations = "./migrations")]
async fn disputes_and_refunds_of_paynow_reach_the_books_once(pool: PgPool) {
    let case = Case::begin(&pool).await;
    let payment = case.pay(Method::Card).await.unwrap();
    for (word, state) in [
        ("Paid", PaymentState::Paid),
        ("Disputed", PaymentState::Disputed),
        ("Delivered", PaymentState::Paid),
        ("Disputed", PaymentState::Disputed),
        ("Refunded", PaymentState::Refunded),
        ("Paid", PaymentState::Refunded),
    ] {
        case.sim.decide(&payment.reference, word, None);
        for hook in case.sim.take_hooks() {
            case.deliver(&hook.body).await.unwrap();
            case.deliver(&hook.body).await.unwrap();
        }
        assert_eq!(case.now(&payment).await.state, state, "{word}");
        case.proof().await;
    }
    assert_eq!((case.booked().await, case.world.count("refunds").await), (1, 1));
    assert_eq!((case.audited("payment_disputed").await, case.audited("payment_dispute_won").await), (2, 1));
    assert_eq!(invoices::credited(&pool, case.invoice().await.id).await.unwrap(), 900);
}

/// BIL-29: what was paid of an invoice that is voided becomes credit, can be given back, and no more than
/// that.
#[sqlx::test(migrations = "./migrations")]
async fn a_voided_invoice_gives_its_paid_part_back_as_credit(pool: PgPool) {
    let case = Case::begin(&pool).await;
    let (app, invoice, now) = (&case.world.app, case.invoice().await, clock::now());
    let paid =
        record_manual::record_payment(app, &by(), invoice.id, usd(400), "b-1", now, now).await.unwrap();
    let on_its_way = case.pay(Method::Ecocash).await.unwrap();
    assert_eq!(on_its_way.amount, usd(500), "what is left");
    let void = record_manual::close_invoice(app, &by(), invoice.id, InvoiceStatus::Void, now).await.unwrap();
    assert_eq!((void.status, void.balance), (InvoiceStatus::Void, usd(0)));
    assert_eq!(credits::left(&pool, case.customer, "USD").await.unwrap(), 400);
    case.proof().await;
    // Nothing of it stays earned.
    let earned: i64 = sqlx::query_scalar(
        "SELECT coalesce(sum(amount_minor), 0)::bigint FROM journal_lines WHERE account IN ('revenue', 'tax', 'receivable')",
    )
    .fetch_one(&pool)
    .await
    .unwrap();
    assert_eq!(earned, 0);
    // Money on its way is credit when it comes.
    case.sim.decide(&on_its_way.reference, "Paid", None);
    case.deliver_all().await;
    assert_eq!(credits::left(&pool, case.customer, "USD").await.unwrap(), 900);
    refund::refund(app, &by(), paid.id, usd(300), "k", now).await.unwrap();
    refund::refund(app, &by(), on_its_way.id, usd(500), "k", now).await.unwrap();
    assert_eq!(credits::left(&pool, case.customer, "USD").await.unwrap(), 100);
    assert_eq!(reason(refund::refund(app, &by(), paid.id, usd(101), "l", now).await), "not_refundable");
    case.proof().await;
}

/// BIL-29: a credit needs a key, and a key is for one amount.
#[sqlx::test(migrations = "./migrations")]
async fn a_credit_is_given_once_for_its_key(pool: PgPool) {
    let case = Case::begin(&pool).await;
    let mut client =
        proto::billing_admin_service_client::BillingAdminServiceClient::new(case.world.api.channel());
    let mut give = async |minor: i64, key: &str| {
        let wanted = proto::GiveCreditRequest {
            customer_id: case.customer.to_string(),
            amount: Some(proto::Money { amount_minor: minor, currency: "USD".into() }),
            reason: "a bad day".into(),
            idempotency_key: key.into(),
        };
        let answer = client.give_credit(case.world.by(Uuid::now_v7(), Role::Admin, wanted)).await;
        answer
            .map(|answer| answer.into_inner().credit_id)
            .map_err(|status| Refusal::from_status(&status).reason)
    };
    let first = give(500, "k").await.unwrap();
    assert_eq!(give(500, "k").await, Ok(first));
    assert_eq!(give(501, "k").await.unwrap_err(), "idempotency_mismatch");
    assert_eq!(give(500, "").await.unwrap_err(), "validation_failed");
    assert_eq!(credits::left(&pool, case.customer, "USD").await.unwrap(), 500);
    assert_eq!(case.audited("credit_given").await, 1);
    case.proof().await;
}

/// BIL-33: a reconciliation of one customer looks at that customer.
#[sqlx::test(migrations = "./migrations")]
async fn a_reconciliation_of_one_customer_is_about_him(pool: PgPool) {
    let case = Case::begin(&pool).await;
    let payment = case.pay(Method::Ecocash).await.unwrap();
    case.sim.decide(&payment.reference, "Paid", None);
    case.deliver_all().await;
    sqlx::query("UPDATE orders SET confirmed_at = now()").execute(&pool).await.unwrap();
    let eve = case.world.directory.add("eve@example.com");
    let mut client =
        proto::billing_admin_service_client::BillingAdminServiceClient::new(case.world.api.channel());
    for (customer, found) in [(case.customer, 1), (eve, 0)] {
        let asked = proto::ReconcileRequest { customer_id: Some(customer.to_string()) };
        let request = case.world.by(Uuid::now_v7(), Role::Admin, asked);
        let task: Uuid = client.reconcile(request).await.unwrap().into_inner().task_id.parse().unwrap();
        billing_service::app::provider::reconcile::run_tasks(&case.world.app, clock::now()).await.unwrap();
        let outcome: i64 =
            sqlx::query_scalar("SELECT (outcome ->> 'without_instance')::bigint FROM tasks WHERE id = $1")
                .bind(task)
                .fetch_one(&pool)
                .await
                .unwrap();
        assert_eq!(outcome, found);
    }
}

/// The gateway for development pays or declines by the amount.
#[sqlx::test(migrations = "./migrations")]
async fn the_test_gateway_decides_by_the_amount(pool: PgPool) {
    let case = Case::begin(&pool).await;
    let wish = Wish { gateway: "test".into(), ..case.wish(Method::Card).await };
    let pay = async |minor: i64| {
        let wish = Wish { amount: Some(usd(minor)), ..wish.clone() };
        pay::pay(&case.world.app, &wish, clock::now()).await
    };
    assert_eq!(reason(pay(51).await), "gateway_refused");
    assert_eq!(pay(52).await.unwrap().state, PaymentState::Cancelled);
    assert_eq!(pay(54).await.unwrap().state, PaymentState::Disputed);
    assert_eq!(reason(pay(901).await), "validation_failed");
    assert_eq!((pay(100).await.unwrap().state, case.invoice().await.balance), (PaymentState::Paid, usd(800)));
    assert_eq!(pay(53).await.unwrap().state, PaymentState::Pending);
    assert_eq!(reason(pay(100).await), "payment_pending");
    case.look(16).await;
    pay(800).await.unwrap();
    assert_eq!(case.invoice().await.status, InvoiceStatus::Paid);
    assert_eq!(reason(pay(1).await), "invoice_not_open");
    case.proof().await;
}
