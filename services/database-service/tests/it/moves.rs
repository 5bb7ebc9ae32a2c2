//! Moving a tenant's database between two real servers (DBS-33), copied by the programs and arguments of the
//! worker's job.

use std::process::{Command, Stdio};

use contracts::database::v1::{
    AbortMoveRequest, BeginCopyRequest, BeginCopyResponse, CopyEnd, GetCredentialsRequest, ReleaseRequest,
    ReserveMoveRequest, ReserveMoveResponse, SwitchMoveRequest, VerifyCopyRequest,
};
use database_service::store::moves;
use runtime::grpc::Refusal;
use sqlx::{Connection as _, PgConnection, PgPool};
use test_kit::eventually;
use tonic::Status;
use uuid::Uuid;

use crate::pool_server::{PoolServer, binaries};
use crate::world::{World, settings};

/// A tenant with data on the first of two pools.
pub struct Scene {
    pub world: World,
    pub first: PoolServer,
    pub second: PoolServer,
}

impl Scene {
    pub async fn new(pool: &PgPool) -> Self {
        let world = World::still(pool, settings(1)).await;
        let (_spec, first) = world.first_pool().await;
        assert_eq!(world.allocate("i", "c", "starter").await.unwrap().status, "allocated");
        assert_eq!(world.allocate("x", "c", "starter").await.unwrap().status, "provisioning");
        let spec = world.specs().await.pop().unwrap();
        let second = world.bring_up(&spec).await;
        let request = ReleaseRequest { instance_id: "x".into(), mode: "soft".into(), reason: String::new() };
        world.allocations().release(request).await.unwrap();
        let scene = Self { world, first, second };
        let mut tenant = scene.tenant(&scene.first).await.unwrap();
        sqlx::raw_sql(
            "CREATE TABLE partner (id serial PRIMARY KEY, name text NOT NULL UNIQUE, t text, data bytea, at timestamptz DEFAULT now(), score float8);
             INSERT INTO partner (name, data, score) SELECT 'partner ' || n, decode(md5(n::text), 'hex'), n / 7.0 FROM generate_series(1, 500) n;
             CREATE INDEX partner_trgm ON partner USING gin (name gin_trgm_ops);
             CREATE VIEW names AS SELECT unaccent(name) AS name FROM partner;
             CREATE SEQUENCE \"Odd \"\"sequence\"; SELECT nextval('\"Odd \"\"sequence\"');
             CREATE TABLE \"Odd \"\"table\" (\"~x\" int); INSERT INTO \"Odd \"\"table\" VALUES (1), (1);
             COMMENT ON TABLE partner IS 'people';",
        )
        .execute(&mut tenant)
        .await
        .unwrap();
        scene
    }

    /// A session with the credentials of now.
    pub async fn tenant(&self, server: &PoolServer) -> sqlx::Result<PgConnection> {
        let request = GetCredentialsRequest { instance_id: "i".into() };
        let found = self.world.allocations().get_credentials(request).await.unwrap().into_inner();
        let allocation = found.allocation.unwrap();
        server.try_connect(&allocation.db_user, &found.password, &allocation.db_name).await
    }

    pub async fn reserve(&self, id: Uuid, pool: &str) -> Result<ReserveMoveResponse, Status> {
        let request = ReserveMoveRequest {
            move_id: id.to_string(),
            instance_id: "i".into(),
            target_pool: pool.into(),
            ..ReserveMoveRequest::default()
        };
        Ok(self.world.moves().reserve_move(request).await?.into_inner())
    }

    pub async fn begin(&self, id: Uuid) -> Result<BeginCopyResponse, Status> {
        let request = BeginCopyRequest { move_id: id.to_string() };
        Ok(self.world.moves().begin_copy(request).await?.into_inner())
    }

    pub async fn verify(&self, id: Uuid) -> Result<(), Status> {
        eventually("the end of the comparison", std::time::Duration::from_secs(20), || async {
            let request = VerifyCopyRequest { move_id: id.to_string() };
            match self.world.moves().verify_copy(request).await {
                Ok(answer) => (answer.into_inner().status == "verified").then_some(Ok(())),
                Err(status) => Some(Err(status)),
            }
        })
        .await
    }

    pub async fn switch(&self, id: Uuid) -> Result<String, Status> {
        let request = SwitchMoveRequest { move_id: id.to_string() };
        let answer = self.world.moves().switch_move(request).await?.into_inner();
        Ok(answer.allocation.unwrap().db_server_name)
    }

