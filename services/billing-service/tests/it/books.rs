//! The ledger's books over time: invoices, payments, the ladder, changes of the plan. Every test ends with
//! the proof of the books.

use billing_service::app::payments::settle::{Settled, settle};
use billing_service::app::subscriptions::change;
use billing_service::app::subscriptions::downgrade;
use billing_service::app::subscriptions::engine;
use billing_service::domain::invoice::Invoice;
use billing_service::domain::money::{Currency, Money};
use billing_service::domain::subscription::Subscription;
use billing_service::domain::subscription::{ProvisionPolicy, Status};
use billing_service::store::invoices::{self};
use billing_service::store::payments::{self, NewPayment};
use billing_service::store::subscriptions::{self};
use billing_service::store::{credits, journal};
use contracts::events::topics;
use futures::future::join_all;
use runtime::clock;
use runtime::page::Page;
use sqlx::PgPool;
use time::{Duration, OffsetDateTime};
use uuid::Uuid;

use crate::world::World;

/// A customer with one subscription, and a clock of its own.
pub(crate) struct Case {
    pub(crate) world: World,
    pub(crate) customer: Uuid,
    pub(crate) subscription: Uuid,
    pub(crate) start: OffsetDateTime,
}

impl Case {
    pub(crate) async fn begin(pool: &PgPool, policy: ProvisionPolicy, plan: &str, trial: bool) -> Self {
        let world = World::ledger(pool, policy).await;
        let customer = world.directory.add("ada@example.com");
        let start = clock::now();
        let placed = world.order_plan(customer, Uuid::now_v7(), plan, Some(trial)).await.unwrap();
        let subscription = placed.subscription.unwrap().id.parse().unwrap();
        Self { world, customer, subscription, start }
    }

    pub(crate) fn day(&self, days: i64) -> OffsetDateTime {
        // A minute later, since the order came after the start was read.
        self.start + Duration::days(days) + Duration::minutes(1)
    }

    pub(crate) async fn look(&self, days: i64) -> Subscription {
        engine::run_due(&self.world.app, self.day(days)).await.unwrap();
        self.now().await
    }

    pub(crate) async fn now(&self) -> Subscription {
        subscriptions::find(&self.world.pool, self.subscription).await.unwrap().unwrap()
    }

    pub(crate) async fn invoices(&self) -> Vec<Invoice> {
        let filter = billing_service::domain::invoice::InvoiceFilter {
            customer_id: Some(self.customer),
            ..billing_service::domain::invoice::InvoiceFilter::default()
        };
        let (mut rows, _) =
            invoices::list(&self.world.pool, &filter, Page::try_new(1, 100).unwrap()).await.unwrap();
        rows.reverse();
        rows
    }

    pub(crate) async fn pay(
        &self,
        invoice: &Invoice,
        minor: i64,
        reference: &str,
        at: OffsetDateTime,
    ) -> Settled {
        let mut tx = self.world.pool.begin().await.unwrap();
        let new = NewPayment {
            id: Uuid::now_v7(),
            customer_id: invoice.customer_id,
            invoice_id: invoice.id,
            amount: Money::new(minor, Currency::USD),
            method: "bank",
            gateway: "external",
            reference,
            reason: "a test",
            actor: "test",
            received_at: Some(at),
            created_at: at,
        };
        payments::insert(&mut tx, &new).await.unwrap();
        let row = payments::find_by_reference(&mut *tx, "external", reference).await.unwrap().unwrap();
        let settled = settle(&mut tx, &self.world.app, invoice.id, row.id, at).await.unwrap();
        tx.commit().await.unwrap();
        settled
    }

    pub(crate) async fn announced(&self, topic: &str) -> usize {
        self.world.announced().await.into_iter().filter(|announced| announced == topic).count()
    }

    /// The books are balanced, say the same as the documents, and no number is missing.
    pub(crate) async fn proof(&self) {
        proof(&self.world.pool).await;
    }
}

