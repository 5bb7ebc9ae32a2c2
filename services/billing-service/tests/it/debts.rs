//! What is owed and what is only offered, credit that pays it, and subscriptions that come back with their
//! debts.

use billing_service::app::caller::Caller;
use billing_service::app::payments::record_manual;
use billing_service::app::subscriptions::change;
use billing_service::domain::dunning::DunningState;
use billing_service::domain::invoice::{Invoice, InvoiceStatus};
use billing_service::domain::money::{Currency, Money};
use billing_service::domain::subscription::{ProvisionPolicy, Status};
use billing_service::store::{credits, invoices, subscriptions};
use contracts::billing::v1 as proto;
use contracts::billing::v1::billing_directory_service_client::BillingDirectoryServiceClient;
use contracts::events::topics;
use contracts::services::USER;
use runtime::clock;
use runtime::identity::Role;
use sqlx::PgPool;
use time::Duration;
use uuid::Uuid;

use crate::books::Case;
use crate::life::tell;
use crate::world::World;

fn by() -> Caller {
    Caller { actor: "admin".into(), role: "admin", reason: "a test".into(), request_id: String::new() }
}

fn usd(minor: i64) -> Money {
    Money::new(minor, Currency::USD)
}

async fn credit_left(case: &Case) -> i64 {
    credits::left(&case.world.pool, case.customer, "USD").await.unwrap()
}

impl Case {
    async fn upgrade(&self, target: &str, day: i64) -> Result<change::Quote, billing_service::error::Error> {
        change::upgrade(&self.world.app, None, self.subscription, target, false, self.day(day)).await
    }

    async fn credit(&self, amount: Money, key: &str, day: i64) {
        record_manual::give_credit(&self.world.app, &by(), self.customer, amount, key, self.day(day))
            .await
            .unwrap();
    }

    async fn first_paid(pool: &PgPool, policy: ProvisionPolicy) -> (Self, Invoice) {
        let case = Self::begin(pool, policy, "basic-monthly", false).await;
        let [first] = case.invoices().await.try_into().unwrap();
        case.pay(&first, 900, "first", case.day(0)).await;
        (case, first)
    }
}

/// BIL-14, BIL-21: what is made before it is paid is a debt: it blocks further changes, moves the ladder, and
/// gives nothing back.
#[sqlx::test(migrator = "billing_service::MIGRATIONS")]
async fn an_upgrade_that_nobody_pays_moves_the_ladder(pool: PgPool) {
    let (case, _) = Case::first_paid(&pool, ProvisionPolicy::OnInvoice).await;
    let made = case.upgrade("standard-annual", 1).await.unwrap();
    assert_eq!((made.status, made.subscription.plan_name.as_str()), ("applied", "standard-annual"));
    let again = case.upgrade("premium-monthly", 1).await.unwrap_err();
    assert_eq!(again.reason(), "unpaid_invoices");
    assert_eq!(credit_left(&case).await, 0, "nothing was paid for the year");

    assert_eq!(case.look(2).await.status, Status::PastDue);
    assert_eq!(case.look(12).await.dunning, DunningState::Warning);
    assert_eq!(case.look(16).await.status, Status::Suspended);
    let debt = made.invoice.unwrap();
    case.pay(&debt, debt.balance.minor(), "late", case.day(17)).await;
    let back = case.now().await;
    assert_eq!((back.status, back.dunning), (Status::Active, DunningState::None));
    assert!(case.upgrade("premium-annual", 17).await.is_ok());
    case.proof().await;
}

/// BIL-21: what was paid for a part of a period counts for that part, and an upgrade that was written off
/// gives nothing back.
#[sqlx::test(migrator = "billing_service::MIGRATIONS")]
async fn what_is_left_is_what_was_paid_less_the_time(pool: PgPool) {
    let (case, _) = Case::first_paid(&pool, ProvisionPolicy::OnInvoice).await;
    let debt = case.upgrade("standard-annual", 0).await.unwrap().invoice.unwrap();
    let status = billing_service::domain::invoice::InvoiceStatus::WrittenOff;
    record_manual::close_invoice(&case.world.app, &by(), debt.id, status, case.day(0)).await.unwrap();
    let quote =
        change::upgrade(&case.world.app, None, case.subscription, "premium-monthly", true, case.day(0))
            .await
            .unwrap();
    let given = quote.credit.minor();
    assert!((898..=900).contains(&given), "the month that was paid, and no year: {given}");
    case.proof().await;
}