    pub async fn abort(&self, id: Uuid) -> String {
        let request = AbortMoveRequest { move_id: id.to_string() };
        self.world.moves().abort_move(request).await.unwrap().into_inner().status
    }

    /// Counters are what rows and servers hold; the tenant's databases on both servers.
    async fn holds(&self) -> (i64, i64) {
        let wrong: Vec<String> = sqlx::query_scalar(
            "SELECT name FROM db_servers s WHERE current_instances <> (SELECT count(*) FROM allocations a WHERE a.db_server_id = s.id AND a.state <> 'purged')
                 + (SELECT count(*) FROM moves m WHERE m.holds_server_id = s.id)",
        )
        .fetch_all(&self.world.pool)
        .await
        .unwrap();
        assert!(wrong.is_empty(), "counters of {wrong:?} are not their rows");
        (databases(&self.first).await, databases(&self.second).await)
    }
}

async fn databases(server: &PoolServer) -> i64 {
    let both: (i64, i64) = sqlx::query_as(
        "SELECT (SELECT count(*) FROM pg_database WHERE datname LIKE 'odoo\\_%'), (SELECT count(*) FROM pg_roles WHERE rolname LIKE 'odoo\\_%')",
    )
    .fetch_one(&mut server.admin().await)
    .await
    .unwrap();
    assert_eq!(both.0, both.1, "a role for each database");
    both.0
}

/// DBS-33: a copy that is being made anew was never verified, whatever a comparison of the former one says.
#[sqlx::test(migrations = "./migrations")]
async fn a_copy_that_is_being_made_anew_is_never_verified(pool: PgPool) {
    let scene = Scene::new(&pool).await;
    let (id, now) = (Uuid::now_v7(), runtime::clock::now());
    scene.reserve(id, "").await.unwrap();
    copy(&scene.begin(id).await.unwrap());
    let mut connection = pool.acquire().await.unwrap();
    let first = moves::copied(&mut connection, id).await.unwrap().number;

    let second = moves::begin_copy(&mut connection, id).await.unwrap();
    assert!(!moves::verified(&mut connection, id, first, now).await.unwrap(), "that was another copy");
    assert!(!moves::verified(&mut connection, id, second, now).await.unwrap(), "it has no database yet");
    assert_eq!(reason(&scene.verify(id).await.unwrap_err()), "invalid_state");

    copy(&scene.begin(id).await.unwrap());
    scene.verify(id).await.unwrap();
}

/// The two containers of the job.
pub fn copy(ends: &BeginCopyResponse) {
    let folder = tempfile::tempdir().unwrap();
    let dump = folder.path().join("dump").display().to_string();
    let run = |program: &str, end: &CopyEnd, args: &[&str]| {
        let done = Command::new(binaries().join(program))
            .args(["--no-password", "--no-owner", "--no-privileges", "--no-comments"])
            .args(args)
            .env("PGHOST", &end.host)
            .env("PGPORT", end.port.to_string())
            .env("PGUSER", &end.user)
            .env("PGPASSWORD", &end.password)
            .stdout(Stdio::inherit())
            .status()
            .unwrap();
        assert!(done.success(), "{program}");
    };
    let (source, target) = (ends.source.as_ref().unwrap(), ends.target.as_ref().unwrap());
    let file = ["--file=", &dump].concat();
    run("pg_dump", source, &["--format=directory", "--jobs=2", "--compress=1", &file, &source.database]);
    let database = ["--dbname=", &target.database].concat();
    run("pg_restore", target, &["--exit-on-error", "--jobs=2", &database, &dump]);
}

pub fn reason(status: &Status) -> String {
    Refusal::from_status(status).reason
}

