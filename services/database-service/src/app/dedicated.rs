//! A tenant's own server, ordered before its instance is there (DBS-10).

use serde_json::json;
use sqlx::PgConnection;
use time::{Duration, OffsetDateTime};
use uuid::Uuid;

use super::App;
use super::allocate::{Outcome, Wanted};
use super::pools::order_removal;
use crate::domain::allocation::Allocation;
use crate::domain::caller::Caller;
use crate::domain::names::ExternalId;
use crate::domain::pool::{PoolStatus, ServerType};
use crate::domain::server::Server;
use crate::domain::{TaskKind, TaskState};
use crate::error::Error;
use crate::store::servers;
use crate::store::{audit, tasks};

/// A server is not taken for forgotten before whoever ordered it had the time to ask again.
const LEAST_AGE: Duration = Duration::minutes(20);

/// How far it is.
#[derive(Debug, Clone)]
pub enum Dedicated {
    /// The tenant may connect.
    Allocated(Box<Allocation>, Box<Server>),
    /// Being made: task and server.
    Provisioning(Uuid, Box<Server>),
}

impl App {
    /// Nobody wants the server any more that was ordered for this instance: it goes, unless somebody's data
    /// is on it or an operator holds it back.
    pub(super) async fn forgo_dedicated(
        &self,
        connection: &mut PgConnection,
        instance: &ExternalId,
        now: OffsetDateTime,
    ) -> Result<(), Error> {
        let Some(server) = servers::lock_dedicated(connection, instance).await? else { return Ok(()) };
        let goes = server.status.wants_objects() && server.status != PoolStatus::Maintenance;
        if goes && server.fill.current == 0 {
            tracing::info!(server.name = server.name, "a server that nobody waits for is removed");
            order_removal(connection, server, now).await?;
        }
        Ok(())
    }

    /// The same for servers whose instance stopped asking: a create that was given up, a move that ended
    /// before it had its slot.
    pub(super) async fn sweep_dedicated(&self, now: OffsetDateTime) -> Result<(), Error> {
        let mut connection = self.pool.acquire().await?;
        let forgotten = servers::forgotten_dedicated(&mut connection, now - LEAST_AGE, None).await?;
        drop(connection);
        for instance in forgotten {
            let Some(instance) = ExternalId::try_new(&instance) else { continue };
            let mut tx = self.pool.begin().await?;
            // Who asks now keeps it: a request takes the server's lock before it notes that it waits.
            servers::lock_dedicated(&mut tx, &instance).await?;
            let still = servers::forgotten_dedicated(&mut tx, now - LEAST_AGE, Some(&instance)).await?;
            if !still.is_empty() {
                self.forgo_dedicated(&mut tx, &instance, now).await?;
            }
            tx.commit().await?;
        }
        Ok(())
    }

    /// Orders the server, or tells how far it is; the tenant gets its database there as soon as it is ready
    /// and this is called again.
    pub async fn provision_dedicated(&self, caller: &Caller, wanted: Wanted) -> Result<Dedicated, Error> {
        let instance = wanted.instance.clone();
        match self.allocate(wanted).await? {
            Outcome::Allocated(_, server) if server.server_type != ServerType::Dedicated => {
                Err(Error::InvalidState("the instance has its database on a shared pool: move it".into()))
            }
            Outcome::Allocated(allocation, server) => Ok(Dedicated::Allocated(allocation, server)),
            Outcome::Provisioning => {
                self.fail.at("dedicated.before_task");
                let now = runtime::clock::now();
                let mut tx = self.pool.begin().await?;
                let server = servers::lock_dedicated(&mut tx, &instance).await?.ok_or(Error::Conflict)?;
                let known = tasks::of_server(&mut tx, TaskKind::ProvisionDedicated, server.id).await?;
                let task = if let Some(task) = known {
                    task.id
                } else {
                    let new = tasks::New {
                        kind: TaskKind::ProvisionDedicated,
                        state: TaskState::Running,
                        by: &caller.actor,
                        key: None,
                        server: Some(server.id),
                        input: json!({"instance_id": instance.as_str()}),
                    };
                    audit::add(&mut tx, caller, "pool.provision_dedicated", &server.name, instance.as_str())
                        .await?;
                    tasks::insert(&mut tx, &new, now).await?
                };
                tx.commit().await?;
                Ok(Dedicated::Provisioning(task, Box::new(server)))
            }
        }
    }
}
