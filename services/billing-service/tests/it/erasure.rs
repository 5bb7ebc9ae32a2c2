//! A person who was erased is in no row any more, but for what the law wants to be read on an invoice.

use billing_service::app::upkeep;
use billing_service::consumer::Facts;
use billing_service::domain::subscription::ProvisionPolicy;
use contracts::billing::v1 as proto;
use contracts::events::{CustomerFact, topics};
use messaging::{Handler as _, Message};
use runtime::identity::Role;
use sqlx::PgPool;
use test_kit::search::rows_with;
use time::Duration;
use uuid::Uuid;

use crate::world::World;

const ADDRESS: &str = "zerlina@example.com";
const PERSON: &str = "Zerlina Xylander";

/// The address in every place where people write, or where something is kept that they wrote.
const PLANTED: &str = "
UPDATE orders SET settings = jsonb_build_object('admin_email', 'ADDRESS') WHERE customer_id = 'WHO';
UPDATE subscriptions SET cancel_reason = 'write to ADDRESS' WHERE customer_id = 'WHO';
UPDATE customers SET person = 'Zerlina Xylander' WHERE id = 'WHO';
INSERT INTO payments (id, customer_id, invoice_id, amount_minor, currency, method, gateway, reference, state, reason,
                      redirect_url)
SELECT gen_random_uuid(), 'WHO', id, 1, 'USD', 'bank', 'external', 'r-1', 'paid', 'told by ADDRESS',
       'https://pay.example/?mail=ADDRESS'
FROM invoices WHERE customer_id = 'WHO' LIMIT 1;
INSERT INTO refunds (id, payment_id, amount_minor, currency, reason, actor, key, created_at)
SELECT gen_random_uuid(), id, 1, 'USD', 'for ADDRESS', 'admin', 'k-1', now() FROM payments WHERE customer_id = 'WHO';
INSERT INTO credits (id, customer_id, amount_minor, remaining_minor, currency, reason, actor, key, created_at)
VALUES (gen_random_uuid(), 'WHO', 1, 1, 'USD', 'for ADDRESS', 'admin', 'admin:1', now());
INSERT INTO provider_calls (id, customer_id, kind, details, state, finished_at)
VALUES (gen_random_uuid(), 'WHO', 'cancel', '{\"when\": \"now\", \"reason\": \"ask ADDRESS\"}', 'done', now());
INSERT INTO webhook_inbox (id, provider, body, digest, state, customer_id)
VALUES (gen_random_uuid(), 'paynow', 'authemail=ADDRESS', decode(repeat('00', 32), 'hex'), 'done', 'WHO');
INSERT INTO findings (id, kind, customer_id, detail, first_seen_at, last_seen_at, last_run, acknowledged_at,
                      acknowledged_by, acknowledge_reason)
VALUES (gen_random_uuid(), 'x', 'WHO', 'x', now(), now(), gen_random_uuid(), now(), 'admin', 'ask ADDRESS');
INSERT INTO audit_log (id, actor, role, action, customer_id, reason, details)
VALUES (gen_random_uuid(), 'admin', 'admin', 'x', 'WHO', 'ADDRESS wrote', '{\"to\": \"ADDRESS\"}');
INSERT INTO outbox (id, topic, aggregate_id, payload, sent_at)
VALUES (gen_random_uuid(), 'x', 'WHO', '{\"customer_id\": \"WHO\", \"reason\": \"ADDRESS\"}', now());
UPDATE invoices SET status = 'void', closed_reason = 'as ADDRESS wished' WHERE customer_id = 'WHO' AND status = 'open';
";

/// A customer with everything: two invoices, of which the second one names the buyer.
async fn planted(world: &World) -> Uuid {
    let who = world.directory.add(ADDRESS);
    world.order_plan(who, Uuid::now_v7(), "basic-monthly", Some(false)).await.unwrap();
    let details = proto::UpdateAccountRequest {
        company: Some("Xylander & Co".into()),
        billing_email: Some(ADDRESS.into()),
        address: Some(proto::Address { street: "Xylander Lane 7".into(), ..Default::default() }),
        country: Some("DE".into()),
        ..Default::default()
    };
    world.billing().update_account(world.by(who, Role::Customer, details)).await.unwrap();
    world.order_plan(who, Uuid::now_v7(), "basic-monthly", Some(false)).await.unwrap();
    let rows = PLANTED.replace("ADDRESS", ADDRESS).replace("WHO", &who.to_string());
    sqlx::raw_sql(sqlx::AssertSqlSafe(rows)).execute(&world.pool).await.unwrap();
    assert!(rows_with(&world.pool, ADDRESS).await.len() >= 14, "{:?}", rows_with(&world.pool, ADDRESS).await);
    who
}

async fn erased(world: &World, who: Uuid) {
    let fact = CustomerFact { customer_id: who, occurred_at: runtime::clock::now(), detail: None };
    let body = serde_json::to_vec(&fact).unwrap();
    let message = Message { id: Uuid::now_v7(), topic: topics::CUSTOMER_ERASED.into(), body };
    let mut tx = world.pool.begin().await.unwrap();
    Facts { app: world.app.clone() }.handle(&mut tx, &message).await.unwrap();
    tx.commit().await.unwrap();
}

