//! Every action of the administrator on a tenant's database, after the tenant laid traps of every sort in it
//! (DBS-30, SEC-07, ADR 20): the tenant gets no more rights by it, and keeps no action from succeeding. The
//! actions stand in one list, the traps in another.

use std::time::Duration;

use contracts::database::v1::{
    BeginCopyRequest, CompareCopyRequest, GetCredentialsRequest, ReleaseRequest, ReserveMoveRequest,
    SwitchMoveRequest, SyncCopyRequest, VerifyCopyRequest,
};
use database_service::app::external_id;
use database_service::domain::trace::Table;
use database_service::tenants::Tenants;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection, PgPool};
use test_kit::eventually;
use uuid::Uuid;

use crate::moves::copy;
use crate::pool_server::PoolServer;
use crate::world::{World, settings};

const SOON: Duration = Duration::from_secs(30);

/// Two pools; each action has a tenant of its own on the first.
pub(crate) struct Scene {
    pub(crate) world: World,
    pub(crate) first: PoolServer,
    second: PoolServer,
}

/// A tenant's database, its role and its password.
pub(crate) struct Tenant {
    pub(crate) instance: String,
    pub(crate) database: String,
    pub(crate) user: String,
    pub(crate) password: String,
}

type Action = for<'a> fn(&'a Scene, &'a Tenant) -> BoxFuture<'a, ()>;

/// Whatever an administrator's session does in or with a tenant's database. Who adds one adds it here.
const ACTIONS: [(&str, Action); 7] = [
    ("the rights of a server of before", |scene, _| scene.rights().boxed()),
    ("the completion of a half-made database", |scene, tenant| scene.completion(tenant).boxed()),
    ("a change of the password", |scene, tenant| scene.rotation(tenant).boxed()),
    ("a change of the password that is given up", |scene, tenant| scene.given_up_rotation(tenant).boxed()),
    ("a move", |scene, tenant| scene.movement(tenant).boxed()),
    ("the purge of a neighbour that was granted something", |scene, tenant| scene.neighbour(tenant).boxed()),
    ("a purge", |scene, tenant| scene.purge(tenant).boxed()),
];

/// Each of these runs as the tenant in its own database, `$A` for its name. When any of it runs with an
/// administrator's rights, the tenant becomes superuser.
const NAMES: &str = "
CREATE FUNCTION public.trap() RETURNS void LANGUAGE plpgsql AS $$
    BEGIN
        IF (SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname OPERATOR(pg_catalog.=) current_user) THEN
            EXECUTE 'ALTER ROLE \"$A\" SUPERUSER';
        END IF;
    END $$;
CREATE FUNCTION public.quote_ident(name) RETURNS text LANGUAGE plpgsql AS $$ BEGIN PERFORM public.trap();
    RETURN pg_catalog.quote_ident($1::text); END $$;
CREATE FUNCTION public.quote_ident(text) RETURNS text LANGUAGE plpgsql AS $$ BEGIN PERFORM public.trap();
    RETURN pg_catalog.quote_ident($1); END $$;
CREATE FUNCTION public.rtrim(text, text) RETURNS text LANGUAGE plpgsql AS $$ BEGIN PERFORM public.trap();
    RETURN pg_catalog.rtrim($1, $2); END $$;
CREATE FUNCTION public.current_setting(text) RETURNS text LANGUAGE plpgsql AS $$ BEGIN PERFORM public.trap();
    RETURN pg_catalog.current_setting($1); END $$;
CREATE FUNCTION public.pg_get_viewdef(oid) RETURNS text LANGUAGE plpgsql AS $$ BEGIN PERFORM public.trap();
    RETURN pg_catalog.pg_get_viewdef($1); END $$;
CREATE FUNCTION public.format(text, name, name) RETURNS text LANGUAGE plpgsql AS $$ BEGIN PERFORM
    public.trap(); RETURN pg_catalog.format($1, $2, $3); END $$;
