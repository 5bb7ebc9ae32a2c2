//! A row that this version cannot read, such as one that a newer version wrote, stops what is about itself and
//! nothing else.

use contracts::billing::v1 as proto;
use contracts::services::{GATEWAY, WORKER};
use runtime::identity::Role;
use sqlx::PgPool;
use tonic::Code;
use uuid::Uuid;

use crate::world::{Fault, World};

/// Writes a word that only a newer version knows.
async fn newer(pool: &PgPool, table: &str, column: &str, id: &str) {
    let constraint = format!("{table}_{column}_check");
    let statements = format!(
        "ALTER TABLE {table} DROP CONSTRAINT {constraint}, DROP CONSTRAINT IF EXISTS {table}_check;
         UPDATE {table} SET {column} = 'of_a_newer_version' WHERE id = '{id}'"
    );
    sqlx::raw_sql(sqlx::AssertSqlSafe(statements)).execute(pool).await.unwrap();
}

async fn asked(world: &World, ids: &[&str]) -> proto::GetEntitlementsResponse {
    let subscription_ids = ids.iter().map(|&id| id.to_owned()).collect();
    let request = proto::GetEntitlementsRequest { subscription_ids };
    world.orders().get_entitlements(request).await.unwrap().into_inner()
}

/// INS-42, BIL-35: a sweep asks for a hundred subscriptions at once, and hears of each of them, one way or the other.
#[sqlx::test(migrator = "billing_service::MIGRATIONS")]
async fn a_sweep_asks_for_many_and_one_keeps_no_other_back(pool: PgPool) {
    let world = World::start(&pool).await;
    let mut ids = Vec::new();
    for (n, trial) in [None, Some(false), Some(false)].into_iter().enumerate() {
        let customer = world.directory.add(&format!("c{n}@example.com"));
        let placed = world.order_plan(customer, Uuid::now_v7(), "basic-monthly", trial).await.unwrap();
        ids.push(placed.subscription.unwrap().id);
    }
    let unknown = Uuid::now_v7().to_string();
    newer(&pool, "subscriptions", "status", &ids[2]).await;

    let answer = asked(&world, &[&ids[0], &ids[1], &ids[2], &unknown, &ids[0]]).await;
    assert_eq!(answer.unknown_ids, [unknown]);
    assert_eq!(answer.unreadable_ids, [ids[2].clone()]);
    assert_eq!(answer.entitlements.len(), 2);
    for told in answer.entitlements {
        assert_eq!(told.entitlement.unwrap(), world.entitlement(&told.subscription_id).await);
    }
    assert_eq!(world.metric(r#"billing_unreadable_rows_total{table="subscriptions"}"#).as_deref(), Some("1"));
    assert_eq!(asked(&world, &[]).await, proto::GetEntitlementsResponse::default());
}

/// The call is bounded, and for instance-service alone.
#[sqlx::test(migrator = "billing_service::MIGRATIONS")]
async fn more_than_a_hundred_or_a_stranger_is_refused(pool: PgPool) {
    let world = World::start(&pool).await;
    let many = proto::GetEntitlementsRequest { subscription_ids: vec![Uuid::now_v7().to_string(); 101] };
    assert_eq!(world.orders().get_entitlements(many).await.unwrap_err().code(), Code::InvalidArgument);
    let wrong = proto::GetEntitlementsRequest { subscription_ids: vec!["no id".into()] };
    assert_eq!(world.orders().get_entitlements(wrong).await.unwrap_err().code(), Code::InvalidArgument);
    for caller in [WORKER, GATEWAY] {
        let mut orders = proto::order_service_client::OrderServiceClient::new(world.api.channel_as(caller));
        let status = orders.get_entitlements(proto::GetEntitlementsRequest::default()).await.unwrap_err();
        assert_eq!(status.code(), Code::PermissionDenied, "{caller}");
    }
}

/// The pages of a customer show what can be read.
#[sqlx::test(migrator = "billing_service::MIGRATIONS")]
async fn a_list_leaves_out_what_it_cannot_read(pool: PgPool) {
    let world = World::start(&pool).await;
    let ada = world.directory.add("ada@example.com");
    let mut ids = Vec::new();
    for _ in 0..2 {
        let placed = world.order_plan(ada, Uuid::now_v7(), "basic-monthly", Some(false)).await.unwrap();
        ids.push(placed.subscription.unwrap().id);
    }
    newer(&pool, "subscriptions", "status", &ids[0]).await;

    let list = world.by(ada, Role::Customer, proto::ListSubscriptionsRequest::default());
    let listed = world.billing().list_subscriptions(list).await.unwrap().into_inner();
    let shown: Vec<String> = listed.subscriptions.into_iter().map(|one| one.id).collect();
    assert_eq!(shown, [ids[1].clone()]);
    let overview = world.by(ada, Role::Customer, proto::GetOverviewRequest::default());
    let overview = world.billing().get_overview(overview).await.unwrap().into_inner();
    assert_eq!(overview.active_subscriptions.len(), 1);
}

/// BIL-08, BIL-33: the sweep goes on beside an order that it cannot read, and what it mends is counted.
#[sqlx::test(migrator = "billing_service::MIGRATIONS")]
async fn the_sweep_goes_on_beside_an_order_that_it_cannot_read(pool: PgPool) {
    let world = World::start(&pool).await;
    world.remote.set(Fault::FailBefore);
    for n in 0..2 {
        let customer = world.directory.add(&format!("c{n}@example.com"));
        world.order(customer, Uuid::now_v7()).await.unwrap_err();
    }
    let orders: Vec<Uuid> =
        sqlx::query_scalar("SELECT id FROM orders ORDER BY id").fetch_all(&pool).await.unwrap();
    newer(&pool, "orders", "state", &orders[0].to_string()).await;
    sqlx::query("UPDATE orders SET provider_cancel_due = true, next_check_at = now() WHERE id = $1")
        .bind(orders[0])
        .execute(&pool)
        .await
        .unwrap();
    world.remote.set(Fault::None);

    let later = runtime::clock::now() + time::Duration::minutes(5);
    billing_service::sweep::sweep(&world.app, later).await.unwrap();
    let settled = "orders WHERE state = 'cancelled' AND NOT provider_cancel_due";
    assert_eq!(world.count(settled).await, 1);
    let told = r#"billing_sweep_differences_total{kind="told_provider"}"#;
    assert_eq!(world.metric(told).as_deref(), Some("1"));
}
