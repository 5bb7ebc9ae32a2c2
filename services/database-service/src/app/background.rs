//! Work that nobody asked for: activation, checks, and the sweep behind every call. One replica does it,
//! elected by an advisory lock.

use std::collections::HashMap;
use std::time::Duration;

use anyhow::Context as _;
use futures::StreamExt as _;
use sqlx::PgConnection;
use sqlx::postgres::PgListener;
use time::OffsetDateTime;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::App;
use super::check::Look;
use super::remote::bounded;
use crate::domain::pool::{HealthStatus, Observed, PoolStatus};
use crate::domain::server::Server;
use crate::domain::tuning;
use crate::error::Error;
use crate::store::retention::RETENTION;
use crate::store::servers;
use crate::store::{allocations, stats, waiting};
use crate::tenants::{Guard, MemoryLimits, SessionLimits, SharedLimits, TenantError, Tenants};

/// Key of the advisory lock that the leader holds.
const LEADER: i64 = 0x5341_4153_4442_5f31;
/// How long the leader's session may say nothing.
const LEASE: &str = "SET idle_session_timeout = '12s'; SET tcp_user_timeout = '12s'";
/// Time between two tries to become the leader, and between two signs of life of its session.
const ELECTION: Duration = Duration::from_secs(3);
/// Longest pause of the activation loop; a notification ends it.
const ACTIVATION: Duration = Duration::from_secs(5);
/// Pause between two tries to reach a server that is not there yet: from, to.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(15));
/// Longest pause between two looks at the tasks; a notification ends it.
const TASKS: Duration = Duration::from_secs(10);
/// Time between two sweeps.
const SWEEP: Duration = Duration::from_secs(15);
/// Unfinished work that nobody touched for so long is the sweep's.
const STUCK: time::Duration = time::Duration::seconds(60);
/// A request that was not repeated for so long waits no more.
const WAITING_LIFE: time::Duration = time::Duration::minutes(15);
/// A server must come up within this.
const MAKING_LIFE: time::Duration = time::Duration::minutes(30);
/// Time between two deletions of old rows.
const PRUNE: Duration = Duration::from_hours(1);
/// Time between two looks at tenants' sessions.
const REAP: Duration = Duration::from_mins(1);
/// Hard limits of a tenant's session. Far above the roles' own timeouts: a dump or the upgrade of a module
/// runs through.
const SESSION_LIMITS: SessionLimits =
    SessionLimits { idle_in_transaction: Duration::from_hours(1), statement: Duration::from_hours(4) };
/// Time between two looks of the guards.
const GUARD: Duration = Duration::from_secs(2);
/// Longest look of a guard.
const GUARD_DEADLINE: Duration = Duration::from_secs(6);
/// Pause before a guard that could not log in tries again.
const GUARD_AGAIN: Duration = Duration::from_secs(15);
/// A tenant has a quarter of a server's locks at most: a dump or an upgrade takes some thousands of more than
/// a hundred thousand. The notification queue is eight gibibytes of disk for all of them.
const SHARED_LIMITS: SharedLimits =
    SharedLimits { locks: 0.25, queue: 0.25, transaction: Duration::from_mins(1), memory: None };
/// Servers checked at once.
const CHECKS: usize = 16;

impl App {
    /// Runs until `stop`; waits for leadership, works while it has it.
    pub async fn run_background(self, stop: CancellationToken) -> anyhow::Result<()> {
        while !stop.is_cancelled() {
            let term = async {
                if let Err(error) = Box::pin(self.lead_once()).await {
                    tracing::warn!(
                        error = format!("{error:#}"),
                        "background work lost its connection, trying again"
                    );
                }
                self.metrics.clear();
                tokio::time::sleep(ELECTION).await;
            };
            tokio::select! {
                () = stop.cancelled() => {}
                () = term => {}
            }
        }
        Ok(())
    }