/// BIL-21, BIL-23: who cancels takes the open offer back; money that comes for it all the same is credit, and
/// no new period begins.
#[sqlx::test(migrator = "billing_service::MIGRATIONS")]
async fn a_cancellation_takes_the_open_offer_back(pool: PgPool) {
    let (case, _) = Case::first_paid(&pool, ProvisionPolicy::OnPayment).await;
    let offer = case.upgrade("standard-annual", 1).await.unwrap().invoice.unwrap();
    let row = change::cancel(&case.world.app, None, case.subscription, "dear", false, case.day(2));
    let row = row.await.unwrap();
    assert_eq!((row.status, row.pending), (Status::Cancelling, None));
    case.pay(&offer, offer.total.minor(), "late", case.day(3)).await;
    let paid = case.now().await;
    assert_eq!((paid.plan_name.as_str(), paid.cancel_at), ("basic-monthly", paid.current_period_end));
    assert_eq!(credit_left(&case).await, offer.total.minor());
    assert_eq!(case.look(40).await.status, Status::Ended);
    case.proof().await;
}

/// BIL-14: an offer does not outlive the suspension; a year that is paid for is a year that is given.
#[sqlx::test(migrator = "billing_service::MIGRATIONS")]
async fn a_suspension_takes_the_open_offer_back(pool: PgPool) {
    let (case, _) = Case::first_paid(&pool, ProvisionPolicy::OnPayment).await;
    case.look(32).await;
    // An offer that is open while a debt is: it was asked for before the debt came to light.
    let offer = case.upgrade("standard-annual", 1).await;
    assert_eq!(offer.unwrap_err().reason(), "unpaid_invoices");
    let [_, debt] = case.invoices().await.try_into().unwrap();
    case.pay(&debt, 900, "second", case.day(32)).await;
    let offer = case.upgrade("standard-annual", 33).await.unwrap().invoice.unwrap();
    sqlx::query("UPDATE subscriptions SET current_period_end = current_period_end + interval '60 days'")
        .execute(&pool)
        .await
        .unwrap();
    let mut tx = pool.begin().await.unwrap();
    let line = billing_service::domain::invoice::Line::one(
        billing_service::domain::invoice::LineKind::Manual,
        "help",
        usd(500),
        None,
    );
    let owed = (
        billing_service::domain::invoice::InvoiceKind::Manual,
        billing_service::domain::invoice::Claim::Debt,
    );
    let row = case.now().await;
    let new = billing_service::app::invoices::new::of_subscription(
        &case.world.app,
        &row,
        owed,
        "help".into(),
        vec![line],
        case.day(33),
    );
    billing_service::app::invoices::issue::issue_invoice(&mut tx, &case.world.app, new).await.unwrap();
    sqlx::query("UPDATE subscriptions SET next_due_at = NULL").execute(&mut *tx).await.unwrap();
    tx.commit().await.unwrap();
    let suspended = case.look(48).await;
    assert_eq!((suspended.status, suspended.pending), (Status::Suspended, None));
    let offer = invoices::find(&pool, offer.id).await.unwrap().unwrap();
    assert_eq!(offer.status.as_str(), "void");
    case.proof().await;
}

/// INS-27, BIL-14: an instance that comes back with a debt comes back suspended, and its ladder goes on;
/// paid, it runs.
#[sqlx::test(migrator = "billing_service::MIGRATIONS")]
async fn an_undelete_keeps_the_debt_and_its_ladder(pool: PgPool) {
    let case = Case::begin(&pool, ProvisionPolicy::OnInvoice, "basic-monthly", false).await;
    assert_eq!(case.look(15).await.status, Status::Suspended);
    let (id, instance) = (case.subscription.to_string(), case.now().await.instance_id);
    // Longer ago than who leaves at once owes nothing.
    sqlx::query("UPDATE subscriptions SET created_at = created_at - interval '2 days'")
        .execute(&pool)
        .await
        .unwrap();
    case.world.instances.set(&id, "terminated");
    tell(&case.world, topics::INSTANCE_TERMINATED, case.customer, instance, &id).await;
    assert_eq!(case.now().await.status, Status::Ended);
    case.world.instances.set(&id, "starting");
    tell(&case.world, topics::INSTANCE_UNDELETED, case.customer, instance, &id).await;
    let back = case.now().await;
    assert_eq!((back.status, back.dunning), (Status::Suspended, DunningState::Suspended));
    assert!(!case.world.entitlement(&id).await.may_run);

    let [debt] = case.invoices().await.try_into().unwrap();
    case.pay(&debt, 900, "late", case.day(16)).await;
    let paid = case.now().await;
    assert_eq!((paid.status, paid.dunning), (Status::Active, DunningState::None));
    case.proof().await;
}

