//! A tenant with its own valid credentials against a real pool: everything that it tries at its neighbour,
//! the server or its own limits is refused or bounded, and the neighbour stays served (DBS-29, DBS-30,
//! DBS-37, SEC-07).

use std::process::Command;
use std::time::Duration;

use contracts::database::v1::{GetCredentialsRequest, ReleaseRequest};
use database_service::tenants::SessionLimits;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection, PgPool, Row as _};
use uuid::Uuid;

use crate::pool_server::{PoolServer, binaries};
use crate::world::{World, settings};

/// Attacker and victim on one pool.
struct Scene {
    world: World,
    server: PoolServer,
    pool_id: Uuid,
    a: Login,
    b: Login,
}

#[derive(Debug, Clone)]
struct Login {
    name: String,
    password: String,
}

impl Scene {
    async fn new(pool: &PgPool) -> Self {
        let world = World::still(pool, settings(50)).await;
        let (spec, server) = world.first_pool().await;
        let (a, b) = (Login::new(&world, "a").await, Login::new(&world, "b").await);
        let scene = Self { pool_id: Uuid::parse_str(&spec.id).unwrap(), world, server, a, b };
        let mut victim = scene.b().await;
        sqlx::raw_sql("CREATE TABLE account (id serial PRIMARY KEY, name text); CREATE INDEX ON account USING gin (name gin_trgm_ops); INSERT INTO account (name) VALUES ('secret')")
            .execute(&mut victim)
            .await
            .unwrap();
        victim.close().await.unwrap();
        scene
    }

    async fn a(&self) -> PgConnection {
        self.server.try_connect(&self.a.name, &self.a.password, &self.a.name).await.unwrap()
    }

    async fn b(&self) -> PgConnection {
        self.server.try_connect(&self.b.name, &self.b.password, &self.b.name).await.unwrap()
    }

    /// The victim works as ever, and the pool is well.
    async fn b_is_served(&self) {
        let mut victim = self.b().await;
        sqlx::raw_sql("INSERT INTO account (name) VALUES (unaccent('crème'))")
            .execute(&mut victim)
            .await
            .unwrap();
        victim.close().await.unwrap();
        let checked = self.world.app.check(self.pool_id).await.unwrap();
        assert_eq!(checked.health.as_str(), "healthy", "{}", checked.last_error);
    }

    async fn purge(&self, instance: &str) {
        let request =
            ReleaseRequest { instance_id: instance.into(), mode: "purge".into(), reason: String::new() };
        self.world.allocations().release(request).await.unwrap();
    }
}

impl Login {
    async fn new(world: &World, instance: &str) -> Self {
        world.allocate(instance, "customer-1", "starter").await.unwrap();
        let request = GetCredentialsRequest { instance_id: instance.into() };
        let found = world.allocations().get_credentials(request).await.unwrap().into_inner();
        Self { name: found.allocation.unwrap().db_name, password: found.password }
    }
}

/// Each statement is refused; its words with `$B` for the victim.
async fn refused(session: &mut PgConnection, victim: &str, statements: &[&str]) {
    for statement in statements {
        let text = statement.replace("$B", victim);
        let outcome = sqlx::raw_sql(AssertSqlSafe(text.clone())).execute(&mut *session).await;
        assert!(outcome.is_err(), "went through: {text}");
    }
}

async fn texts(session: &mut PgConnection, sql: &'static str) -> Vec<String> {
    sqlx::query(sql).fetch_all(session).await.unwrap().iter().map(|row| row.get(0)).collect()
}

