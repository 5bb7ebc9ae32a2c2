//! Changing a tenant's password (DBS-32), a call a step of the worker's operation. Every call may be repeated
//! after a crash.
//!
//! PostgreSQL keeps one password for a role, so for a while the database has two roles. From `ready` to the
//! end of `switched` both passwords are valid: whatever dies in between, a pod that starts with the old
//! Secret or the new one gets in.

use secrecy::SecretString;
use serde_json::json;
use time::{Duration, OffsetDateTime};
use tracing::Instrument as _;
use uuid::Uuid;

use super::remote::bounded;
use super::usable::require_in_use;
use super::work::Work;
use super::{App, tenant_error};
use crate::domain::allocation::Allocation;
use crate::domain::caller::Caller;
use crate::domain::names::{ExternalId, other_login};
use crate::domain::rotation::{RotationChange, RotationState, RotationStep};
use crate::domain::server::Server;
use crate::domain::{AllocationState, TaskKind};
use crate::error::Error;
use crate::secrets::generate_password;
use crate::store::allocations;
use crate::store::rotations::{self, Rotation};
use crate::store::servers;
use crate::store::tasks::{self, New};
use crate::store::{self, audit, moves};
use crate::tenants::Tenant;

/// A new role that is being dropped and that nobody touched for so long is the sweep's.
const STUCK: Duration = Duration::seconds(30);
/// Longer than any operation lives: what did not get to its switch by then is given up.
const FORGOTTEN: Duration = Duration::hours(2);
/// An old role whose workload never came back to say so goes when nobody was seen to use it for so long.
const UNUSED: Duration = Duration::hours(24);

impl App {
    /// The task of a rotation. An operation does it; without one, for an id that is no instance's, it is done
    /// here and now.
    pub async fn rotate_allocation(
        &self,
        caller: &Caller,
        instance: &ExternalId,
        reason: &str,
        operation: Option<Uuid>,
    ) -> Result<Uuid, Error> {
        let now = runtime::clock::now();
        let mut tx = self.pool.begin().await?;
        let allocation =
            allocations::find_by_instance(&mut tx, instance).await?.ok_or(Error::NotFound("allocation"))?;
        require_in_use(&allocation)?;
        let id = operation.unwrap_or_else(Uuid::now_v7);
        self.note_task(&mut tx, id, &caller.actor, &allocation, now).await?;
        audit::add(&mut tx, caller, "allocation.rotate", instance.as_str(), reason).await?;
        tx.commit().await?;
        if operation.is_none() {
            let (this, instance) = (self.clone(), instance.clone());
            let work = async move {
                if let Err(error) = this.begin_rotation(id, &instance).await {
                    this.abort_rotation(id).await?;
                    return Err(error);
                }
                this.switch_rotation(id).await?;
                this.retire_rotation(id).await
            };
            tokio::spawn(work.in_current_span()).await.map_err(|error| Error::Internal(error.into()))??;
        }
        Ok(id)
    }

    async fn note_task(
        &self,
        connection: &mut sqlx::PgConnection,
        id: Uuid,
        by: &str,
        allocation: &Allocation,
        now: OffsetDateTime,
    ) -> Result<(), Error> {
        let new = New {
            kind: TaskKind::RotatePassword,
            state: crate::domain::TaskState::Running,
            by,
            key: None,
            server: Some(allocation.db_server_id),
            input: json!({"instance_id": allocation.instance_id}),
        };
        tasks::insert_known(connection, id, &new, now).await?;
        Ok(())
    }

    /// A second role beside the one in use; both passwords are valid afterwards.
    pub async fn begin_rotation(&self, id: Uuid, instance: &ExternalId) -> Result<(), Error> {
        let mut connection = self.pool.acquire().await?;
        let allocation = allocations::find_by_instance(&mut connection, instance)
            .await?
            .ok_or(Error::NotFound("allocation"))?;
        drop(connection);
        let mut work = self.work(allocation.db_server_id, allocation.id).await?;
        // The password is written down before the role gets it.
        let mut tx = work.end(self).await?;
        self.note_rotation(&mut tx, id, allocation.id).await?;
        tx.commit().await?;
        self.fail.at("rotate.noted");

        let (rotation, allocation, server) = self.rotation_and_server(id).await?;
        let Some(change) = rotation.state.after(RotationStep::MakeRole)? else { return Ok(()) };
        require_in_use(&allocation)?;
        let target = self.target(&server).await?;
        let second = Tenant {
            allocation: allocation.id,
            name: rotation.new_user.clone(),
            password: self.new_password(&rotation)?,
            limits: allocation.plan_tier.role_limits(),
        };
        self.tenants
            .add_login(&target, &allocation.db_name, &rotation.old_user, &second)
            .await
            .map_err(|error| tenant_error(&server.name, error))?;
        let now = runtime::clock::now();
        self.fail.at("rotate.before_ready");
        let mut tx = work.end(self).await?;
        advance(&mut tx, &rotation, change, now).await?;
        tx.commit().await?;
        Ok(())
    }

