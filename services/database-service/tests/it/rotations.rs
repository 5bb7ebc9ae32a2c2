//! Changing passwords and keys (DBS-32, SEC-12) on real servers.

use std::process::Command;

use contracts::database::v1::{GetCredentialsRequest, GetDatabaseTaskRequest, ReleaseRequest};
use contracts::database::v1::{RotateAllocationRequest, RotatePoolRequest};
use database_service::app::{data_key, external_id};
use database_service::secrets::Vault;
use database_service::store::rekey::PLACES;
use runtime::identity::Role;
use secrecy::{ExposeSecret as _, SecretString};
use sqlx::{Connection as _, PgConnection, PgPool};
use uuid::Uuid;

use crate::admin::as_user;
use crate::pool_server::{PoolServer, binaries};
use crate::world::{DATA_KEY, World, settings};

/// Database, role and password of now.
#[derive(Debug, Clone)]
struct Login {
    database: String,
    user: String,
    password: String,
}

impl Login {
    async fn of(world: &World, instance: &str) -> Self {
        let request = GetCredentialsRequest { instance_id: instance.into() };
        let found = world.allocations().get_credentials(request).await.unwrap().into_inner();
        let allocation = found.allocation.unwrap();
        Self { database: allocation.db_name, user: allocation.db_user, password: found.password }
    }

    async fn connect(&self, server: &PoolServer) -> sqlx::Result<PgConnection> {
        server.try_connect(&self.user, &self.password, &self.database).await
    }

    /// What Odoo does between two users of a connection.
    async fn reset(&self, server: &PoolServer) -> PgConnection {
        let mut session = self.connect(server).await.unwrap();
        sqlx::raw_sql("RESET ALL; SET SESSION AUTHORIZATION DEFAULT").execute(&mut session).await.unwrap();
        session
    }
}

async fn scalar(session: &mut PgConnection, sql: &'static str) -> i64 {
    sqlx::query_scalar(sql).fetch_one(session).await.unwrap()
}

async fn roles(server: &PoolServer) -> Vec<String> {
    sqlx::query_scalar("SELECT rolname::text FROM pg_roles WHERE rolname LIKE 'odoo\\_%' ORDER BY 1")
        .fetch_all(&mut server.admin().await)
        .await
        .unwrap()
}

async fn age(pool: &PgPool, hours: i32) {
    sqlx::query("UPDATE rotations SET updated_at = updated_at - make_interval(hours => $1)")
        .bind(hours)
        .execute(pool)
        .await
        .unwrap();
}

