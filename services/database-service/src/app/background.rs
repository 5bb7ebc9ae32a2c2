//! Work that nobody asked for: activation, checks, and the sweep behind every call. One replica does it, elected by an advisory lock.

use std::collections::HashMap;
use std::time::Duration;

use anyhow::Context as _;
use futures::StreamExt as _;
use sqlx::PgConnection;
use sqlx::postgres::PgListener;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::App;
use super::check::Look;
use crate::domain::pool::{HealthStatus, Observed, PoolStatus};
use crate::error::Error;
use crate::store::servers::{self, Server};
use crate::store::{allocations, stats, waiting};
use crate::tenants::SessionLimits;

/// Key of the advisory lock that the leader holds.
const LEADER: i64 = 0x5341_4153_4442_5f31;
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
/// Time between two looks at tenants' sessions.
const REAP: Duration = Duration::from_mins(1);
/// Hard limits of a tenant's session. Far above the roles' own timeouts: a dump or the upgrade of a module runs through.
const SESSION_LIMITS: SessionLimits =
    SessionLimits { idle_in_transaction: Duration::from_hours(1), statement: Duration::from_hours(4) };
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

    /// One try: nothing when another replica leads; otherwise works until the session that holds the lock is lost.
    async fn lead_once(&self) -> anyhow::Result<()> {
        // Detached: the lock ends with this session and must not travel back into the pool.
        let mut session = self.pool.acquire().await?.detach();
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
        }
    }

    async fn activate_for_ever(&self) -> anyhow::Result<()> {
        let mut listener =
            PgListener::connect_with(&self.pool).await.context("cannot listen for pool work")?;
        listener.listen("pool_work").await?;
        let mut tries: HashMap<Uuid, (Instant, Duration)> = HashMap::new();
        loop {
            let mut pause = ACTIVATION;
            let due = self.unreached(&mut tries).await?;
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
        let mut conn = self.pool.acquire().await?;
        let servers: Vec<Server> =
            servers::managed(&mut conn).await?.into_iter().filter(wants_check_soon).collect();
        tries.retain(|id, _| servers.iter().any(|server| server.id == *id));
        let now = Instant::now();
        let due = servers.iter().filter(|server| tries.get(&server.id).is_none_or(|(at, _)| *at <= now));
        Ok(due.map(|server| server.id).collect())
    }

    async fn tasks_for_ever(&self) -> anyhow::Result<()> {
        let mut listener = PgListener::connect_with(&self.pool).await.context("cannot listen for tasks")?;
        listener.listen("pool_work").await?;
        loop {
            self.run_tasks().await?;
            let pause = self.settings.health_interval.min(TASKS);
            if let Ok(notified) = tokio::time::timeout(pause, listener.recv()).await {
                notified.context("lost the listening connection")?;
            }
        }
    }

    async fn reap_for_ever(&self) -> anyhow::Result<()> {
        loop {
            tokio::time::sleep(REAP).await;
            let mut conn = self.pool.acquire().await?;
            let servers = servers::managed(&mut conn).await?;
            drop(conn);
            let serving = servers
                .into_iter()
                .filter(|server| matches!(server.status, PoolStatus::Active | PoolStatus::Full | PoolStatus::Maintenance))
                .map(|server| async move {
                    if let Err(error) = self.reap(&server, SESSION_LIMITS).await {
                        tracing::warn!(server.name = server.name, error = %error, "sessions could not be looked at");
                    }
                });
            futures::stream::iter(serving).buffer_unordered(CHECKS).collect::<()>().await;
        }
    }

    /// Ends tenants' sessions beyond the hard limits, also those of tenants that lifted their own (DBS-29). Gives their number.
    pub async fn reap(&self, server: &Server, limits: SessionLimits) -> Result<i64, Error> {
        let mut conn = self.pool.acquire().await?;
        let target = self.target(&mut conn, server).await?;
        drop(conn);
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
            let outcome = self.look(id, look).await;
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
            self.sweep().await?;
            tokio::time::sleep(SWEEP).await;
        }
    }

    /// Finishes what was left behind, forgets who stopped asking, orders what is missing, gives up what does not come.
    pub async fn sweep(&self) -> anyhow::Result<()> {
        let now = runtime::clock::now();
        let mut conn = self.pool.acquire().await?;
        let forgotten = waiting::forget(&mut conn, now - WAITING_LIFE).await?;
        let unfinished = allocations::unfinished(&mut conn, now - STUCK).await?;
        let managed = servers::managed(&mut conn).await?;
        self.metrics.show(&managed, stats::pending(&mut conn).await?);
        drop(conn);
        let late = managed.into_iter();
        if forgotten > 0 {
            tracing::info!(forgotten, "requests stopped waiting");
        }
        for server in
            late.filter(|server| server.status.is_in_the_making() && server.created_at < now - MAKING_LIFE)
        {
            self.give_up(server.id).await?;
        }
        for (id, purging) in unfinished {
            let outcome = if purging { self.purge(id).await } else { self.finish(id).await };
            if let Err(error) = outcome {
                tracing::warn!(allocation.id = %id, error = %error, "unfinished work failed again");
            }
        }
        self.sweep_moves(now).await?;
        self.sweep_rotations(now).await?;
        self.sweep_certificates(now).await?;
        let mut tx = self.pool.begin().await?;
        self.grow(&mut tx, now).await?;
        tx.commit().await?;
        Ok(())
    }
}

/// Pools that come up, pools in error that are ready again, and pools that stumbled and whose pod is ready: they serve again as soon as they
/// can, not with the next round.
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
