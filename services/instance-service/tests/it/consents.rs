//! Data of which there is no backup goes only when somebody has said so (INS-26).

use contracts::instance::v1 as wire;
use contracts::services::USER;
use instance_service::sweep;
use runtime::identity::Role;
use sqlx::PgPool;

use crate::support::{Person, World, wish};

/// An instance that ran, ended, and whose retention has passed.
async fn expired(world: &World, owner: &Person, end: wire::ActOnInstanceRequest) -> String {
    let id = end.instance_id.clone();
    world.try_act(owner, end).await.unwrap();
    world.finish(&id).await;
    world.sql("UPDATE instances SET purge_after = now() WHERE id = $1", &id).await;
    id
}

async fn is_purged_by_the_sweep(world: &World, id: &str) -> bool {
    sweep::once(&world.app).await.unwrap();
    let purges = "SELECT count(*) FROM operations WHERE instance_id = $1 AND kind = 'purge'";
    world.scalar::<i64>(purges, id).await > 0
}

fn end(instance: &wire::Instance, final_backup: Option<bool>) -> wire::ActOnInstanceRequest {
    let confirm = Some(instance.subdomain.clone());
    wire::ActOnInstanceRequest { confirm, final_backup, ..wish(&instance.id, "terminate") }
}

#[sqlx::test(migrator = "instance::MIGRATIONS")]
async fn without_a_word_the_data_stays_and_the_operator_sees_it(pool: PgPool) {
    let world = World::start(pool).await;
    let (owner, admin) = (world.customer(), world.person(Role::Admin));
    let instance = world.running(&owner, "Acme").await;
    let acted = world.try_act(&owner, end(&instance, None)).await.unwrap();
    assert!(acted.message.contains("final_backup"), "{}", acted.message);
    world.finish(&instance.id).await;
    world.sql("UPDATE instances SET purge_after = now() WHERE id = $1", &instance.id).await;
    assert!(!is_purged_by_the_sweep(&world, &instance.id).await);
    assert!(!is_purged_by_the_sweep(&world, &instance.id).await);
    let told =
        "SELECT count(*) FROM instance_events WHERE instance_id = $1 AND type = 'purge_awaits_consent'";
    assert_eq!(world.scalar::<i64>(told, &instance.id).await, 1, "it is told once");

    let shown = admin.ask(wire::PurgeExpiredRequest { dry_run: true, reason: String::new() });
    let shown = world.admin_client().purge_expired(shown).await.unwrap().into_inner();
    assert_eq!(shown.awaiting_consent, std::slice::from_ref(&instance.id));
    let purge = admin.ask(wire::PurgeExpiredRequest { dry_run: false, reason: "asked by letter".into() });
    let begun = world.admin_client().purge_expired(purge).await.unwrap().into_inner();
    assert_eq!(begun.instance_ids, std::slice::from_ref(&instance.id));
    let word: String = world
        .scalar("SELECT role || ' ' || reason FROM purge_consents WHERE instance_id = $1", &instance.id)
        .await;
    assert_eq!(word, "admin asked by letter");
}

#[sqlx::test(migrator = "instance::MIGRATIONS")]
async fn the_owner_agrees_at_the_end_or_later(pool: PgPool) {
    let world = World::start(pool).await;
    let owner = world.customer();
    let at_once = world.running(&owner, "first").await;
    let id = expired(&world, &owner, end(&at_once, Some(false))).await;
    let given: String = world.scalar("SELECT given_by FROM purge_consents WHERE instance_id = $1", &id).await;
    assert_eq!(given, owner.id.to_string());
    assert!(is_purged_by_the_sweep(&world, &id).await);

    let later = world.running(&owner, "second").await;
    let id = expired(&world, &owner, end(&later, None)).await;
    assert!(!is_purged_by_the_sweep(&world, &id).await);
    let again = world.try_act(&owner, end(&later, Some(false))).await.unwrap();
    assert!(!again.changed && again.message.contains("then removed"), "{again:?}");
    assert!(is_purged_by_the_sweep(&world, &id).await);
}

/// A word is about one end: who comes back and ends again has to say it again.
#[sqlx::test(migrator = "instance::MIGRATIONS")]
async fn a_word_ends_with_the_way_back(pool: PgPool) {
    let world = World::start(pool).await;
    let owner = world.customer();
    let instance = world.running(&owner, "Acme").await;
    world.try_act(&owner, end(&instance, Some(false))).await.unwrap();
    world.finish(&instance.id).await;
    let back = wire::ActOnInstanceRequest {
        reason: Some("a mistake of ours".into()),
        ..wish(&instance.id, "undelete")
    };
    world.try_act(&world.person(Role::Admin), back).await.unwrap();
    world.finish(&instance.id).await;
    let id = expired(&world, &owner, end(&instance, None)).await;
    assert!(!is_purged_by_the_sweep(&world, &id).await);
}

/// What was never made has no data; a closed account keeps none.
#[sqlx::test(migrator = "instance::MIGRATIONS")]
async fn nothing_is_asked_for_what_was_never_made_or_belonged_to_a_closed_account(pool: PgPool) {
    let world = World::start(pool).await;
    let (owner, leaver) = (world.customer(), world.customer());
    let never = world.create(&owner, "never").await;
    world.fail(&never.id).await;
    world.try_act(&owner, end(&never, None)).await.unwrap();
    world.finish(&never.id).await;
    assert!(is_purged_by_the_sweep(&world, &never.id).await);

    let closed = world.running(&leaver, "closed").await;
    let request = wire::TerminateAllRequest { customer_id: leaver.id.to_string(), reason: String::new() };
    world.directory_as(USER).terminate_all(request).await.unwrap();
    world.finish(&closed.id).await;
    world.sql("UPDATE instances SET purge_after = now() WHERE id = $1", &closed.id).await;
    assert!(is_purged_by_the_sweep(&world, &closed.id).await);
}
