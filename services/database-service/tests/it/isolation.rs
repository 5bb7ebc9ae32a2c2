//! What tenants may and may not do on a pool, and that its tuning is real.

use std::time::Duration;

use contracts::database::v1::{Allocation, GetCredentialsRequest};
use database_service::tenants::SessionLimits;
use sqlx::{Connection as _, PgConnection, PgPool};

use crate::pool_server::PoolServer;
use crate::world::{World, settings};

async fn tenant(world: &World, instance: &str) -> (Allocation, String) {
    world.allocate(instance, "customer-1", "starter").await.unwrap();
    let request = GetCredentialsRequest { instance_id: instance.into() };
    let found = world.allocations().get_credentials(request).await.unwrap().into_inner();
    (found.allocation.unwrap(), found.password)
}

async fn connect(
    server: &PoolServer,
    tenant: &(Allocation, String),
    database: &str,
) -> sqlx::Result<PgConnection> {
    server.try_connect(&tenant.0.db_user, &tenant.1, database).await
}

/// DBS-30, SEC-07
#[sqlx::test(migrations = "./migrations")]
async fn a_tenant_reaches_its_own_database_only(pool: PgPool) {
    let world = World::still(&pool, settings(50)).await;
    let (_spec, server) = world.first_pool().await;
    let (a, b) = (tenant(&world, "a").await, tenant(&world, "b").await);

    let refused = connect(&server, &a, &b.0.db_name).await.unwrap_err();
    assert!(refused.to_string().contains("permission denied"), "{refused}");
    assert!(connect(&server, &a, "template1").await.is_err());
    assert!(server.try_connect(&b.0.db_user, &a.1, &b.0.db_name).await.is_err(), "another's password");

    let mut own = connect(&server, &a, &a.0.db_name).await.unwrap();
    for forbidden in [
        "CREATE DATABASE mine",
        "CREATE ROLE mine",
        "ALTER ROLE CURRENT_USER CONNECTION LIMIT 100",
        "ALTER ROLE CURRENT_USER SUPERUSER",
        "SET temp_file_limit = -1",
        "COPY (SELECT 1) TO PROGRAM 'id'",
        "SELECT pg_read_file('postgresql.conf')",
        "SELECT rolpassword FROM pg_authid",
    ] {
        assert!(sqlx::raw_sql(forbidden).execute(&mut own).await.is_err(), "{forbidden}");
    }
    let drop_other = sqlx::AssertSqlSafe(format!("DROP DATABASE {}", b.0.db_name));
    assert!(sqlx::raw_sql(drop_other).execute(&mut own).await.is_err());
    // Odoo connects to `postgres` for its notification channel; nothing can be made there.
    let mut shared = connect(&server, &a, "postgres").await.unwrap();
    for forbidden in [
        "CREATE TABLE t (x int)",
        "CREATE SCHEMA s",
        "CREATE TEMP TABLE t (x int)",
        "SELECT * FROM platform.probe",
    ] {
        assert!(sqlx::raw_sql(forbidden).execute(&mut shared).await.is_err(), "{forbidden}");
    }
    sqlx::raw_sql("LISTEN imbus").execute(&mut shared).await.unwrap();

    let mut admin = server.admin().await;
    let flags: Vec<(bool, bool, bool, bool, i32)> = sqlx::query_as(
        "SELECT rolsuper, rolcreatedb, rolcreaterole, rolreplication, rolconnlimit FROM pg_roles WHERE rolname LIKE 'odoo\\_%'",
    )
    .fetch_all(&mut admin)
    .await
    .unwrap();
    assert_eq!(flags, [(false, false, false, false, 20), (false, false, false, false, 20)]);
    let database: (String, String) =
        sqlx::query_as("SELECT pg_encoding_to_char(encoding)::text, pg_get_userbyid(datdba)::text FROM pg_database WHERE datname = $1")
            .bind(&a.0.db_name)
            .fetch_one(&mut admin)
            .await
            .unwrap();
    assert_eq!(database, ("UTF8".into(), "platform_owner".into()));
}

/// DBS-29: connection limit, role settings and the server's own configuration are in force.
#[sqlx::test(migrations = "./migrations")]
async fn limits_and_tuning_are_real(pool: PgPool) {
    let world = World::still(&pool, settings(50)).await;
    let (_spec, server) = world.first_pool().await;
    let a = tenant(&world, "a").await;

    let mut open = Vec::new();
    for _ in 0..20 {
        open.push(connect(&server, &a, &a.0.db_name).await.unwrap());
    }
    let refused = connect(&server, &a, &a.0.db_name).await.unwrap_err();
    assert!(refused.to_string().contains("too many connections"), "{refused}");

    let session = &mut open[0];
    let show = async |session: &mut PgConnection, name: &str| -> String {
        sqlx::query_scalar("SELECT current_setting($1)").bind(name).fetch_one(session).await.unwrap()
    };
    assert_eq!(show(session, "temp_file_limit").await, "512MB");
    assert_eq!(show(session, "statement_timeout").await, "15min");
    assert_eq!(show(session, "idle_in_transaction_session_timeout").await, "30min");
    assert_eq!(show(session, "max_connections").await, "840", "slots × connections of a tenant + reserve");
    let installed: Vec<String> =
        sqlx::query_scalar("SELECT extname::text FROM pg_extension WHERE extname <> 'plpgsql' ORDER BY 1")
            .fetch_all(session)
            .await
            .unwrap();
    assert_eq!(installed, ["pg_trgm", "unaccent"]);
    for session in open {
        session.close().await.unwrap();
    }
}

/// DBS-29: a tenant may lift its timeouts; the reaper ends what holds the server up all the same, and nothing
/// else.
#[sqlx::test(migrations = "./migrations")]
async fn the_reaper_ends_sessions_that_hold_a_server_up(pool: PgPool) {
    let world = World::still(&pool, settings(50)).await;
    let (spec, server) = world.first_pool().await;
    let a = tenant(&world, "a").await;
    let mut open = connect(&server, &a, &a.0.db_name).await.unwrap();
    sqlx::raw_sql("SET idle_in_transaction_session_timeout = 0; BEGIN; SELECT 1")
        .execute(&mut open)
        .await
        .unwrap();
    let mut idle = connect(&server, &a, &a.0.db_name).await.unwrap();
    let mut conn = pool.acquire().await.unwrap();
    let id = uuid::Uuid::parse_str(&spec.id).unwrap();
    let row = database_service::store::servers::find(&mut conn, id).await.unwrap().unwrap();
    let limits =
        |idle_in_transaction| SessionLimits { idle_in_transaction, statement: Duration::from_hours(1) };

    assert_eq!(world.app.reap(&row, limits(Duration::from_hours(1))).await.unwrap(), 0);
    assert_eq!(world.app.reap(&row, limits(Duration::ZERO)).await.unwrap(), 1);

    assert!(sqlx::query("SELECT 1").execute(&mut open).await.is_err());
    sqlx::query("SELECT 1").execute(&mut idle).await.unwrap();
}
