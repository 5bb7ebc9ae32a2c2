//! Kill Bill behind the whole service: rows that follow it, hooks that are lost, repeated, forged, outages,
//! lost answers. The same life of a customer is lived with the ledger and with both lines of Kill Bill.

pub(crate) mod corrections;
mod offers;
mod outages;

use std::collections::BTreeMap;

use billing_service::app::caller::Caller;
use billing_service::app::payments::record_manual;
use billing_service::app::provider::provider_commands;
use billing_service::app::provider::sync;
use billing_service::app::subscriptions::change;
use billing_service::app::subscriptions::downgrade::{downgrade, undo_downgrade};
use billing_service::app::webhooks::webhook_inbox;
use billing_service::domain::dunning::DunningState;
use billing_service::domain::invoice::Invoice;
use billing_service::domain::invoice::{InvoiceKind, InvoiceStatus};
use billing_service::domain::money::{Currency, Money};
use billing_service::domain::subscription::Subscription;
use billing_service::domain::subscription::{ProvisionPolicy, Status};
use billing_service::provider::{CancelWhen, Provider as _};
use billing_service::store::invoices::{self};
use billing_service::store::provider_calls::{self, CallKind};
use billing_service::store::subscriptions::{self};
use billing_service::sweep;
use contracts::billing::v1 as proto;
use contracts::billing::v1::billing_admin_service_client::BillingAdminServiceClient;
use contracts::billing::v1::webhook_service_client::WebhookServiceClient;
use contracts::events::topics;
use runtime::clock;
use runtime::identity::Role;
use runtime::page::Page;
use sqlx::PgPool;
use test_kit::killbill::{Fault, Line};
use time::Duration;
use tonic::Code;
use uuid::Uuid;

use crate::world::{HOOK_TOKEN, World};

const PATIENCE: std::time::Duration = std::time::Duration::from_secs(20);

fn by() -> Caller {
    Caller {
        actor: Uuid::nil().to_string(),
        role: "admin",
        reason: "a test".into(),
        request_id: "test".into(),
    }
}

fn usd(cents: i64) -> Money {
    Money::new(cents, Currency::USD)
}

/// One customer of a world.
struct Life<'a> {
    world: &'a World,
    customer: Uuid,
    subscription: Uuid,
}

impl<'a> Life<'a> {
    async fn begin(world: &'a World, plan: &str, trial: bool) -> Self {
        let customer = world.directory.add(&format!("{}@example.com", Uuid::new_v4().simple()));
        let instance = Uuid::now_v7();
        let placed = world.order_plan(customer, instance, plan, Some(trial)).await.unwrap();
        // The instance exists, so that no sweep takes the order back.
        sqlx::query("UPDATE orders SET confirmed_at = now() WHERE instance_id = $1")
            .bind(instance)
            .execute(&world.pool)
            .await
            .unwrap();
        let subscription = placed.subscription.unwrap().id.parse().unwrap();
        Self { world, customer, subscription }
    }

    async fn row(&self) -> Subscription {
        subscriptions::find(&self.world.pool, self.subscription).await.unwrap().unwrap()
    }

    async fn invoices(&self) -> Vec<Invoice> {
        let filter = billing_service::domain::invoice::InvoiceFilter {
            customer_id: Some(self.customer),
            ..billing_service::domain::invoice::InvoiceFilter::default()
        };
        let (mut rows, _) =
            invoices::list(&self.world.pool, &filter, Page::try_new(1, 100).unwrap()).await.unwrap();
        rows.sort_by_key(|row| row.id);
        rows
    }

    /// Looks at the provider; the ledger needs no look.
    async fn look(&self) -> sync::Synced {
        if self.world.app.provider.is_books_local() {
            return sync::Synced { changes: 0, whole: true };
        }
        sync::customer(&self.world.app, self.customer, sync::Cause::Hook).await.unwrap()
    }

    async fn pay(&self, invoice: &Invoice) {
        let (app, now) = (&self.world.app, self.world.app.now().await);
        let reference = Uuid::new_v4().to_string();
        record_manual::record_payment(app, &by(), invoice.id, invoice.balance, &reference, now, now)
            .await
            .unwrap();
        provider_commands::work(app).await.unwrap();
    }