CREATE FUNCTION public.hashtextextended(text, integer) RETURNS bigint LANGUAGE sql AS $$ SELECT
    public.trap(); SELECT 1::bigint $$;
CREATE FUNCTION public.pg_table_size(oid) RETURNS bigint LANGUAGE sql AS $$ SELECT public.trap(); SELECT
    1::bigint $$;
CREATE FUNCTION public.same_name(name, text) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN PERFORM
    public.trap(); RETURN $1::text OPERATOR(pg_catalog.=) $2; END $$;
CREATE OPERATOR public.= (LEFTARG = name, RIGHTARG = text, FUNCTION = public.same_name);
CREATE FUNCTION public.joined(text, text) RETURNS text LANGUAGE plpgsql AS $$ BEGIN PERFORM public.trap();
    RETURN pg_catalog.concat($1, $2); END $$;
CREATE OPERATOR public.|| (LEFTARG = text, RIGHTARG = text, FUNCTION = public.joined);
CREATE FUNCTION public.unlike(text, text) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN PERFORM public.trap();
    RETURN false; END $$;
CREATE OPERATOR public.!~ (LEFTARG = text, RIGHTARG = text, FUNCTION = public.unlike);
CREATE TABLE public.bait (id integer PRIMARY KEY, name text);
INSERT INTO public.bait VALUES (1, 'one');
CREATE FUNCTION public.bait_text(public.bait) RETURNS text LANGUAGE plpgsql AS $$ BEGIN PERFORM
    public.trap(); RETURN 'bait'; END $$;
CREATE CAST (public.bait AS text) WITH FUNCTION public.bait_text(public.bait) AS IMPLICIT;
CREATE FUNCTION public.checked(integer) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN PERFORM
    public.trap(); RETURN true; END $$;
CREATE DOMAIN public.sly AS integer CHECK (public.checked(VALUE));
CREATE FUNCTION public.sprung() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM public.trap(); RETURN
    coalesce(NEW, OLD); END $$;
CREATE TABLE public.sprung (id public.sly DEFAULT 1, CHECK (public.checked(id)));
INSERT INTO public.sprung VALUES (1);
CREATE INDEX ON public.sprung ((public.checked(id)));
CREATE TRIGGER sprung BEFORE INSERT OR UPDATE OR DELETE ON public.sprung FOR EACH ROW EXECUTE FUNCTION
    public.sprung();
CREATE FUNCTION public.folded(integer) RETURNS integer LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN PERFORM
    public.trap(); RETURN 1; END $$;
CREATE INDEX ON public.bait ((id + public.folded(1)));
CREATE INDEX ON public.bait (name) WHERE public.folded(1) = 1;
CREATE STATISTICS public.estimated ON (id + public.folded(1)), name FROM public.bait;
CREATE SEQUENCE public.called;
SELECT pg_catalog.setval('public.called', 7);
CREATE SEQUENCE public.uncalled;
SELECT pg_catalog.setval('public.uncalled', 5, false);
CREATE VIEW public.pg_available_extensions AS SELECT 'adminpack'::name AS name, NULL::text AS
    installed_version, public.trap() IS NULL AS sprung;
CREATE VIEW public.pg_class AS SELECT *, public.trap() IS NULL AS sprung FROM pg_catalog.pg_class;
CREATE VIEW public.pg_database AS SELECT *, public.trap() IS NULL AS sprung FROM pg_catalog.pg_database;
CREATE TABLE public.pg_namespace (oid oid, nspname name);
ALTER ROLE CURRENT_USER SET search_path = public, pg_catalog;
ALTER DATABASE \"$A\" SET search_path = public, pg_catalog";