    /// The row of this rotation: there already, taken over from an operation that died, or new.
    async fn note_rotation(
        &self,
        connection: &mut sqlx::PgConnection,
        id: Uuid,
        allocation: Uuid,
    ) -> Result<(), Error> {
        if rotations::find(connection, id).await?.is_some() {
            return Ok(());
        }
        let now = runtime::clock::now();
        let allocation = allocations::find(connection, allocation).await?.ok_or(Error::Conflict)?;
        require_in_use(&allocation)?;
        if moves::of_allocation(connection, allocation.id).await?.iter().any(|other| !other.state.is_over()) {
            return Err(Error::MoveInProgress);
        }
        self.note_task(connection, id, "instance-worker", &allocation, now).await?;
        match rotations::open(connection, allocation.id).await? {
            Some(left) if left.state == RotationState::Aborting => Err(Error::RotationInProgress),
            Some(left) => {
                tasks::finish(connection, left.id, Err("another operation went on with it"), now).await?;
                rotations::take_over(connection, left.id, id, now).await?;
                Ok(())
            }
            None => {
                let new = Rotation {
                    id,
                    allocation_id: allocation.id,
                    server: allocation.db_server_id,
                    state: RotationState::Begun,
                    new_user: other_login(&allocation.db_name, &allocation.db_user),
                    old_user: allocation.db_user,
                    sealed: Some(self.vault.seal(allocation.id, &generate_password()?)?),
                    updated_at: now,
                };
                rotations::insert(connection, &new, now).await?;
                Ok(())
            }
        }
    }

    fn new_password(&self, rotation: &Rotation) -> Result<SecretString, Error> {
        let sealed = rotation.sealed.as_ref().ok_or(Error::NotFound("secret"))?;
        Ok(self.vault.open(rotation.allocation_id, sealed)?)
    }

    /// To work where both roles are, with nobody else at them.
    async fn work_on_rotation(&self, id: Uuid) -> Result<Work, Error> {
        let mut connection = self.pool.acquire().await?;
        let found = rotations::find(&mut connection, id).await?.ok_or(Error::NotFound("rotation"))?;
        drop(connection);
        self.work(found.server, found.allocation_id).await
    }

    /// The rotation, its allocation and the server of its roles, while nobody else works on them.
    async fn rotation_and_server(&self, id: Uuid) -> Result<(Rotation, Allocation, Server), Error> {
        let mut connection = self.pool.acquire().await?;
        let found = rotations::find(&mut connection, id).await?.ok_or(Error::NotFound("rotation"))?;
        let allocation =
            allocations::find(&mut connection, found.allocation_id).await?.ok_or(Error::Conflict)?;
        let server = servers::find(&mut connection, found.server).await?.ok_or(Error::Conflict)?;
        Ok((found, allocation, server))
    }

    /// The one decision: role and password in one transaction. A repeat gives the same answer.
    pub async fn switch_rotation(&self, id: Uuid) -> Result<(Allocation, Server), Error> {
        let now = runtime::clock::now();
        let mut tx = self.pool.begin().await?;
        let found = rotations::find(&mut tx, id).await?.ok_or(Error::NotFound("rotation"))?;
        allocations::lock_work(&mut tx, found.allocation_id).await?;
        let rotation = rotations::find(&mut tx, id).await?.ok_or(Error::NotFound("rotation"))?;
        if let Some(change) = rotation.state.after(RotationStep::Switch)? {
            let sealed = rotation.sealed.as_ref().ok_or(Error::NotFound("secret"))?;
            if !rotations::relogin(&mut tx, &rotation, now).await? {
                return Err(Error::InvalidState("the database was given up or moved meanwhile".into()));
            }
            store::secrets::put_allocation(&mut tx, rotation.allocation_id, sealed).await?;
            advance(&mut tx, &rotation, change, now).await?;
            self.fail.at("rotate.before_switch");
        }
        let allocation = allocations::find(&mut tx, rotation.allocation_id).await?.ok_or(Error::Conflict)?;
        let server = servers::find(&mut tx, allocation.db_server_id).await?.ok_or(Error::Conflict)?;
        tx.commit().await?;
        self.fail.at("rotate.switched");
        Ok((allocation, server))
    }

    /// The workload uses the new role: the old one hands over what it owns, and goes. Goes on when the caller
    /// goes away.
    pub async fn retire_rotation(&self, id: Uuid) -> Result<(), Error> {
        let this = self.clone();
        let work = async move { this.retire(id).await };
        tokio::spawn(work.in_current_span()).await.map_err(|error| Error::Internal(error.into()))?
    }

