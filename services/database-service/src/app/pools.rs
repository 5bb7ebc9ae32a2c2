//! What administrators do with pools (DBS-02, DBS-12, DBS-13). Each change and its audit row are one
//! transaction.

use serde_json::json;
use sqlx::PgConnection;
use time::OffsetDateTime;
use uuid::Uuid;

use super::App;
use crate::domain::allocation::Allocation;
use crate::domain::caller::Caller;
use crate::domain::pool::{PoolEvent, PoolStatus, ServerType};
use crate::domain::server::Server;
use crate::domain::task::Task;
use crate::domain::{TaskKind, TaskState};
use crate::error::Error;
use crate::store::allocations;
use crate::store::servers;
use crate::store::{audit, tasks};

/// Slots that a shared pool may have.
const SLOTS: std::ops::RangeInclusive<i32> = 1..=500;
/// Priorities of pools.
const PRIORITIES: std::ops::RangeInclusive<i32> = 0..=1000;

/// A pool to order.
#[derive(Debug, Clone, Default)]
pub struct Provision {
    /// Slots; absent: the setting.
    pub max_instances: Option<i32>,
    /// `Idempotency-Key`.
    pub key: Option<String>,
}

/// What to change; absent stays.
#[derive(Debug, Clone, Default)]
pub struct Change {
    /// Into or out of maintenance.
    pub status: Option<PoolStatus>,
    /// Slots.
    pub max_instances: Option<i32>,
    /// Lower is chosen first.
    pub priority: Option<i32>,
    /// Why.
    pub reason: String,
}

impl App {
    /// Orders one shared pool; the task ends when it is active. A repeat with the same key gives the first
    /// answer.
    pub async fn provision_pool(&self, caller: &Caller, wanted: &Provision) -> Result<(Uuid, Server), Error> {
        let slots = wanted.max_instances.unwrap_or(self.settings.max_instances);
        if !SLOTS.contains(&slots) {
            return Err(Error::Invalid { field: "max_instances", message: "must be from 1 to 500" });
        }
        let now = runtime::clock::now();
        let mut tx = self.pool.begin().await?;
        // Also puts two calls with the same key one after the other.
        servers::lock_growth(&mut tx).await?;
        if let Some(key) = &wanted.key
            && let Some(known) = tasks::find_by_key(&mut tx, &caller.actor, key).await?
        {
            return repeated(&mut tx, &known, slots).await;
        }
        if let Some(open) = servers::lock_open_in_the_making(&mut tx).await?.into_iter().next() {
            return Err(Error::PoolInProgress(Box::new(open)));
        }
        let server = self.order(&mut tx, slots, None, &caller.actor, now).await?;
        let task = tasks::New {
            kind: TaskKind::ProvisionPool,
            state: TaskState::Running,
            by: &caller.actor,
            key: wanted.key.as_deref(),
            server: Some(server.id),
            input: json!({"max_instances": slots}),
        };
        let task = tasks::insert(&mut tx, &task, now).await?;
        audit::add(&mut tx, caller, "pool.provision", &server.name, "").await?;
        tx.commit().await?;
        Ok((task, server))
    }

    /// Changes a pool.
    pub async fn update_pool(
        &self,
        caller: &Caller,
        pool: &str,
        change: &Change,
    ) -> Result<(Server, Vec<Allocation>), Error> {
        check_shape(change)?;
        let now = runtime::clock::now();
        let mut tx = self.pool.begin().await?;
        let before = lock_named(&mut tx, pool).await?;
        let mut server = before.clone();
        apply_change(&mut server, change, now)?;
        if server != before {
            server = servers::save(&mut tx, &server).await?;
            if server.fill.max != before.fill.max {
                // Tuning follows the slots: the worker applies the objects again.
                servers::request_objects(&mut tx, &server).await?;
            }
        }
        let text = [change.reason.as_str(), &described(&before, &server)].concat();
        audit::add(&mut tx, caller, "pool.update", &server.name, &text).await?;
        let held = allocations::on_server(&mut tx, server.id).await?;
        tx.commit().await?;
        Ok((server, held))
    }

    /// Orders the removal of a pool that holds nothing. Repeating it is a success.
    pub async fn delete_pool(&self, caller: &Caller, pool: &str, reason: &str) -> Result<Server, Error> {
        let now = runtime::clock::now();
        let mut tx = self.pool.begin().await?;
        let mut server = lock_named(&mut tx, pool).await?;
        if server.server_type == ServerType::Platform {
            return Err(Error::InvalidState("the platform's own server is not removed here".into()));
        }
        if !server.status.wants_objects() {
            return Ok(server);
        }
        if server.fill.current > 0 {
            return Err(Error::PoolNotEmpty { pool: server.name, allocations: server.fill.current });
        }
        server = order_removal(&mut tx, server, now).await?;
        audit::add(&mut tx, caller, "pool.delete", &server.name, reason).await?;
        tx.commit().await?;
        tracing::info!(server.name = server.name, "removal ordered");
        Ok(server)
    }
}

