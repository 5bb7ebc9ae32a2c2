//! A database is copied while its tenant works, and what changed since follows when the instance is off
//! (DBS-33).

use std::time::Duration;

use contracts::database::v1::{CompareCopyRequest, ReserveMoveRequest, SyncCopyRequest};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection, PgPool};
use test_kit::eventually;
use tonic::Status;
use uuid::Uuid;

use crate::moves::{Scene, copy, reason};
use crate::world::{World, settings};

const SOON: Duration = Duration::from_secs(20);

impl Scene {
    /// A move whose copy was taken, and looked at.
    async fn copied(&self) -> Uuid {
        let id = Uuid::now_v7();
        self.reserve(id, "").await.unwrap();
        copy(&self.begin(id).await.unwrap());
        self.compare(id).await;
        id
    }

    async fn compare(&self, id: Uuid) {
        eventually("the comparison beside the work", SOON, || async {
            let request = CompareCopyRequest { move_id: id.to_string() };
            let status = self.world.moves().compare_copy(request).await.unwrap().into_inner().status;
            (status == "compared").then_some(())
        })
        .await;
    }

    async fn sync(&self, id: Uuid) -> Result<String, Status> {
        eventually("the end of the last copies", SOON, || async {
            let request = SyncCopyRequest { move_id: id.to_string() };
            match self.world.moves().sync_copy(request).await.map(tonic::Response::into_inner) {
                Ok(answer) => (answer.status != "running").then_some(Ok(answer.status)),
                Err(status) => Some(Err(status)),
            }
        })
        .await
    }

    async fn writes(&self, sql: &'static str) {
        let mut tenant = self.tenant(&self.first).await.unwrap();
        sqlx::raw_sql(sql).execute(&mut tenant).await.unwrap();
        tenant.close().await.unwrap();
    }

    /// Tables that the last comparison need not read.
    async fn known(&self, id: Uuid) -> Vec<String> {
        let compared: serde_json::Value =
            sqlx::query_scalar("SELECT compared -> 'tables' FROM moves WHERE id = $1")
                .bind(id)
                .fetch_one(&self.world.pool)
                .await
                .unwrap();
        serde_json::from_value(compared).unwrap()
    }
}

async fn texts(session: &mut PgConnection, sql: &str) -> Vec<String> {
    sqlx::query_scalar(AssertSqlSafe(sql.to_owned())).fetch_all(session).await.unwrap()
}

/// Parent and child, a trigger that refuses, a generated column, and one whose values are always given.
const MORE: &str = "
    CREATE TABLE parent (id int PRIMARY KEY, name text);
    CREATE TABLE child (id int GENERATED ALWAYS AS IDENTITY, parent int NOT NULL REFERENCES parent, twice int GENERATED ALWAYS AS (parent * 2) STORED);
    CREATE TABLE quiet (id int PRIMARY KEY);
    CREATE TABLE dropped_column (a int, b int, c text); ALTER TABLE dropped_column DROP COLUMN b; INSERT INTO dropped_column VALUES (1, E'tab\\t\\\\ \\\\N');
    CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'not by hand'; END $$;
    INSERT INTO parent VALUES (1, 'one'), (2, 'two'); INSERT INTO child (parent) VALUES (1), (2); INSERT INTO quiet SELECT generate_series(1, 50);
    CREATE SCHEMA a; CREATE TABLE a.\"b.c\" (n int); CREATE SCHEMA \"a.b\"; CREATE TABLE \"a.b\".c (n int);
    CREATE TRIGGER refused BEFORE DELETE ON child FOR EACH ROW EXECUTE FUNCTION refuse();";