/// DBS-32: both passwords are valid until the workload has the new one; afterwards the old one is dead and
/// the new role owns everything.
#[sqlx::test(migrations = "./migrations")]
async fn the_new_password_is_valid_before_the_old_one_dies(pool: PgPool) {
    let world = World::still(&pool, settings(50)).await;
    let (_spec, server) = world.first_pool().await;
    world.allocate("a", "customer-1", "starter").await.unwrap();
    let instance = external_id("instance_id", "a").unwrap();
    let first = Login::of(&world, "a").await;
    sqlx::raw_sql("CREATE TABLE t (id serial PRIMARY KEY); CREATE VIEW v AS SELECT * FROM t; CREATE SCHEMA s; CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'; SELECT lo_create(0)")
        .execute(&mut first.connect(&server).await.unwrap())
        .await
        .unwrap();
    let mut before = first.clone();
    for round in 0..3 {
        let id = Uuid::now_v7();
        assert_eq!(world.app.switch_rotation(id).await.unwrap_err().reason(), "not_found");
        for _ in 0..2 {
            world.app.begin_rotation(id, &instance).await.unwrap();
        }
        assert_eq!(Login::of(&world, "a").await.user, before.user, "not given out yet");
        assert_eq!(world.app.retire_rotation(id).await.unwrap_err().reason(), "invalid_state");
        for _ in 0..2 {
            world.app.switch_rotation(id).await.unwrap();
        }
        let after = Login::of(&world, "a").await;
        assert_ne!((&after.user, &after.password), (&before.user, &before.password));
        let mut old = before.connect(&server).await.unwrap();
        let mut new = after.reset(&server).await;
        // The new role does what an owner does with what the old one has and makes.
        sqlx::raw_sql("CREATE TABLE late (x int)").execute(&mut old).await.unwrap();
        sqlx::raw_sql("ALTER TABLE t ADD COLUMN extra int; ALTER TABLE late ADD COLUMN y int; CREATE TABLE mine (x int); ALTER TABLE t DROP COLUMN extra")
            .execute(&mut new)
            .await
            .unwrap();

        for _ in 0..2 {
            world.app.retire_rotation(id).await.unwrap();
        }

        assert!(sqlx::query("SELECT 1").execute(&mut old).await.is_err(), "its sessions ended");
        assert!(before.connect(&server).await.is_err(), "the old password is dead in round {round}");
        assert_eq!(roles(&server).await, std::slice::from_ref(&after.user));
        let foreign = scalar(
            &mut new,
            "SELECT (SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace AND
                pg_get_userbyid(relowner) <> current_user)
                + (SELECT count(*) FROM pg_database WHERE datname = current_database() AND
                    pg_get_userbyid(datdba) <> 'platform_owner')
                + (SELECT count(*) FROM pg_largeobject_metadata WHERE pg_get_userbyid(lomowner) <>
                    current_user)",
        )
        .await;
        assert_eq!(foreign, 0);
        sqlx::raw_sql("DROP TABLE late, mine").execute(&mut new).await.unwrap();
        let dump = Command::new(binaries().join("pg_dump"))
            .args([
                "-h",
                "127.0.0.1",
                "-p",
                &server.port().to_string(),
                "-U",
                &after.user,
                "-Fc",
                &after.database,
            ])
            .env("PGPASSWORD", &after.password)
            .output()
            .unwrap();
        assert!(
            dump.status.success() && dump.stdout.len() > 1000,
            "{}",
            String::from_utf8_lossy(&dump.stderr)
        );
        before = after;
    }
    let task: (String, String) = sqlx::query_as(
        "SELECT kind, state FROM tasks WHERE kind = 'rotate_password' ORDER BY created_at DESC LIMIT 1",
    )
    .fetch_one(&pool)
    .await
    .unwrap();
    assert_eq!(task, ("rotate_password".into(), "succeeded".into()));
    let clear: i64 = sqlx::query_scalar("SELECT count(*) FROM rotations WHERE sealed IS NOT NULL")
        .fetch_one(&pool)
        .await
        .unwrap();
    assert_eq!(clear, 0, "a password stands in one place");
    let request = ReleaseRequest { instance_id: "a".into(), mode: "purge".into(), reason: String::new() };
    world.allocations().release(request).await.unwrap();
    assert_eq!(roles(&server).await, Vec::<String>::new());
}

/// DBS-32: given up before the switch, all is as before; after it, it is ended, and the next rotation goes on
/// with what an operation left.
#[sqlx::test(migrations = "./migrations")]
async fn what_an_operation_leaves_behind_is_ended(pool: PgPool) {
    let world = World::still(&pool, settings(50)).await;
    let (_spec, server) = world.first_pool().await;
    world.allocate("a", "customer-1", "starter").await.unwrap();
    let instance = external_id("instance_id", "a").unwrap();
    let first = Login::of(&world, "a").await;

    let id = Uuid::now_v7();
    assert_eq!(world.app.abort_rotation(id).await.unwrap(), "absent");
    world.app.begin_rotation(id, &instance).await.unwrap();
    for _ in 0..2 {
        assert_eq!(world.app.abort_rotation(id).await.unwrap(), "aborted");
    }
    assert_eq!(world.app.switch_rotation(id).await.unwrap_err().reason(), "invalid_state");
    assert_eq!(roles(&server).await, std::slice::from_ref(&first.user));
    first.connect(&server).await.unwrap();

    // Begun and forgotten: the sweep gives it up, but not while its operation may still live.
    world.app.begin_rotation(Uuid::now_v7(), &instance).await.unwrap();
    age(&pool, 1).await;
    world.app.sweep().await.unwrap();
    assert_eq!(roles(&server).await.len(), 2);
    age(&pool, 3).await;
    world.app.sweep().await.unwrap();
    assert_eq!(roles(&server).await, std::slice::from_ref(&first.user));

    // Switched and forgotten: the old role stays while somebody uses it.
    let id = Uuid::now_v7();
    world.app.begin_rotation(id, &instance).await.unwrap();
    world.app.switch_rotation(id).await.unwrap();
    assert_eq!(world.app.abort_rotation(id).await.unwrap(), "switched");
    let used = first.connect(&server).await.unwrap();
    age(&pool, 30).await;
    world.app.sweep().await.unwrap();
    assert_eq!(roles(&server).await.len(), 2);
    // The next operation takes it over: one change of the password, not two.
    let given = Login::of(&world, "a").await;
    let next = Uuid::now_v7();
    world.app.begin_rotation(next, &instance).await.unwrap();
    world.app.switch_rotation(next).await.unwrap();
    assert_eq!(Login::of(&world, "a").await.password, given.password);
    used.close().await.unwrap();
    age(&pool, 30).await;
    test_kit::eventually("the old role goes", std::time::Duration::from_secs(20), || async {
        world.app.sweep().await.unwrap();
        (roles(&server).await.len() == 1).then_some(())
    })
    .await;
    assert!(first.connect(&server).await.is_err());
    Login::of(&world, "a").await.connect(&server).await.unwrap();
}