    /// How often each fact was announced about the customer.
    async fn facts(&self) -> BTreeMap<String, i64> {
        let rows: Vec<(String, i64)> = sqlx::query_as(
            "SELECT topic, count(*) FROM outbox WHERE payload ->> 'customer_id' = $1 GROUP BY topic",
        )
        .bind(self.customer.to_string())
        .fetch_all(&self.world.pool)
        .await
        .unwrap();
        rows.into_iter().collect()
    }

    async fn announced(&self, topic: &str) -> i64 {
        self.facts().await.get(topic).copied().unwrap_or(0)
    }

    async fn now(&self) -> time::OffsetDateTime {
        self.world.app.now().await
    }
}

async fn advance(world: &World, days: u64) {
    let request = proto::AdvanceClockRequest { seconds: days * 86_400 };
    let request = world.by(Uuid::now_v7(), Role::Admin, request);
    BillingAdminServiceClient::new(world.api.channel()).advance_clock(request).await.unwrap();
}

async fn deliver(world: &World, token: &str, body: &[u8]) -> Result<(), tonic::Status> {
    let request = proto::ReceiveWebhookRequest {
        provider: "killbill".into(),
        token: token.into(),
        body: body.to_vec(),
        content_type: "application/json".into(),
    };
    WebhookServiceClient::new(world.api.channel()).receive_webhook(request).await.map(drop)
}

/// BIL-12, BIL-14, BIL-16: trial, its end, the ladder, payment. Facts of all of it.
async fn trial_to_suspension_and_back(world: &World) -> BTreeMap<String, i64> {
    let life = Life::begin(world, "basic-monthly", true).await;
    life.look().await;
    assert_eq!((life.row().await.status, life.invoices().await.len()), (Status::Trialing, 0));
    advance(world, 15).await;
    let open = test_kit::eventually("the invoice of the trial's end", PATIENCE, || async {
        life.look().await;
        let rows = life.invoices().await;
        (rows.len() == 1 && life.row().await.status == Status::PastDue).then(|| rows[0].clone())
    })
    .await;
    assert_eq!((open.status, open.total, open.balance), (InvoiceStatus::Open, usd(900), usd(900)));
    assert_eq!(open.kind, InvoiceKind::Recurring);
    let lines = invoices::lines(&world.pool, open.id, Currency::USD).await.unwrap();
    assert_eq!(lines.iter().map(|line| line.amount.minor()).sum::<i64>(), 900, "{lines:?}");
    let row = life.row().await;
    let (start, end) = row.period().unwrap();
    assert!(!row.in_trial() && row.trial_ends_at.unwrap().date() == start.date() && end > start, "{row:?}");
    advance(world, 10).await;
    assert_eq!(life.row().await.dunning, DunningState::Warning);
    advance(world, 4).await;
    let row = life.row().await;
    assert_eq!((row.dunning, row.status), (DunningState::Suspended, Status::Suspended));
    life.pay(&open).await;
    let row = life.row().await;
    assert_eq!((row.dunning, row.status), (DunningState::None, Status::Active));
    life.look().await;
    let paid = &life.invoices().await[0];
    assert_eq!((paid.status, paid.balance), (InvoiceStatus::Paid, usd(0)));
    life.facts().await
}

/// BIL-23: the end with the period, its undo, and the end when its date is here.
async fn cancelled_and_not_and_cancelled(world: &World) -> BTreeMap<String, i64> {
    let life = Life::begin(world, "basic-monthly", false).await;
    let app = &world.app;
    let first = test_kit::eventually("the first invoice", PATIENCE, || async {
        life.look().await;
        life.invoices().await.first().cloned()
    })
    .await;
    assert_eq!((first.kind, first.total), (InvoiceKind::First, usd(900)));
    life.pay(&first).await;
    let who = Some(life.customer);
    let row = change::cancel(app, who, life.subscription, "too dear", false, life.now().await).await.unwrap();
    assert_eq!((row.status, row.cancel_at), (Status::Cancelling, row.current_period_end));
    assert_eq!(row.cancel_reason.as_deref(), Some("too dear"));
    let row = change::undo_cancel(app, who, life.subscription, life.now().await).await.unwrap();
    assert_eq!((row.status, row.cancel_at), (Status::Active, None));
    change::cancel(app, who, life.subscription, "after all", false, life.now().await).await.unwrap();
    advance(world, 32).await;
    test_kit::eventually("the end", PATIENCE, || async {
        sweep::sweep(app, app.now().await).await.unwrap();
        (life.row().await.status == Status::Ended).then_some(())
    })
    .await;
    assert_eq!(life.invoices().await.len(), 1, "nothing is billed after the end");
    life.facts().await
}