/// DBS-33, DBS-23: the data is the same on the other server, the former one is closed and kept for seven
/// days, then nothing is left of it.
#[sqlx::test(migrations = "./migrations")]
async fn a_database_moves_with_all_its_data_and_its_source_is_kept_for_a_week(pool: PgPool) {
    let scene = Scene::new(&pool).await;
    let id = Uuid::now_v7();

    for _ in 0..2 {
        let reserved = scene.reserve(id, "").await.unwrap();
        assert_eq!(
            (reserved.status.as_str(), reserved.target_pool.as_str()),
            ("reserved", "postgres-pool-2")
        );
        assert!(reserved.size_bytes > 1_000_000 && reserved.estimated_downtime_seconds >= 15);
    }
    scene.begin(id).await.unwrap();
    copy(&scene.begin(id).await.unwrap());
    assert_eq!(scene.holds().await, (1, 1));
    scene.verify(id).await.unwrap();
    let old = scene.tenant(&scene.first).await.unwrap();
    for _ in 0..2 {
        assert_eq!(scene.switch(id).await.unwrap(), "postgres-pool-2");
    }
    old.close().await.ok();

    let mut tenant = scene.tenant(&scene.second).await.unwrap();
    let rows: i64 = sqlx::query_scalar("SELECT count(*) FROM names").fetch_one(&mut tenant).await.unwrap();
    assert_eq!(rows, 500);
    let next: i64 = sqlx::query_scalar("INSERT INTO partner (name) VALUES ('new') RETURNING id::int8")
        .fetch_one(&mut tenant)
        .await
        .unwrap();
    assert_eq!(next, 501, "sequences go on where they were");
    assert!(scene.tenant(&scene.first).await.is_err(), "the source is closed");
    assert_eq!(scene.holds().await, (1, 1));
    assert_eq!(scene.abort(id).await, "switched", "there is no way back after the switch");
    scene.world.app.sweep().await.unwrap();
    assert_eq!(scene.holds().await, (1, 1), "kept");

    sqlx::query(
        "UPDATE moves SET drop_after = now() - interval '1 minute', updated_at = now() - interval '1 hour'",
    )
    .execute(&pool)
    .await
    .unwrap();
    scene.world.app.sweep().await.unwrap();

    assert_eq!(scene.holds().await, (0, 1));
    let statuses = scene.world.statuses().await;
    assert_eq!((statuses[0].2, statuses[1].2), (0, 1));
    scene.tenant(&scene.second).await.unwrap();
}

/// DBS-33: whenever it is given up before the switch, the tenant goes on where it was, and nothing is left
/// elsewhere.
#[sqlx::test(migrations = "./migrations")]
async fn a_move_that_is_given_up_at_any_step_leaves_the_tenant_as_it_was(pool: PgPool) {
    let scene = Scene::new(&pool).await;
    for steps in 0..4 {
        let id = Uuid::now_v7();
        if steps > 0 {
            scene.reserve(id, "postgres-pool-2").await.unwrap();
        }
        if steps > 1 {
            copy(&scene.begin(id).await.unwrap());
        }
        if steps > 2 {
            scene.verify(id).await.unwrap();
        }

        let word = scene.abort(id).await;

        assert_eq!(word, if steps == 0 { "absent" } else { "aborted" });
        assert_eq!(scene.holds().await, (1, 0), "after {steps} steps");
        let mut tenant = scene.tenant(&scene.first).await.unwrap();
        sqlx::query("INSERT INTO partner (name) VALUES ($1)")
            .bind(format!("after {steps}"))
            .execute(&mut tenant)
            .await
            .unwrap();
        if steps > 0 {
            assert_eq!(reason(&scene.begin(id).await.unwrap_err()), "invalid_state");
            assert_eq!(reason(&scene.switch(id).await.unwrap_err()), "invalid_state");
        }
    }
}

/// DBS-33: a copy that lacks one changed row is never switched to.
#[sqlx::test(migrations = "./migrations")]
async fn a_copy_that_differs_is_refused(pool: PgPool) {
    let scene = Scene::new(&pool).await;
    let id = Uuid::now_v7();
    scene.reserve(id, "").await.unwrap();
    copy(&scene.begin(id).await.unwrap());
    let mut tenant = scene.tenant(&scene.first).await.unwrap();
    sqlx::query("UPDATE partner SET t = 'late' WHERE id = 77").execute(&mut tenant).await.unwrap();

    let refused = scene.verify(id).await.unwrap_err();

    assert_eq!(reason(&refused), "copy_differs");
    assert!(refused.message().contains("public.partner") && !refused.message().contains("late"), "{refused}");
    assert_eq!(reason(&scene.switch(id).await.unwrap_err()), "invalid_state");
    copy(&scene.begin(id).await.unwrap());
    scene.verify(id).await.unwrap();
}