/// The rest runs in `postgres`, so that the last of them does not end its own session.
const TRAPS: [(&str, &str); 3] = [
    ("names", NAMES),
    (
        "settings",
        "ALTER DATABASE \"$A\" SET role = '$A'; ALTER DATABASE \"$A\" SET default_transaction_read_only = on;
         ALTER DATABASE \"$A\" SET local_preload_libraries = 'nothing'; ALTER DATABASE \"$A\" SET
             default_transaction_isolation = serializable;
         ALTER DATABASE \"$A\" SET quote_all_identifiers = on; ALTER DATABASE \"$A\" SET statement_timeout =
             '1ms';
         ALTER DATABASE \"$A\" SET standard_conforming_strings = off; ALTER DATABASE \"$A\" SET
             idle_session_timeout = '1ms';
         ALTER ROLE CURRENT_USER IN DATABASE \"$A\" SET role = '$A'; ALTER ROLE CURRENT_USER SET
             default_transaction_read_only = on;
         ALTER ROLE CURRENT_USER SET local_preload_libraries = 'nothing'; ALTER ROLE CURRENT_USER IN DATABASE
             \"$A\" SET local_preload_libraries = 'nothing'",
    ),
    (
        "flags",
        "ALTER DATABASE \"$A\" WITH CONNECTION LIMIT 0 IS_TEMPLATE true; ALTER DATABASE \"$A\" WITH
            ALLOW_CONNECTIONS false",
    ),
];

impl Scene {
    pub(crate) async fn new(pool: &PgPool) -> Self {
        let world = World::still(pool, settings(40)).await;
        let (_spec, first) = world.first_pool().await;
        world.allocate("mover", "c", "starter").await.unwrap();
        let request = ReserveMoveRequest {
            move_id: Uuid::now_v7().to_string(),
            instance_id: "mover".into(),
            ..ReserveMoveRequest::default()
        };
        world.moves().reserve_move(request).await.unwrap();
        let spec = world.specs().await.pop().unwrap();
        let second = world.bring_up(&spec).await;
        // Tenants go to the first; the second is for moves alone.
        sqlx::query("UPDATE db_servers SET allocation_strategy = 'manual' WHERE id = $1")
            .bind(Uuid::parse_str(&spec.id).unwrap())
            .execute(pool)
            .await
            .unwrap();
        Self { world, first, second }
    }

    pub(crate) async fn tenant(&self, instance: &str) -> Tenant {
        assert_eq!(self.world.allocate(instance, "c", "starter").await.unwrap().status, "allocated");
        let request = GetCredentialsRequest { instance_id: instance.into() };
        let found = self.world.allocations().get_credentials(request).await.unwrap().into_inner();
        let allocation = found.allocation.unwrap();
        Tenant {
            instance: instance.into(),
            database: allocation.db_name,
            user: allocation.db_user,
            password: found.password,
        }
    }

    /// As the release before made them: the tenant owns its database.
    pub(crate) async fn owned_by_its_tenant(&self, tenant: &Tenant) {
        let text = format!("ALTER DATABASE \"{0}\" OWNER TO \"{0}\"", tenant.database);
        sqlx::raw_sql(AssertSqlSafe(text)).execute(&mut self.first.admin().await).await.unwrap();
    }

    async fn lay(&self, tenant: &Tenant, traps: &str, database: &str) {
        let mut session = self.first.try_connect(&tenant.user, &tenant.password, database).await.unwrap();
        let text = traps.replace("$A", &tenant.database);
        sqlx::raw_sql(AssertSqlSafe(text)).execute(&mut session).await.unwrap();
        session.close().await.unwrap();
    }

    /// No tenant has an administrator's rights on either server, and whoever is still there may connect and
    /// create.
    async fn nobody_rose(&self, after: &str) {
        for server in [&self.first, &self.second] {
            let mut admin = server.admin().await;
            let rose: Vec<String> = sqlx::query_scalar(
                "SELECT rolname::text FROM pg_roles WHERE (rolsuper OR rolcreaterole OR rolcreatedb) AND
                    rolname <> 'pool_admin'",
            )
            .fetch_all(&mut admin)
            .await
            .unwrap();
            assert!(rose.is_empty(), "{after}: {rose:?}");
        }
    }

