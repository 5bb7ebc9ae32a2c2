//! Plans and entitlements as rows.

use std::process::Command;

use billing_service::app::catalogue::apply_catalogue;
use billing_service::app::catalogue::check_catalogue;
use billing_service::domain::catalogue::Catalogue;
use contracts::billing::v1 as proto;
use contracts::billing::v1::catalog_service_client::CatalogServiceClient;
use contracts::services::INSTANCE;
use runtime::grpc::Refusal;
use sqlx::PgPool;
use test_kit::identity::Keyring;
use tonic::Code;
use uuid::Uuid;

use crate::world::World;

fn shipped() -> Catalogue {
    Catalogue::shipped(14).unwrap()
}

/// BIL-01: the same catalogue again writes nothing; a changed entitlement gets a version; a plan that left is
/// not for sale.
#[sqlx::test(migrations = "./migrations")]
async fn a_catalogue_is_applied_once_and_changes_get_versions(pool: PgPool) {
    apply_catalogue(&pool, &shipped(), true).await.unwrap();
    apply_catalogue(&pool, &shipped(), true).await.unwrap();
    let versions = "SELECT count(*) FROM plan_entitlements";
    assert_eq!(sqlx::query_scalar::<_, i64>(versions).fetch_one(&pool).await.unwrap(), 12);

    let mut changed = shipped();
    changed.digest = "another".into();
    changed.plans[0].entitlement.memory_mib = 4096;
    let gone = changed.plans.pop().unwrap();
    apply_catalogue(&pool, &changed, false).await.unwrap();

    assert_eq!(sqlx::query_scalar::<_, i64>(versions).fetch_one(&pool).await.unwrap(), 13);
    let active: bool = sqlx::query_scalar("SELECT active FROM plans WHERE name = $1")
        .bind(&gone.name)
        .fetch_one(&pool)
        .await
        .unwrap();
    assert!(!active);
    check_catalogue(&pool).await.unwrap();
}

/// BIL-01: the process itself refuses, with the plan's name, and `migrate` mends it.
#[sqlx::test(migrations = "./migrations")]
async fn a_missing_entitlement_stops_the_start_by_name(pool: PgPool) {
    let keys = Keyring::new();
    let options = pool.connect_options();
    let url = test_kit::environment::database_url();
    let password =
        url.split_once('@').and_then(|(login, _)| login.rsplit_once(':')).map_or("", |(_, word)| word);
    let run = |command: &'static str| {
        let mut process = Command::new(env!("CARGO_BIN_EXE_billing-service"));
        process
            .arg(command)
            .env("POSTGRES_HOST", options.get_host())
            .env("POSTGRES_PORT", options.get_port().to_string())
            .env("POSTGRES_DB", options.get_database().unwrap())
            .env("DB_SERVICE_USER", options.get_username())
            .env("DB_SERVICE_PASSWORD", password)
            .env("RABBITMQ_PASSWORD", "unused")
            .env("JWT_SECRET_KEY", "a-secret-of-the-tests-with-40-characters")
            .env("SERVICE_TOKEN_PRIVATE_KEY", {
                use secrecy::ExposeSecret as _;
                keys.identity.service_token_private_key.expose_secret().to_owned()
            })
            .env("SERVICE_TOKEN_PUBLIC_KEYS", &keys.identity.service_token_public_keys);
        tokio::task::spawn_blocking(move || process.output().unwrap())
    };
    assert!(run("migrate").await.unwrap().status.success());
    sqlx::query("DELETE FROM plan_entitlements WHERE plan_name = 'standard-annual'")
        .execute(&pool)
        .await
        .unwrap();

    let refused = run("serve").await.unwrap();

    assert!(!refused.status.success());
    let said =
        String::from_utf8_lossy(&refused.stderr).into_owned() + &String::from_utf8_lossy(&refused.stdout);
    assert!(said.contains("plan standard-annual has no entitlement"), "{said}");
    assert!(run("migrate").await.unwrap().status.success());
    check_catalogue(&pool).await.unwrap();
}

/// BIL-02, BIL-03, BIL-04
#[sqlx::test(migrations = "./migrations")]
async fn twelve_plans_are_for_sale_with_price_limits_and_database(pool: PgPool) {
    let world = World::start(&pool).await;
    let mut public = CatalogServiceClient::new(world.api.channel());

    let request = proto::ListPlansRequest { include_unavailable: true };
    let plans = public.list_plans(request).await.unwrap().into_inner().plans;

    assert_eq!(plans.len(), 12);
    let premium = plans.iter().find(|plan| plan.name == "premium-annual").unwrap();
    assert_eq!(premium.price, Some(proto::Money { amount_minor: 37_900, currency: "USD".into() }));
    assert_eq!(
        premium.limits,
        Some(proto::Limits { cpu_millis: 4000, memory_mib: 8192, storage_mib: 51_200 })
    );
    assert_eq!((premium.db_type.as_str(), premium.db_tier.as_str()), ("dedicated", "premium"));
    assert_eq!(plans[0].trial_days, 14);
}

/// BIL-04
#[sqlx::test(migrations = "./migrations")]
async fn an_inactive_plan_is_hidden_and_cannot_be_bought(pool: PgPool) {
    let world = World::start(&pool).await;
    sqlx::query("UPDATE plans SET active = false WHERE name = 'basic-annual'").execute(&pool).await.unwrap();
    let mut public = CatalogServiceClient::new(world.api.channel());
    let name = || proto::GetPlanRequest { name: "basic-annual".into() };

    let request = proto::ListPlansRequest { include_unavailable: true };
    let plans = public.list_plans(request).await.unwrap().into_inner().plans;
    assert_eq!(plans.len(), 11, "the public does not see it, whatever it asks for");
    assert_eq!(public.get_plan(name()).await.unwrap_err().code(), Code::NotFound);
    let mut service = CatalogServiceClient::new(world.api.channel_as(INSTANCE));
    assert!(!service.get_plan(name()).await.unwrap().into_inner().plan.unwrap().available);

    let ada = world.directory.add("ada@example.com");
    let refused = world.order_plan(ada, Uuid::now_v7(), "basic-annual", None).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    assert_eq!(Refusal::from_status(&refused).reason, "plan_unavailable");
    let unknown = world.order_plan(ada, Uuid::now_v7(), "no-such-plan", None).await.unwrap_err();
    assert_eq!(Refusal::from_status(&unknown).reason, "plan_unavailable");
}
