//! The providers against one suite (BIL-05): the embedded ledger, the fake Kill Bill of both lines, and a
//! real one when `cargo xtask test --killbill` gives its address. Where the fake and the real one disagree,
//! the fake is mended.
//!
//! A Kill Bill has one clock, so the scenarios of one provider run one after the other, each with customers
//! of its own.

mod corrections;

use billing_service::app;
use billing_service::domain::catalogue::Catalogue;
use billing_service::domain::money::{Currency, Money};
use billing_service::domain::period::BillingPeriod;
use billing_service::domain::subscription::{Beginning, ProvisionPolicy, begin};
use billing_service::provider::killbill::KillBill;
use billing_service::provider::killbill::subscriptions::When;
use billing_service::provider::ledger::Ledger;
use billing_service::provider::{CancelWhen, NewSubscription, Provider, ProviderError};
use billing_service::store::webhooks;
use runtime::clock;
use sqlx::PgPool;
use test_kit::killbill::{FakeKillBill, Fault, Line, PASSWORD, USER};
use time::{Duration, OffsetDateTime};
use uuid::Uuid;

use crate::mirror;
use crate::world::{World, access};

/// A real one makes invoices a moment after its answer.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(20);

fn usd(cents: i64) -> Money {
    Money::new(cents, Currency::USD)
}

async fn catalogue(pool: &PgPool) {
    app::catalogue::apply_catalogue(pool, &Catalogue::shipped(14).unwrap(), false).await.unwrap();
}

fn beginning(now: OffsetDateTime, trial: bool) -> Beginning {
    begin(now, BillingPeriod::Monthly, trial.then_some(14), ProvisionPolicy::OnInvoice)
}

fn wanted(
    customer_id: Uuid,
    plan: &'static str,
    trial: bool,
    now: OffsetDateTime,
) -> NewSubscription<'static> {
    NewSubscription {
        id: Uuid::now_v7(),
        customer_id,
        plan_name: plan,
        billing_period: BillingPeriod::Monthly,
        price: usd(900),
        beginning: beginning(now, trial),
    }
}

/// BIL-07, BIL-08: what every provider does, told twice.
async fn orders(provider: &dyn Provider, now: OffsetDateTime) {
    let customer = Uuid::now_v7();
    let account = provider.create_account(customer).await.unwrap();
    assert_eq!(provider.create_account(customer).await.unwrap(), account);
    let order = wanted(customer, "basic-monthly", true, now);
    let made = provider.create_subscription(&order).await.unwrap();
    assert_eq!(provider.create_subscription(&order).await.unwrap(), made);
    provider.health().await.unwrap();
}

/// BIL-08, BIL-23: an end is an end, however often it is told.
async fn ends(provider: &KillBill, now: OffsetDateTime) {
    let customer = Uuid::now_v7();
    let order = wanted(customer, "basic-monthly", false, now);
    assert_eq!(provider.pull(order.id).await.unwrap(), None);
    provider.cancel(order.id, CancelWhen::Now).await.unwrap();
    let made = provider.create_subscription(&order).await.unwrap();
    assert_eq!(provider.pull(order.id).await.unwrap().unwrap().ended_at, None);
    provider.cancel(order.id, CancelWhen::Now).await.unwrap();
    provider.cancel(order.id, CancelWhen::Now).await.unwrap();
    let pulled = provider.pull(order.id).await.unwrap().unwrap();
    assert!(pulled.ended_at.is_some() && pulled.provider_id == made, "{pulled:?}");
    // The key is spent: told again it is the same subscription, which has ended, and no new one.
    assert_eq!(provider.create_subscription(&order).await.unwrap(), made);
    assert_eq!(provider.snapshot(customer).await.unwrap().unwrap().subscriptions.len(), 1);
    assert!(matches!(provider.keep(order.id).await, Err(ProviderError::Refused(_))));
}

