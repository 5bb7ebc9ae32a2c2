//! Tenants that hold what the administrator needs, by a transaction that they leave open (DBS-29, DBS-30):
//! they lose their sessions, and keep no work from its end.

use database_service::app::external_id;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection, PgPool};
use uuid::Uuid;

use crate::traps::{Scene, Tenant, exists};

async fn holding(scene: &Scene, tenant: &Tenant, database: &str, text: &str) -> PgConnection {
    let mut session = scene.first.try_connect(&tenant.user, &tenant.password, database).await.unwrap();
    sqlx::raw_sql(AssertSqlSafe(["BEGIN; ", text].concat())).execute(&mut session).await.unwrap();
    session
}

async fn roles(admin: &mut PgConnection, pattern: &str) -> i64 {
    sqlx::query_scalar("SELECT count(*) FROM pg_roles WHERE rolname LIKE $1")
        .bind(pattern)
        .fetch_one(admin)
        .await
        .unwrap()
}

/// A database of before is its tenant's, which may grant rights on it and so hold its row.
#[sqlx::test(migrations = "./migrations")]
async fn a_tenant_keeps_its_own_purge_from_nothing(pool: PgPool) {
    let scene = Scene::new(&pool).await;
    let tenant = scene.tenant("a").await;
    scene.owned_by_its_tenant(&tenant).await;
    let grant = format!("GRANT CONNECT ON DATABASE \"{}\" TO PUBLIC", tenant.database);
    let _held = holding(&scene, &tenant, "postgres", &grant).await;

    scene.purge(&tenant).await;
}

#[sqlx::test(migrations = "./migrations")]
async fn a_neighbour_that_grants_something_keeps_no_role_alive(pool: PgPool) {
    let scene = Scene::new(&pool).await;
    let (tenant, neighbour) = (scene.tenant("a").await, scene.tenant("b").await);
    let grant = format!("CREATE TABLE k (); GRANT SELECT ON k TO \"{}\"", tenant.user);
    let _held = holding(&scene, &neighbour, &neighbour.database, &grant).await;

    scene.purge(&tenant).await;

    assert_eq!(roles(&mut scene.first.admin().await, &tenant.user).await, 0);
}

/// Somebody whose session is not ended.
#[sqlx::test(migrations = "./migrations")]
async fn a_role_that_is_held_gives_up_its_name_and_is_dropped_later(pool: PgPool) {
    let scene = Scene::new(&pool).await;
    let tenant = scene.tenant("a").await;
    let mut holder = scene.first.admin().await;
    let grant = format!("BEGIN; CREATE TABLE k (); GRANT SELECT ON k TO \"{}\"", tenant.user);
    sqlx::raw_sql(AssertSqlSafe(grant)).execute(&mut holder).await.unwrap();

    scene.purge(&tenant).await;

    let mut admin = scene.first.admin().await;
    assert_eq!(roles(&mut admin, &tenant.user).await, 0);
    assert_eq!(roles(&mut admin, "gone\\_%").await, 1);
    sqlx::raw_sql("COMMIT").execute(&mut holder).await.unwrap();
    holder.close().await.unwrap();
    scene.check().await;
    assert_eq!(roles(&mut admin, "gone\\_%").await, 0);
}

/// Who reads the list of databases in an open transaction, when it has to be made anew.
#[sqlx::test(migrations = "./migrations")]
async fn a_tenant_that_reads_the_shared_views_keeps_no_server_from_its_preparation(pool: PgPool) {
    let scene = Scene::new(&pool).await;
    let tenant = scene.tenant("a").await;
    sqlx::raw_sql("COMMENT ON VIEW platform_odoo.pg_database IS NULL")
        .execute(&mut scene.first.admin().await)
        .await
        .unwrap();
    let read = "SELECT count(*) FROM pg_database; SELECT count(*) FROM pg_roles";
    let mut held = holding(&scene, &tenant, "postgres", read).await;

    scene.rights().await;

    assert!(sqlx::raw_sql("SELECT 1").execute(&mut held).await.is_err(), "nobody was in the way");
    // Now it is as it should be, and who reads it is in nobody's way.
    let mut held = holding(&scene, &tenant, "postgres", read).await;
    scene.rights().await;
    sqlx::raw_sql("SELECT 1").execute(&mut held).await.unwrap();
}

/// By a replica of the release before, after this one prepared the server.
#[sqlx::test(migrations = "./migrations")]
async fn a_database_that_its_tenant_owns_is_taken_over_by_the_next_check(pool: PgPool) {
    let scene = Scene::new(&pool).await;
    let tenant = scene.tenant("a").await;
    scene.owned_by_its_tenant(&tenant).await;

    scene.check().await;

    let owner: String =
        sqlx::query_scalar("SELECT pg_get_userbyid(datdba)::text FROM pg_database WHERE datname = $1")
            .bind(&tenant.database)
            .fetch_one(&mut scene.first.admin().await)
            .await
            .unwrap();
    assert_eq!(owner, "platform_owner");
}

/// The new role of a rotation that began before an update was made without it.
#[sqlx::test(migrations = "./migrations")]
async fn a_rotation_that_spans_an_update_leaves_the_new_role_odoos_list(pool: PgPool) {
    let scene = Scene::new(&pool).await;
    let tenant = scene.tenant("a").await;
    let (id, instance) = (Uuid::now_v7(), external_id("instance_id", &tenant.instance).unwrap());
    scene.world.app.begin_rotation(id, &instance).await.unwrap();
    scene.world.app.switch_rotation(id).await.unwrap();
    let mut admin = scene.first.admin().await;
    let text = format!("ALTER ROLE \"{}_2\" IN DATABASE postgres RESET ALL", tenant.database);
    sqlx::raw_sql(AssertSqlSafe(text)).execute(&mut admin).await.unwrap();

    scene.world.app.retire_rotation(id).await.unwrap();

    let list: Vec<String> = sqlx::query_scalar(
        "SELECT unnest(setconfig) FROM pg_db_role_setting JOIN pg_database d ON d.oid = setdatabase
         WHERE d.datname = 'postgres' AND setrole = (SELECT oid FROM pg_roles WHERE rolname = $1)",
    )
    .bind([&tenant.database, "_2"].concat())
    .fetch_all(&mut admin)
    .await
    .unwrap();
    assert!(list.iter().any(|one| one.contains("platform_odoo")), "{list:?}");
    assert!(exists(&mut admin, &tenant.database).await);
}

/// ADR 20: Odoo serves what this list says is its own. PostgreSQL 15 lets every role make another its member.
#[sqlx::test(migrations = "./migrations")]
async fn a_tenant_does_not_stand_in_the_list_of_a_neighbour(pool: PgPool) {
    let scene = Scene::new(&pool).await;
    let (tenant, neighbour) = (scene.tenant("a").await, scene.tenant("b").await);
    let grant = format!("GRANT \"{}\" TO \"{}\"", neighbour.user, tenant.user);
    let mut session =
        scene.first.try_connect(&neighbour.user, &neighbour.password, "postgres").await.unwrap();
    let _refused_by_newer = sqlx::raw_sql(AssertSqlSafe(grant)).execute(&mut session).await;

    let mut session = scene.first.try_connect(&tenant.user, &tenant.password, "postgres").await.unwrap();
    let list: Vec<String> = sqlx::query_scalar(
        "SELECT datname::text FROM pg_database WHERE datdba = (SELECT usesysid FROM pg_user WHERE usename =
            current_user)",
    )
    .fetch_all(&mut session)
    .await
    .unwrap();
    assert_eq!(list, [tenant.database]);
}