/// BIL-21, BIL-22: an upgrade with its invoice; a change that waits and is taken back.
async fn upgraded(world: &World) -> BTreeMap<String, i64> {
    let life = Life::begin(world, "basic-monthly", false).await;
    let app = &world.app;
    let first = test_kit::eventually("the first invoice", PATIENCE, || async {
        life.look().await;
        life.invoices().await.first().cloned()
    })
    .await;
    life.pay(&first).await;
    let who = Some(life.customer);
    let preview = change::upgrade(app, who, life.subscription, "standard-monthly", true, life.now().await);
    let preview = preview.await.unwrap();
    assert_eq!((preview.status, life.row().await.plan_name.as_str()), ("preview", "basic-monthly"));
    let made = change::upgrade(app, who, life.subscription, "standard-monthly", false, life.now().await);
    let made = made.await.unwrap();
    assert_eq!((made.status, made.subscription.plan_name.as_str()), ("applied", "standard-monthly"));
    let offer = test_kit::eventually("the invoice of the upgrade", PATIENCE, || async {
        life.look().await;
        life.invoices().await.get(1).cloned()
    })
    .await;
    assert_eq!((offer.kind, offer.total), (InvoiceKind::Upgrade, preview.amount_due));
    assert!((offer.total.minor() - 1000).abs() <= 1, "{offer:?}");
    life.pay(&offer).await;

    // Standard with another rhythm: a smaller step that waits for the period's end.
    let smaller = downgrade(app, who, life.subscription, "basic-monthly", false, life.now().await).await;
    assert_eq!(smaller.unwrap_err().reason(), "usage_unknown");
    let row = downgrade(app, who, life.subscription, "standard-quarterly", false, life.now().await);
    let row = row.await.unwrap().subscription;
    assert_eq!(row.pending.as_ref().unwrap().plan_name, "standard-quarterly");
    assert_eq!(row.pending.unwrap().effective_at, row.current_period_end);
    let row = undo_downgrade(app, who, life.subscription, life.now().await).await.unwrap();
    assert_eq!((row.pending, row.plan_name.as_str()), (None, "standard-monthly"));
    life.facts().await
}

/// All of it; the books of the customers and what was announced about them.
pub(crate) async fn lives(world: &World) -> [BTreeMap<String, i64>; 3] {
    [
        upgraded(world).await,
        cancelled_and_not_and_cancelled(world).await,
        trial_to_suspension_and_back(world).await,
    ]
}

/// What the ledger announces; every provider announces the same.
pub(crate) fn same_facts(lived: &[BTreeMap<String, i64>; 3]) {
    let facts = |all: &[(&str, i64)]| -> BTreeMap<String, i64> {
        all.iter().map(|(topic, count)| ((*topic).to_owned(), *count)).collect()
    };
    let wanted = [
        facts(&[
            (topics::SUBSCRIPTION_CREATED, 1),
            (topics::INVOICE_ISSUED, 2),
            (topics::PAYMENT_RECEIVED, 2),
            (topics::INVOICE_PAID, 2),
            // Two payments, the upgrade, the change that waits, its undo.
            (topics::SUBSCRIPTION_CHANGED, 5),
            (topics::SUBSCRIPTION_UPGRADED, 1),
        ]),
        facts(&[
            (topics::SUBSCRIPTION_CREATED, 1),
            (topics::INVOICE_ISSUED, 1),
            (topics::PAYMENT_RECEIVED, 1),
            (topics::INVOICE_PAID, 1),
            (topics::SUBSCRIPTION_CANCELLED, 2),
            (topics::SUBSCRIPTION_CHANGED, 4),
            (topics::SUBSCRIPTION_ENDED, 1),
            (topics::SERVICE_TERMINATED, 1),
        ]),
        facts(&[
            (topics::SUBSCRIPTION_CREATED, 1),
            (topics::INVOICE_ISSUED, 1),
            (topics::PAYMENT_RECEIVED, 1),
            (topics::INVOICE_PAID, 1),
            // The trial's end, the warning.
            (topics::SUBSCRIPTION_CHANGED, 2),
            (topics::OVERDUE, 2),
            (topics::SUBSCRIPTION_SUSPENDED, 1),
            (topics::SUBSCRIPTION_RESUMED, 1),
        ]),
    ];
    for (lived, wanted) in lived.iter().zip(&wanted) {
        let mut lived = lived.clone();
        // Which reminders are still due depends on the jump alone.
        lived.remove(topics::TRIAL_ENDING);
        assert_eq!(&lived, wanted);
    }
}