/// DBS-33: rows that came, went and changed after the copy, an emptied table and sequences arrive; nothing
/// else is read or written again.
#[sqlx::test(migrations = "./migrations")]
async fn what_a_tenant_writes_while_its_database_is_copied_arrives(pool: PgPool) {
    let scene = Scene::new(&pool).await;
    scene.writes(MORE).await;
    let id = scene.copied().await;
    let at_work = scene.tenant(&scene.first).await.unwrap();
    scene
        .writes(
            "UPDATE partner SET t = 'late' WHERE id = 7; DELETE FROM partner WHERE id = 8; INSERT INTO partner (name) VALUES ('new');
             INSERT INTO parent VALUES (3, 'three'); INSERT INTO child (parent) VALUES (3);
             INSERT INTO a.\"b.c\" VALUES (1); INSERT INTO \"a.b\".c VALUES (2), (3); UPDATE dropped_column SET a = 2; TRUNCATE \"Odd \"\"table\"; SELECT nextval('\"Odd \"\"sequence\"')",
        )
        .await;
    scene.writes("BEGIN; INSERT INTO quiet VALUES (51); ROLLBACK").await;
    scene.writes("ANALYZE").await;

    assert_eq!(scene.sync(id).await.unwrap(), "synced");
    assert_eq!(scene.sync(id).await.unwrap(), "synced", "may be repeated");

    assert!(at_work.close().await.is_err(), "a session that was left is ended");
    assert_eq!(
        scene.known(id).await,
        Vec::<String>::new(),
        "a table that was rolled back is read again as well"
    );
    scene.verify(id).await.unwrap();
    scene.switch(id).await.unwrap();
    let mut tenant = scene.tenant(&scene.second).await.unwrap();
    assert_eq!(texts(&mut tenant, "SELECT t FROM partner WHERE id IN (7, 8)").await, ["late"]);
    assert_eq!(texts(&mut tenant, "SELECT count(*)::text FROM partner").await, ["500"]);
    let dotted = "SELECT (SELECT count(*) FROM a.\"b.c\")::text || (SELECT count(*) FROM \"a.b\".c)::text";
    assert_eq!(texts(&mut tenant, dotted).await, ["12"], "two names that are one when put together");
    assert_eq!(texts(&mut tenant, "SELECT twice::text FROM child ORDER BY id").await, ["2", "4", "6"]);
    assert_eq!(texts(&mut tenant, "SELECT a || c FROM dropped_column").await, ["2tab\t\\ \\N"]);
    assert_eq!(texts(&mut tenant, "SELECT count(*)::text FROM \"Odd \"\"table\"").await, ["0"]);
    assert_eq!(texts(&mut tenant, "SELECT nextval('\"Odd \"\"sequence\"')::text").await, ["3"]);
    assert_eq!(texts(&mut tenant, "SHOW session_replication_role").await, ["origin"], "rules hold again");
    assert!(sqlx::query("DELETE FROM child").execute(&mut tenant).await.is_err(), "triggers fire again");
    assert!(sqlx::query("INSERT INTO child (parent) VALUES (9)").execute(&mut tenant).await.is_err());
    let analyzed = "SELECT count(*)::text FROM pg_stats WHERE schemaname = 'public' AND tablename = 'partner' AND attname = 'name'";
    assert_eq!(texts(&mut tenant, analyzed).await, ["1"], "the planner knows the tables");
}

/// DBS-24, DBS-33: away from the only pool, which has room for everybody else: another one is ordered, once.
#[sqlx::test(migrations = "./migrations")]
async fn a_move_away_from_the_only_pool_orders_another(pool: PgPool) {
    let world = World::still(&pool, settings(50)).await;
    let (_spec, _server) = world.first_pool().await;
    assert_eq!(world.allocate("i", "c", "starter").await.unwrap().status, "allocated");
    let request = ReserveMoveRequest {
        move_id: Uuid::now_v7().to_string(),
        instance_id: "i".into(),
        ..ReserveMoveRequest::default()
    };

    for _ in 0..2 {
        let answer = world.moves().reserve_move(request.clone()).await.unwrap().into_inner();
        assert_eq!(answer.status, "provisioning");
        assert_eq!(world.specs().await.len(), 2);
    }
    let other = world.specs().await.pop().unwrap();
    let _server = world.bring_up(&other).await;
    assert_eq!(world.moves().reserve_move(request).await.unwrap().into_inner().status, "reserved");
}

/// DBS-33: a table that nobody wrote to is not read while the instance is off; one that somebody did is,
/// although the copy of it was the same.
#[sqlx::test(migrations = "./migrations")]
async fn only_tables_that_were_written_to_are_read_when_it_is_off(pool: PgPool) {
    let scene = Scene::new(&pool).await;
    scene.writes(MORE).await;
    let id = scene.copied().await;
    let all = scene.known(id).await;
    assert!(
        all.contains(&"public.partner".to_owned()) && all.contains(&"public.quiet".to_owned()),
        "{all:?}"
    );
    scene.writes("INSERT INTO quiet VALUES (51)").await;

    assert_eq!(scene.sync(id).await.unwrap(), "synced");

    let known = scene.known(id).await;
    assert!(
        known.contains(&"public.partner".to_owned()) && !known.contains(&"public.quiet".to_owned()),
        "{known:?}"
    );
    // Whoever writes to the copy of a table that need not be read any more is found out all the same.
    let name = texts(&mut scene.tenant(&scene.first).await.unwrap(), "SELECT current_database()::text").await;
    let mut copy = scene.second.admin_in(&name[0]).await;
    sqlx::query("DELETE FROM partner WHERE id = 51").execute(&mut copy).await.unwrap();
    copy.close().await.unwrap();
    assert_eq!(reason(&scene.verify(id).await.unwrap_err()), "copy_differs");
    assert_eq!(reason(&scene.sync(id).await.unwrap_err()), "invalid_state", "closed for good");
}

