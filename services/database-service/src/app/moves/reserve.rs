//! Choosing the target of a move and taking a slot there.

use sqlx::PgConnection;
use time::OffsetDateTime;
use uuid::Uuid;

use super::super::usable::require_in_use;
use super::super::{App, tenant_error};
use crate::domain::MoveState;
use crate::domain::allocation::Allocation;
use crate::domain::estimate::{Estimate, estimate};
use crate::domain::names::ExternalId;
use crate::domain::placement::PlanTier;
use crate::domain::pool::{PoolEvent, PoolStatus, ServerType};
use crate::domain::server::Server;
use crate::error::Error;
use crate::secrets::generate_password;
use crate::store::allocations;
use crate::store::moves::{self, Move};
use crate::store::rotations;
use crate::store::servers;
use crate::store::waiting;

/// Where a database shall go.
#[derive(Debug, Clone, Default)]
pub struct Wish {
    /// Id or name of a pool; empty: chosen.
    pub pool: String,
    /// A server of its own.
    pub dedicated: bool,
    /// Tier from now on.
    pub tier: Option<PlanTier>,
}

/// What became of it.
#[derive(Debug, Clone, PartialEq)]
pub enum Reserved {
    /// A slot is held.
    Held(Box<Preview>),
    /// A server is being made.
    Provisioning,
}

/// What a move means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Preview {
    /// Pool now.
    pub source: String,
    /// Pool afterwards; empty while it is not chosen.
    pub target: String,
    /// Size of the database.
    pub size_bytes: i64,
    /// How long the instance will be off.
    pub estimate: Estimate,
}

impl App {
    /// Is there room, and how large is it? Takes nothing.
    pub async fn preview_move(&self, instance: &ExternalId, pool: &str) -> Result<Preview, Error> {
        let mut tx = self.pool.begin().await?;
        let allocation =
            allocations::find_by_instance(&mut tx, instance).await?.ok_or(Error::NotFound("allocation"))?;
        require_in_use(&allocation)?;
        let source = servers::find(&mut tx, allocation.db_server_id).await?.ok_or(Error::Conflict)?;
        let target = match pool {
            "" => String::new(),
            pool => self.named_target(&mut tx, &allocation, pool).await?.name,
        };
        let earlier = moves::measured(&mut tx).await?;
        tx.rollback().await?;
        let place = self.target(&source).await?;
        let size = self.tenants.size(&place, &allocation.db_name).await;
        let size_bytes = size.map_err(|error| tenant_error(&source.name, error))?;
        let estimate = estimate(size_bytes, &earlier);
        Ok(Preview { source: source.name, target, size_bytes, estimate })
    }