/// BIL-05
#[sqlx::test(migrator = "billing_service::MIGRATIONS")]
async fn a_life_with_the_ledger(pool: PgPool) {
    same_facts(&lives(&World::ledger(&pool, ProvisionPolicy::OnInvoice).await).await);
}

/// BIL-05, BIL-33
#[sqlx::test(migrator = "billing_service::MIGRATIONS")]
async fn a_life_with_the_fake_of_the_0_22_line(pool: PgPool) {
    let (world, _) = World::killbill(&pool, ProvisionPolicy::OnInvoice, Line::V22).await;
    same_facts(&lives(&world).await);
}

/// BIL-05, BIL-33
#[sqlx::test(migrator = "billing_service::MIGRATIONS")]
async fn a_life_with_the_fake_of_the_0_24_line(pool: PgPool) {
    let (world, _) = World::killbill(&pool, ProvisionPolicy::OnInvoice, Line::V24).await;
    same_facts(&lives(&world).await);
}

/// BIL-30: each hook ten times, in the reverse order and once more later: the rows and the announcements of
/// one look.
#[sqlx::test(migrator = "billing_service::MIGRATIONS")]
async fn hooks_that_are_repeated_and_reordered_change_nothing_twice(pool: PgPool) {
    let (world, fake) = World::killbill(&pool, ProvisionPolicy::OnInvoice, Line::V24).await;
    let life = Life::begin(&world, "basic-monthly", false).await;
    let hooks = fake.hooks(&world.api_key);
    assert!(hooks.len() >= 5, "{hooks:?}");
    for _ in 0..10 {
        for hook in hooks.iter().rev() {
            deliver(&world, HOOK_TOKEN, hook.as_bytes()).await.unwrap();
        }
    }
    let distinct = i64::try_from(hooks.iter().collect::<std::collections::HashSet<_>>().len()).unwrap();
    assert_eq!(world.count("webhook_inbox").await, distinct, "equal ones wait as one");
    webhook_inbox::work(&world.app).await.unwrap();
    assert_eq!(world.count("webhook_inbox WHERE state = 'done' AND deliveries = 10").await, distinct);
    let (rows, facts) = (life.invoices().await, life.facts().await);
    assert_eq!((rows.len(), facts[topics::INVOICE_ISSUED]), (1, 1));
    for hook in &hooks {
        deliver(&world, HOOK_TOKEN, hook.as_bytes()).await.unwrap();
        webhook_inbox::work(&world.app).await.unwrap();
    }
    assert_eq!((life.invoices().await, life.facts().await), (rows, facts));
}

