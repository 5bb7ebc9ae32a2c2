//! Monitoring (MON-01…05): wishes in SQL, followed by the leader of the workers.

use contracts::worker::v1::ClusterDifference;
use instance::store::steering::{self, Monitoring};
use instance::store::{self, Scope, audit, instances};
use uuid::Uuid;

use super::App;
use super::act::check_reason;
use super::caller::Caller;
use crate::error::Error;

/// A report older than this says nothing about now.
const FRESH: time::Duration = time::Duration::seconds(60);

/// Whether monitoring is on, as the word of the HTTP API.
pub fn word(enabled: bool) -> &'static str {
    if enabled { "running" } else { "stopped" }
}

/// The row; what an absent leader reported is not shown as if it were true now.
pub async fn read(app: &App) -> Result<Monitoring, Error> {
    let mut connection = app.pool.acquire().await?;
    let mut row = steering::read(&mut connection).await?;
    let now = store::now(&mut connection).await?;
    if row.reported_at.is_none_or(|at| now - at > FRESH) {
        row.leader = String::new();
        row.watch_connected = false;
    }
    Ok(row)
}

/// A command of operators.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    /// On.
    Start,
    /// Off: no drift repair, no following of status.
    Stop,
    /// On, with a fresh watch.
    Restart,
}

impl Command {
    /// Reads the word.
    pub fn parse(word: &str) -> Result<Self, Error> {
        match word {
            "start" => Ok(Self::Start),
            "stop" => Ok(Self::Stop),
            "restart" => Ok(Self::Restart),
            _ => Err(Error::invalid("command", "must be start, stop or restart")),
        }
    }

    const fn action(self) -> &'static str {
        match self {
            Self::Start => "monitoring.start",
            Self::Stop => "monitoring.stop",
            Self::Restart => "monitoring.restart",
        }
    }
}

/// Status word and whether something changed; with its audit row in one transaction.
pub async fn set(
    app: &App,
    caller: &Caller,
    command: Command,
    reason: &str,
) -> Result<(&'static str, bool), Error> {
    let reason = if command == Command::Stop { check_reason(Some(reason))? } else { reason.trim() };
    let mut tx = app.pool.begin().await?;
    let now = store::now(&mut tx).await?;
    let changed = match command {
        Command::Start => steering::switch(&mut tx, true, &caller.actor, reason, now).await?,
        Command::Stop => steering::switch(&mut tx, false, &caller.actor, reason, now).await?,
        Command::Restart => {
            steering::restart(&mut tx, &caller.actor, reason, now).await?;
            true
        }
    };
    if changed {
        audit::add(&mut tx, &caller.entry(command.action(), None, reason)).await?;
    }
    tx.commit().await?;
    Ok((word(command != Command::Stop), changed))
}

/// What a comparison gives: a task for the leader, or the differences now.
#[derive(Debug, Clone)]
pub enum Reconciled {
    /// The leader takes it.
    Task(Uuid),
    /// A dry run changes nothing.
    Differences(Vec<ClusterDifference>),
}

/// Compares rows with the cluster.
pub async fn reconcile(
    app: &App,
    caller: &Caller,
    instance: Option<Uuid>,
    dry_run: bool,
) -> Result<Reconciled, Error> {
    if let Some(id) = instance {
        let mut connection = app.pool.acquire().await?;
        instances::find(&mut connection, id, Scope::All).await?.ok_or(Error::NotFound("instance"))?;
    }
    if dry_run {
        return Ok(Reconciled::Differences(app.worker.compare(instance).await?));
    }
    let task = Uuid::now_v7();
    let mut tx = app.pool.begin().await?;
    let now = store::now(&mut tx).await?;
    steering::request_reconcile(&mut tx, task, instance, now).await?;
    audit::add(&mut tx, &caller.entry("monitoring.reconcile", instance, "")).await?;
    tx.commit().await?;
    Ok(Reconciled::Task(task))
}
