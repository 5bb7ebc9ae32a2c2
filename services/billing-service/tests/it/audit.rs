//! The nightly audit, with one planted fault of each kind (BIL-37).

use billing_service::app::audit::run::{audit, look};
use billing_service::app::caller::Caller;
use billing_service::app::payments::record_manual;
use billing_service::domain::audit::{Finding, FindingKind};
use billing_service::domain::money::{Currency, Money};
use billing_service::domain::subscription::ProvisionPolicy;
use billing_service::store::tasks;
use runtime::clock;
use sqlx::PgPool;
use uuid::Uuid;

use crate::world::World;

struct Case {
    world: World,
    customer: Uuid,
    subscription: Uuid,
    instance: Uuid,
}

impl Case {
    /// A customer with a live instance and books that are right: an invoice paid in part, and a credit.
    async fn begin(pool: &PgPool) -> Self {
        let world = World::ledger(pool, ProvisionPolicy::OnInvoice).await;
        let customer = world.directory.add("ada@example.com");
        let instance = Uuid::now_v7();
        let placed = world.order_plan(customer, instance, "basic-monthly", Some(false)).await.unwrap();
        let subscription: Uuid = placed.subscription.unwrap().id.parse().unwrap();
        world.instances.live(instance, customer, Some(subscription));
        sqlx::query("UPDATE orders SET confirmed_at = now()").execute(pool).await.unwrap();
        let by = Caller {
            actor: "admin".into(),
            role: "admin",
            reason: "a test".into(),
            request_id: String::new(),
        };
        let invoice: Uuid = sqlx::query_scalar("SELECT id FROM invoices").fetch_one(pool).await.unwrap();
        let (now, usd) = (clock::now(), |minor| Money::new(minor, Currency::USD));
        record_manual::record_payment(&world.app, &by, invoice, usd(400), "B-1", now, now).await.unwrap();
        // In another currency: it pays no debt.
        let euros = Money::new(250, "EUR".parse().unwrap());
        record_manual::give_credit(&world.app, &by, customer, euros, "k", now).await.unwrap();
        Self { world, customer, subscription, instance }
    }

    async fn found(&self) -> Vec<Finding> {
        audit(&self.world.app, "test", clock::now()).await.unwrap()
    }

    async fn kinds(&self) -> Vec<FindingKind> {
        self.found().await.into_iter().map(|finding| finding.kind).collect()
    }

    /// Changes rows that nobody can change: the guards are off for it.
    async fn break_books(&self, statement: &'static str) {
        let mut tx = self.world.pool.begin().await.unwrap();
        sqlx::query("SET LOCAL session_replication_role = replica").execute(&mut *tx).await.unwrap();
        let done = sqlx::query(statement).execute(&mut *tx).await.unwrap();
        assert!(done.rows_affected() > 0, "{statement}");
        tx.commit().await.unwrap();
    }
}

/// BIL-37: nothing is found where nothing is wrong, and the run says so in rows.
#[sqlx::test(migrations = "./migrations")]
async fn right_books_have_no_findings(pool: PgPool) {
    let case = Case::begin(&pool).await;
    assert_eq!(case.found().await, []);
    let (state, counts): (String, serde_json::Value) =
        sqlx::query_as("SELECT state, counts FROM audit_runs").fetch_one(&pool).await.unwrap();
    assert_eq!(state, "done");
    assert_eq!(counts["journal_unbalanced"], 0);
    assert_eq!(counts.as_object().unwrap().len(), FindingKind::ALL.len());
}

/// BIL-37: each kind of fault is found, and under its own name.
#[sqlx::test(migrations = "./migrations")]
async fn each_planted_fault_of_the_books_is_found(pool: PgPool) {
    use FindingKind as Kind;
    let case = Case::begin(&pool).await;
    let faults: [(&'static str, &'static str, &[Kind]); 6] = [
        (
            "UPDATE journal_lines SET amount_minor = amount_minor + 1 WHERE account = 'revenue'",
            "UPDATE journal_lines SET amount_minor = amount_minor - 1 WHERE account = 'revenue'",
            &[Kind::JournalUnbalanced],
        ),
        (
            "UPDATE invoices SET total_minor = total_minor + 5, subtotal_minor = subtotal_minor + 5",
            "UPDATE invoices SET total_minor = total_minor - 5, subtotal_minor = subtotal_minor - 5",
            &[Kind::TotalDiffers],
        ),
        (
            "UPDATE invoices SET balance_minor = balance_minor - 1",
            "UPDATE invoices SET balance_minor = balance_minor + 1",
            &[Kind::BalanceDiffers],
        ),
        (
            "UPDATE payments SET amount_minor = amount_minor + 7",
            "UPDATE payments SET amount_minor = amount_minor - 7",
            &[Kind::PaymentDiffers],
        ),
        (
            "UPDATE credits SET remaining_minor = remaining_minor - 50",
            "UPDATE credits SET remaining_minor = remaining_minor + 50",
            &[Kind::CreditDiffers],
        ),
        (
            "UPDATE invoice_numbers SET last = last + 2",
            "UPDATE invoice_numbers SET last = last - 2",
            &[Kind::NumberMissing],
        ),
    ];
    for (plant, mend, kinds) in faults {
        case.break_books(plant).await;
        assert_eq!(case.kinds().await, kinds, "{plant}");
        case.break_books(mend).await;
        assert_eq!(case.kinds().await, [], "{mend}");
    }
    case.break_books("DELETE FROM journal_lines WHERE account IN ('goodwill', 'credit')").await;
    assert_eq!(case.kinds().await, [Kind::JournalUnbalanced, Kind::CreditDiffers], "an entry without lines");
}

