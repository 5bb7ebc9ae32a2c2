//! What is old goes, what is young, open or referred to stays; and no text of a customer is here at all.

use std::collections::BTreeSet;

use contracts::database::v1::{AllocateRequest, ReleaseRequest};
use database_service::store::rekey::{PLACES, Place};
use database_service::store::retention::RETENTION;
use runtime::retention::{not_covered, prune};
use sqlx::PgPool;
use uuid::Uuid;

use crate::world::{World, settings};

#[sqlx::test(migrations = "./migrations")]
async fn every_table_says_how_long_its_rows_are_kept(pool: PgPool) {
    assert_eq!(not_covered(&pool, RETENTION).await.unwrap(), Vec::<String>::new());
}

/// Rows of a pool that is gone and of one that serves, `$age` days old.
const ROWS: &str = "
INSERT INTO db_servers (id, name, server_type, status, max_instances, image, cpu_request, cpu_limit,
    memory_request, memory_limit, storage_size, volume_removed_at)
SELECT md5('$name')::uuid, '$name', 'shared', '$status', 9, '', '', '', '', '', '',
    CASE WHEN '$status' = 'deprovisioned' THEN now() - interval '$age days' END;
INSERT INTO tasks (id, kind, state, requested_by, created_at, finished_at) VALUES
    (gen_random_uuid(), 'health_check', 'succeeded', 'schedule', now() - interval '$age days', now()),
    (gen_random_uuid(), 'cleanup', 'failed', 'somebody', now() - interval '$age days', now()),
    (gen_random_uuid(), 'provision_pool', 'running', 'somebody', now() - interval '$age days', NULL);
INSERT INTO audit_log (id, at, actor, role, action, target, reason)
    VALUES (gen_random_uuid(), now() - interval '$age days', 'a', 'admin', 'x', 'y', 'because');
INSERT INTO inbox VALUES ('c', gen_random_uuid(), now() - interval '$age days');
INSERT INTO outbox (id, topic, aggregate_id, payload, sent_at)
    VALUES (gen_random_uuid(), 't', gen_random_uuid(), '{}', now() - interval '$age days');
INSERT INTO waiting VALUES ('w-$name', 'c', 'shared', now(), now() - interval '$age days');
INSERT INTO authorities VALUES (gen_random_uuid(), 'pem', 'k', decode(repeat('00', 40), 'hex'),
    now() - interval '99 years', now() - interval '$age days')";

/// What a tenant of the serving pool leaves: `$age` days old.
const TENANT: &str = "
INSERT INTO allocations (id, instance_id, customer_id, db_server_id, db_name, db_user, plan_tier, state,
    purging, purge_after, purged_at)
VALUES (md5('$name')::uuid, '$name', 'c', md5('serves')::uuid, '$name', '$name', 'starter', '$state',
    '$state' = 'purged', now(), CASE WHEN '$state' = 'purged' THEN now() - interval '$age days' END);
INSERT INTO allocation_secrets VALUES (md5('$name')::uuid, 'k', decode(repeat('00', 40), 'hex'));
INSERT INTO moves (id, allocation_id, source_server_id, target_server_id, plan_tier, state, drop_after,
    created_at, updated_at)
VALUES (gen_random_uuid(), md5('$name')::uuid, md5('serves')::uuid, md5('went')::uuid, 'starter', '$move',
    now(), now() - interval '$age days', now() - interval '$age days');
INSERT INTO rotations (id, allocation_id, db_server_id, state, old_user, new_user, created_at, updated_at)
VALUES (gen_random_uuid(), md5('$name')::uuid, md5('serves')::uuid, '$rotation', 'a', 'b',
    now() - interval '$age days', now() - interval '$age days')";

async fn run(pool: &PgPool, text: &str, words: &[(&str, &str)]) {
    let text = words.iter().fold(text.to_owned(), |text, (name, value)| text.replace(name, value));
    sqlx::raw_sql(sqlx::AssertSqlSafe(text)).execute(pool).await.unwrap();
}

async fn count(pool: &PgPool, table: &str) -> i64 {
    let text = ["SELECT count(*) FROM ", table].concat();
    sqlx::query_scalar(sqlx::AssertSqlSafe(text)).fetch_one(pool).await.unwrap()
}