pub(crate) async fn proof(pool: &PgPool) {
    assert_eq!(journal::unbalanced(pool).await.unwrap(), 0);
    assert_eq!(journal::receivable_differences(pool).await.unwrap(), 0);
    let (count, last): (i64, Option<i64>) =
        sqlx::query_as("SELECT count(*), max(sequence) FROM invoices WHERE status <> 'draft'")
            .fetch_one(pool)
            .await
            .unwrap();
    assert_eq!(count, last.unwrap_or(0), "numbers have no gap");
    let owed: i64 = sqlx::query_scalar(
        "SELECT coalesce(-sum(amount_minor), 0)::bigint FROM journal_lines WHERE account = 'credit'",
    )
    .fetch_one(pool)
    .await
    .unwrap();
    let left: i64 = sqlx::query_scalar("SELECT coalesce(sum(remaining_minor), 0)::bigint FROM credits")
        .fetch_one(pool)
        .await
        .unwrap();
    assert_eq!(owed, left, "the books know each credit");
}

/// BIL-11, BIL-12, BIL-14, BIL-16: reminders, the trial's end, the ladder day by day, and the way back by
/// paying.
#[sqlx::test(migrations = "./migrations")]
async fn an_unpaid_trial_climbs_the_ladder_and_a_payment_brings_it_back(pool: PgPool) {
    let case = Case::begin(&pool, ProvisionPolicy::OnInvoice, "basic-monthly", true).await;
    for day in 0..=13 {
        case.look(day).await;
        case.look(day).await;
    }
    assert_eq!(case.announced(topics::TRIAL_ENDING).await, 3);
    assert!(case.invoices().await.is_empty());

    let ended = case.look(14).await;
    let [invoice] = case.invoices().await.try_into().unwrap();
    assert_eq!(
        (ended.status, ended.status.billing_status(true).as_str()),
        (Status::PastDue, "payment_required")
    );
    assert_eq!((invoice.total.minor(), invoice.number.as_str()), (900, "INV-000001"));
    assert!(ended.status.may_run().is_ok(), "the instance goes on");

    assert_eq!(case.look(23).await.dunning.as_str(), "none");
    assert_eq!(case.look(24).await.dunning.as_str(), "warning");
    assert_eq!(case.look(27).await.dunning.as_str(), "warning");
    let suspended = case.look(28).await;
    assert_eq!((suspended.dunning.as_str(), suspended.status), ("suspended", Status::Suspended));
    assert_eq!(case.announced(topics::SUBSCRIPTION_SUSPENDED).await, 1);
    assert_eq!(case.announced(topics::OVERDUE).await, 2);

    assert_eq!(case.pay(&invoice, 900, "bank-1", case.day(29)).await, Settled::Now);
    assert_eq!(case.pay(&invoice, 900, "bank-1", case.day(29)).await, Settled::Before);
    let back = case.now().await;
    assert_eq!((back.dunning.as_str(), back.status), ("none", Status::Active));
    for (topic, times) in
        [(topics::SUBSCRIPTION_RESUMED, 1), (topics::INVOICE_PAID, 1), (topics::PAYMENT_RECEIVED, 1)]
    {
        assert_eq!(case.announced(topic).await, times, "{topic}");
    }
    case.proof().await;
}

/// BIL-15: one jump takes each step once and in order, and leaves a day between suspension and termination.
/// BIL-23: debts stay.
#[sqlx::test(migrations = "./migrations")]
async fn a_jump_over_the_ladder_takes_each_step_once_and_leaves_a_day_for_paying(pool: PgPool) {
    let case = Case::begin(&pool, ProvisionPolicy::OnInvoice, "standard-annual", false).await;
    let jumped = case.look(45).await;
    assert_eq!((jumped.dunning.as_str(), jumped.status), ("suspended", Status::Suspended));
    assert_eq!(case.announced(topics::OVERDUE).await, 2);
    assert_eq!(case.announced(topics::SUBSCRIPTION_ENDED).await, 0);

    engine::run_due(&case.world.app, case.day(45) + Duration::hours(23)).await.unwrap();
    assert_eq!(case.now().await.status, Status::Suspended);
    let ended = case.look(46).await;
    assert_eq!(
        (ended.status, ended.dunning.as_str(), ended.end_reason.as_deref()),
        (Status::Ended, "terminated", Some("overdue"))
    );
    case.look(500).await;
    assert_eq!(case.announced(topics::SUBSCRIPTION_ENDED).await, 1);
    assert_eq!(case.announced(topics::SERVICE_TERMINATED).await, 1);
    assert_eq!(case.invoices().await[0].balance.minor(), 17_900);
    case.proof().await;
}