/// BIL-30, BIL-33: while an order is on its way its hooks ask Kill Bill nothing; afterwards one pull is
/// enough for all of them.
#[sqlx::test(migrator = "billing_service::MIGRATIONS")]
async fn hooks_of_an_order_on_its_way_wait_and_need_one_pull(pool: PgPool) {
    let (world, fake) = World::killbill(&pool, ProvisionPolicy::OnInvoice, Line::V22).await;
    let life = Life::begin(&world, "basic-monthly", false).await;
    let hooks = fake.hooks(&world.api_key);
    let (last, early) = hooks.split_last().unwrap();
    sqlx::query("UPDATE orders SET state = 'placed'").execute(&pool).await.unwrap();
    for hook in early {
        deliver(&world, HOOK_TOKEN, hook.as_bytes()).await.unwrap();
    }
    let before = fake.calls();
    webhook_inbox::work(&world.app).await.unwrap();
    assert_eq!((fake.calls(), life.invoices().await.len()), (before, 0));
    sqlx::query("UPDATE orders SET state = 'subscribed'").execute(&pool).await.unwrap();
    deliver(&world, HOOK_TOKEN, last.as_bytes()).await.unwrap();
    webhook_inbox::work(&world.app).await.unwrap();
    assert_eq!(life.invoices().await.len(), 1);
    let pulled = fake.calls();
    assert_eq!(pulled - before, 4, "account, bundles, invoices, payments");
    sqlx::query("UPDATE webhook_inbox SET next_at = now()").execute(&pool).await.unwrap();
    webhook_inbox::work(&world.app).await.unwrap();
    assert_eq!(fake.calls(), pulled, "seen by the pull that was made since");
    assert_eq!(world.count("webhook_inbox WHERE state <> 'done'").await, 0);
}

/// BIL-30: an account whose key is an id that we do not know is nobody's, and is asked about once.
#[sqlx::test(migrator = "billing_service::MIGRATIONS")]
async fn a_hook_about_a_customer_that_we_do_not_know_is_ignored(pool: PgPool) {
    let (world, fake) = World::killbill(&pool, ProvisionPolicy::OnInvoice, Line::V22).await;
    world.killbill.as_ref().unwrap().create_account(Uuid::now_v7()).await.unwrap();
    for hook in fake.hooks(&world.api_key) {
        deliver(&world, HOOK_TOKEN, hook.as_bytes()).await.unwrap();
    }
    webhook_inbox::work(&world.app).await.unwrap();
    assert!(world.count("webhook_inbox WHERE state = 'ignored'").await > 0);
    assert_eq!(world.count("webhook_inbox WHERE state = 'new'").await, 0);
}

/// BIL-30, BIL-31: a wrong token leaves no trace; another tenant's account, nonsense and half a message are
/// kept and have no effect.
#[sqlx::test(migrator = "billing_service::MIGRATIONS")]
async fn forged_foreign_and_broken_hooks_have_no_effect(pool: PgPool) {
    let (world, fake) = World::killbill(&pool, ProvisionPolicy::OnInvoice, Line::V24).await;
    let life = Life::begin(&world, "basic-monthly", false).await;
    life.look().await;
    let (rows, facts) = (life.invoices().await, life.facts().await);
    for token in ["", "wrong", "hook-token-of-the-testz"] {
        let refused = deliver(&world, token, b"{}").await.unwrap_err();
        assert_eq!(refused.code(), Code::NotFound, "{token}");
    }
    assert_eq!(world.count("webhook_inbox").await, 0);
    let foreign = format!(
        r#"{{"eventType":"INVOICE_PAYMENT_SUCCESS","accountId":"{}","objectType":"INVOICE","objectId":"{}","metaData":null}}"#,
        Uuid::new_v4(),
        Uuid::new_v4()
    );
    let whole = fake.hooks(&world.api_key)[0].clone();
    let half = &whole.as_bytes()[..whole.len() / 2];
    for body in [foreign.as_bytes(), half, b"", b"\xff\xfe", b"[]", br#"{"accountId":"none"}"#] {
        deliver(&world, HOOK_TOKEN, body).await.unwrap();
    }
    webhook_inbox::work(&world.app).await.unwrap();
    assert_eq!(world.count("webhook_inbox WHERE state = 'ignored'").await, 6);
    assert_eq!((life.invoices().await, life.facts().await), (rows, facts));
}