    async fn works(&self, server: &PoolServer, tenant: &Tenant, after: &str) {
        let request = GetCredentialsRequest { instance_id: tenant.instance.clone() };
        let found = self.world.allocations().get_credentials(request).await.unwrap().into_inner();
        let user = found.allocation.unwrap().db_user;
        let mut inside = server.admin_in(&tenant.database).await;
        let may: bool = sqlx::query_scalar(
            "SELECT bool_and(has_database_privilege($1, current_database(), right_)) AND
                has_schema_privilege($1, 'public', 'CREATE')
             FROM unnest(ARRAY['CONNECT', 'CREATE', 'TEMPORARY']) AS right_",
        )
        .bind(&user)
        .fetch_one(&mut inside)
        .await
        .unwrap();
        assert!(may, "{after}: {user} lacks rights");
    }

    pub(crate) async fn rights(&self) {
        sqlx::raw_sql("COMMENT ON SCHEMA platform IS NULL")
            .execute(&mut self.first.admin().await)
            .await
            .unwrap();
        self.check().await;
        let mark: Option<String> =
            sqlx::query_scalar("SELECT obj_description('platform'::regnamespace, 'pg_namespace')")
                .fetch_one(&mut self.first.admin().await)
                .await
                .unwrap();
        assert!(mark.is_some(), "every database got its rights");
    }

    pub(crate) async fn check(&self) {
        let id: Uuid = sqlx::query_scalar("SELECT id FROM db_servers WHERE name = 'postgres-pool-1'")
            .fetch_one(&self.world.pool)
            .await
            .unwrap();
        let checked = self.world.app.check(id).await.unwrap();
        assert_eq!(checked.health.as_str(), "healthy", "{}", checked.last_error);
    }

    async fn completion(&self, tenant: &Tenant) {
        let row =
            format!("UPDATE allocations SET state = 'allocating' WHERE instance_id = '{}'", tenant.instance);
        sqlx::raw_sql(AssertSqlSafe(row)).execute(&self.world.pool).await.unwrap();
        let again = self.world.allocate(&tenant.instance, "c", "starter").await.unwrap();
        assert_eq!(again.status, "allocated");
    }

    async fn rotation(&self, tenant: &Tenant) {
        let (id, instance) = (Uuid::now_v7(), external_id("instance_id", &tenant.instance).unwrap());
        self.world.app.begin_rotation(id, &instance).await.unwrap();
        self.world.app.switch_rotation(id).await.unwrap();
        self.world.app.retire_rotation(id).await.unwrap();
    }

    async fn given_up_rotation(&self, tenant: &Tenant) {
        let (id, instance) = (Uuid::now_v7(), external_id("instance_id", &tenant.instance).unwrap());
        self.world.app.begin_rotation(id, &instance).await.unwrap();
        assert_eq!(self.world.app.abort_rotation(id).await.unwrap(), "aborted");
    }