#[sqlx::test(migrations = "./migrations")]
async fn old_rows_go_and_open_young_or_referred_ones_stay(pool: PgPool) {
    run(&pool, ROWS, &[("$name", "went"), ("$status", "deprovisioned"), ("$age", "3650")]).await;
    run(&pool, ROWS, &[("$name", "serves"), ("$status", "active"), ("$age", "0")]).await;
    run(
        &pool,
        TENANT,
        &[
            ("$name", "old"),
            ("$state", "purged"),
            ("$move", "dropped"),
            ("$rotation", "retired"),
            ("$age", "3650"),
        ],
    )
    .await;
    // However old: it is in use, its move keeps a source, its rotation is not over.
    run(
        &pool,
        TENANT,
        &[
            ("$name", "lives"),
            ("$state", "allocated"),
            ("$move", "switched"),
            ("$rotation", "switched"),
            ("$age", "3650"),
        ],
    )
    .await;
    run(
        &pool,
        TENANT,
        &[
            ("$name", "young"),
            ("$state", "purged"),
            ("$move", "aborted"),
            ("$rotation", "aborted"),
            ("$age", "1"),
        ],
    )
    .await;
    let left: Vec<(&str, i64)> = vec![
        // Moves tell of the pool that went.
        ("db_servers", 2),
        ("allocations", 2),
        ("allocation_secrets", 2),
        ("moves", 2),
        ("rotations", 2),
        ("tasks", 3),
        ("audit_log", 1),
        ("inbox", 1),
        ("outbox", 1),
        ("waiting", 1),
        ("authorities", 1),
    ];

    assert!(prune(&pool, RETENTION).await.unwrap() > 0);

    for (table, rows) in left {
        assert_eq!(count(&pool, table).await, rows, "{table}");
    }
    assert_eq!(prune(&pool, RETENTION).await.unwrap(), 0);
    // Nothing tells of it any more.
    sqlx::raw_sql("DELETE FROM moves").execute(&pool).await.unwrap();
    prune(&pool, RETENTION).await.unwrap();
    let servers: Vec<String> =
        sqlx::query_scalar("SELECT name FROM db_servers").fetch_all(&pool).await.unwrap();
    assert_eq!(servers, ["serves"]);
}

/// What the columns that can hold a text are for. A new one has to be told of here: it may hold no text of a
/// customer.
const TEXTS: [(&str, &[&str]); 5] = [
    // Ids, which are letters, digits, - and _; and names that are made of them.
    (
        "ids",
        &[
            "allocations.customer_id",
            "allocations.db_name",
            "allocations.db_user",
            "allocations.instance_id",
            "audit_log.actor",
            "audit_log.request_id",
            "audit_log.target",
            "db_servers.instance_id",
            "db_servers.name",
            "db_servers.provisioned_by",
            "inbox.consumer",
            "rotations.new_user",
            "rotations.old_user",
            "tasks.input",
            "tasks.request_key",
            "tasks.requested_by",
            "waiting.customer_id",
            "waiting.instance_id",
        ],
    ),
    (
        "words, settings and addresses of the platform's own machines",
        &[
            "allocations.plan_tier",
            "allocations.state",
            "audit_log.action",
            "audit_log.role",
            "db_servers.admin_user",
            "db_servers.allocation_strategy",
            "db_servers.cpu_limit",
            "db_servers.cpu_request",
            "db_servers.health_status",
            "db_servers.host",
            "db_servers.image",
            "db_servers.memory_limit",
            "db_servers.memory_request",
            "db_servers.node",
            "db_servers.observed",
            "db_servers.platform_host",
            "db_servers.postgres_version",
            "db_servers.server_type",
            "db_servers.status",
            "db_servers.storage_size",
            "moves.plan_tier",
            "moves.state",
            "outbox.headers",
            "outbox.payload",
            "outbox.topic",
            "rotations.state",
            "tasks.kind",
            "tasks.result",
            "tasks.state",
            "waiting.server_type",
        ],
    ),
    // Errors of servers name objects, not rows; names of a tenant's tables go with the end of its move.
    (
        "errors and names of objects",
        &[
            "allocations.last_error",
            "db_servers.last_error",
            "moves.compared",
            "moves.last_error",
            "moves.trace",
            "outbox.last_error",
            "rotations.last_error",
            "tasks.error",
        ],
    ),
    (
        "keys and certificates",
        &[
            "allocation_secrets.key_id",
            "authorities.certificate",
            "authorities.key_id",
            "moves.key_id",
            "rotations.key_id",
            "server_certificates.certificate",
            "server_certificates.fingerprint",
            "server_certificates.key_id",
            "server_certificates.served",
            "server_secrets.key_id",
            "server_secrets.next_hash",
            "server_secrets.next_key_id",
            "server_secrets.secret_hash",
        ],
    ),
    // Of operators: who, from where, and why. They go with the audit.
    ("operators", &["audit_log.client_ip", "audit_log.reason"]),
];

