//! The process dies at every place of `failpoint::ALL`; the next call, or the sweep when nobody calls again,
//! ends what was begun (REL-06). At the end always: allocation rows = databases on the servers = counters,
//! and no orphan.

use std::future::Future;

use contracts::database::v1::PoolSpec;
use database_service::app::allocate::{Outcome, Wanted};
use database_service::app::dedicated::Dedicated;
use database_service::app::pool_work::{Address, Report};
use database_service::app::{App, Settings};
use database_service::domain::ReleaseMode;
use database_service::domain::caller::Caller;
use database_service::domain::names::ExternalId;
use database_service::domain::pool::{Observed, PoolStatus};
use database_service::error::Error;
use database_service::failpoint;
use runtime::failpoint::FailPoint;
use secrecy::ExposeSecret as _;
use sqlx::PgPool;
use uuid::Uuid;

use crate::pool_server::{PoolServer, Tls};
use crate::world::{World, settings};

/// The processes of a life: one that dies at the places of a list, and those that come after it.
pub struct Lives {
    pub world: World,
    /// Where somebody still dies.
    pub fail: FailPoint,
    /// After a death nobody calls again: the sweep has to do it.
    pub forgotten: bool,
    /// Deaths that were noticed. Work in the background dies beside a call; the next one that asks for its
    /// result hears of it.
    noticed: usize,
    places: usize,
}

impl Lives {
    /// Nobody has died yet.
    pub async fn new(pool: &PgPool, settings: Settings, places: &[&str], forgotten: bool) -> Self {
        wipe(pool).await;
        let world = World::still(pool, settings).await;
        // Places of death panic on purpose; their texts are no news.
        let fail = failpoint::NONE.each(places, || panic!("the process dies here"));
        Self { world, fail, forgotten, noticed: 0, places: places.len() }
    }

    /// Calls the use case until a process outlives it; after each death the next process does what its
    /// clients or its sweep do.
    pub async fn call<T: Send + 'static, F>(&mut self, work: impl Fn(App) -> F) -> T
    where
        F: Future<Output = Result<T, Error>> + Send + 'static,
    {
        loop {
            let app = self.world.app.clone().dying_at(self.fail.clone());
            let ended = tokio::spawn(work(app)).await;
            let deaths = self.places - self.fail.left().len();
            match ended {
                Ok(Ok(value)) => return value,
                // `allocate` runs in a task of its own: its death is an internal error here.
                Ok(Err(Error::Internal(_))) | Err(_) if deaths > self.noticed => self.noticed = deaths,
                Ok(Err(error)) => panic!("{error:?}"),
                Err(panic) => std::panic::resume_unwind(panic.into_panic()),
            }
            consistent(&self.world.pool, &[]).await;
            if self.forgotten {
                for table in ["allocations", "moves"] {
                    let old = format!("UPDATE {table} SET updated_at = now() - interval '5 minutes'");
                    sqlx::raw_sql(sqlx::AssertSqlSafe(old)).execute(&self.world.pool).await.unwrap();
                }
                self.world.app.sweep().await.unwrap();
                consistent(&self.world.pool, &[]).await;
            }
        }
    }

    /// Will somebody still die in this part of a life?
    fn waits_for(&self, parts: &[&str]) -> bool {
        self.fail.left().iter().any(|place| parts.iter().any(|part| place.starts_with(part)))
    }

    /// Reports a server as the worker does, and lets it be checked.
    pub async fn bring_up(&mut self, spec: &PoolSpec, server: &PoolServer) {
        let id = Uuid::parse_str(&spec.id).unwrap();
        let at = ("127.0.0.1".to_owned(), i32::from(server.port()));
        let report = Report {
            server: id,
            observed: Observed::Ready,
            address: Some(Address { platform: at.clone(), tenant: at }),
            node: String::new(),
            message: String::new(),
        };
        self.call(move |app| {
            let report = report.clone();
            async move { app.report(&report).await }
        })
        .await;
        let checked = self.call(move |app| async move { app.check(id).await }).await;
        assert!(matches!(checked.status, PoolStatus::Active), "{}", checked.last_error);
    }

