//! Changing the password of a server's administrator (DBS-32): a task of the leader. PostgreSQL keeps one
//! password for a role, and this service is its only user: the next one is written down before the server
//! gets it, and until it is the one both are tried ([`App::target`]). So whatever dies in between, this
//! service gets in; and the Secret follows by its hash, so that a server made anew from it gets the password
//! of today.

use serde_json::{Value, json};
use uuid::Uuid;

use super::pools::lock_named;
use super::{App, tenant_error};
use crate::domain::caller::Caller;
use crate::domain::pool::ServerType;
use crate::domain::server::Server;
use crate::domain::{TaskKind, TaskState};
use crate::error::Error;
use crate::secrets::{generate_password, secret_hash};
use crate::store::servers::{self, wake_leader};
use crate::store::tasks::{self, New};
use crate::store::{audit, secrets};

impl App {
    /// Queues it.
    pub async fn rotate_pool(&self, caller: &Caller, pool: &str, reason: &str) -> Result<Uuid, Error> {
        let now = runtime::clock::now();
        let mut tx = self.pool.begin().await?;
        let server = lock_named(&mut tx, pool).await?;
        changeable(&server)?;
        let new = New {
            kind: TaskKind::RotatePoolPassword,
            state: TaskState::Queued,
            by: &caller.actor,
            key: None,
            server: Some(server.id),
            input: json!({}),
        };
        let id = tasks::insert(&mut tx, &new, now).await?;
        audit::add(&mut tx, caller, "pool.rotate", &server.name, reason).await?;
        wake_leader(&mut tx).await?;
        tx.commit().await?;
        Ok(id)
    }

    /// Does it. What an earlier try left is ended first: it is the same password.
    pub async fn change_pool_password(&self, id: Uuid) -> Result<Value, Error> {
        let mut tx = self.pool.begin().await?;
        let server = servers::lock(&mut tx, id).await?.ok_or(Error::NotFound("pool"))?;
        changeable(&server)?;
        if secrets::next_server(&mut tx, id).await?.is_none() {
            let password = generate_password()?;
            let sealed = self.vault.seal(id, &password)?;
            secrets::put_next_server(&mut tx, id, &sealed, &secret_hash(id, &password)).await?;
        }
        tx.commit().await?;
        self.fail.at("pool_rotate.noted");

        let mut connection = self.pool.acquire().await?;
        let Some((sealed, hash)) = secrets::next_server(&mut connection, id).await? else {
            return Err(Error::Conflict);
        };
        drop(connection);
        let target = self.target(&server).await?;
        if target.secret_hash != hash {
            let password = self.vault.open(id, &sealed)?;
            let changed = self.tenants.set_admin_password(&target, &password).await;
            changed.map_err(|error| tenant_error(&server.name, error))?;
        }
        self.fail.at("pool_rotate.changed");

        // It signs in with the next one, or it is not the one.
        if self.target(&server).await?.secret_hash != hash {
            return Err(Error::Conflict);
        }
        let mut tx = self.pool.begin().await?;
        let server = servers::lock(&mut tx, id).await?.ok_or(Error::NotFound("pool"))?;
        if !secrets::promote_server(&mut tx, id, &hash).await? {
            return Err(Error::Conflict);
        }
        let saved = servers::save(&mut tx, &server).await?;
        servers::request_objects(&mut tx, &saved).await?;
        self.fail.at("pool_rotate.before_commit");
        tx.commit().await?;
        tracing::info!(server.name = saved.name, "the administrator has another password");
        Ok(json!({"pool": saved.name, "admin_user": saved.admin_user}))
    }
}

fn changeable(server: &Server) -> Result<(), Error> {
    if server.server_type == ServerType::Platform {
        return Err(Error::InvalidState("the platform's own server is not changed here".into()));
    }
    if server.provisioned_at.is_none() || !server.status.wants_objects() {
        return Err(Error::InvalidState(["the pool is ", server.status.as_str()].concat()));
    }
    Ok(())
}