/// BIL-33, REL-04: with every hook lost, one round finds the payment that was made at the provider and
/// whatever else happened there.
#[sqlx::test(migrator = "billing_service::MIGRATIONS")]
async fn a_round_finds_what_hooks_lost(pool: PgPool) {
    let (world, _) = World::killbill(&pool, ProvisionPolicy::OnInvoice, Line::V22).await;
    let life = Life::begin(&world, "basic-monthly", false).await;
    sweep::sweep(&world.app, life.now().await).await.unwrap();
    let first = life.invoices().await.pop().expect("the first invoice");
    // By hand, at the provider.
    let there = first.provider_id.parse().unwrap();
    world.killbill.as_ref().unwrap().pay(life.customer, there, Uuid::now_v7(), usd(900)).await.unwrap();
    world.app.provider.cancel(life.subscription, CancelWhen::PeriodEnd).await.unwrap();
    assert_eq!(life.invoices().await[0].status, InvoiceStatus::Open);
    // Something is pending, so five minutes are enough.
    sqlx::query("UPDATE customers SET synced_at = now() - interval '6 minutes'")
        .execute(&pool)
        .await
        .unwrap();
    sweep::sweep(&world.app, life.now().await).await.unwrap();
    assert_eq!(life.invoices().await[0].status, InvoiceStatus::Paid);
    assert_eq!(life.row().await.status, Status::Cancelling);
    assert_eq!(
        (life.announced(topics::INVOICE_PAID).await, life.announced(topics::PAYMENT_RECEIVED).await),
        (1, 1)
    );
    assert_eq!(world.count("payments WHERE gateway = 'killbill' AND state = 'paid'").await, 1);
    let facts = life.facts().await;
    sqlx::query("UPDATE customers SET synced_at = NULL").execute(&pool).await.unwrap();
    sweep::sweep(&world.app, life.now().await).await.unwrap();
    assert_eq!(life.facts().await, facts);
}

async fn overview(world: &World, customer: Uuid) -> proto::GetOverviewResponse {
    let request = proto::GetOverviewRequest { customer_id: None };
    world.billing().get_overview(world.by(customer, Role::Customer, request)).await.unwrap().into_inner()
}

/// BIL-34, BIL-35: an hour without the provider: pages say since when they are old, nothing stops, money is
/// taken; afterwards all is told once.
#[sqlx::test(migrator = "billing_service::MIGRATIONS")]
async fn an_outage_stops_nobody_and_is_made_up_for(pool: PgPool) {
    let (world, fake) = World::killbill(&pool, ProvisionPolicy::OnInvoice, Line::V24).await;
    let life = Life::begin(&world, "basic-monthly", false).await;
    life.look().await;
    fake.set(Fault::Down);
    for _ in 0..3 {
        sweep::sweep(&world.app, life.now().await + Duration::hours(1)).await.unwrap();
    }
    let shown = overview(&world, life.customer).await;
    assert!(shown.stale_since.is_some() && shown.outstanding_invoices.len() == 1, "{shown:?}");
    assert!(world.entitlement(&life.subscription.to_string()).await.may_run);
    let refused = world.order(world.directory.add("new@example.com"), Uuid::now_v7()).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable);
    // A wish fails without a trace, money does not.
    let now = life.now().await;
    let wish = change::cancel(&world.app, Some(life.customer), life.subscription, "x", false, now).await;
    assert_eq!(wish.unwrap_err().reason(), "provider_unavailable");
    assert_eq!(life.row().await.status, Status::Active);
    let invoice = life.invoices().await.pop().unwrap();
    life.pay(&invoice).await;
    assert_eq!(life.invoices().await[0].status, InvoiceStatus::Paid, "the money is here");
    assert_eq!(world.count("provider_calls WHERE state = 'waiting'").await, 2);

    fake.set(Fault::None);
    sqlx::query("UPDATE provider_calls SET next_at = now()").execute(&pool).await.unwrap();
    provider_commands::work(&world.app).await.unwrap();
    sweep::sweep(&world.app, life.now().await).await.unwrap();
    assert_eq!(world.count("provider_calls WHERE state = 'waiting'").await, 0);
    assert_eq!(world.count("provider_calls WHERE kind = 'cancel' AND state = 'dropped'").await, 1);
    assert_eq!(fake.counts(&world.api_key).2, 1, "one payment there");
    assert_eq!((life.row().await.status, life.row().await.cancel_at), (Status::Active, None));
    assert!(overview(&world, life.customer).await.stale_since.is_none());
    assert_eq!(life.announced(topics::INVOICE_PAID).await, 1);
}