/// DBS-30, SEC-07
#[sqlx::test(migrations = "./migrations")]
async fn a_neighbour_is_not_reached_dropped_or_taken_over(pool: PgPool) {
    let scene = Scene::new(&pool).await;
    for database in [scene.b.name.as_str(), "template0", "template1", "platform_template"] {
        assert!(
            scene.server.try_connect(&scene.a.name, &scene.a.password, database).await.is_err(),
            "{database}"
        );
    }
    let mut session = scene.a().await;
    refused(
        &mut session,
        &scene.b.name,
        &[
            "DROP DATABASE $B",
            "DROP DATABASE $B WITH (FORCE)",
            "ALTER DATABASE $B RENAME TO mine",
            "ALTER DATABASE $B OWNER TO CURRENT_USER",
            "ALTER DATABASE $B CONNECTION LIMIT 0",
            "ALTER DATABASE $B SET default_transaction_read_only = on",
            "COMMENT ON DATABASE $B IS 'mine'",
            "GRANT CONNECT ON DATABASE $B TO PUBLIC",
            "DROP ROLE $B",
            "ALTER ROLE $B PASSWORD 'x'",
            "ALTER ROLE $B NOLOGIN",
            "ALTER ROLE $B SET search_path = pg_temp",
            "GRANT $B TO CURRENT_USER",
            "GRANT pool_admin TO CURRENT_USER",
            "GRANT pg_read_all_data TO CURRENT_USER",
            "SET ROLE $B",
            "SET ROLE pool_admin",
            "SET SESSION AUTHORIZATION $B",
            "REASSIGN OWNED BY $B TO CURRENT_USER",
            "DROP OWNED BY $B",
            "CREATE DATABASE mine",
            "CREATE DATABASE mine TEMPLATE $B",
            "CREATE DATABASE mine TEMPLATE platform_template",
            "ALTER DATABASE postgres SET search_path = pg_temp",
            "CREATE ROLE mine",
            "CREATE USER mine SUPERUSER",
            "ALTER ROLE CURRENT_USER CREATEDB CREATEROLE",
            "ALTER ROLE CURRENT_USER SUPERUSER",
            "ALTER ROLE CURRENT_USER BYPASSRLS REPLICATION",
            "CREATE TABLESPACE mine LOCATION '/tmp'",
            "CREATE PUBLICATION p FOR ALL TABLES",
            "CREATE SUBSCRIPTION s CONNECTION 'host=127.0.0.1 dbname=$B' PUBLICATION p",
            "SELECT pg_create_physical_replication_slot('mine')",
            "SELECT pg_database_size('$B')",
            "COMMENT ON ROLE CURRENT_USER IS 'not yours any more'",
        ],
    )
    .await;
    // A session of the victim is not ended or cancelled, by whatever number.
    let mut victim = scene.b().await;
    let pid: i32 = sqlx::query_scalar("SELECT pg_backend_pid()").fetch_one(&mut victim).await.unwrap();
    for function in ["pg_terminate_backend", "pg_cancel_backend", "pg_log_backend_memory_contexts"] {
        let outcome =
            sqlx::raw_sql(AssertSqlSafe(format!("SELECT {function}({pid})"))).execute(&mut session).await;
        assert!(outcome.is_err(), "{function}");
    }
    sqlx::query("SELECT 1").execute(&mut victim).await.unwrap();
    scene.b_is_served().await;
}

/// SEC-07
#[sqlx::test(migrations = "./migrations")]
async fn the_servers_files_programs_and_settings_are_out_of_reach(pool: PgPool) {
    let scene = Scene::new(&pool).await;
    let mut session = scene.a().await;
    sqlx::raw_sql("CREATE TABLE loot (line text)").execute(&mut session).await.unwrap();
    refused(
        &mut session,
        &scene.b.name,
        &[
            "SELECT pg_read_file('postgresql.conf')",
            "SELECT pg_read_binary_file('global/pg_control')",
            "SELECT pg_ls_dir('.')",
            "SELECT * FROM pg_ls_logdir()",
            "SELECT pg_stat_file('postgresql.conf')",
            "COPY loot FROM '/etc/passwd'",
            "COPY loot FROM PROGRAM 'id'",
            "COPY loot TO '/tmp/loot'",
            "COPY (SELECT 1) TO PROGRAM 'id'",
            "SELECT lo_import('/etc/passwd')",
            "SELECT lo_export(lo_create(0), '/tmp/loot')",
            "CREATE EXTENSION file_fdw",
            "CREATE EXTENSION dblink",
            "CREATE EXTENSION adminpack",
            "CREATE EXTENSION plpython3u",
            "CREATE FUNCTION system(cstring) RETURNS int AS '/lib/x86_64-linux-gnu/libc.so.6', 'system' LANGUAGE c",
            "LOAD '/tmp/mine.so'",
            "ALTER SYSTEM SET archive_command = 'id'",
            "SELECT pg_reload_conf()",
            "SELECT pg_rotate_logfile()",
            "SELECT pg_switch_wal()",
            "CHECKPOINT",
            "SELECT * FROM pg_hba_file_rules",
            "SELECT * FROM pg_file_settings",
            "SELECT rolpassword FROM pg_authid",
            "SELECT * FROM pg_shadow",
            "SHOW config_file",
            "SET session_preload_libraries = 'mine'",
            "SET log_statement = 'all'",
            "SET allow_system_table_mods = on",
            "UPDATE pg_database SET datallowconn = false",
            "DELETE FROM pg_authid",
        ],
    )
    .await;
    scene.b_is_served().await;
}