/// BIL-23: a cancelled trial runs to its end, also on the line that would end it at once, and the
/// cancellation can be taken back.
async fn trials(provider: &KillBill, now: OffsetDateTime) {
    let customer = Uuid::now_v7();
    let order = wanted(customer, "basic-monthly", true, now);
    provider.create_subscription(&order).await.unwrap();
    let state = provider.snapshot(customer).await.unwrap().unwrap();
    let trial_end = state.subscriptions[0].trial_ends_at.expect("in its trial");
    assert_eq!((trial_end.date() - now.date()).whole_days(), 14);
    assert!(state.invoices.iter().all(|invoice| invoice.total == usd(0)), "{state:?}");

    let end = provider.end(order.id, When::PeriodEnd).await.unwrap().expect("an end");
    assert_eq!(end.date(), trial_end.date());
    assert_eq!(provider.end(order.id, When::PeriodEnd).await.unwrap(), Some(end));
    let state = provider.snapshot(customer).await.unwrap().unwrap();
    assert!(
        state.subscriptions[0].cancel_at.is_some() && state.subscriptions[0].ended_at.is_none(),
        "{state:?}"
    );
    provider.keep(order.id).await.unwrap();
    provider.keep(order.id).await.unwrap();
    assert_eq!(provider.snapshot(customer).await.unwrap().unwrap().subscriptions[0].cancel_at, None);
}

/// BIL-26, BIL-29: each payment and credit once.
async fn money(provider: &KillBill, now: OffsetDateTime) {
    let customer = Uuid::now_v7();
    let order = wanted(customer, "basic-monthly", false, now);
    provider.create_subscription(&order).await.unwrap();
    let first = provider.snapshot(customer).await.unwrap().unwrap();
    assert_eq!(first.invoices.len(), 1, "{first:?}");
    let invoice = &first.invoices[0];
    // Nobody pays by itself: AUTO_PAY_OFF came before the subscription.
    assert_eq!((invoice.total, invoice.balance, invoice.issued), (usd(900), usd(900), true));
    assert!(invoice.lines.iter().any(|line| line.subscription == Some(first.subscriptions[0].provider_id)));

    let (part, rest) = (Uuid::now_v7(), Uuid::now_v7());
    provider.pay(customer, invoice.provider_id, part, usd(450)).await.unwrap();
    provider.pay(customer, invoice.provider_id, part, usd(450)).await.unwrap();
    let other = provider.pay(customer, invoice.provider_id, part, usd(100)).await;
    assert!(matches!(other, Err(ProviderError::Refused(_))), "{other:?}");
    assert!(matches!(
        provider.pay(customer, invoice.provider_id, rest, usd(9000)).await,
        Err(ProviderError::Refused(_))
    ));
    provider.pay(customer, invoice.provider_id, rest, usd(325)).await.unwrap();
    provider.pay(customer, invoice.provider_id, rest, usd(325)).await.unwrap();
    let credit = Uuid::now_v7();
    provider.give_credit(customer, credit, usd(500)).await.unwrap();
    provider.give_credit(customer, credit, usd(500)).await.unwrap();
    let late = provider.pay(customer, invoice.provider_id, Uuid::now_v7(), usd(450)).await;
    assert!(matches!(late, Err(ProviderError::Refused(_))), "{late:?}");

    let state = provider.snapshot(customer).await.unwrap().unwrap();
    assert_eq!(state.payments.len(), 2, "{state:?}");
    let invoice = state.invoices.iter().find(|found| found.provider_id == invoice.provider_id).unwrap();
    assert_eq!((invoice.balance, state.credit), (usd(0), usd(375)), "{state:?}");
}

/// BIL-21, BIL-22: the preview is what the invoice says; a change that waits can be taken back.
async fn changes(provider: &KillBill, now: OffsetDateTime) {
    let customer = Uuid::now_v7();
    let order = wanted(customer, "basic-monthly", false, now);
    provider.create_subscription(&order).await.unwrap();
    let due = provider.preview(order.id, "standard", "MONTHLY", Currency::USD).await.unwrap();
    assert_eq!(due, usd(1000));
    for _ in 0..2 {
        provider.change(order.id, "standard-monthly", When::Now).await.unwrap();
    }
    let state = test_kit::eventually("the invoice of the change", PATIENCE, || async {
        let state = provider.snapshot(customer).await.unwrap().unwrap();
        (state.invoices.len() == 2).then_some(state)
    })
    .await;
    assert_eq!(state.subscriptions[0].plan_name, "standard-monthly");
    assert_eq!(state.invoices.iter().map(|invoice| invoice.total.minor()).sum::<i64>(), 1900, "{state:?}");

    for _ in 0..2 {
        provider.change(order.id, "basic-monthly", When::PeriodEnd).await.unwrap();
    }
    let state = provider.snapshot(customer).await.unwrap().unwrap();
    let (plan, at) = state.subscriptions[0].pending_plan.clone().expect("a change that waits");
    assert!(plan == "basic-monthly" && at > now, "{state:?}");
    for _ in 0..2 {
        provider.keep_plan(order.id).await.unwrap();
    }
    assert_eq!(provider.snapshot(customer).await.unwrap().unwrap().subscriptions[0].pending_plan, None);
}

