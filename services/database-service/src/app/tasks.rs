//! Tasks: asked for by administrators or begun by the schedule, done by the leader, kept as a history
//! (DBS-18, DBS-20, DBS-21).

use serde_json::{Value, json};
use time::{Duration, OffsetDateTime};
use uuid::Uuid;

use super::App;
use super::check::Look;
use super::remote::bounded;
use crate::domain::caller::{Caller, SCHEDULE};
use crate::domain::pool::PoolStatus;
use crate::domain::server::Server;
use crate::domain::task::Task;
use crate::domain::{TaskKind, TaskState};
use crate::error::Error;
use crate::store::servers;
use crate::store::tasks::{self, New};
use crate::store::{audit, servers::wake_leader};

/// A task that is running for so long was left by a leader that died.
const LEFT_AFTER: Duration = Duration::minutes(10);
/// Time between two clean-ups of the schedule.
const CLEANUP_INTERVAL: Duration = Duration::hours(24);

impl App {
    /// Queues a task for the leader.
    pub async fn start_task(&self, caller: &Caller, kind: TaskKind, reason: &str) -> Result<Uuid, Error> {
        let now = runtime::clock::now();
        let mut tx = self.pool.begin().await?;
        let new = New {
            kind,
            state: TaskState::Queued,
            by: &caller.actor,
            key: None,
            server: None,
            input: json!({}),
        };
        let id = tasks::insert(&mut tx, &new, now).await?;
        audit::add(&mut tx, caller, "task.start", kind.as_str(), reason).await?;
        wake_leader(&mut tx).await?;
        tx.commit().await?;
        Ok(id)
    }

    /// One task.
    pub async fn task(&self, id: Uuid) -> Result<Task, Error> {
        let mut connection = self.pool.acquire().await?;
        let task = tasks::find(&mut connection, id).await?.ok_or(Error::NotFound("task"))?;
        self.followed(&mut connection, task).await
    }

    /// The history, youngest first.
    pub async fn list_tasks(
        &self,
        kind: Option<&str>,
        limit: i64,
        offset: i64,
    ) -> Result<(Vec<Task>, i64), Error> {
        let mut connection = self.pool.acquire().await?;
        let (tasks, total) = tasks::list(&mut connection, kind, limit, offset).await?;
        let mut followed = Vec::with_capacity(tasks.len());
        for task in tasks {
            followed.push(self.followed(&mut connection, task).await?);
        }
        Ok((followed, total))
    }

    /// A task that makes a server is as far as its server; the end is written once somebody sees it.
    async fn followed(&self, connection: &mut sqlx::PgConnection, mut task: Task) -> Result<Task, Error> {
        let makes = matches!(task.kind.parse(), Ok(TaskKind::ProvisionPool | TaskKind::ProvisionDedicated));
        let (true, TaskState::Running, Some(server)) = (makes, task.state, task.db_server_id) else {
            return Ok(task);
        };
        let Some(server) = servers::find(connection, server).await? else { return Ok(task) };
        let Some(outcome) = made(&server) else { return Ok(task) };
        let at = runtime::clock::now();
        tasks::finish(connection, task.id, outcome.as_ref().map_err(String::as_str), at).await?;
        task.finished_at = Some(at);
        match outcome {
            Ok(result) => (task.state, task.result) = (TaskState::Succeeded, Some(result)),
            Err(error) => (task.state, task.error) = (TaskState::Failed, error),
        }
        Ok(task)
    }