/// DBS-32: by the administrator's call, for an id that no instance has; and never for a database that is
/// given up.
#[sqlx::test(migrations = "./migrations")]
async fn an_administrator_changes_the_password_of_an_allocation(pool: PgPool) {
    let world = World::still(&pool, settings(50)).await;
    let (_spec, server) = world.first_pool().await;
    world.allocate("test-instance-1", "customer-1", "starter").await.unwrap();
    let before = Login::of(&world, "test-instance-1").await;
    let rotate = |instance: &str| RotateAllocationRequest {
        instance_id: instance.into(),
        reason: "somebody left".into(),
        operation_id: String::new(),
    };

    let request = as_user(&world, Role::Admin, rotate("test-instance-1"));
    let task = world.admin().rotate_allocation(request).await.unwrap().into_inner().task_id;

    let request = as_user(&world, Role::Admin, GetDatabaseTaskRequest { task_id: task });
    let task = world.admin().get_database_task(request).await.unwrap().into_inner().task.unwrap();
    assert_eq!((task.kind.as_str(), task.state.as_str()), ("rotate_password", "succeeded"));
    assert!(before.connect(&server).await.is_err());
    Login::of(&world, "test-instance-1").await.connect(&server).await.unwrap();
    let request = as_user(&world, Role::Admin, rotate("nobody"));
    assert_eq!(world.admin().rotate_allocation(request).await.unwrap_err().code(), tonic::Code::NotFound);
    let request =
        ReleaseRequest { instance_id: "test-instance-1".into(), mode: "soft".into(), reason: String::new() };
    world.allocations().release(request).await.unwrap();
    let request = as_user(&world, Role::Admin, rotate("test-instance-1"));
    let refused = world.admin().rotate_allocation(request).await.unwrap_err();
    assert_eq!(runtime::grpc::Refusal::from_status(&refused).reason, "invalid_state");
}

/// DBS-32: the administrator of a pool gets another password; this service never loses the pool, and the
/// worker learns it by the hash.
#[sqlx::test(migrations = "./migrations")]
async fn a_pools_administrator_gets_another_password(pool: PgPool) {
    let world = World::alive(&pool, settings(50)).await;
    let (spec, mut server) = world.first_pool().await;
    let old = world.pool_password(&spec).await;

    let request =
        as_user(&world, Role::Admin, RotatePoolRequest { pool: spec.name.clone(), reason: "yearly".into() });
    let task = world.admin().rotate_pool(request).await.unwrap().into_inner().task_id;
    test_kit::eventually("the end of the task", std::time::Duration::from_secs(20), || async {
        let request = GetDatabaseTaskRequest { task_id: task.clone() };
        let request = as_user(&world, Role::Admin, request);
        let task = world.admin().get_database_task(request).await.unwrap().into_inner().task.unwrap();
        (task.state == "succeeded").then_some(())
    })
    .await;

    let new = world.pool_password(&spec).await;
    assert_ne!(old.expose_secret(), new.expose_secret());
    assert!(server.try_connect("pool_admin", old.expose_secret(), "postgres").await.is_err());
    server.trust(&new);
    server.admin().await;
    let after = world.specs().await.pop().unwrap();
    assert_ne!(after.secret_hash, spec.secret_hash);
    assert_eq!(after.config, spec.config, "nothing that restarts the pod");
    assert_eq!(world.allocate("b", "customer-1", "starter").await.unwrap().status, "allocated");
    let log = server.log();
    assert!(
        !log.contains(new.expose_secret()) && !log.contains("SCRAM-SHA-256$"),
        "no password in a server's log"
    );
}