/// BIL-17: a number names one invoice, also the one after the 999999th.
#[sqlx::test(migrator = "billing_service::MIGRATIONS")]
async fn numbers_go_on_after_a_million(pool: PgPool) {
    let world = World::ledger(&pool, ProvisionPolicy::OnInvoice).await;
    sqlx::query("INSERT INTO invoice_numbers (issuer, last) VALUES ('INV', 999998)")
        .execute(&pool)
        .await
        .unwrap();
    let mut numbers = Vec::new();
    for name in ["ada", "eve", "joe"] {
        let customer = world.directory.add(&format!("{name}@example.com"));
        let placed = world.order_plan(customer, Uuid::now_v7(), "basic-monthly", Some(false)).await.unwrap();
        numbers.push(placed.invoice.unwrap().number);
    }
    assert_eq!(numbers, ["INV-999999", "INV-1000000", "INV-1000001"]);
}

/// USR-20: nobody owes an offer, and debts of one currency are no debts of another.
#[sqlx::test(migrator = "billing_service::MIGRATIONS")]
async fn offers_are_owed_by_nobody(pool: PgPool) {
    let (case, _) = Case::first_paid(&pool, ProvisionPolicy::OnPayment).await;
    let unpaid = async || {
        let request = proto::GetCustomerStandingRequest { customer_id: case.customer.to_string() };
        let mut directory = BillingDirectoryServiceClient::new(case.world.api.channel_as(USER));
        directory.get_customer_standing(request).await.unwrap().into_inner().unpaid_invoices
    };
    let offer = case.upgrade("standard-annual", 1).await.unwrap();
    assert_eq!((offer.status, unpaid().await), ("awaiting_payment", 0));
    let overview =
        billing_service::app::accounts::overview::overview(&case.world.app, case.customer).await.unwrap();
    assert_eq!((overview.outstanding.len(), overview.total), (1, usd(0)));
    case.look(32).await;
    assert_eq!(unpaid().await, 1, "the next month is owed");
    let debts = invoices::outstanding(&pool, case.customer).await.unwrap();
    assert_eq!(debts, [(1, usd(900))]);
}

/// BIL-29, BIL-16: a credit pays what is open, the oldest first, and who owes nothing any more runs again.
#[sqlx::test(migrator = "billing_service::MIGRATIONS")]
async fn a_credit_pays_what_is_open_and_clears_the_ladder(pool: PgPool) {
    let case = Case::begin(&pool, ProvisionPolicy::OnInvoice, "basic-monthly", false).await;
    assert_eq!(case.look(15).await.status, Status::Suspended);
    case.credit(usd(400), "k1", 15).await;
    let [debt] = case.invoices().await.try_into().unwrap();
    assert_eq!((debt.balance, case.now().await.status), (usd(500), Status::Suspended));
    case.credit(usd(700), "k2", 16).await;
    case.credit(usd(700), "k2", 16).await;
    let back = case.now().await;
    assert_eq!(
        (back.status, back.dunning, credit_left(&case).await),
        (Status::Active, DunningState::None, 200)
    );
    assert_eq!(case.announced(topics::SUBSCRIPTION_RESUMED).await, 1);
    assert_eq!(case.announced(topics::INVOICE_PAID).await, 1);
    case.proof().await;
}

/// BIL-29: credit that came from elsewhere pays what is open before anybody climbs for it.
#[sqlx::test(migrator = "billing_service::MIGRATIONS")]
async fn what_was_paid_too_much_pays_the_next_debt(pool: PgPool) {
    let (case, first) = Case::first_paid(&pool, ProvisionPolicy::OnInvoice).await;
    case.look(32).await;
    case.pay(&first, 900, "twice", case.day(33)).await;
    assert_eq!(credit_left(&case).await, 900);
    let row = case.look(50).await;
    assert_eq!((row.dunning, credit_left(&case).await), (DunningState::None, 0));
    case.proof().await;
}

/// BIL-06: amounts whose sum would be none are refused where they enter.
#[sqlx::test(migrator = "billing_service::MIGRATIONS")]
async fn a_credit_beyond_all_measure_is_refused(pool: PgPool) {
    let case = Case::begin(&pool, ProvisionPolicy::OnInvoice, "basic-monthly", true).await;
    let give = async |minor: i64, key: &str| {
        let request = proto::GiveCreditRequest {
            customer_id: case.customer.to_string(),
            amount: Some(proto::Money { amount_minor: minor, currency: "USD".into() }),
            reason: "a test".into(),
            idempotency_key: key.into(),
        };
        let request = case.world.by(Uuid::now_v7(), Role::Admin, request);
        let channel = case.world.api.channel();
        let mut admin = proto::billing_admin_service_client::BillingAdminServiceClient::new(channel);
        admin.give_credit(request).await.map(drop).map_err(|status| status.code())
    };
    assert_eq!(give(i64::MAX, "a").await, Err(tonic::Code::InvalidArgument));
    assert_eq!(give(1, "b").await, Ok(()));
    let account =
        billing_service::app::accounts::overview::overview(&case.world.app, case.customer).await.unwrap();
    assert_eq!(account.credit, usd(1));
}