/// DBS-33: one move at a time, room first, and a database that is given up ends its move.
#[sqlx::test(migrations = "./migrations")]
async fn moves_are_one_at_a_time_need_room_and_end_with_their_database(pool: PgPool) {
    let scene = Scene::new(&pool).await;
    let id = Uuid::now_v7();
    assert_eq!(reason(&scene.reserve(id, "postgres-pool-1").await.unwrap_err()), "validation_failed");
    assert_eq!(reason(&scene.reserve(id, "postgres-pool-9").await.unwrap_err()), "not_found");
    scene.reserve(id, "").await.unwrap();
    assert_eq!(reason(&scene.reserve(Uuid::now_v7(), "").await.unwrap_err()), "move_in_progress");
    assert_eq!(scene.world.statuses().await[1].1, "full", "the slot is held");
    scene.abort(id).await;
    assert_eq!(scene.world.allocate("y", "c", "starter").await.unwrap().status, "allocated");
    assert_eq!(reason(&scene.reserve(Uuid::now_v7(), "postgres-pool-2").await.unwrap_err()), "pool_full");
    let request = ReleaseRequest { instance_id: "y".into(), mode: "purge".into(), reason: String::new() };
    scene.world.allocations().release(request).await.unwrap();

    let id = Uuid::now_v7();
    scene.reserve(id, "").await.unwrap();
    copy(&scene.begin(id).await.unwrap());
    let request = ReleaseRequest { instance_id: "i".into(), mode: "purge".into(), reason: String::new() };
    scene.world.allocations().release(request).await.unwrap();

    assert_eq!(scene.holds().await, (0, 0));
    assert_eq!(reason(&scene.switch(id).await.unwrap_err()), "invalid_state");
}

/// DBS-33: a move back takes the place of the kept source, and a purge takes everything.
#[sqlx::test(migrations = "./migrations")]
async fn a_database_moves_back_onto_the_server_that_keeps_its_former_self(pool: PgPool) {
    let scene = Scene::new(&pool).await;
    let there = Uuid::now_v7();
    scene.reserve(there, "").await.unwrap();
    copy(&scene.begin(there).await.unwrap());
    scene.verify(there).await.unwrap();
    scene.switch(there).await.unwrap();

    let back = Uuid::now_v7();
    let refused = scene.reserve(back, "postgres-pool-1").await;
    assert_eq!(reason(&refused.unwrap_err()), "pool_full", "the kept source holds its slot");
    sqlx::query("UPDATE moves SET drop_after = now(), updated_at = now() - interval '1 hour'")
        .execute(&pool)
        .await
        .unwrap();
    scene.world.app.sweep().await.unwrap();
    scene.reserve(back, "postgres-pool-1").await.unwrap();
    copy(&scene.begin(back).await.unwrap());
    scene.verify(back).await.unwrap();
    assert_eq!(scene.switch(back).await.unwrap(), "postgres-pool-1");
    assert_eq!(scene.holds().await, (1, 1));
    scene.tenant(&scene.first).await.unwrap();

    let request = ReleaseRequest { instance_id: "i".into(), mode: "purge".into(), reason: String::new() };
    scene.world.allocations().release(request).await.unwrap();
    assert_eq!(scene.holds().await, (0, 0));
}

/// DBS-32, DBS-33: a database whose password was changed has another role, and moves all the same; a move and
/// a rotation never meet.
#[sqlx::test(migrations = "./migrations")]
async fn a_database_moves_after_its_password_was_changed(pool: PgPool) {
    let scene = Scene::new(&pool).await;
    let instance = database_service::app::external_id("instance_id", "i").unwrap();
    let app = &scene.world.app;
    let rotation = Uuid::now_v7();
    app.begin_rotation(rotation, &instance).await.unwrap();
    assert_eq!(reason(&scene.reserve(Uuid::now_v7(), "").await.unwrap_err()), "rotation_in_progress");
    app.switch_rotation(rotation).await.unwrap();
    app.retire_rotation(rotation).await.unwrap();
    let id = Uuid::now_v7();
    scene.reserve(id, "").await.unwrap();
    let refused = app.begin_rotation(Uuid::now_v7(), &instance).await.unwrap_err();
    assert_eq!(refused.reason(), "move_in_progress");

    copy(&scene.begin(id).await.unwrap());
    scene.verify(id).await.unwrap();
    scene.switch(id).await.unwrap();

    scene.tenant(&scene.second).await.unwrap();
    assert!(scene.tenant(&scene.first).await.is_err(), "the source is closed");
    assert_eq!(scene.holds().await, (1, 1));
    let request = ReleaseRequest { instance_id: "i".into(), mode: "purge".into(), reason: String::new() };
    scene.world.allocations().release(request).await.unwrap();
    assert_eq!(scene.holds().await, (0, 0));
}