/// DBS-32: written down and not yet given, or given and not yet noted: this service gets in either way.
#[sqlx::test(migrations = "./migrations")]
async fn a_change_that_stopped_half_way_locks_nobody_out(pool: PgPool) {
    let world = World::still(&pool, settings(50)).await;
    let (spec, mut server) = world.first_pool().await;
    let id = Uuid::parse_str(&spec.id).unwrap();
    let vault = Vault::try_new(&SecretString::from(DATA_KEY)).unwrap();
    let next = database_service::secrets::generate_password().unwrap();
    let sealed = vault.seal(id, &next).unwrap();
    let mut conn = pool.acquire().await.unwrap();
    let hash = database_service::secrets::secret_hash(id, &next);
    assert!(database_service::store::secrets::put_next_server(&mut conn, id, &sealed, &hash).await.unwrap());

    assert_eq!(world.allocate("a", "c", "starter").await.unwrap().status, "allocated");
    server.adopt(&next).await;
    assert_eq!(world.allocate("b", "c", "starter").await.unwrap().status, "allocated");
    world.app.change_pool_password(id).await.unwrap();

    assert_eq!(world.pool_password(&spec).await.expose_secret(), next.expose_secret());
    assert_eq!(world.allocate("c", "c", "starter").await.unwrap().status, "allocated");
}

/// SEC-12: every value is encrypted anew, also when it is interrupted; then the key of before is not needed.
#[sqlx::test(migrations = "./migrations")]
async fn the_data_key_changes_while_the_service_runs(pool: PgPool) {
    let world = World::still(&pool, settings(50)).await;
    let (spec, server) = world.first_pool().await;
    for instance in ["a", "b", "c"] {
        world.allocate(instance, "customer-1", "starter").await.unwrap();
    }
    let instance = external_id("instance_id", "a").unwrap();
    world.app.begin_rotation(Uuid::now_v7(), &instance).await.unwrap();
    let admin = world.pool_password(&spec).await;
    let new_key = SecretString::from("/////wQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=");
    let old_key = SecretString::from(DATA_KEY);
    let both = Vault::try_new(&new_key).unwrap().with_others(&old_key).unwrap();

    assert_eq!(data_key::rotate_some(&pool, &both, PLACES[2], 1).await.unwrap(), 1);
    // Interrupted here: whoever knows both keys reads either.
    let half = World::with_vault(
        &pool,
        settings(50),
        Vault::try_new(&old_key).unwrap().with_others(&new_key).unwrap(),
    )
    .await;
    for instance in ["a", "b", "c"] {
        Login::of(&half, instance).await.connect(&server).await.unwrap();
    }
    let left = data_key::rotate(&pool, &both).await.unwrap();
    assert!(left >= 4, "{left} values");
    assert_eq!(data_key::rotate(&pool, &both).await.unwrap(), 0, "a repeat finds nothing");

    let after = World::with_vault(&pool, settings(50), Vault::try_new(&new_key).unwrap()).await;
    for instance in ["a", "b", "c"] {
        Login::of(&after, instance).await.connect(&server).await.unwrap();
    }
    assert_eq!(after.pool_password(&spec).await.expose_secret(), admin.expose_secret());
    let refused = data_key::rotate(&pool, &Vault::try_new(&old_key).unwrap()).await.unwrap_err();
    assert!(format!("{refused:#}").contains("needs the data key"), "{refused:#}");
}