    async fn movement(&self, tenant: &Tenant) {
        let move_id = Uuid::now_v7().to_string();
        let mut moves = self.world.moves();
        let request = ReserveMoveRequest {
            move_id: move_id.clone(),
            instance_id: tenant.instance.clone(),
            target_pool: "postgres-pool-2".into(),
            ..ReserveMoveRequest::default()
        };
        assert_eq!(moves.reserve_move(request).await.unwrap().into_inner().status, "reserved");
        let begun = moves.begin_copy(BeginCopyRequest { move_id: move_id.clone() }).await.unwrap();
        copy(&begun.into_inner());
        eventually("the first comparison", SOON, || async {
            let request = CompareCopyRequest { move_id: move_id.clone() };
            let status = self.world.moves().compare_copy(request).await.unwrap().into_inner().status;
            (status == "compared").then_some(())
        })
        .await;
        // Something to copy again, written by the tenant: what it defined runs with the rights of who writes.
        let mut inside =
            self.first.try_connect(&tenant.user, &tenant.password, &tenant.database).await.unwrap();
        sqlx::raw_sql(
            "DO $$ BEGIN IF to_regclass('public.bait') IS NOT NULL THEN
                INSERT INTO public.bait VALUES (2, 'two');
                PERFORM nextval('public.called'), setval('public.uncalled', 6, false);
            END IF; END $$",
        )
        .execute(&mut inside)
        .await
        .unwrap();
        inside.close().await.unwrap();
        eventually("the last copies", SOON, || async {
            let request = SyncCopyRequest { move_id: move_id.clone() };
            let status = self.world.moves().sync_copy(request).await.unwrap().into_inner().status;
            assert_ne!(status, "copy_again");
            (status == "synced").then_some(())
        })
        .await;
        eventually("the last comparison", SOON, || async {
            let request = VerifyCopyRequest { move_id: move_id.clone() };
            let status = self.world.moves().verify_copy(request).await.unwrap().into_inner().status;
            (status == "verified").then_some(())
        })
        .await;
        moves.switch_move(SwitchMoveRequest { move_id: move_id.clone() }).await.unwrap();
        sqlx::raw_sql(
            "UPDATE moves SET drop_after = now() - interval '1 minute', updated_at = now() -
            interval '1 hour' WHERE state = 'switched'",
        )
        .execute(&self.world.pool)
        .await
        .unwrap();
        self.world.app.sweep().await.unwrap();
        assert!(!exists(&mut self.first.admin().await, &tenant.database).await, "the source stayed");
    }

    /// Of somebody who was granted a table in the tenant's database.
    async fn neighbour(&self, tenant: &Tenant) {
        self.release(&["beside-", &tenant.instance].concat()).await;
    }

    pub(crate) async fn purge(&self, tenant: &Tenant) {
        self.release(&tenant.instance).await;
        assert!(!exists(&mut self.first.admin().await, &tenant.database).await);
    }

    async fn release(&self, instance: &str) {
        let request =
            ReleaseRequest { instance_id: instance.into(), mode: "purge".into(), reason: String::new() };
        assert_eq!(self.world.allocations().release(request).await.unwrap().into_inner().status, "purged");
    }
}

pub(crate) async fn exists(admin: &mut PgConnection, database: &str) -> bool {
    sqlx::query_scalar("SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)")
        .bind(database)
        .fetch_one(admin)
        .await
        .unwrap()
}

/// DBS-30, SEC-07: on databases as the release before left them, which are their tenants' own.
#[sqlx::test(migrations = "./migrations")]
async fn no_action_of_the_administrator_runs_a_tenants_traps_or_is_kept_from_its_end(pool: PgPool) {
    let scene = Scene::new(&pool).await;
    for (number, (action, act)) in ACTIONS.iter().enumerate() {
        for (sort, traps) in TRAPS {
            let what = format!("{action}, {sort}");
            let tenant = scene.tenant(&format!("{sort}-{number}")).await;
            scene.owned_by_its_tenant(&tenant).await;
            let neighbour = ["beside-", &tenant.instance].concat();
            if action.contains("neighbour") {
                let granted = scene.tenant(&neighbour).await.user;
                let text = format!("CREATE TABLE keepsake (); GRANT ALL ON keepsake TO \"{granted}\"");
                scene.lay(&tenant, &text, &tenant.database).await;
            }
            let database = if sort == "names" { tenant.database.as_str() } else { "postgres" };
            scene.lay(&tenant, traps, database).await;

            let done = std::panic::AssertUnwindSafe(act(&scene, &tenant)).catch_unwind().await;

            assert!(done.is_ok(), "{what}");
            scene.nobody_rose(&what).await;
            let server = if *action == "a move" { &scene.second } else { &scene.first };
            if *action != "a purge" {
                scene.works(server, &tenant, &what).await;
            }
        }
    }
}