/// BIL-20: 400 days in one jump give each period once, on the days that a daily look gives.
#[sqlx::test(migrations = "./migrations")]
async fn four_hundred_days_in_one_jump_give_each_period_once(pool: PgPool) {
    let case = Case::begin(&pool, ProvisionPolicy::OnInvoice, "basic-monthly", false).await;
    let [first] = case.invoices().await.try_into().unwrap();
    case.pay(&first, 900, "first", case.day(0)).await;
    // Paid ahead: the credit pays what comes.
    let mut tx = pool.begin().await.unwrap();
    credits::give(
        &mut tx,
        case.customer,
        Money::new(100_000, Currency::USD),
        "ahead",
        "test",
        "ahead",
        case.start,
    )
    .await
    .unwrap();
    let gift = journal_gift(case.customer, case.start);
    journal::post(&mut tx, &gift).await.unwrap();
    tx.commit().await.unwrap();

    let row = case.look(400).await;
    let looked: Vec<_> = case.invoices().await;
    assert!(row.current_period_end.unwrap() > case.day(400));
    assert_eq!(row.status, Status::Active);
    // 400 days hold 13 monthly boundaries.
    assert_eq!(looked.len(), 14);
    assert!(looked.iter().all(|invoice| invoice.balance.minor() == 0));
    let mut starts: Vec<OffsetDateTime> =
        sqlx::query_scalar("SELECT period_start FROM invoice_lines WHERE kind = 'plan'")
            .fetch_all(&pool)
            .await
            .unwrap();
    starts.sort();
    starts.dedup();
    assert_eq!(starts.len(), 14, "each period once");
    case.look(400).await;
    assert_eq!(case.invoices().await.len(), 14);
    case.proof().await;
}

fn journal_gift(customer: Uuid, at: OffsetDateTime) -> billing_service::domain::journal::Entry {
    use billing_service::domain::journal::{CREDIT, Entry, GOODWILL};
    Entry::new("credit_given", "gift", customer, at)
        .transfer(CREDIT, GOODWILL, Money::new(100_000, Currency::USD))
        .unwrap()
}

/// BIL-13: with `on_payment` the order waits, its payment begins it, and without one seven days end it and
/// its offer.
#[sqlx::test(migrations = "./migrations")]
async fn with_on_payment_the_first_payment_begins_the_subscription(pool: PgPool) {
    let case = Case::begin(&pool, ProvisionPolicy::OnPayment, "standard-monthly", false).await;
    assert_eq!(case.now().await.status, Status::Pending);
    let [first] = case.invoices().await.try_into().unwrap();
    case.pay(&first, 1_900, "p", case.day(2)).await;
    let begun = case.now().await;
    assert_eq!((begun.status, begun.current_period_start), (Status::Active, Some(case.day(2))));

    let lost =
        case.world.order_plan(case.customer, Uuid::now_v7(), "basic-annual", Some(false)).await.unwrap();
    let lost: Uuid = lost.subscription.unwrap().id.parse().unwrap();
    case.look(8).await;
    let lost = subscriptions::find(&pool, lost).await.unwrap().unwrap();
    assert_eq!(lost.end_reason.as_deref(), Some("payment_timeout"));
    assert_eq!(case.invoices().await[1].status.as_str(), "void");
    assert_eq!(case.announced(topics::SUBSCRIPTION_EXPIRED).await, 1);
    case.proof().await;
}

