//! An hour in which a provider that keeps the books does not work, in each of the ways in which it may not.

use billing_service::app::provider::provider_commands;
use billing_service::domain::dunning::DunningState;
use billing_service::domain::subscription::ProvisionPolicy;
use billing_service::sweep;
use contracts::billing::v1 as proto;
use contracts::billing::v1::billing_admin_service_client::BillingAdminServiceClient;
use contracts::events::topics;
use runtime::identity::Role;
use sqlx::PgPool;
use test_kit::killbill::{Fault, Line};
use time::Duration;
use tonic::Code;
use uuid::Uuid;

use super::{Life, advance, overview, usd};
use crate::world::World;

/// An hour in which no call works. Ada pays here meanwhile; Bob paid there before it began, and the hook was
/// lost; Carl owes, and would be suspended within the hour.
async fn an_hour_without_the_provider(pool: &PgPool, fault: Fault, pause: i64) {
    let (world, fake) = World::killbill(pool, ProvisionPolicy::OnInvoice, Line::V24).await;
    let [ada, bob, carl] = [
        Life::begin(&world, "basic-monthly", false).await,
        Life::begin(&world, "basic-monthly", false).await,
        Life::begin(&world, "basic-monthly", false).await,
    ];
    for life in [&ada, &bob, &carl] {
        life.look().await;
    }
    advance(&world, 10).await;
    let half_an_hour_before = proto::AdvanceClockRequest { seconds: 4 * 86_400 - 1_800 };
    let request = world.by(Uuid::now_v7(), Role::Admin, half_an_hour_before);
    BillingAdminServiceClient::new(world.api.channel()).advance_clock(request).await.unwrap();
    for life in [&ada, &bob, &carl] {
        assert_eq!(life.row().await.dunning, DunningState::Warning);
    }
    let there = bob.invoices().await[0].provider_id.parse().unwrap();
    let provider = world.killbill.as_ref().unwrap();
    provider.pay(bob.customer, there, Uuid::now_v7(), usd(900)).await.unwrap();

    fake.set(fault);
    let begun = ada.now().await;
    let mut minutes = 0;
    while minutes <= 60 {
        sweep::sweep(&world.app, begun + Duration::minutes(minutes)).await.unwrap();
        if minutes == 0 {
            ada.pay(&ada.invoices().await[0]).await;
            assert_eq!(ada.row().await.dunning, DunningState::None, "her money is here");
        }
        for life in [&ada, &bob, &carl] {
            let may_run = world.entitlement(&life.subscription.to_string()).await.may_run;
            assert!(may_run, "{fault:?} after {minutes} minutes: {:?}", life.row().await);
        }
        minutes += pause;
    }
    let new = world.directory.add("new@example.com");
    if matches!(fault, Fault::Answers(_)) {
        let refused = world.order(new, Uuid::now_v7()).await.unwrap_err();
        assert_eq!(refused.code(), Code::Unavailable, "{fault:?}");
    }

    fake.set(Fault::None);
    sqlx::query("UPDATE provider_calls SET next_at = now()").execute(pool).await.unwrap();
    provider_commands::work(&world.app).await.unwrap();
    for minutes in 61..63 {
        sweep::sweep(&world.app, begun + Duration::minutes(minutes)).await.unwrap();
    }
    assert_eq!(world.count("provider_calls WHERE state = 'waiting'").await, 0, "{fault:?}");
    assert_eq!(fake.counts(&world.api_key).2, 2, "{fault:?}: one payment of each there");
    for (life, dunning, paid) in
        [(&ada, DunningState::None, 1), (&bob, DunningState::None, 1), (&carl, DunningState::Suspended, 0)]
    {
        let row = life.row().await;
        assert_eq!(row.dunning, dunning, "{fault:?}: {row:?}");
        let suspended = i64::from(dunning == DunningState::Suspended);
        assert_eq!(life.announced(topics::SUBSCRIPTION_SUSPENDED).await, suspended, "{fault:?}");
        assert_eq!(life.announced(topics::INVOICE_PAID).await, paid, "{fault:?}");
        assert_eq!(life.announced(topics::PAYMENT_RECEIVED).await, paid, "{fault:?}");
        assert!(overview(&world, life.customer).await.stale_since.is_none(), "{fault:?}");
    }
    world.order(new, Uuid::now_v7()).await.unwrap();
    assert_eq!(world.count("orders WHERE state = 'subscribed'").await, 4, "{fault:?}");
}

/// BIL-33, BIL-35, REL-04: nothing stops, everything is caught up, nothing twice.
#[sqlx::test(migrator = "billing_service::MIGRATIONS")]
async fn an_hour_of_500_is_made_up_for(pool: PgPool) {
    an_hour_without_the_provider(&pool, Fault::Answers(500), 5).await;
}

/// BIL-33, BIL-35, REL-04
#[sqlx::test(migrator = "billing_service::MIGRATIONS")]
async fn an_hour_of_503_is_made_up_for(pool: PgPool) {
    an_hour_without_the_provider(&pool, Fault::Answers(503), 5).await;
}

/// BIL-33, BIL-35, REL-04: with real waits, so that there are fewer looks.
#[sqlx::test(migrator = "billing_service::MIGRATIONS")]
async fn an_hour_of_silence_is_made_up_for(pool: PgPool) {
    an_hour_without_the_provider(&pool, Fault::Silent(std::time::Duration::from_secs(30)), 31).await;
}
