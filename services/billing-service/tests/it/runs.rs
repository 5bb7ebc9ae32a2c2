//! Large runs: what many subscriptions cost. `cargo xtask bench billing` measures them on a whole stack; here
//! they must work at all.

use billing_service::app::subscriptions::engine;
use billing_service::domain::subscription::ProvisionPolicy;
use billing_service::store::journal;
use runtime::clock;
use sqlx::PgPool;

use crate::world::World;

/// Active subscriptions of customers of their own.
async fn subscriptions(pool: &PgPool, count: i32, period_end: &str, next_due: &str) {
    let mut tx = pool.begin().await.unwrap();
    sqlx::query("CREATE TEMP TABLE made ON COMMIT DROP AS SELECT gen_random_uuid() AS customer, gen_random_uuid() AS instance, gen_random_uuid() AS placed, gen_random_uuid() AS subscription FROM generate_series(1, $1)")
        .bind(count)
        .execute(&mut *tx)
        .await
        .unwrap();
    for statement in [
        "INSERT INTO customers (id, provider_account_id) SELECT customer, customer::text FROM made",
        "INSERT INTO orders (id, instance_id, customer_id, subscription_id, plan_name, entitlement_version, trial, settings, state, confirmed_at)
         SELECT placed, instance, customer, subscription, 'basic-monthly', (SELECT max(version) FROM plan_entitlements WHERE plan_name = 'basic-monthly'),
                false, '{}', 'subscribed', now() FROM made",
    ] {
        sqlx::query(statement).execute(&mut *tx).await.unwrap();
    }
    sqlx::query(
        "INSERT INTO subscriptions (id, order_id, customer_id, instance_id, plan_name, entitlement_version, billing_period, price_minor, currency, status,
             anchor_day, current_period_start, current_period_end, provider, provider_id, next_due_at)
         SELECT subscription, placed, customer, instance, 'basic-monthly', (SELECT max(version) FROM plan_entitlements WHERE plan_name = 'basic-monthly'),
                'monthly', 900, 'USD', 'active', 1, now() + $1::interval - interval '31 days', now() + $1::interval, 'ledger', subscription::text,
                now() + $2::interval FROM made",
    )
    .bind(period_end)
    .bind(next_due)
    .execute(&mut *tx)
    .await
    .unwrap();
    tx.commit().await.unwrap();
    sqlx::query("ANALYZE subscriptions").execute(pool).await.unwrap();
}

async fn renew(pool: &PgPool, count: i32) {
    let world = World::ledger(pool, ProvisionPolicy::OnInvoice).await;
    subscriptions(pool, count, "-1 minute", "-1 minute").await;
    engine::run_due(&world.app, clock::now()).await.unwrap();
    assert_eq!(world.count("invoices").await, i64::from(count));
    assert_eq!(world.count("subscriptions WHERE next_due_at <= now() OR next_due_at IS NULL").await, 0);
    assert_eq!(journal::unbalanced(pool).await.unwrap(), 0);
    assert_eq!(journal::receivable_differences(pool).await.unwrap(), 0);
}

/// BIL-20: a run over more subscriptions than one round takes renews each once.
#[sqlx::test(migrations = "./migrations")]
async fn a_renewal_run_of_several_rounds_bills_each_once(pool: PgPool) {
    renew(&pool, 1_100).await;
}

/// BIL-14: subscriptions for which nothing is due are left alone.
#[sqlx::test(migrations = "./migrations")]
async fn a_sweep_with_nothing_due_does_nothing(pool: PgPool) {
    let world = World::ledger(&pool, ProvisionPolicy::OnInvoice).await;
    subscriptions(&pool, 1_000, "20 days", "20 days").await;
    assert_eq!(engine::run_due(&world.app, clock::now()).await.unwrap(), 0);
    assert_eq!(world.count("invoices").await, 0);
}