    /// The leader's part: begins what the schedule asks for, does what is queued. Gives the number of tasks
    /// done.
    pub async fn run_tasks(&self) -> anyhow::Result<usize> {
        self.schedule().await?;
        let mut done = 0;
        loop {
            let now = runtime::clock::now();
            let mut connection = self.pool.acquire().await?;
            let Some(task) = tasks::take(&mut connection, now - LEFT_AFTER, now).await? else {
                return Ok(done);
            };
            drop(connection);
            let outcome = match task.kind.parse() {
                Ok(TaskKind::HealthCheck) => Box::pin(self.health_round()).await,
                Ok(TaskKind::Cleanup) => Box::pin(self.cleanup(&task.requested_by)).await,
                Ok(TaskKind::RotatePoolPassword) => match task.db_server_id {
                    Some(server) => bounded(Box::pin(self.change_pool_password(server))).await,
                    None => Err(Error::NotFound("pool")),
                },
                _ => Err(Error::InvalidState("the task is of an unknown kind".into())),
            };
            let outcome = outcome.map_err(|error| {
                tracing::warn!(task.kind, error = %error, "task failed");
                safe(&error)
            });
            let mut connection = self.pool.acquire().await?;
            let ended = outcome.as_ref().map_err(String::as_str);
            tasks::finish(&mut connection, task.id, ended, runtime::clock::now()).await?;
            done += 1;
        }
    }

    /// Queues the schedule's tasks whose time has come. Also a round that somebody asked for counts.
    async fn schedule(&self) -> Result<(), Error> {
        let now = runtime::clock::now();
        let interval = Duration::try_from(self.settings.health_interval).unwrap_or(Duration::MAX);
        let mut tx = self.pool.begin().await?;
        for (kind, interval) in [(TaskKind::HealthCheck, interval), (TaskKind::Cleanup, CLEANUP_INTERVAL)] {
            if due(tasks::last_started(&mut tx, kind).await?, interval, now) {
                let new = New {
                    kind,
                    state: TaskState::Queued,
                    by: SCHEDULE,
                    key: None,
                    server: None,
                    input: json!({}),
                };
                tasks::insert(&mut tx, &new, now).await?;
            }
        }
        tx.commit().await?;
        Ok(())
    }

    /// Checks all servers that are there, those in error included (DBS-18).
    pub async fn health_round(&self) -> Result<Value, Error> {
        let start = std::time::Instant::now();
        let mut connection = self.pool.acquire().await?;
        let servers = servers::managed(&mut connection).await?;
        drop(connection);
        let due = servers.into_iter().filter(is_checked).map(|server| server.id).collect::<Vec<_>>();
        let asked = due.len();
        let checked = self.check_all(due, Look::Round).await;
        let count = |word: &str| checked.iter().filter(|server| server.health.as_str() == word).count();
        let unwell: Vec<Value> = checked
            .iter()
            .filter(|server| server.failures > 0)
            .map(|server| json!({"pool": server.name, "health_status": server.health.as_str(), "failures": server.failures, "error": server.last_error}))
            .collect();
        Ok(json!({
            "checked": asked, "healthy": count("healthy"), "degraded": count("degraded"), "unhealthy": count("unhealthy"),
            "duration_ms": u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX), "pools": unwell,
        }))
    }
}

/// Servers of the round: what is being made is looked at by the activation loop, more often.
fn is_checked(server: &Server) -> bool {
    server.status.wants_objects() && !server.platform_host.is_empty() && !server.status.is_in_the_making()
}

fn due(last: Option<OffsetDateTime>, interval: Duration, now: OffsetDateTime) -> bool {
    last.is_none_or(|last| now - last >= interval)
}

/// How the making of a server ended; `None` while it goes on.
fn made(server: &Server) -> Option<Result<Value, String>> {
    if server.provisioned_at.is_some() {
        return Some(Ok(
            json!({"pool_id": server.id, "name": server.name, "status": server.status.as_str()}),
        ));
    }
    match server.status {
        PoolStatus::Error => Some(Err(server.last_error.clone())),
        PoolStatus::Deprovisioning | PoolStatus::Deprovisioned => {
            Some(Err("it was removed before it came up".into()))
        }
        _ => None,
    }
}

/// What an administrator may read of a failure.
fn safe(error: &Error) -> String {
    match error {
        Error::Database(_) | Error::Internal(_) => "something went wrong on our side; see the log".into(),
        error => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// DBS-18
    #[test]
    fn a_round_is_due_when_its_interval_is_over() {
        let now = OffsetDateTime::UNIX_EPOCH;
        let minutes = Duration::minutes(5);
        assert!(due(None, minutes, now));
        assert!(due(Some(now - minutes), minutes, now));
        assert!(!due(Some(now - Duration::minutes(4)), minutes, now));
    }
}