    /// Another password, as the worker's steps ask for it. The credentials of the moment are valid before and
    /// after each.
    async fn rotate(&mut self, instance: &'static str, server: &PoolServer) {
        let (id, rotation) = (ExternalId::try_new(instance).unwrap(), Uuid::now_v7());
        self.log_in(&id, server).await;
        let begun = id.clone();
        self.call(move |app| {
            let id = begun.clone();
            async move { app.begin_rotation(rotation, &id).await }
        })
        .await;
        self.log_in(&id, server).await;
        self.call(move |app| async move { app.switch_rotation(rotation).await }).await;
        self.log_in(&id, server).await;
        self.call(move |app| async move { app.retire_rotation(rotation).await }).await;
        self.log_in(&id, server).await;
    }

    async fn log_in(&self, instance: &ExternalId, server: &PoolServer) {
        let found = self.world.app.credentials(instance).await.unwrap();
        let (user, password) = (&found.allocation.db_user, found.password.expose_secret());
        server.try_connect(user, password, &found.allocation.db_name).await.unwrap();
    }

    async fn release(&mut self, instance: &'static str, mode: ReleaseMode) {
        let id = ExternalId::try_new(instance).unwrap();
        self.call(move |app| {
            let id = id.clone();
            async move { app.release(&id, mode).await }
        })
        .await;
    }
}

/// Rows = counters, and rows = databases and roles on the given servers.
pub async fn consistent(pool: &PgPool, servers: &[&PoolServer]) {
    let wrong: Vec<(String, i32, i64)> = sqlx::query_as(
        "SELECT * FROM (SELECT name, current_instances, (SELECT count(*) FROM allocations WHERE db_server_id = s.id AND state <> 'purged')
                + (SELECT count(*) FROM moves WHERE holds_server_id = s.id) AS held FROM db_servers s) counted WHERE current_instances <> held",
    )
    .fetch_all(pool)
    .await
    .unwrap();
    assert_eq!(wrong, []);
    if servers.is_empty() {
        return;
    }
    for (what, column, sql) in [
        ("databases", "db_name", "SELECT datname::text FROM pg_database WHERE datname LIKE 'odoo\\_%'"),
        ("roles", "db_user", "SELECT rolname::text FROM pg_roles WHERE rolname LIKE 'odoo\\_%'"),
    ] {
        let rows: Vec<String> = sqlx::query_scalar(
            "SELECT CASE $1 WHEN 'db_name' THEN db_name ELSE db_user END FROM allocations WHERE state <> 'purged' ORDER BY 1",
        )
        .bind(column)
        .fetch_all(pool)
        .await
        .unwrap();
        let mut found: Vec<String> = Vec::new();
        for server in servers {
            found.extend(
                sqlx::query_scalar::<_, String>(sql).fetch_all(&mut server.admin().await).await.unwrap(),
            );
        }
        found.sort();
        assert_eq!(found, rows, "{what}");
    }
}

fn caller() -> Caller {
    Caller {
        actor: "tester".into(),
        role: "admin".into(),
        request_id: String::new(),
        client_ip: String::new(),
    }
}