/// Walks an empty server to `deprovisioning` by the state machine, each move saved, and tells the worker. The
/// caller holds the row's lock and has seen that it is empty.
pub(super) async fn order_removal(
    connection: &mut PgConnection,
    mut server: Server,
    now: OffsetDateTime,
) -> Result<Server, Error> {
    let first = match server.status {
        PoolStatus::Provisioning | PoolStatus::Initializing => Some(PoolEvent::GivenUp),
        PoolStatus::Maintenance => Some(PoolEvent::MaintenanceEnded),
        PoolStatus::Full => Some(PoolEvent::FillChanged),
        _ => None,
    };
    if let Some(event) = first {
        server.apply(event, now)?;
        server.booked_out = false;
        server = servers::save(connection, &server).await?;
    }
    server.apply(PoolEvent::RemovalOrdered, now)?;
    let saved = servers::save(connection, &server).await?;
    servers::request_objects(connection, &saved).await?;
    Ok(saved)
}

/// The answer to a call that was made before.
async fn repeated(connection: &mut PgConnection, task: &Task, slots: i32) -> Result<(Uuid, Server), Error> {
    let same = task.kind == TaskKind::ProvisionPool.as_str()
        && task.input.get("max_instances") == Some(&json!(slots));
    let Some(server) = task.db_server_id.filter(|_| same) else { return Err(Error::IdempotencyMismatch) };
    let server = servers::find(connection, server).await?.ok_or(Error::Conflict)?;
    Ok((task.id, server))
}

/// A server by id or name, locked.
pub(super) async fn lock_named(connection: &mut PgConnection, id_or_name: &str) -> Result<Server, Error> {
    let id = match Uuid::parse_str(id_or_name) {
        Ok(id) => Some(id),
        Err(_) => servers::find_by_name(connection, id_or_name).await?.map(|server| server.id),
    };
    let Some(id) = id else { return Err(Error::NotFound("pool")) };
    servers::lock(connection, id).await?.ok_or(Error::NotFound("pool"))
}

fn check_shape(change: &Change) -> Result<(), Error> {
    if change.max_instances.is_some_and(|slots| !SLOTS.contains(&slots)) {
        return Err(Error::Invalid { field: "max_instances", message: "must be from 1 to 500" });
    }
    if change.priority.is_some_and(|priority| !PRIORITIES.contains(&priority)) {
        return Err(Error::Invalid { field: "priority", message: "must be from 0 to 1000" });
    }
    if !matches!(change.status, None | Some(PoolStatus::Active | PoolStatus::Maintenance)) {
        return Err(Error::Invalid { field: "status", message: "must be active or maintenance" });
    }
    if change.status.is_none() && change.max_instances.is_none() && change.priority.is_none() {
        return Err(Error::Invalid {
            field: "status",
            message: "or max_instances or priority must be given",
        });
    }
    Ok(())
}

/// Pure: the row after the change.
fn apply_change(server: &mut Server, change: &Change, now: OffsetDateTime) -> Result<(), Error> {
    if !server.status.wants_objects() {
        return Err(Error::InvalidState("the pool is being removed".into()));
    }
    if let Some(slots) = change.max_instances
        && slots != server.fill.max
    {
        if server.server_type != ServerType::Shared {
            return Err(Error::InvalidState("only a shared pool has slots to change".into()));
        }
        if slots < server.fill.current {
            return Err(Error::BelowCurrentUse { wanted: slots, current: server.fill.current });
        }
        server.fill.max = slots;
        server.generation += 1;
        server.apply(PoolEvent::FillChanged, now)?;
    }
    if let Some(priority) = change.priority {
        server.priority = priority;
    }
    match change.status {
        Some(PoolStatus::Maintenance) => server.apply(PoolEvent::MaintenanceBegun, now)?,
        Some(_) => server.apply(PoolEvent::MaintenanceEnded, now)?,
        None => {}
    }
    Ok(())
}

/// What changed, for the audit log.
fn described(before: &Server, after: &Server) -> String {
    let parts = [
        ("status", before.status.to_string(), after.status.to_string()),
        ("max_instances", before.fill.max.to_string(), after.fill.max.to_string()),
        ("priority", before.priority.to_string(), after.priority.to_string()),
    ];
    let changed = parts.iter().filter(|(_, from, to)| from != to);
    let words: Vec<String> =
        changed.map(|(name, from, to)| [*name, " ", from.as_str(), " to ", to.as_str()].concat()).collect();
    if words.is_empty() { String::new() } else { [" (", &words.join(", "), ")"].concat() }
}