/// BIL-08, BIL-26: 500 after the work was done: no second payment, no second credit, no second cancellation.
#[sqlx::test(migrator = "billing_service::MIGRATIONS")]
async fn an_answer_that_lies_makes_nothing_twice(pool: PgPool) {
    let (world, fake) = World::killbill(&pool, ProvisionPolicy::OnInvoice, Line::V24).await;
    let life = Life::begin(&world, "basic-monthly", false).await;
    life.look().await;
    fake.set(Fault::FailAfter);
    let invoice = life.invoices().await.pop().unwrap();
    life.pay(&invoice).await;
    let now = life.now().await;
    for _ in 0..2 {
        record_manual::give_credit(&world.app, &by(), life.customer, usd(500), "one", now).await.unwrap();
        provider_commands::work(&world.app).await.unwrap();
    }
    change::cancel(&world.app, Some(life.customer), life.subscription, "x", false, now).await.unwrap();
    fake.set(Fault::None);
    life.look().await;
    assert_eq!(fake.counts(&world.api_key).2, 1);
    assert_eq!(world.count("provider_calls WHERE state <> 'done'").await, 0);
    let left = billing_service::store::credits::left(&pool, life.customer, "USD").await.unwrap();
    assert_eq!((left, life.row().await.status), (500, Status::Cancelling));
    assert_eq!(life.announced(topics::SUBSCRIPTION_CANCELLED).await, 1);
    assert_eq!(life.announced(topics::PAYMENT_RECEIVED).await, 1);
    assert_eq!(world.count("audit_log WHERE action = 'credit_given'").await, 1);
}

/// BIL-08, REL-01: the process died after the provider had cancelled: the written wish finds it, with its
/// reason and one mail. One that died before the call is dropped.
#[sqlx::test(migrator = "billing_service::MIGRATIONS")]
async fn a_crash_between_the_call_and_the_record_is_found(pool: PgPool) {
    let (world, _) = World::killbill(&pool, ProvisionPolicy::OnInvoice, Line::V24).await;
    for told in [true, false] {
        let life = Life::begin(&world, "basic-monthly", false).await;
        life.look().await;
        let mut tx = pool.begin().await.unwrap();
        let details = serde_json::json!({"when": "period_end", "reason": "too dear"});
        provider_calls::wish(
            &mut tx,
            CallKind::Cancel,
            life.customer,
            life.subscription,
            &details,
            clock::now(),
        )
        .await
        .unwrap()
        .unwrap();
        // The same wish is the same row, another one waits its turn.
        let same = provider_calls::wish(
            &mut tx,
            CallKind::Cancel,
            life.customer,
            life.subscription,
            &details,
            clock::now(),
        );
        assert!(same.await.unwrap().is_some());
        let other = provider_calls::wish(
            &mut tx,
            CallKind::UndoCancel,
            life.customer,
            life.subscription,
            &details,
            clock::now(),
        );
        assert!(other.await.unwrap().is_none());
        tx.commit().await.unwrap();
        if told {
            world.app.provider.cancel(life.subscription, CancelWhen::PeriodEnd).await.unwrap();
        }
        sqlx::query("UPDATE provider_calls SET next_at = now()").execute(&pool).await.unwrap();
        provider_commands::work(&world.app).await.unwrap();
        let row = life.row().await;
        let wanted = if told { (Status::Cancelling, Some("too dear")) } else { (Status::Active, None) };
        assert_eq!((row.status, row.cancel_reason.as_deref()), wanted);
        assert_eq!(life.announced(topics::SUBSCRIPTION_CANCELLED).await, i64::from(told));
    }
    assert_eq!(world.count("provider_calls WHERE state = 'waiting'").await, 0);
}

