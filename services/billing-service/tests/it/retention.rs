//! What is old goes; what is young, open, referred to, or money stays.

use billing_service::domain::subscription::ProvisionPolicy;
use billing_service::store::retention::RETENTION;
use runtime::retention::{Kept, not_covered, prune};
use sqlx::PgPool;
use uuid::Uuid;

use crate::world::World;

/// Rows of every table that is pruned, marked with what becomes of them. `$1` is a customer, and every row of
/// which the word does not say otherwise is three years old.
const ROWS: &str = "
INSERT INTO tasks (id, kind, state, actor, created_at, finished_at) VALUES
    (gen_random_uuid(), 'x', 'done', 'goes', OLD, OLD), (gen_random_uuid(), 'x', 'queued', 'stays', OLD, NULL),
    (gen_random_uuid(), 'x', 'done', 'stays', OLD, now());
INSERT INTO provider_calls (id, customer_id, kind, key, state, finished_at) VALUES
    (gen_random_uuid(), WHO, 'cancel', 'goes', 'done', OLD),
    (gen_random_uuid(), WHO, 'cancel', 'stays-1', 'waiting', NULL),
    (gen_random_uuid(), WHO, 'cancel', 'stays-2', 'done', now()),
    (gen_random_uuid(), WHO, 'payment', 'stays-3', 'done', OLD);
INSERT INTO webhook_inbox (id, provider, received_at, body, digest, state, outcome) VALUES
    (gen_random_uuid(), 'x', OLD, 'a', decode(repeat('00', 32), 'hex'), 'done', 'goes'),
    (gen_random_uuid(), 'x', OLD, 'b', decode(repeat('01', 32), 'hex'), 'new', 'stays'),
    (gen_random_uuid(), 'x', now(), 'c', decode(repeat('02', 32), 'hex'), 'done', 'stays');
INSERT INTO audit_runs (id, cause, state, started_at, finished_at) VALUES
    ('00000000-0000-0000-0000-00000000000a', 'goes', 'done', OLD, OLD),
    (gen_random_uuid(), 'goes', 'running', OLD, NULL),
    (gen_random_uuid(), 'stays', 'done', OLD, OLD + interval '1 day');
INSERT INTO audit_findings (run_id, position, kind, detail)
    VALUES ('00000000-0000-0000-0000-00000000000a', 1, 'x', 'goes');
INSERT INTO findings (id, kind, scope, detail, first_seen_at, last_seen_at, last_run, resolved_at) VALUES
    (gen_random_uuid(), 'x', '1', 'goes', OLD, OLD, gen_random_uuid(), OLD),
    (gen_random_uuid(), 'x', '2', 'stays', OLD, OLD, gen_random_uuid(), NULL);
INSERT INTO audit_log (id, at, actor, role, action, reason) VALUES
    (gen_random_uuid(), OLD, 'goes', '', '', ''), (gen_random_uuid(), now(), 'stays', '', '', '');
INSERT INTO outbox (id, topic, aggregate_id, payload, sent_at) VALUES
    (gen_random_uuid(), 'goes', WHO, '{}', OLD), (gen_random_uuid(), 'stays', WHO, '{}', NULL);
INSERT INTO inbox (consumer, message_id, processed_at) VALUES
    ('goes', gen_random_uuid(), OLD), ('stays', gen_random_uuid(), now());
INSERT INTO orders (id, instance_id, customer_id, subscription_id, plan_name, entitlement_version, trial,
                    settings, state, cancel_reason, created_at)
SELECT gen_random_uuid(), gen_random_uuid(), WHO, gen_random_uuid(), 'basic-monthly', 1, false, '{}',
       'cancelled', reason, at
FROM (VALUES ('goes', OLD), ('reactivated', OLD), ('stays', now())) AS rows (reason, at);
UPDATE subscriptions SET status = 'ended', ended_at = OLD WHERE instance_id = ENDED;
INSERT INTO subscription_reminders (subscription_id, kind, sent_at)
SELECT id, CASE WHEN instance_id = ENDED THEN 'goes' ELSE 'stays' END, OLD FROM subscriptions;
UPDATE orders SET state = 'cancelled', cancel_reason = 'stays', created_at = OLD WHERE instance_id = ENDED;
";

/// Where the marks are, and how many stay.
const MARKS: [(&str, &str, i64); 11] = [
    ("tasks", "actor", 2),
    ("provider_calls", "key", 3),
    ("webhook_inbox", "outcome", 2),
    ("audit_runs", "cause", 1),
    ("audit_findings", "detail", 0),
    ("findings", "detail", 1),
    ("audit_log", "actor", 1),
    ("outbox", "topic", 1),
    ("inbox", "consumer", 1),
    ("orders", "cancel_reason", 2),
    ("subscription_reminders", "kind", 1),
];

#[sqlx::test(migrator = "billing_service::MIGRATIONS")]
async fn every_table_has_a_retention_and_none_of_money_is_pruned(pool: PgPool) {
    assert_eq!(not_covered(&pool, RETENTION).await.unwrap(), Vec::<String>::new());
    let money = RETENTION.iter().filter(|entry| entry.class == "money");
    assert_eq!(money.clone().count(), 8);
    for entry in money {
        assert!(matches!(entry.kept, Kept::Forever(_)), "{}", entry.table);
    }
}

#[sqlx::test(migrator = "billing_service::MIGRATIONS")]
async fn old_rows_go_and_young_open_and_referred_ones_stay(pool: PgPool) {
    let world = World::ledger(&pool, ProvisionPolicy::OnInvoice).await;
    let (ada, ended) = (world.directory.add("ada@example.com"), Uuid::now_v7());
    for instance in [ended, Uuid::now_v7()] {
        world.order_plan(ada, instance, "basic-monthly", Some(false)).await.unwrap();
    }
    sqlx::query("DELETE FROM outbox").execute(&pool).await.unwrap();
    let rows = ROWS
        .replace("OLD", "(now() - interval '3 years')")
        .replace("WHO", &format!("'{ada}'::uuid"))
        .replace("ENDED", &format!("'{ended}'::uuid"));
    sqlx::raw_sql(sqlx::AssertSqlSafe(rows)).execute(&pool).await.unwrap();
    let books = world.count("invoices, journal_lines").await;

    // A row each, and one that goes with its parent is counted with nobody.
    assert_eq!(prune(&pool, RETENTION).await.unwrap(), 11);
    for (table, mark, stay) in MARKS {
        assert_eq!(world.count(&format!("{table} WHERE {mark} = 'goes'")).await, 0, "{table}");
        assert_eq!(world.count(&format!("{table} WHERE {mark} LIKE 'stays%'")).await, stay, "{table}");
    }
    assert_eq!(world.count("orders WHERE cancel_reason = 'reactivated'").await, 1);
    assert_eq!(world.count("invoices, journal_lines").await, books);
    assert_eq!(prune(&pool, RETENTION).await.unwrap(), 0);
}
