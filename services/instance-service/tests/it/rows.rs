//! Rows that another release wrote, and rows that are old.

use contracts::instance::v1 as wire;
use contracts::services::USER;
use instance::store::events::{self, Cause};
use instance_service::retention::RETENTION;
use instance_service::sweep;
use runtime::identity::Role;
use runtime::retention::{not_covered, prune};
use sqlx::PgPool;
use uuid::Uuid;

use crate::support::World;

/// A word that this release does not know.
async fn from_another_release(world: &World, id: &str) {
    for sql in [
        "ALTER TABLE instances DROP CONSTRAINT instances_status_check",
        "ALTER TABLE operations DROP CONSTRAINT operations_kind_check",
    ] {
        sqlx::query(sql).execute(&world.pool).await.unwrap();
    }
    world.sql("UPDATE instances SET status = 'hibernating', billing_hold = true WHERE id = $1", id).await;
}

/// INS-16: it is left out of lists, and nothing else waits for it.
#[sqlx::test(migrator = "instance::MIGRATIONS")]
async fn a_row_of_another_release_hinders_no_other(pool: PgPool) {
    let world = World::start(pool).await;
    let (owner, admin) = (world.customer(), world.person(Role::Admin));
    let strange = world.running(&owner, "strange").await;
    let fine = world.running(&owner, "fine").await;
    from_another_release(&world, &strange.id).await;
    let list = wire::ListInstancesRequest::default();
    let listed = world.client().list_instances(owner.ask(list)).await.unwrap().into_inner();
    assert_eq!(listed.instances.iter().map(|one| one.id.as_str()).collect::<Vec<_>>(), [fine.id.as_str()]);

    // The sweeps go on with the others.
    world.fakes.state().may_run = false;
    let mut after = Uuid::nil();
    loop {
        after = sweep::follow_billing(&world.app, after).await.unwrap();
        if after.is_nil() {
            break;
        }
    }
    sweep::once(&world.app).await.unwrap();
    assert_eq!(world.get(&owner, &fine.id).await.status, "stopping");

    // An account closes as far as it can, and says that it is not done.
    world.finish(&fine.id).await;
    let close = wire::TerminateAllRequest { customer_id: owner.id.to_string(), reason: String::new() };
    assert!(world.directory_as(USER).terminate_all(close).await.is_err());
    assert_eq!(world.get(&admin, &fine.id).await.status, "terminating");

    // Nor does an operation hide the others of its instance.
    world.finish(&fine.id).await;
    let kinds = "UPDATE operations SET kind = 'hibernate' WHERE instance_id = $1 AND kind = 'suspend'";
    world.sql(kinds, &fine.id).await;
    let list = wire::ListOperationsRequest { instance_id: fine.id.clone(), page: 0, page_size: 0 };
    let listed = world.client().list_operations(owner.ask(list)).await.unwrap().into_inner();
    assert_eq!((listed.operations.len(), listed.total), (2, 3));
}

#[sqlx::test(migrator = "instance::MIGRATIONS")]
async fn every_table_says_how_long_its_rows_are_kept(pool: PgPool) {
    assert_eq!(not_covered(&pool, RETENTION).await.unwrap(), Vec::<String>::new());
}

/// Old rows go; young, open and needed ones stay; and what belonged to an instance goes with it.
#[sqlx::test(migrator = "instance::MIGRATIONS")]
async fn old_rows_go_and_what_is_needed_stays(pool: PgPool) {
    let world = World::start(pool).await;
    let owner = world.customer();
    let kept = world.running(&owner, "kept").await;
    world.act(&owner, &kept.id, "stop").await;
    world.finish(&kept.id).await;
    world.act(&owner, &kept.id, "start").await;
    let gone = world.running(&owner, "gone").await;
    let purged = "UPDATE instances SET status = 'purged', purge_after = now(),
                      updated_at = now() - interval '731 days'
                  WHERE id = $1";
    world.sql(purged, &gone.id).await;
    for old in [
        "UPDATE operations SET created_at = created_at - interval '300 days',
             finished_at = finished_at - interval '300 days'",
        "UPDATE instance_events SET at = at - interval '300 days' WHERE type = 'created'",
        "UPDATE outbox SET sent_at = now() - interval '8 days' WHERE topic LIKE 'operation%'",
        "INSERT INTO audit_log (id, at, actor, role, action, reason)
         VALUES (gen_random_uuid(), now() - interval '731 days', 'a', 'admin', 'old', ''),
                (gen_random_uuid(), now() - interval '700 days', 'a', 'admin', 'young', '')",
        "INSERT INTO idempotency_keys (customer_id, key, request_hash, instance_id, expires_at)
         VALUES (gen_random_uuid(), 'old', '', gen_random_uuid(), now() - interval '25 h'),
                (gen_random_uuid(), 'young', '', gen_random_uuid(), now() + interval '1 h')",
        "INSERT INTO inbox VALUES ('c', gen_random_uuid(), now() - interval '29 days'),
             ('c', gen_random_uuid(), now())",
    ] {
        sqlx::query(old).execute(&world.pool).await.unwrap();
    }
    assert!(prune(&world.pool, RETENTION).await.unwrap() > 0);
    let lines: Vec<String> = sqlx::query_scalar(
        "SELECT line FROM (
             SELECT 'instance ' || name AS line FROM instances
             UNION ALL SELECT 'operation ' || kind || ' ' || state FROM operations
             UNION ALL SELECT 'audit ' || action FROM audit_log WHERE actor = 'a'
             UNION ALL SELECT 'key ' || key FROM idempotency_keys
             UNION ALL SELECT 'inbox' FROM inbox
             UNION ALL SELECT 'created' FROM instance_events WHERE type = 'created'
             UNION ALL SELECT 'sent' FROM outbox WHERE sent_at IS NOT NULL) AS lines ORDER BY 1",
    )
    .fetch_all(&world.pool)
    .await
    .unwrap();
    // The create and the stop have ended long ago; the start is under way.
    assert_eq!(lines, ["audit young", "inbox", "instance kept", "key young", "operation start queued"]);
}

/// INS-34: a pod that crashes for ever leaves a timeline that can be read, and as long as that of any other.
#[sqlx::test(migrator = "instance::MIGRATIONS")]
async fn a_crash_loop_does_not_fill_the_timeline(pool: PgPool) {
    let world = World::start(pool).await;
    let owner = world.customer();
    let instance = world.running(&owner, "Acme").await;
    let id = Uuid::parse_str(&instance.id).unwrap();
    let mut connection = world.pool.acquire().await.unwrap();
    for number in 0..250 {
        let now = instance::store::now(&mut connection).await.unwrap();
        let text = format!("restart {number}");
        events::add(&mut connection, id, "container_restarted", Cause::Tenant, &text, None, now)
            .await
            .unwrap();
    }
    let newest = "SELECT message FROM instance_events WHERE instance_id = $1 ORDER BY at DESC LIMIT 1";
    assert_eq!(world.scalar::<String>(newest, &instance.id).await, "restart 249");
    let count =
        "SELECT count(*) FROM instance_events WHERE instance_id = $1 AND type = 'container_restarted'";
    assert_eq!(world.scalar::<i64>(count, &instance.id).await, 200);
    let others = "SELECT count(*) FROM instance_events WHERE instance_id = $1 AND type = 'created'";
    assert_eq!(world.scalar::<i64>(others, &instance.id).await, 1, "other lines stay");
}