/// ADR 20: on databases of today a tenant sets none of it in the first place.
#[sqlx::test(migrations = "./migrations")]
async fn a_tenant_has_no_say_over_its_database_as_a_whole(pool: PgPool) {
    let scene = Scene::new(&pool).await;
    let tenant = scene.tenant("a").await;
    let mut session = scene.first.try_connect(&tenant.user, &tenant.password, "postgres").await.unwrap();
    for statement in [
        "ALTER DATABASE \"$A\" SET search_path = public",
        "ALTER DATABASE \"$A\" WITH IS_TEMPLATE true",
        "ALTER DATABASE \"$A\" WITH ALLOW_CONNECTIONS false",
        "ALTER DATABASE \"$A\" WITH CONNECTION LIMIT 0",
        "ALTER DATABASE \"$A\" OWNER TO CURRENT_USER",
        "ALTER DATABASE \"$A\" RENAME TO mine",
        "ALTER ROLE ALL IN DATABASE \"$A\" SET search_path = public",
        "GRANT CONNECT ON DATABASE \"$A\" TO PUBLIC",
        "COMMENT ON DATABASE \"$A\" IS 'mine'",
        "DROP DATABASE \"$A\"",
        "GRANT platform_owner TO CURRENT_USER",
        "SET ROLE platform_owner",
    ] {
        let text = statement.replace("$A", &tenant.database);
        let outcome = sqlx::raw_sql(AssertSqlSafe(text)).execute(&mut session).await;
        // PostgreSQL warns of a right that is not there to grant.
        let granted: bool = sqlx::query_scalar(
            "SELECT EXISTS (SELECT FROM pg_database, aclexplode(datacl) AS acl WHERE datname = $1 AND
                acl.grantee = 0)",
        )
        .bind(&tenant.database)
        .fetch_one(&mut session)
        .await
        .unwrap();
        assert!(!granted && (outcome.is_err() || statement.starts_with("GRANT CONNECT")), "{statement}");
    }
    scene.works(&scene.first, &tenant, "its own database").await;
    let mut own = scene.first.try_connect(&tenant.user, &tenant.password, &tenant.database).await.unwrap();
    sqlx::raw_sql(
        "CREATE TABLE t (id serial PRIMARY KEY); CREATE SCHEMA s; CREATE TEMP TABLE x (); CREATE
        EXTENSION IF NOT EXISTS unaccent",
    )
    .execute(&mut own)
    .await
    .unwrap();
}

/// DBS-33, SEC-07: a table that turns into a view while its database is copied is not read, and nothing of
/// the view runs.
#[sqlx::test(migrations = "./migrations")]
async fn a_view_in_the_place_of_a_table_is_not_run(pool: PgPool) {
    let world = World::still(&pool, settings(3)).await;
    let (spec, server) = world.first_pool().await;
    world.allocate("a", "c", "starter").await.unwrap();
    let request = GetCredentialsRequest { instance_id: "a".into() };
    let found = world.allocations().get_credentials(request).await.unwrap().into_inner();
    let name = found.allocation.unwrap().db_name;
    let text = "CREATE FUNCTION trap() RETURNS integer LANGUAGE plpgsql AS $$
            BEGIN
                IF (SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname = current_user) THEN EXECUTE
                    'ALTER ROLE \"$A\" SUPERUSER'; END IF;
                RETURN 1;
            END $$;
        CREATE VIEW t AS SELECT trap() AS id"
        .replace("$A", &name);
    let mut tenant = server.try_connect(&name, &found.password, &name).await.unwrap();
    sqlx::raw_sql(AssertSqlSafe(text)).execute(&mut tenant).await.unwrap();
    let (password, tls) = world.pool_secret(&spec).await;
    let target = crate::floods::target(&server, password, &tls);
    let (full, table) = (
        "public.t".to_owned(),
        Table {
            schema: "public".into(),
            name: "t".into(),
            derived: false,
            oid: 1,
            file: 1,
            writes: 0,
            bytes: 0,
        },
    );

    let same = Tenants::new().same(&target, &target, &name, &[(&full, &table)]).await.unwrap();

    assert!(same.is_empty());
    let rose: bool = sqlx::query_scalar("SELECT rolsuper FROM pg_roles WHERE rolname = $1")
        .bind(&name)
        .fetch_one(&mut server.admin().await)
        .await
        .unwrap();
    assert!(!rose);
}