#[sqlx::test(migrations = "./migrations")]
async fn no_column_is_for_a_text_of_a_customer(pool: PgPool) {
    let columns: Vec<String> = sqlx::query_scalar(
        "SELECT table_name || '.' || column_name FROM information_schema.columns
         WHERE table_schema = 'public' AND table_name <> '_sqlx_migrations'
             AND data_type IN ('text', 'json', 'jsonb', 'character varying', 'ARRAY', 'USER-DEFINED')",
    )
    .fetch_all(&pool)
    .await
    .unwrap();
    let told: BTreeSet<String> =
        TEXTS.iter().flat_map(|(_, columns)| *columns).map(|&column| column.to_owned()).collect();
    assert_eq!(columns.into_iter().collect::<BTreeSet<_>>(), told);
}

/// An address in any text that a caller may send about a customer is refused, and in no row.
#[sqlx::test(migrations = "./migrations")]
async fn an_address_of_a_customer_gets_into_no_row(pool: PgPool) {
    const ADDRESS: &str = "ada.lovelace@example.org";
    let world = World::still(&pool, settings(9)).await;
    for (instance, customer) in [(ADDRESS, "c"), ("i", ADDRESS)] {
        let request = AllocateRequest {
            instance_id: instance.into(),
            customer_id: customer.into(),
            plan_tier: "starter".into(),
            require_dedicated: None,
        };
        let refused = world.allocations().allocate(request).await.unwrap_err();
        assert_eq!(refused.code(), tonic::Code::InvalidArgument);
    }
    // The worker gives reasons of people on, which are for operators' own calls.
    assert_eq!(world.allocate("i", "c", "starter").await.unwrap().status, "provisioning");
    let request = ReleaseRequest {
        instance_id: "i".into(),
        mode: "purge".into(),
        reason: format!("asked by {ADDRESS}"),
    };
    world.allocations().release(request).await.unwrap();

    assert_eq!(test_kit::search::rows_with(&pool, "lovelace").await, Vec::<String>::new());
}

/// SEC-12: a table with encrypted values that the change of the data key does not know would be lost with the
/// key of before.
#[sqlx::test(migrations = "./migrations")]
async fn every_encrypted_column_has_its_place_in_the_change_of_the_data_key(pool: PgPool) {
    let columns: Vec<(String, String)> = sqlx::query_as(
        "SELECT table_name::text, column_name::text FROM information_schema.columns
         WHERE table_schema = 'public' AND data_type = 'bytea' AND table_name <> '_sqlx_migrations'",
    )
    .fetch_all(&pool)
    .await
    .unwrap();
    let known = PLACES.iter().map(Place::column);
    let known: BTreeSet<_> = known.map(|(table, column)| (table.to_owned(), column.to_owned())).collect();
    assert_eq!(columns.into_iter().collect::<BTreeSet<_>>(), known);
    let vault = World::still(&pool, settings(9)).await.app.vault;
    // Its statements are made of names: each of them is one that PostgreSQL takes.
    assert_eq!(database_service::app::data_key::rotate(&pool, &vault).await.unwrap(), 0);
    let row = Uuid::now_v7();
    let sealed = vault.seal(row, &database_service::secrets::generate_password().unwrap()).unwrap();
    for place in PLACES {
        let mut connection = pool.acquire().await.unwrap();
        database_service::store::rekey::put(&mut connection, place, row, &sealed).await.unwrap();
    }
}