/// DBS-29: what is enforced is not the tenant's to change; what is a default ends at the reaper.
#[sqlx::test(migrations = "./migrations")]
async fn a_tenant_cannot_lift_its_limits(pool: PgPool) {
    let scene = Scene::new(&pool).await;
    let mut session = scene.a().await;
    refused(
        &mut session,
        &scene.b.name,
        &[
            "SET temp_file_limit = -1",
            "ALTER ROLE CURRENT_USER SET temp_file_limit = -1",
            "ALTER ROLE CURRENT_USER CONNECTION LIMIT -1",
            "ALTER ROLE CURRENT_USER VALID UNTIL 'infinity'",
        ],
    )
    .await;
    let own = |text: &str| AssertSqlSafe(text.replace("$A", &scene.a.name));
    assert!(
        sqlx::raw_sql(own("ALTER DATABASE $A SET temp_file_limit = -1")).execute(&mut session).await.is_err()
    );
    // What it may reset of its own leaves the enforced limit in place.
    sqlx::raw_sql("ALTER ROLE CURRENT_USER RESET ALL").execute(&mut session).await.unwrap();
    // The database is the platform's (ADR 20).
    assert!(sqlx::raw_sql(own("ALTER DATABASE $A RESET ALL")).execute(&mut session).await.is_err());
    let mut later = scene.a().await;
    assert_eq!(texts(&mut later, "SELECT current_setting('temp_file_limit')").await, ["512MB"]);

    // Temporary files: the statement fails at the limit, and nothing stays on the disk. A smaller limit, so
    // that this test fills no disk either.
    let limit = AssertSqlSafe(format!("ALTER ROLE {} SET temp_file_limit = '2MB'", scene.a.name));
    sqlx::raw_sql(limit).execute(&mut scene.server.admin().await).await.unwrap();
    let mut greedy = scene.a().await;
    let outcome = sqlx::raw_sql("SET work_mem = '64kB'; SELECT count(*) FROM (SELECT md5(n::text) FROM generate_series(1, 500000) n ORDER BY 1 OFFSET 1) x")
        .execute(&mut greedy)
        .await
        .unwrap_err();
    assert!(outcome.to_string().contains("temp_file_limit"), "{outcome}");
    scene.b_is_served().await;

    // A statement without end, with the time-outs lifted.
    let mut long = scene.a().await;
    sqlx::raw_sql("SET statement_timeout = 0; SET idle_in_transaction_session_timeout = 0")
        .execute(&mut long)
        .await
        .unwrap();
    let running =
        tokio::spawn(async move { sqlx::raw_sql("SELECT pg_sleep(600)").execute(&mut long).await.is_err() });
    let mut conn = pool.acquire().await.unwrap();
    let row = database_service::store::servers::find(&mut conn, scene.pool_id).await.unwrap().unwrap();
    let limits = SessionLimits { idle_in_transaction: Duration::from_hours(1), statement: Duration::ZERO };
    test_kit::eventually("the reaper ends it", Duration::from_secs(20), || async {
        (scene.world.app.reap(&row, limits).await.unwrap() > 0).then_some(())
    })
    .await;
    assert!(running.await.unwrap(), "the statement was ended");
    scene.b_is_served().await;
}

/// DBS-29: all that one tenant may open leaves room for the others and for the administrator.
#[sqlx::test(migrations = "./migrations")]
async fn connections_run_out_for_the_greedy_one_alone(pool: PgPool) {
    let scene = Scene::new(&pool).await;
    let mut open = Vec::new();
    let end = loop {
        // In its own database and in `postgres`: the limit is the role's.
        let database = if open.len() % 2 == 0 { scene.a.name.as_str() } else { "postgres" };
        match scene.server.try_connect(&scene.a.name, &scene.a.password, database).await {
            Ok(session) => open.push(session),
            Err(error) => break error,
        }
        assert!(open.len() <= 20, "no limit");
    };
    assert!(end.to_string().contains("too many connections for role"), "{end}");
    assert_eq!(open.len(), 20);
    scene.b_is_served().await;
    // Nor by halves of log-ins: a wrong password holds nothing.
    for _ in 0..30 {
        assert!(scene.server.try_connect(&scene.b.name, "wrong", &scene.b.name).await.is_err());
    }
    scene.b_is_served().await;
    for session in open {
        session.close().await.unwrap();
    }
}