/// A slow provider holds no connection and no row: others go on meanwhile.
#[sqlx::test(migrator = "billing_service::MIGRATIONS")]
async fn a_slow_provider_holds_no_lock(pool: PgPool) {
    let (world, fake) = World::killbill(&pool, ProvisionPolicy::OnInvoice, Line::V24).await;
    let life = Life::begin(&world, "basic-monthly", false).await;
    life.look().await;
    fake.set(Fault::SlowAfter(std::time::Duration::from_secs(2)));
    let now = life.now().await;
    let slow = change::cancel(&world.app, Some(life.customer), life.subscription, "x", false, now);
    let watch = async {
        test_kit::eventually("the call to be on its way", PATIENCE, || async {
            (world.count("provider_calls WHERE state = 'waiting'").await == 1).then_some(())
        })
        .await;
        let mut tx = pool.begin().await.unwrap();
        let row: Result<(Uuid,), _> =
            sqlx::query_as("SELECT id FROM subscriptions WHERE id = $1 FOR UPDATE NOWAIT")
                .bind(life.subscription)
                .fetch_one(&mut *tx)
                .await;
        assert!(row.is_ok(), "{row:?}");
        world.count("pg_stat_activity WHERE datname = current_database() AND state = 'idle in transaction' AND pid <> pg_backend_pid()").await
    };
    // The watch itself holds one.
    let (row, held) = tokio::join!(slow, watch);
    assert_eq!((row.unwrap().status, held), (Status::Cancelling, 1));
}

/// BIL-13: with policy on_payment an order waits for its money, wherever the books are kept.
#[sqlx::test(migrator = "billing_service::MIGRATIONS")]
async fn an_unpaid_order_waits_with_kill_bill_too(pool: PgPool) {
    let (world, _) = World::killbill(&pool, ProvisionPolicy::OnPayment, Line::V24).await;
    let life = Life::begin(&world, "basic-monthly", false).await;
    life.look().await;
    assert_eq!(life.row().await.status, Status::Pending);
    let first = life.invoices().await.pop().unwrap();
    assert_eq!(first.kind, InvoiceKind::First);
    life.pay(&first).await;
    assert_eq!(life.row().await.status, Status::Active);
    // An upgrade is made there at once; here its limits wait for the money.
    let now = life.now().await;
    let quote =
        change::upgrade(&world.app, Some(life.customer), life.subscription, "standard-monthly", false, now);
    let quote = quote.await.unwrap();
    assert_eq!((quote.status, quote.subscription.plan_name.as_str()), ("awaiting_payment", "basic-monthly"));
    let offer = quote.invoice.expect("its invoice");
    assert_eq!(life.look().await.changes, 0);
    life.pay(&offer).await;
    assert_eq!(life.row().await.plan_name, "standard-monthly");
    assert_eq!((life.look().await.changes, life.announced(topics::SUBSCRIPTION_UPGRADED).await), (0, 1));
}

/// BIL-30: an operator takes a hook again: reason, audit row, one more look.
#[sqlx::test(migrator = "billing_service::MIGRATIONS")]
async fn a_hook_is_replayed_with_a_reason(pool: PgPool) {
    let (world, fake) = World::killbill(&pool, ProvisionPolicy::OnInvoice, Line::V24).await;
    let life = Life::begin(&world, "basic-monthly", false).await;
    let hook = fake.hooks(&world.api_key).pop().unwrap();
    deliver(&world, HOOK_TOKEN, hook.as_bytes()).await.unwrap();
    webhook_inbox::work(&world.app).await.unwrap();
    let mut admin = BillingAdminServiceClient::new(world.api.channel());
    let list = world.by(
        Uuid::now_v7(),
        Role::Admin,
        proto::ListWebhooksRequest { state: Some("done".into()), ..Default::default() },
    );
    let list = admin.list_webhooks(list).await.unwrap().into_inner();
    assert_eq!((list.total, list.webhooks[0].customer_id.clone()), (1, life.customer.to_string()));
    assert_eq!(list.webhooks[0].body, hook);
    let replay = |reason: &str| {
        let request =
            proto::ReplayWebhookRequest { webhook_id: list.webhooks[0].id.clone(), reason: reason.into() };
        world.by(Uuid::now_v7(), Role::Admin, request)
    };
    assert_eq!(admin.replay_webhook(replay("")).await.unwrap_err().code(), Code::InvalidArgument);
    let again = admin.replay_webhook(replay("state was wrong")).await.unwrap().into_inner().webhook.unwrap();
    assert_eq!(again.state, "new");
    assert_eq!(webhook_inbox::work(&world.app).await.unwrap(), 1);
    assert_eq!(
        world.count("audit_log WHERE action = 'webhook_replayed' AND reason = 'state was wrong'").await,
        1
    );
    assert_eq!(life.announced(topics::INVOICE_ISSUED).await, 1);
}