/// USR-20: the address is nowhere; name and postal address stay on issued invoices alone, for ten years.
#[sqlx::test(migrator = "billing_service::MIGRATIONS")]
async fn an_erased_person_is_found_in_no_row(pool: PgPool) {
    let world = World::ledger(&pool, ProvisionPolicy::OnInvoice).await;
    let who = planted(&world).await;
    let (books, other) = (world.count("journal_lines").await, world.directory.add("ada@example.com"));
    world.order(other, Uuid::now_v7()).await.unwrap();
    let others = world.count("outbox").await;
    // Handled twice, as every fact may be.
    for _ in 0..2 {
        erased(&world, who).await;
    }
    assert_eq!(rows_with(&pool, ADDRESS).await, Vec::<String>::new());
    assert_eq!(rows_with(&pool, PERSON).await, Vec::<String>::new());
    assert_eq!(rows_with(&pool, "Xylander").await, ["invoices.buyer"]);
    assert_eq!(world.count("invoices WHERE status = 'void' AND total_minor = 900").await, 2);
    assert!(world.count("journal_lines").await >= books);
    assert!(world.count("outbox WHERE sent_at IS NULL").await < others + 1);
    // What an invoice says can get less, and nothing else.
    let more =
        sqlx::query("UPDATE invoices SET buyer = buyer || '{\"company\": \"Other\"}' WHERE customer_id = $1");
    assert!(more.bind(who).execute(&pool).await.is_err());
    let fewer = sqlx::query("UPDATE invoices SET buyer = '{}' WHERE customer_id = $1");
    assert!(
        fewer.bind(other).execute(&pool).await.is_err()
            || world.count("invoices WHERE buyer = '{}'").await == 0
    );

    let aged = "ALTER TABLE invoices DISABLE TRIGGER USER;
        UPDATE invoices SET issued_at = now() - interval '11 years';
        ALTER TABLE invoices ENABLE TRIGGER USER";
    sqlx::raw_sql(aged).execute(&pool).await.unwrap();
    assert!(upkeep::erase_due(&world.app, runtime::clock::now() + Duration::minutes(1)).await.unwrap());
    assert_eq!(rows_with(&pool, "Xylander").await, Vec::<String>::new());
    assert_eq!(world.count("invoices WHERE buyer ->> 'country' = 'DE'").await, 1);
}

/// USR-20: a fact that was lost costs a day; while nobody can be asked it is tried again, and soon.
#[sqlx::test(migrator = "billing_service::MIGRATIONS")]
async fn who_was_erased_without_a_word_is_found(pool: PgPool) {
    let world = World::ledger(&pool, ProvisionPolicy::OnInvoice).await;
    let who = planted(&world).await;
    world.directory.erase(who);
    // More than a page holds; billing knows none of them.
    for _ in 0..600 {
        world.directory.erase(Uuid::new_v4());
    }
    let start = runtime::clock::now() + Duration::minutes(1);
    world.directory.set_away(true);
    upkeep::erase_due(&world.app, start).await.unwrap_err();
    assert!(!upkeep::erase_due(&world.app, start + Duration::minutes(9)).await.unwrap());
    world.directory.set_away(false);
    assert!(upkeep::erase_due(&world.app, start + Duration::minutes(11)).await.unwrap());
    assert_eq!(rows_with(&pool, ADDRESS).await, Vec::<String>::new());

    // Something was on its way and came after it: the next day finds it.
    sqlx::query("INSERT INTO audit_log (id, actor, role, action, customer_id, reason) VALUES (gen_random_uuid(), '', '', '', $1, $2)")
        .bind(who)
        .bind(ADDRESS)
        .execute(&pool)
        .await
        .unwrap();
    assert!(!upkeep::erase_due(&world.app, start + Duration::hours(20)).await.unwrap());
    assert!(upkeep::erase_due(&world.app, start + Duration::hours(25)).await.unwrap());
    assert_eq!(rows_with(&pool, ADDRESS).await, Vec::<String>::new());
    // Nobody writes who it was any more.
    let details = proto::UpdateAccountRequest { billing_email: Some(ADDRESS.into()), ..Default::default() };
    world.billing().update_account(world.by(who, Role::Customer, details)).await.ok();
    assert_eq!(rows_with(&pool, ADDRESS).await, Vec::<String>::new());
}

/// SEC-18: a database whose clock a test has moved is none of production.
#[sqlx::test(migrator = "billing_service::MIGRATIONS")]
async fn production_does_not_start_with_a_clock_that_was_moved(pool: PgPool) {
    billing_service::app::clock::check_clock(&pool, true).await.unwrap();
    sqlx::query("UPDATE billing_clock SET offset_seconds = 86400").execute(&pool).await.unwrap();
    billing_service::app::clock::check_clock(&pool, false).await.unwrap();
    let refused = billing_service::app::clock::check_clock(&pool, true).await.unwrap_err().to_string();
    assert!(refused.contains("86400"), "{refused}");
}