/// BIL-21: the quote is the invoice, the plan is another when it is paid, and asking twice is asking once.
#[sqlx::test(migrations = "./migrations")]
async fn an_upgrade_waits_for_its_payment(pool: PgPool) {
    let case = Case::begin(&pool, ProvisionPolicy::OnPayment, "basic-monthly", false).await;
    let app = &case.world.app;
    let owner = Some(case.customer);
    let blocked = change::upgrade(app, owner, case.subscription, "standard-monthly", true, case.day(0)).await;
    assert_eq!(blocked.unwrap_err().reason(), "change_blocked", "nothing was paid yet");
    let [first] = case.invoices().await.try_into().unwrap();
    case.pay(&first, 900, "p1", case.day(0)).await;

    let at = case.day(10);
    let quote = change::upgrade(app, owner, case.subscription, "premium-monthly", true, at).await.unwrap();
    let asked = change::upgrade(app, owner, case.subscription, "premium-monthly", false, at).await.unwrap();
    let again = change::upgrade(app, owner, case.subscription, "premium-monthly", false, at).await.unwrap();
    assert_eq!((asked.status, quote.amount_due), ("awaiting_payment", asked.invoice.as_ref().unwrap().total));
    assert_eq!(asked.invoice.as_ref().unwrap().id, again.invoice.unwrap().id);
    assert!(quote.amount_due.minor() > 0 && quote.amount_due.minor() < 3_000);
    assert_eq!(case.now().await.plan_name, "basic-monthly");
    let stranger =
        change::upgrade(app, Some(Uuid::now_v7()), case.subscription, "premium-monthly", true, at).await;
    assert_eq!(stranger.unwrap_err().reason(), "not_found");

    let invoice = asked.invoice.unwrap();
    case.pay(&invoice, invoice.total.minor(), "p2", at).await;
    assert_eq!(case.now().await.plan_name, "premium-monthly");
    assert_eq!(case.announced(topics::SUBSCRIPTION_UPGRADED).await, 1);
    let down = change::upgrade(app, owner, case.subscription, "basic-annual", true, at).await;
    assert_eq!(down.unwrap_err().reason(), "not_an_upgrade");
    case.proof().await;
}

/// BIL-21: an upgrade that nobody pays is dropped with its offer at the period's end, and is never a debt.
#[sqlx::test(migrations = "./migrations")]
async fn an_upgrade_that_is_not_paid_is_dropped(pool: PgPool) {
    let case = Case::begin(&pool, ProvisionPolicy::OnPayment, "basic-monthly", false).await;
    let [first] = case.invoices().await.try_into().unwrap();
    case.pay(&first, 900, "p1", case.day(0)).await;
    let at = case.day(1);
    change::upgrade(&case.world.app, None, case.subscription, "premium-monthly", false, at).await.unwrap();
    let row = case.look(32).await;
    assert_eq!(
        (row.plan_name.as_str(), row.pending.is_none(), row.dunning.as_str()),
        ("basic-monthly", true, "none")
    );
    assert_eq!(case.invoices().await[1].status.as_str(), "void");
    case.proof().await;
}

/// BIL-22, BIL-23: a change of rhythm and a cancellation wait for the period's end and can be undone until
/// then.
#[sqlx::test(migrations = "./migrations")]
async fn a_cancellation_runs_out_with_the_period_and_can_be_undone(pool: PgPool) {
    let case = Case::begin(&pool, ProvisionPolicy::OnInvoice, "standard-monthly", false).await;
    let (app, id) = (&case.world.app, case.subscription);
    let [first] = case.invoices().await.try_into().unwrap();
    case.pay(&first, 1_900, "p1", case.day(0)).await;

    let waiting = downgrade::downgrade(app, None, id, "standard-annual", false, case.day(1)).await.unwrap();
    let row = waiting.subscription;
    assert_eq!(row.pending.unwrap().effective_at, row.current_period_end);
    assert!(downgrade::undo_downgrade(app, None, id, case.day(2)).await.unwrap().pending.is_none());

    let cancelled = change::cancel(app, None, id, "too dear", false, case.day(3)).await.unwrap();
    assert_eq!((cancelled.status, cancelled.cancel_at), (Status::Cancelling, cancelled.current_period_end));
    let twice = change::cancel(app, None, id, "again", false, case.day(3)).await;
    assert_eq!(twice.unwrap_err().reason(), "already_cancelled");
    assert_eq!(change::undo_cancel(app, None, id, case.day(4)).await.unwrap().status, Status::Active);
    change::cancel(app, None, id, "after all", false, case.day(5)).await.unwrap();
    assert_eq!(case.look(27).await.status, Status::Cancelling);
    let ended = case.look(32).await;
    assert_eq!((ended.status, ended.end_reason.as_deref()), (Status::Ended, Some("cancelled")));
    assert_eq!(case.invoices().await.len(), 1, "no period begins in the moment of the end");
    case.proof().await;
}

