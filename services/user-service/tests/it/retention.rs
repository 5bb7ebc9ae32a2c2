//! What is kept, and for how long.

use runtime::identity::Role;
use runtime::retention::not_covered;
use sqlx::PgPool;
use user_service::background;
use user_service::store::retention::RETENTION;

use crate::world::World;

#[sqlx::test(migrations = "./migrations")]
async fn every_table_has_a_retention(pool: PgPool) {
    assert_eq!(not_covered(&pool, RETENTION).await.unwrap(), [] as [&str; 0]);
}

/// Rows of each table, one that is just too old and one that is not yet.
const ROWS: &str = "
    INSERT INTO sessions
        SELECT gen_random_uuid(), id, now(), now(), now() + '7 days', false, age, '', now() - age::interval, 'logout'
        FROM person, unnest(ARRAY['31 days', '29 days']) age;
    INSERT INTO sessions
        SELECT gen_random_uuid(), id, now(), now(), now() - age::interval, false, age, '', NULL, NULL
        FROM person, unnest(ARRAY['31 days', '29 days']) age;
    INSERT INTO refresh_tokens
        SELECT sha256(age::bytea), (SELECT id FROM sessions WHERE user_agent = 'test/1'), now(),
               now() - age::interval, now()
        FROM unnest(ARRAY['31 days', '29 days']) age;
    INSERT INTO mail_requests
        SELECT gen_random_uuid(), id, 'verification', state, now(), now() - age::interval, NULL, 0, 'infinity'
        FROM person, unnest(ARRAY['31 days', '29 days']) age, unnest(ARRAY['dropped', 'pending']) state;
    INSERT INTO audit
        SELECT gen_random_uuid(), now() - age::interval, 'x', 'old.action', age, NULL, '', '', ''
        FROM unnest(ARRAY['731 days', '729 days']) age;
    INSERT INTO outbox
        SELECT gen_random_uuid(), 'old.topic', id, '{}', '{}', now() - age::interval,
               CASE WHEN sent THEN now() - age::interval END
        FROM person, unnest(ARRAY['8 days', '6 days']) age, unnest(ARRAY[true, false]) sent;
    INSERT INTO inbox
        SELECT age, gen_random_uuid(), now() - age::interval FROM unnest(ARRAY['29 days', '27 days']) age";

#[sqlx::test(migrations = "./migrations")]
async fn old_rows_go_and_young_and_open_ones_stay(pool: PgPool) {
    let world = World::new(&pool).await;
    world.person(Role::Customer).await;
    world.mails_settled().await;
    let rows = format!("CREATE VIEW person AS SELECT id FROM users; {ROWS}; DROP VIEW person");
    sqlx::raw_sql(sqlx::AssertSqlSafe(rows)).execute(&pool).await.unwrap();

    background::clean(&world.app).await.unwrap();

    let left = async |statement: &'static str| -> Vec<String> {
        sqlx::query_scalar(statement).fetch_all(&pool).await.unwrap()
    };
    assert_eq!(left("SELECT ip FROM sessions WHERE ip LIKE '%days'").await, ["29 days", "29 days"]);
    assert_eq!(world.count("SELECT count(*) FROM refresh_tokens WHERE used_at IS NOT NULL").await, 1);
    assert_eq!(world.count("SELECT count(*) FROM refresh_tokens WHERE used_at IS NULL").await, 1);
    let mails = "SELECT state FROM mail_requests WHERE expires_at < now() ORDER BY state";
    assert_eq!(left(mails).await, ["dropped", "pending", "pending"]);
    assert_eq!(left("SELECT target FROM audit WHERE action = 'old.action'").await, ["729 days"]);
    assert_eq!(world.count("SELECT count(*) FROM outbox WHERE topic = 'old.topic'").await, 3);
    assert_eq!(left("SELECT consumer FROM inbox").await, ["27 days"]);
    assert_eq!(world.count("SELECT count(*) FROM users").await, 1);
}

/// USR-27: nobody but the sweep takes an entry away, and nobody changes one.
#[sqlx::test(migrations = "./migrations")]
async fn young_entries_of_the_audit_cannot_be_removed_or_changed(pool: PgPool) {
    let world = World::new(&pool).await;
    world.person(Role::Customer).await;
    for statement in [
        "DELETE FROM audit",
        "TRUNCATE audit",
        "UPDATE audit SET reason = 'erased'",
        "UPDATE audit SET ip = ''",
        "UPDATE audit SET actor = 'somebody'",
    ] {
        let refused = sqlx::query(statement).execute(&pool).await.unwrap_err();
        assert!(refused.to_string().contains("permission denied for table audit"), "{statement}: {refused}");
    }
}