    /// One try: nothing when another replica leads; otherwise works until the session that holds the lock is
    /// lost.
    async fn lead_once(&self) -> anyhow::Result<()> {
        // Detached: the lock ends with this session and must not travel back into the pool.
        let mut session = self.pool.acquire().await?.detach();
        // A node that goes down without a word leaves its session and the lock behind, as long as the
        // operating system believes in the connection. The server ends a
        // session that says nothing for so long; ours speaks several times as often.
        sqlx::raw_sql(LEASE).execute(&mut session).await.context("cannot bound the leader's session")?;
        let leads = sqlx::query_scalar!(r#"SELECT pg_try_advisory_lock($1) AS "leads!""#, LEADER)
            .fetch_one(&mut session)
            .await?;
        if !leads {
            return Ok(());
        }
        tracing::info!("leads the background work");
        tokio::select! {
            ended = hold(&mut session) => ended,
            ended = self.activate_for_ever() => ended,
            ended = self.sweep_for_ever() => ended,
            ended = self.tasks_for_ever() => ended,
            ended = self.reap_for_ever() => ended,
            ended = self.guard_for_ever() => ended,
            ended = self.prune_for_ever() => ended,
        }
    }

    async fn activate_for_ever(&self) -> anyhow::Result<()> {
        let mut listener =
            PgListener::connect_with(&self.pool).await.context("cannot listen for pool work")?;
        listener.listen("pool_work").await?;
        let mut tries: HashMap<Uuid, (Instant, Duration)> = HashMap::new();
        loop {
            let mut pause = ACTIVATION;
            let due = self.unreached(&mut tries).await.unwrap_or_else(|error| {
                tracing::error!(error = format!("{error:#}"), "cannot look which servers come up");
                Vec::new()
            });
            let checked = self.check_all(due, Look::Again).await;
            for server in checked {
                if server.health == HealthStatus::Healthy && !server.status.is_in_the_making() {
                    tries.remove(&server.id);
                } else {
                    let wait =
                        tries.get(&server.id).map_or(BACKOFF.0, |(_, wait)| (*wait * 2).min(BACKOFF.1));
                    tries.insert(server.id, (Instant::now() + wait, wait));
                }
            }
            for (at, _) in tries.values() {
                pause =
                    pause.min(at.saturating_duration_since(Instant::now()).max(Duration::from_millis(50)));
            }
            if let Ok(notified) = tokio::time::timeout(pause, listener.recv()).await {
                notified.context("lost the listening connection")?;
            }
        }
    }

    /// Servers that wait for a first or a next good check and whose pause is over.
    async fn unreached(&self, tries: &mut HashMap<Uuid, (Instant, Duration)>) -> anyhow::Result<Vec<Uuid>> {
        let mut connection = self.pool.acquire().await?;
        let servers: Vec<Server> =
            servers::managed(&mut connection).await?.into_iter().filter(wants_check_soon).collect();
        tries.retain(|id, _| servers.iter().any(|server| server.id == *id));
        let now = Instant::now();
        let due = servers.iter().filter(|server| tries.get(&server.id).is_none_or(|(at, _)| *at <= now));
        Ok(due.map(|server| server.id).collect())
    }

    async fn tasks_for_ever(&self) -> anyhow::Result<()> {
        let mut listener = PgListener::connect_with(&self.pool).await.context("cannot listen for tasks")?;
        listener.listen("pool_work").await?;
        loop {
            if let Err(error) = self.run_tasks().await {
                tracing::error!(error = format!("{error:#}"), "cannot look at the tasks");
            }
            let pause = self.settings.health_interval.min(TASKS);
            if let Ok(notified) = tokio::time::timeout(pause, listener.recv()).await {
                notified.context("lost the listening connection")?;
            }
        }
    }

    async fn reap_for_ever(&self) -> anyhow::Result<()> {
        loop {
            tokio::time::sleep(REAP).await;
            let serving = self.serving().await.into_iter().map(|server| async move {
                if let Err(error) = bounded(Box::pin(self.reap(&server, SESSION_LIMITS))).await {
                    let name = &server.name;
                    tracing::warn!(server.name = name, error = %error, "sessions could not be looked at");
                }
            });
            futures::stream::iter(serving).buffer_unordered(CHECKS).collect::<()>().await;
        }
    }

    /// Servers that tenants work on.
    async fn serving(&self) -> Vec<Server> {
        let found = async {
            let mut connection = self.pool.acquire().await?;
            servers::managed(&mut connection).await
        };
        let serves = |server: &Server| {
            matches!(server.status, PoolStatus::Active | PoolStatus::Full | PoolStatus::Maintenance)
        };
        match found.await {
            Ok(servers) => servers.into_iter().filter(serves).collect(),
            Err(error) => {
                tracing::error!(error = %error, "cannot look which servers serve");
                Vec::new()
            }
        }
    }

    /// Keeps a session on every server that tenants work on, and ends by it whoever fills what all of them
    /// share.
    async fn guard_for_ever(&self) -> anyhow::Result<()> {
        let mut guards: HashMap<Uuid, Post> = HashMap::new();
        loop {
            let serving = self.serving().await;
            guards.retain(|id, _| serving.iter().any(|server| server.id == *id));
            let rounds = serving.into_iter().map(|server| {
                let post = guards.remove(&server.id).unwrap_or(Post::Empty(Instant::now()));
                async move { (server.id, self.stand_guard(&server, post).await) }
            });
            guards =
                futures::stream::iter(rounds.collect::<Vec<_>>()).buffer_unordered(CHECKS).collect().await;
            tokio::time::sleep(GUARD).await;
        }
    }

    async fn stand_guard(&self, server: &Server, post: Post) -> Post {
        let look = async {
            let mut guard = match post {
                Post::Empty(again) if again > Instant::now() => return Ok(Post::Empty(again)),
                Post::Empty(_) => Box::new(self.new_guard(server).await?),
                Post::Taken(guard) => guard,
            };
            let ended = guard.look(shared_limits(server)).await.map_err(TenantError::from);
            let ended = ended.map_err(|error| super::tenant_error(&server.name, error))?;
            if ended > 0 {
                tracing::warn!(
                    server.name = server.name,
                    ended,
                    "ended sessions that filled what all tenants share"
                );
            }
            Ok::<_, Error>(Post::Taken(guard))
        };
        match tokio::time::timeout(GUARD_DEADLINE, look).await {
            Ok(Ok(post)) => post,
            Ok(Err(error)) => {
                let name = &server.name;
                tracing::warn!(server.name = name, error = %error, "a server is without a guard for now");
                Post::Empty(Instant::now() + GUARD_AGAIN)
            }
            Err(_) => Post::Empty(Instant::now() + GUARD_AGAIN),
        }
    }

    async fn new_guard(&self, server: &Server) -> Result<Guard, Error> {
        let target = self.target(server).await?;
        Tenants::guard(&target).await.map_err(|error| super::tenant_error(&server.name, error))
    }

    /// Ends tenants' sessions beyond the hard limits, also those of tenants that lifted their own (DBS-29).
    /// Gives their number.
    pub async fn reap(&self, server: &Server, limits: SessionLimits) -> Result<i64, Error> {
        let target = self.target(server).await?;
        let ended = self
            .tenants
            .reap(&target, limits)
            .await
            .map_err(|error| super::server_error(&server.name, error.into()))?;
        if ended > 0 {
            tracing::warn!(server.name = server.name, ended, "ended tenants' sessions beyond the limits");
        }
        Ok(ended)
    }

    /// Checks several at once; what could not be noted is left out.
    pub(super) async fn check_all(&self, servers: Vec<Uuid>, look: Look) -> Vec<Server> {
        let checks = servers.into_iter().map(|id| async move {
            let outcome = bounded(Box::pin(self.look(id, look))).await;
            outcome
                .inspect_err(
                    |error| tracing::warn!(server.id = %id, error = %error, "a check could not be noted"),
                )
                .ok()
        });
        futures::stream::iter(checks).buffer_unordered(CHECKS).filter_map(std::future::ready).collect().await
    }

    async fn sweep_for_ever(&self) -> anyhow::Result<()> {
        loop {
            if let Err(error) = self.sweep().await {
                tracing::error!(
                    error = format!("{error:#}"),
                    "a sweep was not whole; it goes on with the next"
                );
            }
            tokio::time::sleep(SWEEP).await;
        }
    }

    /// Deletes rows that are old enough. By itself: nothing waits for it.
    async fn prune_for_ever(&self) -> anyhow::Result<()> {
        loop {
            match runtime::retention::prune(&self.pool, RETENTION).await {
                Ok(0) => {}
                Ok(rows) => tracing::info!(rows, "old rows were deleted"),
                Err(error) => tracing::error!(error = %error, "old rows are left for the next round"),
            }
            tokio::time::sleep(PRUNE).await;
        }
    }

    /// Finishes what was left behind, forgets who stopped asking, orders what is missing, gives up what does
    /// not come. No kind of work waits for
    /// another: each is done whatever became of the one before, certificates first. The error is the first.
    pub async fn sweep(&self) -> anyhow::Result<()> {
        let now = runtime::clock::now();
        let mut whole = Whole(Ok(()));
        whole.note("certificates", self.sweep_certificates(now).await);
        whole.note("waiting", self.sweep_waiting(now).await);
        whole.note("servers in the making", self.sweep_servers(now).await);
        whole.note("allocations", self.sweep_allocations(now).await);
        whole.note("moves", self.sweep_moves(now).await);
        whole.note("rotations", self.sweep_rotations(now).await);
        whole.note("dedicated servers", self.sweep_dedicated(now).await);
        whole.note("growth", self.sweep_growth(now).await);
        whole.0
    }

    async fn sweep_waiting(&self, now: OffsetDateTime) -> Result<(), Error> {
        let mut connection = self.pool.acquire().await?;
        let forgotten = waiting::forget(&mut connection, now - WAITING_LIFE).await?;
        if forgotten > 0 {
            tracing::info!(forgotten, "requests stopped waiting");
        }
        Ok(())
    }

    async fn sweep_servers(&self, now: OffsetDateTime) -> Result<(), Error> {
        let mut connection = self.pool.acquire().await?;
        let managed = servers::managed(&mut connection).await?;
        self.metrics.show(&managed, stats::pending(&mut connection).await?);
        drop(connection);
        let late = managed.into_iter();
        for server in
            late.filter(|server| server.status.is_in_the_making() && server.created_at < now - MAKING_LIFE)
        {
            if let Err(error) = self.give_up(server.id).await {
                tracing::warn!(server.name = server.name, error = %error, "a server could not be given up");
            }
        }
        Ok(())
    }

    async fn sweep_allocations(&self, now: OffsetDateTime) -> Result<(), Error> {
        let mut connection = self.pool.acquire().await?;
        let unfinished = allocations::unfinished(&mut connection, now - STUCK).await?;
        drop(connection);
        for (id, purging) in unfinished {
            let work = async { if purging { self.purge(id).await } else { self.finish(id).await } };
            let outcome = bounded(Box::pin(work)).await;
            if let Err(error) = outcome {
                tracing::warn!(allocation.id = %id, error = %error, "unfinished work failed again");
            }
        }
        Ok(())
    }

    async fn sweep_growth(&self, now: OffsetDateTime) -> Result<(), Error> {
        let mut tx = self.pool.begin().await?;
        self.grow(&mut tx, now).await?;
        tx.commit().await?;
        Ok(())
    }
}

/// With the memory that the server has.
fn shared_limits(server: &Server) -> SharedLimits {
    let memory = tuning::memory_bytes(&server.resources.memory_limit).map(|bytes| {
        let (all, each) = tuning::session_memory(server.server_type, bytes);
        MemoryLimits { all, each }
    });
    SharedLimits { memory, ..SHARED_LIMITS }
}

/// Where a guard stands, or shall stand from a time on.
enum Post {
    Empty(Instant),
    Taken(Box<Guard>),
}

/// Did all kinds of work go well?
struct Whole(anyhow::Result<()>);

impl Whole {
    fn note(&mut self, kind: &'static str, outcome: Result<(), Error>) {
        if let Err(error) = outcome {
            tracing::error!(kind, error = %error, "one kind of work failed in a sweep");
            if self.0.is_ok() {
                self.0 = Err(anyhow::Error::from(error).context(kind));
            }
        }
    }
}

/// Pools that come up, pools in error that are ready again, and pools that stumbled and whose pod is ready:
/// they serve again as soon as they can, not with the next round.
fn wants_check_soon(server: &Server) -> bool {
    if server.platform_host.is_empty() {
        return false;
    }
    match server.status {
        PoolStatus::Initializing => true,
        PoolStatus::Error => server.observed == Observed::Ready && server.failures == 0,
        PoolStatus::Active | PoolStatus::Full | PoolStatus::Maintenance => {
            server.health != HealthStatus::Healthy && server.observed == Observed::Ready
        }
        _ => false,
    }
}

/// Keeps the session of the lock alive; ends with an error when it is lost.
async fn hold(session: &mut PgConnection) -> anyhow::Result<()> {
    loop {
        tokio::time::sleep(ELECTION).await;
        tokio::time::timeout(ELECTION, sqlx::query!(r#"SELECT 1 AS "one!""#).fetch_one(&mut *session))
            .await
            .context("the leader's session does not answer")?
            .context("the leader's session is lost")?;
    }
}