/// BIL-17: fifty orders, payments and cancellations of one customer at once: no number is missing, each
/// invoice and payment is there once.
#[sqlx::test(migrations = "./migrations")]
async fn fifty_at_once_leave_no_gap(pool: PgPool) {
    let case = Case::begin(&pool, ProvisionPolicy::OnInvoice, "basic-annual", false).await;
    let orders = join_all(
        (0..49).map(|_| case.world.order_plan(case.customer, Uuid::now_v7(), "basic-monthly", Some(false))),
    )
    .await;
    assert!(orders.iter().all(Result::is_ok));
    let invoices = case.invoices().await;
    assert_eq!(invoices.len(), 50);

    // Each invoice is paid twice at once with the same reference.
    let twice: Vec<_> = invoices.iter().chain(invoices.iter()).collect();
    let settled = join_all(twice.iter().map(|invoice| {
        let reference = format!("ref-{}", invoice.number);
        let case = &case;
        async move { case.pay(invoice, invoice.total.minor(), &reference, case.day(0)).await }
    }))
    .await;
    assert_eq!(settled.iter().filter(|settled| **settled == Settled::Now).count(), 50);
    assert_eq!(case.world.count("payments WHERE state = 'paid'").await, 50);
    assert_eq!(case.world.count("journal_entries WHERE kind = 'payment'").await, 50);

    let live = subscriptions::live(&pool, case.customer).await.unwrap();
    let ended = join_all(
        live.iter()
            .chain(live.iter())
            .map(|row| change::cancel(&case.world.app, None, row.id, "all", true, case.day(1))),
    )
    .await;
    assert_eq!(ended.iter().filter(|ended| ended.is_ok()).count(), 50);
    assert_eq!(case.announced(topics::SUBSCRIPTION_ENDED).await, 50);
    case.proof().await;
}

/// BIL-17, BIL-26: SQL itself forbids what must not be.
#[sqlx::test(migrations = "./migrations")]
async fn the_tables_guard_the_books_themselves(pool: PgPool) {
    let case = Case::begin(&pool, ProvisionPolicy::OnInvoice, "basic-monthly", false).await;
    let [invoice] = case.invoices().await.try_into().unwrap();
    case.pay(&invoice, 900, "once", case.day(0)).await;
    for forbidden in [
        "UPDATE invoices SET total_minor = 1, subtotal_minor = 1",
        "UPDATE invoices SET issued_at = now()",
        "DELETE FROM invoices",
        "UPDATE invoice_lines SET amount_minor = 1",
        "DELETE FROM invoice_lines",
        "UPDATE journal_lines SET amount_minor = 1",
        "DELETE FROM journal_entries",
        "UPDATE payments SET state = 'failed'",
        "DELETE FROM payments",
        "UPDATE billing_clock SET offset_seconds = -1",
        "INSERT INTO journal_lines SELECT entry_id, 99, account, amount_minor, currency FROM journal_lines LIMIT 1",
    ] {
        assert!(sqlx::query(forbidden).execute(&pool).await.is_err(), "{forbidden}");
    }
    case.proof().await;
}

/// BIL-16, BIL-29: what was paid too much is credit, and credit is used before the next invoice asks for
/// money.
#[sqlx::test(migrations = "./migrations")]
async fn money_that_is_too_much_pays_the_next_invoice(pool: PgPool) {
    let case = Case::begin(&pool, ProvisionPolicy::OnInvoice, "basic-monthly", false).await;
    let [first] = case.invoices().await.try_into().unwrap();
    case.pay(&first, 400, "part", case.day(0)).await;
    assert_eq!(case.invoices().await[0].balance.minor(), 500);
    case.pay(&first, 1_000, "rest", case.day(0)).await;
    let row = case.look(32).await;
    let second = &case.invoices().await[1];
    assert_eq!((second.balance.minor(), row.status), (400, Status::Active));
    case.proof().await;
}