/// DBS-37: roles, sessions and statistics of others are hidden, in the own database and in `postgres`; what
/// Odoo, psql and pg_dump read is there.
#[sqlx::test(migrations = "./migrations")]
async fn neighbours_are_hidden_and_an_odoo_like_workload_and_a_dump_pass(pool: PgPool) {
    let scene = Scene::new(&pool).await;
    let mut victim = scene.b().await;
    let mut own = scene.a().await;
    let mut shared = scene.server.try_connect(&scene.a.name, &scene.a.password, "postgres").await.unwrap();
    for session in [&mut own, &mut shared] {
        for sql in [
            "SELECT rolname::text FROM pg_roles WHERE rolname LIKE 'odoo%'",
            "SELECT usename::text FROM pg_user WHERE usename LIKE 'odoo%'",
            "SELECT DISTINCT usename::text FROM pg_stat_activity",
            "SELECT DISTINCT pg_get_userbyid(usesysid)::text FROM visible_activity(NULL)",
            "SELECT DISTINCT usename::text FROM pg_stat_ssl JOIN pg_stat_activity USING (pid)",
        ] {
            assert_eq!(texts(session, sql).await, std::slice::from_ref(&scene.a.name), "{sql}");
        }
        assert!(texts(session, "SELECT rolname::text FROM pg_roles").await.contains(&"pool_admin".into()));
        refused(
            session,
            &scene.b.name,
            &[
                "SELECT datname FROM pg_stat_database",
                "SELECT * FROM pg_stat_progress_vacuum",
                "SELECT * FROM pg_prepared_xacts",
                "SELECT * FROM pg_stat_get_activity(NULL)",
                "SELECT pg_stat_get_backend_activity(1)",
                "SELECT pg_stat_get_backend_userid(1)",
                "SELECT pg_stat_get_db_numbackends(oid) FROM pg_database",
                "SELECT pg_stat_get_db_tuples_inserted(oid) FROM pg_database",
            ],
        )
        .await;
    }
    // Odoo's own list of databases, which it asks `postgres` for: it takes what it owns.
    let listed = "SELECT datname::text FROM pg_database WHERE datdba = (SELECT usesysid FROM pg_user WHERE
        usename = current_user)
        AND NOT datistemplate AND datallowconn AND datname NOT IN ('postgres', 'template0') ORDER BY datname";
    assert_eq!(texts(&mut shared, listed).await, std::slice::from_ref(&scene.a.name));
    refused(
        &mut shared,
        &scene.b.name,
        &[
            "SELECT lo_create(0)",
            "SELECT lo_from_bytea(0, 'x')",
            "SELECT pg_advisory_lock(1)",
            "SELECT pg_try_advisory_lock(1)",
            "SELECT pg_advisory_xact_lock(2)",
            "CREATE TABLE platform_odoo.t (x int)",
        ],
    )
    .await;
    // The administrator still sees everybody.
    let mut admin = scene.server.admin().await;
    assert_eq!(
        texts(&mut admin, "SELECT rolname::text FROM pg_roles WHERE rolname LIKE 'odoo%'").await.len(),
        2
    );
    assert!(
        texts(&mut admin, "SELECT usename::text FROM pg_stat_activity WHERE usename IS NOT NULL")
            .await
            .contains(&scene.b.name)
    );
    sqlx::query("SELECT 1").execute(&mut victim).await.unwrap();

    sqlx::raw_sql(
        "CREATE TABLE res_partner (id serial PRIMARY KEY, name text NOT NULL, email text);
         CREATE INDEX ON res_partner USING gin (unaccent_name(name) gin_trgm_ops);",
    )
    .execute(&mut own)
    .await
    .expect_err("unaccent is not immutable by itself");
    sqlx::raw_sql(
        "CREATE FUNCTION unaccent_name(text) RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT public.unaccent('public.unaccent', $1) $$;
         CREATE TABLE res_partner (id serial PRIMARY KEY, name text NOT NULL, email text);
         CREATE INDEX ON res_partner USING gin (unaccent_name(name) gin_trgm_ops);
         INSERT INTO res_partner (name) SELECT 'Pàrtner ' || n FROM generate_series(1, 100) n;
         CREATE TEMP TABLE t AS SELECT * FROM res_partner; LISTEN imbus; NOTIFY another, 'x';
         SELECT tablename, tableowner FROM pg_tables; SELECT * FROM information_schema.tables; SELECT lo_create(0);",
    )
    .execute(&mut own)
    .await
    .unwrap();
    let tool = |program: &str, args: &[&str]| {
        let done = Command::new(binaries().join(program))
            .args(["-h", "127.0.0.1", "-p", &scene.server.port().to_string(), "-U", &scene.a.name])
            .args(args)
            .env("PGPASSWORD", &scene.a.password)
            .output()
            .unwrap();
        assert!(done.status.success(), "{program} {args:?}: {}", String::from_utf8_lossy(&done.stderr));
        String::from_utf8_lossy(&done.stdout).into_owned()
    };
    for form in [&["-Fp"][..], &["-Fp", "-C"], &["-Fc"], &["-Fp", "-s"]] {
        assert!(tool("pg_dump", &[form, &[scene.a.name.as_str()]].concat()).len() > 1000, "{form:?}");
    }
    for command in ["\\du", "\\dt+", "\\dn+", "\\df", "\\l", "\\dx", "\\conninfo"] {
        let shown = tool("psql", &["-d", &scene.a.name, "-c", command]);
        // ADR 17: names of databases are what stays visible.
        assert!(command == "\\l" || !shown.contains(&scene.b.name), "{command}: {shown}");
    }
}