    async fn retire(&self, id: Uuid) -> Result<(), Error> {
        let mut work = self.work_on_rotation(id).await?;
        let (rotation, allocation, server) = self.rotation_and_server(id).await?;
        let Some(change) = rotation.state.after(RotationStep::Retire)? else { return Ok(()) };
        // A moved database left both roles behind, closed; they go with the source.
        if allocation.db_server_id == rotation.server && allocation.state != AllocationState::Purged {
            let target = self.target(&server).await?;
            let (old, new) = (&rotation.old_user, &rotation.new_user);
            self.tenants
                .retire_login(&target, allocation.id, &allocation.db_name, old, new)
                .await
                .map_err(|error| tenant_error(&server.name, error))?;
        }
        let now = runtime::clock::now();
        let mut tx = work.end(self).await?;
        advance(&mut tx, &rotation, change, now).await?;
        let result = json!({"instance_id": allocation.instance_id, "db_user": allocation.db_user});
        tasks::finish(&mut tx, id, Ok(&result), now).await?;
        self.fail.at("rotate.before_end");
        tx.commit().await?;
        tracing::info!(instance.id = allocation.instance_id, "a tenant's password was changed");
        Ok(())
    }

    /// Gives a rotation up. What was switched stays; what never began is no failure.
    pub async fn abort_rotation(&self, id: Uuid) -> Result<&'static str, Error> {
        let now = runtime::clock::now();
        let mut connection = self.pool.acquire().await?;
        let Some(rotation) = rotations::find(&mut connection, id).await? else {
            tasks::finish(&mut connection, id, Err("it was given up before it began"), now).await?;
            return Ok("absent");
        };
        // Of one that goes on at this moment, the next look tells how far it came.
        if let Ok(Some(change)) = rotation.state.after(RotationStep::GiveUp) {
            rotations::advance(&mut connection, id, change, now).await?;
        }
        drop(connection);
        self.drop_second(id).await
    }

    async fn drop_second(&self, id: Uuid) -> Result<&'static str, Error> {
        let mut work = self.work_on_rotation(id).await?;
        let (rotation, allocation, server) = self.rotation_and_server(id).await?;
        let change = match rotation.state.after(RotationStep::DropRole) {
            Ok(Some(change)) => change,
            Ok(None) => return Ok("aborted"),
            Err(_) => return Ok("switched"),
        };
        let in_use = allocation.db_server_id == rotation.server && allocation.db_user == rotation.new_user;
        if !in_use && allocation.state != AllocationState::Purged {
            let target = self.target(&server).await?;
            self.tenants
                .drop_login(&target, allocation.id, &rotation.new_user)
                .await
                .map_err(|error| tenant_error(&server.name, error))?;
        }
        let now = runtime::clock::now();
        let mut tx = work.end(self).await?;
        advance(&mut tx, &rotation, change, now).await?;
        tasks::finish(&mut tx, id, Err("it was given up; the former password is valid"), now).await?;
        tx.commit().await?;
        Ok("aborted")
    }

    /// Ends what operations left behind. An old role that somebody may still use is left alone; the next
    /// rotation goes on with it.
    pub(super) async fn sweep_rotations(&self, now: OffsetDateTime) -> Result<(), Error> {
        let mut connection = self.pool.acquire().await?;
        let left = rotations::left(&mut connection, now - STUCK).await?;
        tasks::fail_orphans(&mut connection, TaskKind::RotatePassword, now - FORGOTTEN, now).await?;
        drop(connection);
        for rotation in left {
            if let Err(error) = bounded(Box::pin(self.settle_rotation(&rotation, now))).await {
                tracing::warn!(rotation.id = %rotation.id, error = %error, "a rotation stays unfinished for now");
                let mut connection = self.pool.acquire().await?;
                rotations::note_failure(
                    &mut connection,
                    rotation.id,
                    &error.to_string(),
                    rotation.updated_at,
                )
                .await?;
            }
        }
        Ok(())
    }

    async fn settle_rotation(&self, left: &Rotation, now: OffsetDateTime) -> Result<(), Error> {
        let idle = now - left.updated_at;
        match left.state {
            RotationState::Aborting => self.drop_second(left.id).await.map(drop),
            RotationState::Begun | RotationState::Ready if idle > FORGOTTEN => {
                self.abort_rotation(left.id).await.map(drop)
            }
            RotationState::Switched if idle > UNUSED => {
                let mut connection = self.pool.acquire().await?;
                let server = servers::find(&mut connection, left.server).await?.ok_or(Error::Conflict)?;
                drop(connection);
                let target = self.target(&server).await?;
                let sessions = self.tenants.sessions_of(&target, &left.old_user).await;
                if sessions.map_err(|error| tenant_error(&server.name, error))? == 0 {
                    self.retire(left.id).await?;
                } else {
                    tracing::warn!(rotation.id = %left.id, "a former password is still in use: rotate again to end it");
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

/// Writes the next state; somebody else may have been faster.
async fn advance(
    connection: &mut sqlx::PgConnection,
    rotation: &Rotation,
    change: RotationChange,
    now: OffsetDateTime,
) -> Result<(), Error> {
    if rotations::advance(connection, rotation.id, change, now).await? {
        Ok(())
    } else {
        Err(Error::Conflict)
    }
}
