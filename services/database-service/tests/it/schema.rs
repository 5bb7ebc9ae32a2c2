//! The tables themselves: CHECKs mirror the enums, capacity is a constraint, secrets are ciphertext.

use contracts::database::v1::GetCredentialsRequest;
use database_service::domain::AllocationState;
use database_service::domain::TaskState;
use database_service::domain::placement::PlanTier;
use database_service::domain::pool::{Fill, HealthStatus, Observed, PoolEvent, PoolStatus, ServerType};
use database_service::domain::rotation::RotationState;
use sqlx::PgPool;

use crate::world::{World, settings};

async fn words(pool: &PgPool, table: &str, column: &str) -> Vec<String> {
    let definition: String = sqlx::query_scalar(
        "SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conrelid = $1::text::regclass AND conname = $2",
    )
    .bind(table)
    .bind(format!("{table}_{column}_check"))
    .fetch_one(pool)
    .await
    .unwrap();
    definition.split('\'').skip(1).step_by(2).map(str::to_owned).collect()
}

/// DBS-16
#[sqlx::test(migrations = "./migrations")]
async fn checks_name_the_words_of_the_enums(pool: PgPool) {
    let of = |all: &[&str]| all.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    let all: Vec<_> = PoolStatus::ALL.iter().map(|word| word.as_str()).collect();
    assert_eq!(words(&pool, "db_servers", "status").await, of(&all));
    let all: Vec<_> = HealthStatus::ALL.iter().map(|word| word.as_str()).collect();
    assert_eq!(words(&pool, "db_servers", "health_status").await, of(&all));
    let all: Vec<_> = ServerType::ALL.iter().map(|word| word.as_str()).collect();
    assert_eq!(words(&pool, "db_servers", "server_type").await, of(&all));
    let all: Vec<_> = Observed::ALL.iter().map(|word| word.as_str()).collect();
    assert_eq!(words(&pool, "db_servers", "observed").await, of(&all));
    let all: Vec<_> = AllocationState::ALL.iter().map(|word| word.as_str()).collect();
    assert_eq!(words(&pool, "allocations", "state").await, of(&all));
    let all: Vec<_> = TaskState::ALL.iter().map(|word| word.as_str()).collect();
    assert_eq!(words(&pool, "tasks", "state").await, of(&all));
    let all: Vec<_> = RotationState::ALL.iter().map(|word| word.as_str()).collect();
    assert_eq!(words(&pool, "rotations", "state").await, of(&all));
    let all: Vec<_> = PlanTier::ALL.iter().map(|word| word.as_str()).collect();
    assert_eq!(words(&pool, "allocations", "plan_tier").await, of(&all));
}

/// DBS-16: what a program may write is what the state machine does.
#[sqlx::test(migrations = "./migrations")]
async fn the_moves_in_sql_are_those_of_the_state_machine(pool: PgPool) {
    let fills = [Fill { current: 0, max: 2 }, Fill { current: 1, max: 2 }, Fill { current: 2, max: 2 }];
    for before in PoolStatus::ALL {
        for after in PoolStatus::ALL {
            let pure = before == after
                || PoolEvent::ALL
                    .iter()
                    .any(|event| fills.iter().any(|fill| before.after(*event, *fill) == Ok(*after)));
            let sql: bool = sqlx::query_scalar("SELECT pool_status_may_move($1, $2)")
                .bind(before.as_str())
                .bind(after.as_str())
                .fetch_one(&pool)
                .await
                .unwrap();
            assert_eq!(sql, pure, "{before} to {after}");
        }
    }
    sqlx::query(
        "INSERT INTO db_servers (id, name, server_type, status, max_instances, image, cpu_request, cpu_limit, memory_request, memory_limit, storage_size)
         VALUES (gen_random_uuid(), 'p', 'shared', 'provisioning', 1, '', '', '', '', '', '')",
    )
    .execute(&pool)
    .await
    .unwrap();
    let refused = sqlx::query("UPDATE db_servers SET status = 'active'").execute(&pool).await.unwrap_err();
    assert!(refused.to_string().contains("does not move from provisioning to active"), "{refused}");
}