/// BIL-12, BIL-20: the trial ends, then each period is charged; a cancelled one ends and is charged no more.
/// Moves the clock.
async fn time_passes(provider: &KillBill, now: OffsetDateTime) {
    let (stays, goes) = (Uuid::now_v7(), Uuid::now_v7());
    let (first, second) =
        (wanted(stays, "basic-monthly", true, now), wanted(goes, "basic-monthly", false, now));
    provider.create_subscription(&first).await.unwrap();
    provider.create_subscription(&second).await.unwrap();
    provider.end(second.id, When::PeriodEnd).await.unwrap();
    provider.move_clock(now + Duration::days(46)).await.unwrap();
    test_kit::eventually("two invoices and an end", PATIENCE, || async {
        let (a, b) = (
            provider.snapshot(stays).await.unwrap().unwrap(),
            provider.snapshot(goes).await.unwrap().unwrap(),
        );
        let charged = a.invoices.iter().filter(|invoice| invoice.balance == usd(900)).count();
        (charged == 2 && b.subscriptions[0].ended_at.is_some() && b.invoices.len() == 1).then_some(())
    })
    .await;
}

async fn all(pool: &PgPool, provider: &KillBill, now: OffsetDateTime) {
    catalogue(pool).await;
    orders(provider, now).await;
    ends(provider, now).await;
    trials(provider, now).await;
    money(provider, now).await;
    changes(provider, now).await;
    time_passes(provider, now).await;
    corrections::corrections(provider, provider.clock().await.unwrap()).await;
}

#[sqlx::test(migrator = "billing_service::MIGRATIONS")]
async fn conformance_of_the_ledger(pool: PgPool) {
    catalogue(&pool).await;
    orders(&Ledger::new(&pool), clock::now()).await;
}

async fn fake(pool: &PgPool, line: Line) {
    let now = clock::now();
    let fake = FakeKillBill::start(line, now).await.unwrap();
    let provider = KillBill::try_new(access(&fake.url, USER, PASSWORD), pool, None).unwrap();
    all(pool, &provider, now).await;
}

#[sqlx::test(migrator = "billing_service::MIGRATIONS")]
async fn conformance_of_the_fake_of_the_0_22_line(pool: PgPool) {
    fake(&pool, Line::V22).await;
}

#[sqlx::test(migrator = "billing_service::MIGRATIONS")]
async fn conformance_of_the_fake_of_the_0_24_line(pool: PgPool) {
    fake(&pool, Line::V24).await;
}

/// `cargo xtask test --killbill`
#[expect(clippy::disallowed_methods, reason = "the address of a real server comes from the environment")]
#[sqlx::test(migrator = "billing_service::MIGRATIONS")]
async fn conformance_of_a_real_kill_bill(pool: PgPool) {
    let Ok(url) = std::env::var("TEST_KILLBILL_URL") else { return };
    let variable = |name| std::env::var(name).unwrap_or_default();
    let access = access(&url, &variable("TEST_KILLBILL_USERNAME"), &variable("TEST_KILLBILL_PASSWORD"));
    let provider = KillBill::try_new(access, &pool, None).unwrap();
    catalogue(&pool).await;
    provider.ensure_ready().await.unwrap();
    // An earlier run may have moved it.
    let now = provider.clock().await.unwrap();
    all(&pool, &provider, now).await;

    // A whole life with the service around it, at the time that the server has come to.
    let access =
        crate::world::access(&url, &variable("TEST_KILLBILL_USERNAME"), &variable("TEST_KILLBILL_PASSWORD"));
    let world = World::killbill_at(&pool, ProvisionPolicy::OnInvoice, access).await;
    let ahead = provider.clock().await.unwrap() - clock::now();
    sqlx::query("UPDATE billing_clock SET offset_seconds = $1")
        .bind(ahead.whole_seconds().max(0))
        .execute(&pool)
        .await
        .unwrap();
    mirror::same_facts(&mirror::lives(&world).await);
    mirror::corrections::all(&world).await;
}