    /// Takes a slot on the target. A repeat finds it.
    pub async fn reserve_move(
        &self,
        id: Uuid,
        instance: &ExternalId,
        wish: &Wish,
    ) -> Result<Reserved, Error> {
        let now = runtime::clock::now();
        let measured = self.measure(id, instance).await?;
        let mut tx = self.pool.begin().await?;
        let allocation =
            allocations::find_by_instance(&mut tx, instance).await?.ok_or(Error::NotFound("allocation"))?;
        require_in_use(&allocation)?;
        allocations::lock_work(&mut tx, allocation.id).await?;
        if rotations::open(&mut tx, allocation.id).await?.is_some() {
            return Err(Error::RotationInProgress);
        }
        let known = moves::of_allocation(&mut tx, allocation.id).await?;
        if let Some(mine) = moves::find(&mut tx, id).await? {
            let servers =
                (servers::find(&mut tx, mine.source).await?, servers::find(&mut tx, mine.target).await?);
            let (Some(source), Some(target)) = servers else { return Err(Error::Conflict) };
            if matches!(mine.state, MoveState::Aborting | MoveState::Aborted) {
                return Err(Error::InvalidState("the move was given up".into()));
            }
            let size_bytes = mine.size_bytes;
            let estimate = estimate(size_bytes, &moves::measured(&mut tx).await?);
            return Ok(Reserved::Held(Box::new(Preview {
                source: source.name,
                target: target.name,
                size_bytes,
                estimate,
            })));
        }
        if known.iter().any(|other| other.state != MoveState::Switched) {
            return Err(Error::MoveInProgress);
        }
        let Some(target) = self.choose_target(&mut tx, &allocation, instance, wish, now).await? else {
            tx.commit().await?;
            return Ok(Reserved::Provisioning);
        };
        if let Some(former) = known.iter().find(|kept| kept.source == target.id) {
            // An older source of this very tenant is kept there under the same name: it makes room for the
            // new copy.
            let former = former.id;
            tx.rollback().await?;
            self.drop_leftover(former).await?;
            return Ok(Reserved::Provisioning);
        }
        // Before the growth is looked at: who has a slot waits no more.
        waiting::remove(&mut tx, instance).await?;
        let size =
            measured.filter(|(source, _)| *source == allocation.db_server_id).ok_or(Error::Conflict)?.1;
        self.hold_slot(&mut tx, id, &allocation, target, wish, size, now).await?;
        let held = moves::find(&mut tx, id).await?.ok_or(Error::Conflict)?;
        let source = servers::find(&mut tx, held.source).await?.ok_or(Error::Conflict)?;
        let target = servers::find(&mut tx, held.target).await?.ok_or(Error::Conflict)?;
        let estimate = estimate(held.size_bytes, &moves::measured(&mut tx).await?);
        self.fail.at("move.before_reserve");
        tx.commit().await?;
        self.fail.at("move.reserved");
        tracing::info!(instance.id = allocation.instance_id, r#move.id = %id, target = target.name, "a slot for a moving database is held");
        Ok(Reserved::Held(Box::new(Preview {
            source: source.name,
            target: target.name,
            size_bytes: held.size_bytes,
            estimate,
        })))
    }

    /// Where the database is and how large. Asked before anything is locked: a server that hangs would keep
    /// everybody from the pools meanwhile. Nothing for a move that has its slot already.
    async fn measure(&self, id: Uuid, instance: &ExternalId) -> Result<Option<(Uuid, i64)>, Error> {
        let mut connection = self.pool.acquire().await?;
        if moves::find(&mut connection, id).await?.is_some() {
            return Ok(None);
        }
        let allocation = allocations::find_by_instance(&mut connection, instance)
            .await?
            .ok_or(Error::NotFound("allocation"))?;
        require_in_use(&allocation)?;
        let source = servers::find(&mut connection, allocation.db_server_id).await?.ok_or(Error::Conflict)?;
        drop(connection);
        let place = self.target(&source).await?;
        let size = self.tenants.size(&place, &allocation.db_name).await;
        Ok(Some((source.id, size.map_err(|error| tenant_error(&source.name, error))?)))
    }

    #[expect(clippy::too_many_arguments, reason = "one row, written in one place")]
    async fn hold_slot(
        &self,
        connection: &mut PgConnection,
        id: Uuid,
        allocation: &Allocation,
        mut target: Server,
        wish: &Wish,
        size_bytes: i64,
        now: OffsetDateTime,
    ) -> Result<(), Error> {
        let new = Move {
            id,
            allocation_id: allocation.id,
            source: allocation.db_server_id,
            target: target.id,
            plan_tier: wish.tier.unwrap_or(allocation.plan_tier),
            state: MoveState::Reserved,
            holds: Some(target.id),
            sealed: Some(self.vault.seal(id, &generate_password()?)?),
            size_bytes,
            closed: false,
            drop_after: None,
            last_error: String::new(),
        };
        moves::insert(connection, &new, now).await?;
        target.fill.current += 1;
        target.last_allocated_at = Some(now);
        target.apply(PoolEvent::FillChanged, now)?;
        servers::save(connection, &target).await?;
        if target.server_type == ServerType::Shared {
            self.grow(connection, now).await?;
        }
        Ok(())
    }

    /// The pool that was named, locked, when it can take the tenant.
    async fn named_target(
        &self,
        connection: &mut PgConnection,
        allocation: &Allocation,
        pool: &str,
    ) -> Result<Server, Error> {
        let named = match Uuid::parse_str(pool) {
            Ok(id) => servers::find(connection, id).await?,
            Err(_) => servers::find_by_name(connection, pool).await?,
        };
        let id = named.ok_or(Error::NotFound("pool"))?.id;
        let server = servers::lock(connection, id).await?.ok_or(Error::NotFound("pool"))?;
        let invalid = |message| Error::Invalid { field: "target_pool_id", message };
        if server.id == allocation.db_server_id {
            return Err(invalid("is where the database is now"));
        }
        match server.server_type {
            ServerType::Platform => return Err(invalid("is no pool of tenants")),
            ServerType::Dedicated if server.instance_id.as_deref() != Some(&allocation.instance_id) => {
                return Err(invalid("belongs to another tenant"));
            }
            ServerType::Shared | ServerType::Dedicated => {}
        }
        match server.status {
            PoolStatus::Active if !server.fill.is_full() => Ok(server),
            PoolStatus::Active | PoolStatus::Full => Err(Error::PoolFull(server.name)),
            other => Err(Error::InvalidState(["the pool is ", other.as_str()].concat())),
        }
    }

    /// `None`: a server is being made.
    async fn choose_target(
        &self,
        connection: &mut PgConnection,
        allocation: &Allocation,
        instance: &ExternalId,
        wish: &Wish,
        now: OffsetDateTime,
    ) -> Result<Option<Server>, Error> {
        if !wish.pool.is_empty() {
            return self.named_target(connection, allocation, &wish.pool).await.map(Some);
        }
        if wish.dedicated {
            servers::lock_growth(connection).await?;
            let source = servers::find(connection, allocation.db_server_id).await?.ok_or(Error::Conflict)?;
            if source.server_type == ServerType::Dedicated {
                if source.status != PoolStatus::Maintenance {
                    return Err(Error::InvalidState(
                        "the database is on its own server already; in maintenance that one is replaced"
                            .into(),
                    ));
                }
                servers::retire(connection, source.id).await?;
            }
            return match servers::lock_dedicated(connection, instance).await? {
                Some(server) if matches!(server.status, PoolStatus::Active | PoolStatus::Full) => {
                    Ok(Some(server))
                }
                in_the_making => {
                    // Who waits for it keeps it; nobody asks for a server that was ordered for a move which
                    // ended.
                    let customer = super::super::external_id("customer_id", &allocation.customer_id)?;
                    waiting::note(connection, instance, &customer, ServerType::Dedicated, now).await?;
                    if in_the_making.is_none() {
                        self.order_dedicated(connection, instance, now).await?;
                    }
                    Ok(None)
                }
            };
        }
        if let Some(id) = moves::lock_other_with_room(connection, allocation.db_server_id).await? {
            return Ok(servers::find(connection, id).await?);
        }
        let customer = super::super::external_id("customer_id", &allocation.customer_id)?;
        waiting::note(connection, instance, &customer, ServerType::Shared, now).await?;
        self.grow_beside(connection, Some(allocation.db_server_id), now).await?;
        Ok(None)
    }
}