/// DBS-33: a change of the definitions, a restarted server, large objects: the copy is made anew, and then it
/// is whole.
#[sqlx::test(migrations = "./migrations")]
async fn a_copy_that_cannot_be_brought_up_is_made_anew(pool: PgPool) {
    let scene = Scene::new(&pool).await;
    scene.writes(MORE).await;
    let id = scene.copied().await;
    for change in [
        "ALTER TABLE quiet ADD COLUMN more text",
        "CREATE TABLE later ()",
        "CREATE OR REPLACE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$",
        "ALTER TABLE quiet ALTER more SET DEFAULT 'x'; ALTER TABLE quiet ALTER more DROP DEFAULT",
        "SELECT lo_from_bytea(0, 'large')",
        "CREATE MATERIALIZED VIEW summed AS SELECT count(*) FROM partner",
        "REFRESH MATERIALIZED VIEW summed",
        "ALTER TABLE child ENABLE ALWAYS TRIGGER refused; INSERT INTO child (parent) VALUES (1)",
    ] {
        scene.writes(change).await;
        assert_eq!(scene.sync(id).await.unwrap(), "copy_again", "{change}");
        copy(&scene.begin(id).await.unwrap());
        assert_eq!(scene.sync(id).await.unwrap(), "synced", "{change}");
    }
    // What maintenance does, and tables that live for a session, are no changes.
    scene.writes("CREATE TEMPORARY TABLE t (n int); INSERT INTO t VALUES (1)").await;
    scene.writes("VACUUM").await;
    scene.writes("ANALYZE").await;
    assert_eq!(scene.sync(id).await.unwrap(), "synced");
    scene.writes("INSERT INTO quiet (id) VALUES (99)").await;
    assert_eq!(scene.sync(id).await.unwrap(), "copy_again", "a trigger would fire");
    copy(&scene.begin(id).await.unwrap());
    assert_eq!(scene.sync(id).await.unwrap(), "synced");

    scene.verify(id).await.unwrap();
    scene.switch(id).await.unwrap();
    let mut tenant = scene.tenant(&scene.second).await.unwrap();
    assert_eq!(texts(&mut tenant, "SELECT count(*)::text FROM quiet WHERE id = 99").await, ["1"]);
}

/// DBS-33: where nobody counts what is written, nothing is copied, and the reason is told at once.
#[sqlx::test(migrations = "./migrations")]
async fn a_server_that_does_not_count_refuses_to_be_moved_from(pool: PgPool) {
    let scene = Scene::new(&pool).await;
    let mut admin = scene.first.admin().await;
    let off = "ALTER DATABASE %I SET track_counts = off";
    let statement = format!("SELECT format('{off}', datname) FROM pg_database WHERE datname LIKE 'odoo\\_%'");
    let statement = texts(&mut admin, &statement).await.remove(0);
    sqlx::raw_sql(AssertSqlSafe(statement)).execute(&mut admin).await.unwrap();
    let id = Uuid::now_v7();
    scene.reserve(id, "").await.unwrap();

    let refused = scene.begin(id).await.unwrap_err();

    assert_eq!(reason(&refused), "invalid_state");
    assert!(refused.message().contains("track_counts"), "{refused}");
}

/// SEC-07, DBS-33: what a tenant defines runs with its own rights, never with the administrator's, on the
/// source and on the copy.
#[sqlx::test(migrations = "./migrations")]
async fn a_move_gives_a_tenant_no_rights(pool: PgPool) {
    let scene = Scene::new(&pool).await;
    scene
        .writes(
            "CREATE FUNCTION grab() RETURNS void LANGUAGE plpgsql AS $$ BEGIN
                 EXECUTE format('ALTER ROLE %I SUPERUSER', (SELECT datdba::regrole::text FROM pg_database WHERE datname = current_database()));
             EXCEPTION WHEN insufficient_privilege THEN NULL; END $$;
             CREATE TABLE trap (n int);
             CREATE FUNCTION as_text(trap) RETURNS text LANGUAGE plpgsql AS $$ BEGIN PERFORM public.grab(); RETURN 'x'; END $$;
             CREATE CAST (trap AS text) WITH FUNCTION as_text(trap);
             CREATE FUNCTION checked(int) RETURNS bool LANGUAGE plpgsql AS $$ BEGIN PERFORM public.grab(); RETURN true; END $$;
             ALTER TABLE trap ADD CHECK (public.checked(n));
             CREATE FUNCTION indexed(int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN PERFORM public.grab(); RETURN 1; END $$;
             CREATE INDEX ON trap (public.indexed(n));
             CREATE FUNCTION fired() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM public.grab(); RETURN NEW; END $$;
             CREATE TRIGGER fired BEFORE INSERT OR UPDATE ON trap FOR EACH ROW EXECUTE FUNCTION fired();
             INSERT INTO trap VALUES (1);",
        )
        .await;
    let id = scene.copied().await;
    scene.writes("INSERT INTO trap VALUES (2)").await;
    assert_eq!(scene.sync(id).await.unwrap(), "synced");
    scene.verify(id).await.unwrap();
    scene.switch(id).await.unwrap();

    for server in [&scene.first, &scene.second] {
        let mighty = "SELECT rolname::text FROM pg_roles WHERE rolname LIKE 'odoo\\_%' AND (rolsuper OR rolcreaterole OR rolcreatedb)";
        assert_eq!(texts(&mut server.admin().await, mighty).await, Vec::<String>::new());
    }
}