/// DBS-11: a tenant cannot keep itself, or its neighbour, from being purged.
#[sqlx::test(migrations = "./migrations")]
async fn what_a_tenant_grants_its_neighbour_keeps_nobody_from_going(pool: PgPool) {
    let scene = Scene::new(&pool).await;
    let mut session = scene.a().await;
    let text = "CREATE TABLE t (x int); GRANT ALL ON t TO $B; GRANT CONNECT, CREATE ON DATABASE $A TO $B; GRANT CREATE ON SCHEMA public TO $B;
        ALTER DEFAULT PRIVILEGES GRANT ALL ON TABLES TO $B"
        .replace("$A", &scene.a.name)
        .replace("$B", &scene.b.name);
    sqlx::raw_sql(AssertSqlSafe(text)).execute(&mut session).await.unwrap();

    scene.purge("b").await;
    sqlx::query("SELECT * FROM t").execute(&mut session).await.unwrap();
    scene.purge("a").await;

    let mut admin = scene.server.admin().await;
    assert_eq!(
        texts(&mut admin, "SELECT rolname::text FROM pg_roles WHERE rolname LIKE 'odoo%'").await.len(),
        0
    );
}

/// DBS-37: a server of before gets its rights by its next round, tenants that are there included.
#[sqlx::test(migrations = "./migrations")]
async fn a_server_of_before_is_brought_to_the_rights_of_today(pool: PgPool) {
    let scene = Scene::new(&pool).await;
    // As a server of the release before: no mark, and views of PostgreSQL itself in a tenant's database.
    let mut admin = scene.server.admin().await;
    sqlx::raw_sql("COMMENT ON SCHEMA platform IS NULL").execute(&mut admin).await.unwrap();
    let mut inside = scene
        .server
        .try_connect("pool_admin", scene.world_password().await.as_str(), &scene.a.name)
        .await
        .unwrap();
    sqlx::raw_sql(
        "SET allow_system_table_mods = on;
         CREATE OR REPLACE VIEW pg_catalog.pg_user AS SELECT usename, usesysid, usecreatedb, usesuper, userepl, usebypassrls, '********'::text AS passwd,
             valuntil, useconfig FROM pg_shadow",
    )
    .execute(&mut inside)
    .await
    .unwrap();
    let sql = "SELECT usename::text FROM pg_user WHERE usename LIKE 'odoo%'";
    assert_eq!(texts(&mut scene.a().await, sql).await.len(), 2);

    scene.b_is_served().await;

    assert_eq!(texts(&mut scene.a().await, sql).await, std::slice::from_ref(&scene.a.name));
    assert_eq!(scene.world.allocate("c", "customer-1", "starter").await.unwrap().status, "allocated");
}

impl Scene {
    async fn world_password(&self) -> String {
        use secrecy::ExposeSecret as _;
        let spec = self.world.specs().await.pop().unwrap();
        self.world.pool_password(&spec).await.expose_secret().to_owned()
    }
}