/// BIL-37: subscriptions and instances are compared both ways; an order that waits, and an end that has just
/// come, are no faults.
#[sqlx::test(migrations = "./migrations")]
async fn subscriptions_and_instances_are_compared_both_ways(pool: PgPool) {
    let case = Case::begin(&pool).await;
    let (stray, nobodys) = (Uuid::now_v7(), Uuid::now_v7());
    case.world.instances.live(stray, case.customer, Some(Uuid::now_v7()));
    case.world.instances.live(nobodys, case.customer, None);
    let mut found: Vec<_> =
        case.found().await.into_iter().map(|finding| (finding.kind, finding.subject_id)).collect();
    found.sort();
    let mut expected = vec![
        (FindingKind::InstanceWithoutSubscription, Some(stray)),
        (FindingKind::InstanceWithoutSubscription, Some(nobodys)),
    ];
    expected.sort();
    assert_eq!(found, expected);
    case.world.instances.gone(stray);
    case.world.instances.gone(nobodys);

    case.world.instances.gone(case.instance);
    let found = case.found().await;
    assert_eq!((found.len(), found[0].subject_id), (1, Some(case.subscription)));
    assert_eq!(found[0].kind, FindingKind::SubscriptionWithoutInstance);
    let row: (String, Option<Uuid>) =
        sqlx::query_as("SELECT kind, subject_id FROM audit_findings ORDER BY run_id DESC LIMIT 1")
            .fetch_one(&pool)
            .await
            .unwrap();
    assert_eq!(row, ("subscription_without_instance".to_owned(), Some(case.subscription)));

    sqlx::query("UPDATE orders SET confirmed_at = NULL").execute(&pool).await.unwrap();
    assert_eq!(
        case.kinds().await,
        [],
        "its instance was never announced: the sweep of orders looks after it"
    );

    case.world.instances.live(case.instance, case.customer, Some(case.subscription));
    let end = "UPDATE subscriptions SET status = 'ended', ended_at = now() - $1::interval";
    sqlx::query(end).bind("5 minutes").execute(&pool).await.unwrap();
    assert_eq!(case.kinds().await, [], "the instance is being taken down");
    sqlx::query(end).bind("2 hours").execute(&pool).await.unwrap();
    assert_eq!(case.kinds().await, [FindingKind::InstanceWithoutSubscription]);
}

/// BIL-37: of many replicas one does the nightly run, and a run that cannot ask for instances is no clean one
/// and is tried again.
#[sqlx::test(migrations = "./migrations")]
async fn one_replica_does_the_nightly_run_and_a_failed_one_is_tried_again(pool: PgPool) {
    let case = Case::begin(&pool).await;
    let app = &case.world.app;
    let now = clock::now();
    case.world.instances.set_away(true);
    assert_eq!(look(app, 3, now).await.unwrap_err().reason(), "unavailable");
    let state: String = sqlx::query_scalar("SELECT state FROM audit_runs").fetch_one(&pool).await.unwrap();
    assert_eq!(state, "failed");
    assert!(!look(app, 3, now).await.unwrap(), "not at once");
    case.world.instances.set_away(false);

    let later = now + time::Duration::minutes(11);
    let replicas = futures::future::join_all((0..5).map(|_| look(app, 3, later))).await;
    assert_eq!(replicas.into_iter().filter(|done| *done.as_ref().unwrap()).count(), 1);
    assert!(!look(app, 3, later + time::Duration::minutes(1)).await.unwrap());
    assert!(look(app, 3, later + time::Duration::hours(25)).await.unwrap(), "and the night after");
    assert_eq!(case.world.count("audit_runs WHERE state = 'done'").await, 2);
}

/// The month-end proof of the runbook finds no difference in books that are right, and one where money is
/// missing.
#[sqlx::test(migrations = "./migrations")]
async fn the_month_end_proof_finds_what_is_missing(pool: PgPool) {
    let case = Case::begin(&pool).await;
    let text = include_str!("../../../../docs/sql/month-end.sql");
    let text = text
        .replace(":'from'", "(now() - interval '1 day')")
        .replace(":'until'", "(now() + interval '1 day')");
    let differences = || async {
        let rows: Vec<(String, i64)> = sqlx::query_as(sqlx::AssertSqlSafe(format!(
            "SELECT what, difference::bigint FROM ({}) AS proof",
            text.trim().trim_end_matches(';')
        )))
        .fetch_all(&pool)
        .await
        .unwrap();
        assert!(rows.len() >= 8, "{rows:?}");
        rows.into_iter().filter(|(_, difference)| *difference != 0).map(|(what, _)| what).collect::<Vec<_>>()
    };
    assert_eq!(differences().await, Vec::<String>::new());
    case.break_books("UPDATE payments SET amount_minor = amount_minor + 7").await;
    assert_eq!(differences().await, ["payments received through external"]);
}

/// BIL-37: what an operator ordered is done by one replica; when that dies, another does it.
#[sqlx::test(migrations = "./migrations")]
async fn an_ordered_task_is_one_replicas_until_it_dies(pool: PgPool) {
    let now = clock::now();
    let until = now + time::Duration::minutes(30);
    let task = tasks::queue(&pool, "reconcile", None, "operator").await.unwrap();
    let taken = tasks::claim(&pool, now, until).await.unwrap().expect("it waits");
    assert_eq!(taken.id, task);
    assert!(tasks::claim(&pool, now, until).await.unwrap().is_none(), "it is another replica's");
    assert!(tasks::claim(&pool, until, until).await.unwrap().is_some(), "that replica died");
    tasks::finish(&pool, task, "done", serde_json::json!({}), now).await.unwrap();
    assert!(tasks::claim(&pool, until, until).await.unwrap().is_none(), "it is done");
}