/// BIL-32: started twice, by two replicas at the same time and once more, there is one callback and one
/// version of the catalogue; a changed price is a second version.
#[sqlx::test(migrator = "billing_service::MIGRATIONS")]
async fn a_second_start_sets_nothing_up_again(pool: PgPool) {
    catalogue(&pool).await;
    let fake = FakeKillBill::start(Line::V24, clock::now()).await.unwrap();
    let access = access(&fake.url, USER, PASSWORD);
    let hooks = "http://gateway/hooks/a-token?x=1&y";
    let replica = || KillBill::try_new(access.clone(), &pool, Some(hooks.into())).unwrap();
    let (one, two) = (replica(), replica());
    let (first, second) = tokio::join!(one.ensure_ready(), two.ensure_ready());
    first.and(second).unwrap();
    replica().ensure_ready().await.unwrap();
    assert_eq!(fake.tenant(&access.api_key), (1, Some(hooks.to_owned())));

    sqlx::query("UPDATE plans SET price_minor = 1000 WHERE name = 'basic-monthly'")
        .execute(&pool)
        .await
        .unwrap();
    replica().ensure_ready().await.unwrap();
    assert_eq!(fake.tenant(&access.api_key).0, 2);
}

/// BIL-31: two tokens are valid while one replaces the other; an empty one never is. BIL-30: equal hooks that
/// wait are one row.
#[sqlx::test(migrator = "billing_service::MIGRATIONS")]
async fn conformance_of_hooks(pool: PgPool) {
    let provider = KillBill::try_new(access("http://127.0.0.1:1", USER, PASSWORD), &pool, None).unwrap();
    assert!(!provider.is_hook_token(""));
    let provider = provider.with_hook_tokens(["new-token".into(), "old-token".into(), "".into()]);
    assert!(provider.is_hook_token("new-token") && provider.is_hook_token("old-token"));
    assert!(
        !provider.is_hook_token("")
            && !provider.is_hook_token("new-tokem")
            && !provider.is_hook_token("new-token ")
    );
    let (first, again) = (
        webhooks::store(&pool, "killbill", b"{cut off", "application/json").await.unwrap(),
        webhooks::store(&pool, "killbill", b"{cut off", "application/json").await.unwrap(),
    );
    assert_eq!(first, again);
    let (body, deliveries): (Vec<u8>, i32) =
        sqlx::query_as("SELECT body, deliveries FROM webhook_inbox").fetch_one(&pool).await.unwrap();
    assert_eq!((body.as_slice(), deliveries), (&b"{cut off"[..], 2));
}

/// BIL-08: 500 after the work was done makes no duplicate, and an outage is no refusal.
#[sqlx::test(migrator = "billing_service::MIGRATIONS")]
async fn a_lost_answer_makes_no_duplicate(pool: PgPool) {
    catalogue(&pool).await;
    let now = clock::now();
    let fake = FakeKillBill::start(Line::V24, now).await.unwrap();
    let access = access(&fake.url, USER, PASSWORD);
    let provider = KillBill::try_new(access.clone(), &pool, None).unwrap();
    provider.ensure_ready().await.unwrap();
    let customer = Uuid::now_v7();
    let order = wanted(customer, "basic-monthly", false, now);

    for fault in [Fault::Down, Fault::FailBefore] {
        fake.set(fault);
        let outcome = provider.create_subscription(&order).await;
        assert!(matches!(outcome, Err(ProviderError::Unavailable(_))), "{outcome:?}");
    }
    fake.set(Fault::FailAfter);
    // Account, tags and payment method lose their answers one after the other.
    for _ in 0..3 {
        drop(provider.create_subscription(&order).await);
    }
    provider.create_subscription(&order).await.unwrap();
    let pay = Uuid::now_v7();
    let invoice = provider.snapshot(customer).await.unwrap().unwrap().invoices[0].provider_id;
    for _ in 0..3 {
        provider.pay(customer, invoice, pay, usd(400)).await.unwrap();
        provider.give_credit(customer, pay, usd(100)).await.unwrap();
    }
    assert_eq!(fake.counts(&access.api_key), (1, 1, 1));
    let state = provider.snapshot(customer).await.unwrap().unwrap();
    assert_eq!(state.invoices.iter().map(|invoice| invoice.balance.minor()).sum::<i64>(), 400, "{state:?}");
    provider.cancel(order.id, CancelWhen::Now).await.unwrap();
    fake.set(Fault::None);
    assert!(provider.pull(order.id).await.unwrap().unwrap().ended_at.is_some());
}