/// BIL-28: money comes between a week before its invoice and now.
#[sqlx::test(migrator = "billing_service::MIGRATIONS")]
async fn a_payment_has_a_date_that_can_be(pool: PgPool) {
    let case = Case::begin(&pool, ProvisionPolicy::OnInvoice, "basic-monthly", false).await;
    let [invoice] = case.invoices().await.try_into().unwrap();
    let now = case.day(3);
    for (case_no, at) in [
        time::macros::datetime!(0001-01-01 0:00 UTC),
        time::macros::datetime!(1970-01-01 0:00 UTC),
        time::macros::datetime!(9999-01-01 0:00 UTC),
        now + Duration::hours(1),
        case.start - Duration::days(8),
    ]
    .into_iter()
    .enumerate()
    {
        let reference = format!("bank-{case_no}");
        let refused =
            record_manual::record_payment(&case.world.app, &by(), invoice.id, usd(900), &reference, at, now)
                .await;
        assert_eq!(
            refused.unwrap_err().to_string(),
            "received_at must lie between a week before the invoice and now"
        );
    }
    let early = case.start - Duration::days(2);
    record_manual::record_payment(&case.world.app, &by(), invoice.id, usd(900), "bank", early, now)
        .await
        .unwrap();
}

/// BIL-21: an offer that an operator takes back is no change that waits any more: the customer may ask again.
#[sqlx::test(migrator = "billing_service::MIGRATIONS")]
async fn an_offer_that_was_taken_back_blocks_no_change(pool: PgPool) {
    let (case, _) = Case::first_paid(&pool, ProvisionPolicy::OnPayment).await;
    for status in [InvoiceStatus::Void, InvoiceStatus::WrittenOff] {
        let quote = case.upgrade("standard-monthly", 1).await.unwrap();
        assert_eq!(quote.status, "awaiting_payment");
        let offer = quote.invoice.unwrap();
        record_manual::close_invoice(&case.world.app, &by(), offer.id, status, case.day(1)).await.unwrap();
        let row = subscriptions::find(&pool, case.subscription).await.unwrap().unwrap();
        assert_eq!(row.pending, None, "{status:?}");
    }
    let quote = case.upgrade("premium-monthly", 2).await.unwrap();
    assert_eq!((quote.status, quote.subscription.status), ("awaiting_payment", Status::Active));
}

/// BIL-11: reminders follow the end of the trial.
#[sqlx::test(migrator = "billing_service::MIGRATIONS")]
async fn reminders_follow_a_longer_trial(pool: PgPool) {
    let case = Case::begin(&pool, ProvisionPolicy::OnInvoice, "basic-monthly", true).await;
    for day in 0..=13 {
        case.look(day).await;
    }
    assert_eq!(case.announced(topics::TRIAL_ENDING).await, 3);
    change::extend_trial(&case.world.app, &by(), case.subscription, 10, case.day(13)).await.unwrap();
    for day in 13..=23 {
        case.look(day).await;
    }
    assert_eq!(case.announced(topics::TRIAL_ENDING).await, 6);
}

/// BIL-12, BIL-14: lists and details say the same date, and an open first invoice is said everywhere.
#[sqlx::test(migrator = "billing_service::MIGRATIONS")]
async fn every_answer_says_what_is_owed_and_when_the_ladder_goes_on(pool: PgPool) {
    let case = Case::begin(&pool, ProvisionPolicy::OnInvoice, "basic-monthly", false).await;
    let id = case.subscription.to_string();
    assert_eq!(case.world.entitlement(&id).await.billing_status, "payment_required");
    let by = |message| case.world.by(case.customer, Role::Customer, message);
    let list = proto::ListSubscriptionsRequest { page: 1, page_size: 20, ..Default::default() };
    let list = case.world.billing().list_subscriptions(by(list)).await.unwrap().into_inner();
    let request = proto::GetSubscriptionRequest { subscription_id: id.clone() };
    let request = case.world.by(case.customer, Role::Customer, request);
    let one = case.world.billing().get_subscription(request).await.unwrap().into_inner();
    let date = |row: &proto::Subscription| row.ladder.as_ref().unwrap().next_step_at;
    assert!(date(&list.subscriptions[0]).is_some());
    assert_eq!(date(&list.subscriptions[0]), date(&one.subscription.unwrap()));

    let [first] = case.invoices().await.try_into().unwrap();
    case.pay(&first, 900, "first", clock::now()).await;
    assert_eq!(case.world.entitlement(&id).await.billing_status, "paid");
    let last = case.world.announced().await;
    assert!(last.contains(&topics::SUBSCRIPTION_CHANGED.to_owned()), "the instance hears it: {last:?}");
}