/// Order, allocation, soft release, reclaim, purge on a shared pool, then a dedicated server and its removal.
/// Parts in which nobody dies any more are left out where the rest does not need them.
async fn life(lives: &mut Lives, shared: &mut PoolServer, own: &mut PoolServer) {
    let wanted = |instance, tier| Wanted::parse(instance, "customer", tier, false).unwrap();
    let asked = wanted("shared-one", "starter");
    let allocate = move |app: App| {
        let asked = asked.clone();
        async move { app.allocate(asked).await }
    };
    assert_eq!(lives.call(allocate.clone()).await, Outcome::Provisioning);
    let spec = lives.world.specs().await.pop().unwrap();
    assert_eq!(spec.name.trim_end_matches(char::is_numeric), "postgres-pool-");
    lives.world.build_from(&spec, shared).await;
    lives.bring_up(&spec, shared).await;
    if lives.waits_for(&["certificate."]) {
        let ends = "UPDATE server_certificates SET not_after = now()";
        sqlx::query(ends).execute(&lives.world.pool).await.unwrap();
        lives.call(|app| async move { app.sweep_certificates(runtime::clock::now()).await }).await;
        lives.world.build_from(&spec, shared).await;
    }
    assert!(matches!(lives.call(allocate).await, Outcome::Allocated(..)));
    if lives.waits_for(&["release."]) {
        lives.release("shared-one", ReleaseMode::Soft).await;
        let id = ExternalId::try_new("shared-one").unwrap();
        lives
            .call(move |app| {
                let id = id.clone();
                async move { app.reclaim(&id).await }
            })
            .await;
    }
    consistent(&lives.world.pool, &[shared]).await;
    if lives.waits_for(&["rotate."]) {
        lives.rotate("shared-one", shared).await;
        consistent(&lives.world.pool, &[shared]).await;
    }
    if lives.waits_for(&["pool_rotate."]) {
        let server = Uuid::parse_str(&spec.id).unwrap();
        lives.call(move |app| async move { app.change_pool_password(server).await }).await;
        shared.trust(&lives.world.pool_password(&spec).await);
        consistent(&lives.world.pool, &[shared]).await;
    }
    lives.release("shared-one", ReleaseMode::Purge).await;
    consistent(&lives.world.pool, &[shared]).await;
    let mut ordered = 1;
    if lives.waits_for(&["dedicated.", "removal."]) {
        dedicated(lives, shared, own).await;
        ordered += 1;
    }
    assert_eq!(lives.world.statuses().await.len(), ordered, "no server more than it takes");
}

async fn dedicated(lives: &mut Lives, shared: &PoolServer, own: &mut PoolServer) {
    let asked = Wanted::parse("own-one", "customer", "enterprise", false).unwrap();
    let dedicated = move |app: App| {
        let asked = asked.clone();
        async move { app.provision_dedicated(&caller(), asked).await }
    };
    assert!(matches!(lives.call(dedicated.clone()).await, Dedicated::Provisioning(..)));
    let spec = lives.world.specs().await.into_iter().find(|spec| spec.server_type == "dedicated").unwrap();
    lives.world.build_from(&spec, own).await;
    lives.bring_up(&spec, own).await;
    assert!(matches!(lives.call(dedicated).await, Dedicated::Allocated(..)));
    consistent(&lives.world.pool, &[shared, own]).await;
    lives.release("own-one", ReleaseMode::Purge).await;
    consistent(&lives.world.pool, &[shared, own]).await;
    assert_eq!(lives.world.report(&spec.id, "removed", None).await, "deprovisioned");
}

async fn wipe(pool: &PgPool) {
    sqlx::raw_sql("TRUNCATE waiting, allocation_secrets, allocations, server_secrets, tasks, db_servers, outbox CASCADE")
        .execute(pool)
        .await
        .unwrap();
}

/// Two servers that stand for whatever is ordered.
pub async fn two_servers() -> (PoolServer, PoolServer) {
    let password = database_service::secrets::generate_password().unwrap();
    let config = "max_connections = 100\n";
    let tls = Tls::of_a_stranger();
    tokio::join!(
        PoolServer::start_with_tls(&password, config, &tls),
        PoolServer::start_with_tls(&password, config, &tls)
    )
}

/// REL-06, DBS-08, DBS-11: the caller tries again, however often the process dies: at every place of one
/// life.
#[sqlx::test(migrations = "./migrations")]
async fn a_death_anywhere_is_mended_by_the_next_call(pool: PgPool) {
    let (mut shared, mut own) = two_servers().await;
    let mut lives = Lives::new(&pool, settings(50), failpoint::ALL, false).await;
    life(&mut lives, &mut shared, &mut own).await;
    assert_eq!(lives.fail.left(), [""; 0], "nobody died there");
}

/// REL-06: nobody tries again; the sweep does it, and a later call finds it done.
#[sqlx::test(migrations = "./migrations")]
async fn a_death_anywhere_is_mended_by_the_sweep(pool: PgPool) {
    let (mut shared, mut own) = two_servers().await;
    for &place in failpoint::ALL {
        let mut lives = Lives::new(&pool, settings(50), &[place], true).await;
        life(&mut lives, &mut shared, &mut own).await;
        assert_eq!(lives.fail.left(), [""; 0], "nobody died there");
    }
}