/// DBS-36: the runbook's columns, and no password.
#[sqlx::test(migrations = "./migrations")]
async fn the_runbook_query_runs_and_no_column_holds_a_password(pool: PgPool) {
    sqlx::query(
        "SELECT name, admin_user, status, health_status, current_instances, max_instances, server_type, host, port, last_health_check,
             health_check_failures, priority, allocation_strategy, postgres_version FROM db_servers",
    )
    .execute(&pool)
    .await
    .unwrap();
    let bad: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM information_schema.columns WHERE table_schema = 'public' AND column_name ILIKE '%password%'",
    )
    .fetch_one(&pool)
    .await
    .unwrap();
    assert_eq!(bad, 0);
}

/// DBS-22, DBS-23: whatever a program does, a pool of one never holds two.
#[sqlx::test(migrations = "./migrations")]
async fn capacity_is_a_constraint(pool: PgPool) {
    let server: uuid::Uuid = sqlx::query_scalar(
        "INSERT INTO db_servers (id, name, server_type, status, max_instances, image, cpu_request, cpu_limit, memory_request, memory_limit, storage_size)
         VALUES (gen_random_uuid(), 'p', 'shared', 'active', 1, '', '', '', '', '', '') RETURNING id",
    )
    .fetch_one(&pool)
    .await
    .unwrap();
    let insert = async |instance: &str| {
        sqlx::query(
            "INSERT INTO allocations (id, instance_id, customer_id, db_server_id, db_name, db_user, plan_tier, state)
             VALUES (gen_random_uuid(), $1, 'c', $2, $1, $1, 'starter', 'allocating')",
        )
        .bind(instance)
        .bind(server)
        .execute(&pool)
        .await
    };
    let current = async || -> i32 {
        sqlx::query_scalar("SELECT current_instances FROM db_servers").fetch_one(&pool).await.unwrap()
    };

    insert("a").await.unwrap();
    let refused = insert("b").await.unwrap_err();

    assert!(refused.to_string().contains("db_servers_never_overfull"), "{refused}");
    assert_eq!(current().await, 1);
    sqlx::query("UPDATE allocations SET state = 'purged'").execute(&pool).await.unwrap();
    assert_eq!(current().await, 0);
    sqlx::query("DELETE FROM allocations").execute(&pool).await.unwrap();
    assert_eq!(current().await, 0, "a purged row held no slot");
    insert("b").await.unwrap();
    assert_eq!(current().await, 1);
}

/// DBS-32, SEC-04: no table, event or answer but the worker's holds a password.
#[sqlx::test(migrations = "./migrations")]
async fn passwords_are_ciphertext_everywhere(pool: PgPool) {
    let world = World::still(&pool, settings(50)).await;
    let (spec, _server) = world.first_pool().await;
    world.allocate("i", "c", "starter").await.unwrap();
    let request = GetCredentialsRequest { instance_id: "i".into() };
    let tenant = world.allocations().get_credentials(request).await.unwrap().into_inner().password;
    let request = contracts::database::v1::GetPoolSecretRequest { pool_id: spec.id.clone() };
    let secret = world.pools().get_pool_secret(request).await.unwrap().into_inner();
    assert_eq!(secret.admin_user, "pool_admin");
    assert_eq!(secret.secret_hash, spec.secret_hash);

    let keys: Vec<String> =
        sqlx::query_scalar("SELECT key_id FROM server_secrets UNION SELECT key_id FROM allocation_secrets")
            .fetch_all(&pool)
            .await
            .unwrap();
    assert_eq!(keys.len(), 1);
    assert_eq!(keys[0].len(), 12);
    let everything: String = sqlx::query_scalar(
        "SELECT concat((SELECT string_agg(t::text, '') FROM db_servers t), (SELECT string_agg(t::text, '') FROM allocations t),
             (SELECT string_agg(encode(sealed, 'escape'), '') FROM allocation_secrets), (SELECT string_agg(encode(sealed, 'escape'), '') FROM server_secrets),
             (SELECT string_agg(t::text, '') FROM outbox t), (SELECT string_agg(t::text, '') FROM waiting t))",
    )
    .fetch_one(&pool)
    .await
    .unwrap();
    for password in [&tenant, &secret.admin_password] {
        assert!(!everything.contains(password.as_str()));
    }
}
