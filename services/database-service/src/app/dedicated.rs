//! A tenant's own server, ordered before its instance is there (DBS-10).

use serde_json::json;
use uuid::Uuid;

use super::allocate::{Outcome, Wanted};
use super::{App, By};
use crate::domain::pool::ServerType;
use crate::domain::{TaskKind, TaskState};
use crate::error::Error;
use crate::store::allocations::Allocation;
use crate::store::servers::{self, Server};
use crate::store::{audit, tasks};

/// How far it is.
#[derive(Debug, Clone)]
pub enum Dedicated {
    /// The tenant may connect.
    Allocated(Box<Allocation>, Box<Server>),
    /// Being made: task and server.
    Provisioning(Uuid, Box<Server>),
}

impl App {
    /// Orders the server, or tells how far it is; the tenant gets its database there as soon as it is ready and this is called again.
    pub async fn provision_dedicated(&self, by: &By, wanted: Wanted) -> Result<Dedicated, Error> {
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
                        by: &by.actor,
                        key: None,
                        server: Some(server.id),
                        input: json!({"instance_id": instance.as_str()}),
                    };
                    audit::add(&mut tx, by, "pool.provision_dedicated", &server.name, instance.as_str())
                        .await?;
                    tasks::insert(&mut tx, &new, now).await?
                };
                tx.commit().await?;
                Ok(Dedicated::Provisioning(task, Box::new(server)))
            }
        }
    }
}
