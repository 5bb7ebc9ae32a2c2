//! What people are told: a host name that is not the expected one, who did something, and what has not ended.

use contracts::instance::v1 as wire;
use instance_service::sweep;
use runtime::identity::Role;
use sqlx::PgPool;
use uuid::Uuid;

use crate::support::{World, order, wish};

/// INS-07: nobody finds out by chance, after the payment, that the address is another one.
#[sqlx::test(migrator = "instance::MIGRATIONS")]
async fn an_altered_host_name_is_told_with_its_reason(pool: PgPool) {
    let world = World::start(pool).await;
    let owner = world.customer();
    for (name, wanted, reason) in [
        ("Nina & Söhne", "", ""),
        ("Nina & Söhne", "nina-sohne", "taken"),
        ("www", "www", "reserved"),
        ("株式会社", "", "invalid"),
    ] {
        let made = world.try_create(&owner, order(name)).await.unwrap();
        assert_eq!(
            (made.wanted_subdomain.as_str(), made.subdomain_reason.as_str()),
            (wanted, reason),
            "{name}"
        );
        let subdomain = made.instance.unwrap().subdomain;
        assert_eq!(reason.is_empty(), subdomain == "nina-sohne", "{name}: {subdomain}");
    }
    let chosen = wire::CreateInstanceRequest { subdomain: Some("my-store".into()), ..order("Store") };
    let made = world.try_create(&owner, chosen).await.unwrap();
    assert_eq!((made.wanted_subdomain, made.subdomain_reason), (String::new(), String::new()));
}

/// INS-34: what an operator did says so, and an operator with an instance of their own is its owner.
#[sqlx::test(migrator = "instance::MIGRATIONS")]
async fn the_timeline_tells_operators_from_the_platform(pool: PgPool) {
    let world = World::start(pool).await;
    let (owner, admin) = (world.customer(), world.person(Role::Admin));
    let theirs = world.running(&owner, "theirs").await.id;
    let place =
        "UPDATE instances SET db_server_id = id, db_name = 'd', db_host = 'h', db_port = 5432 WHERE id = $1";
    world.sql(place, &theirs).await;
    let rotate = wire::RotatePasswordRequest { instance_id: theirs.clone(), reason: "it leaked".into() };
    world.admin_client().rotate_password(admin.ask(rotate)).await.unwrap();
    let newest = "SELECT cause FROM instance_events WHERE instance_id = $1 ORDER BY at DESC, id DESC LIMIT 1";
    assert_eq!(world.scalar::<String>(newest, &theirs).await, "operator");
    let own = world.running(&admin, "own").await.id;
    world.act(&admin, &own, "stop").await;
    assert_eq!(world.scalar::<String>(newest, &own).await, "customer");
}

/// INS-16: what has ended need not be filtered out by hand.
#[sqlx::test(migrator = "instance::MIGRATIONS")]
async fn the_list_can_leave_out_what_has_ended(pool: PgPool) {
    let world = World::start(pool).await;
    let owner = world.customer();
    let (live, over) = (world.running(&owner, "live").await, world.running(&owner, "over").await);
    let end = wire::ActOnInstanceRequest { confirm: Some(over.subdomain), ..wish(&over.id, "terminate") };
    world.try_act(&owner, end).await.unwrap();
    world.finish(&over.id).await;
    let list = wire::ListInstancesRequest { status: vec!["live".into()], ..Default::default() };
    let listed = world.client().list_instances(owner.ask(list)).await.unwrap().into_inner();
    assert_eq!((listed.total, listed.instances[0].id.as_str()), (1, live.id.as_str()));
}

/// REL-04: a round costs billing one call a page, not one for each instance.
#[sqlx::test(migrator = "instance::MIGRATIONS")]
async fn a_round_asks_billing_once_a_page(pool: PgPool) {
    let world = World::start(pool).await;
    let owner = world.customer();
    let mut ids = Vec::new();
    for number in 0..5 {
        ids.push(world.running(&owner, &format!("number {number}")).await.id);
    }
    world.fakes.state().may_run = false;
    assert!(sweep::follow_billing(&world.app, Uuid::nil()).await.unwrap().is_nil());
    assert_eq!(world.fakes.state().pages, 1);
    for id in &ids {
        assert_eq!(world.get(&owner, id).await.status, "stopping");
    }
}
