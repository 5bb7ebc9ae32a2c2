//! Giving an instance its role and database (DBS-07, DBS-08, DBS-22): a slot in one transaction, then role
//! and database on the server, then the end in another transaction. Each part may be repeated after a crash;
//! the sweep finishes what nobody asks for again.

use std::time::Duration;

use sqlx::PgConnection;
use time::OffsetDateTime;
use tracing::Instrument as _;
use uuid::Uuid;

use super::work::Work;
use super::{App, external_id, tenant_error};
use crate::domain::AllocationState;
use crate::domain::allocation::Allocation;
use crate::domain::names::{ExternalId, TenantName};
use crate::domain::placement::PlanTier;
use crate::domain::pool::{HealthStatus, PoolEvent, PoolStatus, ServerType, UNHEALTHY_AFTER};
use crate::domain::server::Server;
use crate::error::Error;
use crate::metrics::Outcome as Label;
use crate::secrets::generate_password;
use crate::store::allocations::{self, Slot};
use crate::store::servers;
use crate::store::{self, waiting};
use crate::tenants::Tenant;

/// What a caller without a slot should wait before it asks again.
pub const RETRY_AFTER: Duration = Duration::from_secs(30);
/// Longest work on a tenant's server for one allocation.
const REMOTE_DEADLINE: Duration = Duration::from_secs(45);
/// Tries when a slot went to somebody else at the same time.
const TRIES: u32 = 5;

/// Who wants a database.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// For whom.
    pub instance: ExternalId,
    /// Of whom.
    pub customer: ExternalId,
    /// Tier of the plan.
    pub tier: PlanTier,
    /// Where the tier is placed.
    pub placement: ServerType,
}

impl Wanted {
    /// Checks what a caller sent.
    pub fn parse(instance: &str, customer: &str, tier: &str, require_dedicated: bool) -> Result<Self, Error> {
        let tier: PlanTier = tier.parse().map_err(|_| Error::PlanTierUnknown)?;
        Ok(Self {
            instance: external_id("instance_id", instance)?,
            customer: external_id("customer_id", customer)?,
            tier,
            placement: tier.placement(require_dedicated)?,
        })
    }
}

/// What became of the slot.
#[derive(Debug, Clone, PartialEq)]
pub enum Taken {
    /// It has one, and role and database may still be missing.
    Slot(Uuid),
    /// Everything is there already.
    Ready(Uuid),
    /// No room; a server was ordered where needed.
    Waiting,
}

/// Answer to a caller.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// The tenant may connect.
    Allocated(Box<Allocation>, Box<Server>),
    /// Ask again.
    Provisioning,
}

impl App {
    /// The whole use case. Goes on when the caller goes away: the work is the same for its next try.
    pub async fn allocate(&self, wanted: Wanted) -> Result<Outcome, Error> {
        let this = self.clone();
        let work = async move {
            match this.take_slot(&wanted).await? {
                Taken::Waiting => Ok(Outcome::Provisioning),
                Taken::Ready(id) => this.outcome(id).await,
                Taken::Slot(id) => {
                    this.finish(id).await?;
                    this.outcome(id).await
                }
            }
        };
        // With the caller's trace: the outbox rows carry it on.
        let outcome =
            tokio::spawn(work.in_current_span()).await.map_err(|error| Error::Internal(error.into()))?;
        let outcome_word = match &outcome {
            Ok(Outcome::Allocated(..)) => "allocated",
            Ok(Outcome::Provisioning) => "provisioning",
            Err(_) => "failed",
        };
        self.metrics.allocations.get_or_create(&Label { outcome: outcome_word }).inc();
        outcome
    }

    async fn outcome(&self, id: Uuid) -> Result<Outcome, Error> {
        let mut connection = self.pool.acquire().await?;
        let allocation = allocations::find(&mut connection, id).await?.ok_or(Error::Conflict)?;
        let server = servers::find(&mut connection, allocation.db_server_id).await?.ok_or(Error::Conflict)?;
        Ok(Outcome::Allocated(Box::new(allocation), Box::new(server)))
    }

    /// First transaction: finds the allocation of before, or takes a slot, or notes that somebody waits and
    /// orders a server.
    pub async fn take_slot(&self, wanted: &Wanted) -> Result<Taken, Error> {
        for _ in 0..TRIES {
            let now = runtime::clock::now();
            let mut tx = self.pool.begin().await?;
            if let Some(known) = allocations::find_by_instance(&mut tx, &wanted.instance).await? {
                if known.customer_id != wanted.customer.as_str() {
                    return Err(Error::AllocatedToOtherCustomer);
                }
                match known.state {
                    AllocationState::Allocated => return Ok(Taken::Ready(known.id)),
                    AllocationState::Allocating => return Ok(Taken::Slot(known.id)),
                    AllocationState::Released => {
                        return Err(Error::InvalidState(
                            "the allocation is released: reclaim it or purge it".into(),
                        ));
                    }
                    AllocationState::Purged => {}
                }
            }
            let server = match wanted.placement {
                ServerType::Dedicated => self.dedicated_with_room(&mut tx, wanted, now).await?,
                ServerType::Shared | ServerType::Platform => servers::lock_with_room(&mut tx).await?,
            };
            let Some(server) = server else {
                if !waiting::note(&mut tx, &wanted.instance, &wanted.customer, wanted.placement, now).await? {
                    return Err(Error::AllocatedToOtherCustomer);
                }
                if wanted.placement == ServerType::Shared {
                    self.grow(&mut tx, now).await?;
                }
                tx.commit().await?;
                return Ok(Taken::Waiting);
            };
            if let Some(id) = self.fill_slot(&mut tx, wanted, server, now).await? {
                self.fail.at("allocate.before_commit");
                tx.commit().await?;
                self.fail.at("allocate.slot_taken");
                return Ok(Taken::Slot(id));
            }
            // Another call for the same instance was faster: the transaction is given up, the next round
            // finds its row.
        }
        Err(Error::Conflict)
    }

    /// The tenant's own server when it can take it; ordered when there is none.
    async fn dedicated_with_room(
        &self,
        connection: &mut PgConnection,
        wanted: &Wanted,
        now: OffsetDateTime,
    ) -> Result<Option<Server>, Error> {
        match servers::lock_dedicated(connection, &wanted.instance).await? {
            Some(server) if server.status == PoolStatus::Active => Ok(Some(server)),
            Some(_) => Ok(None),
            None => {
                // One request at a time, so that the number sequence has no gaps from lost races.
                servers::lock_growth(connection).await?;
                if servers::lock_dedicated(connection, &wanted.instance).await?.is_none() {
                    self.order_dedicated(connection, &wanted.instance, now).await?;
                }
                Ok(None)
            }
        }
    }

    /// Row, encrypted password, fill of the server, growth. `None`: lost the race for the instance.
    async fn fill_slot(
        &self,
        connection: &mut PgConnection,
        wanted: &Wanted,
        mut server: Server,
        now: OffsetDateTime,
    ) -> Result<Option<Uuid>, Error> {
        let name = TenantName::new(&wanted.customer, &wanted.instance);
        let slot = Slot {
            instance: &wanted.instance,
            customer: &wanted.customer,
            server: server.id,
            name: &name,
            tier: wanted.tier,
        };
        let Some(id) = allocations::insert(connection, &slot, now).await? else { return Ok(None) };
        let sealed = self.vault.seal(id, &generate_password()?)?;
        store::secrets::put_allocation(connection, id, &sealed).await?;
        waiting::remove(connection, &wanted.instance).await?;
        server.fill.current += 1;
        server.last_allocated_at = Some(now);
        server.apply(PoolEvent::FillChanged, now)?;
        servers::save(connection, &server).await?;
        if server.server_type == ServerType::Shared {
            self.grow(connection, now).await?;
        }
        Ok(Some(id))
    }

    /// Role and database on the server, then the second transaction. Repeating it changes nothing.
    pub async fn finish(&self, id: Uuid) -> Result<(), Error> {
        let server =
            allocations::server_of(&mut *self.pool.acquire().await?, id).await?.ok_or(Error::Conflict)?;
        let mut work = self.work(server, id).await?;
        let allocation = self.held_allocation(id).await?;
        match allocation.state {
            AllocationState::Allocating => {}
            AllocationState::Allocated => return Ok(()),
            AllocationState::Released | AllocationState::Purged => return Err(Error::Conflict),
        }
        match self.prepare(&allocation).await {
            Ok(()) => {
                // Its end may be lost with the machine: then the row says `allocating`, and the next call or
                // the sweep finds everything made.
                let mut tx = work.end_quickly(self).await?;
                if !allocations::mark_allocated(&mut tx, id, runtime::clock::now()).await? {
                    return Err(Error::Conflict);
                }
                self.fail.at("allocate.before_end");
                tx.commit().await?;
                self.fail.at("allocate.ended");
                tracing::info!(instance.id = allocation.instance_id, allocation.id = %id, "allocated");
                Ok(())
            }
            Err(error @ Error::NameTaken(_)) => {
                // Nothing of ours is there: the slot is given back, and an operator has to look at the
                // stranger.
                tracing::error!(instance.id = allocation.instance_id, error = %error, "foreign database found");
                self.give_slot_back(&allocation).await?;
                Err(error)
            }
            Err(error @ Error::VolumeFull(_)) => {
                tracing::error!(instance.id = allocation.instance_id, error = %error, "a tenant finds no space");
                self.leave_full_server(work, &allocation).await?;
                Err(error)
            }
            Err(error) => {
                let mut tx = work.end(self).await?;
                allocations::note_failure(&mut tx, id, &error.to_string(), runtime::clock::now()).await?;
                tx.commit().await?;
                Err(error)
            }
        }
    }

    /// As it is now; the caller keeps others from working on it.
    async fn held_allocation(&self, id: Uuid) -> Result<Allocation, Error> {
        let mut connection = self.pool.acquire().await?;
        allocations::find(&mut connection, id).await?.ok_or(Error::Conflict)
    }

    /// The work on the tenant's server.
    pub async fn prepare(&self, allocation: &Allocation) -> Result<(), Error> {
        let mut connection = self.pool.acquire().await?;
        let server = servers::find(&mut connection, allocation.db_server_id).await?.ok_or(Error::Conflict)?;
        let sealed = store::secrets::allocation(&mut connection, allocation.id)
            .await?
            .ok_or(Error::NotFound("secret"))?;
        drop(connection);
        let target = self.target(&server).await?;
        let tenant = Tenant {
            allocation: allocation.id,
            name: allocation.db_name.clone(),
            password: self.vault.open(allocation.id, &sealed)?,
            limits: allocation.plan_tier.role_limits(),
        };
        tokio::time::timeout(REMOTE_DEADLINE, self.tenants.prepare(&target, &tenant))
            .await
            .map_err(|_| {
                super::server_error(&server.name, anyhow::anyhow!("not done within {REMOTE_DEADLINE:?}"))
            })?
            .map_err(|error| tenant_error(&server.name, error))
    }

    /// The server takes nobody more until a check finds space again, so that the next try goes elsewhere;
    /// nothing of the tenant stays there.
    async fn leave_full_server(&self, mut work: Work, allocation: &Allocation) -> Result<(), Error> {
        let now = runtime::clock::now();
        let server = servers::find(&mut *self.pool.acquire().await?, allocation.db_server_id).await?;
        let server = server.ok_or(Error::Conflict)?;
        let target = self.target(&server).await?;
        let dropped = self.tenants.drop_tenant(&target, allocation.id, &allocation.db_name).await;
        let mut tx = work.end(self).await?;
        let Some(mut server) = servers::lock(&mut tx, server.id).await? else { return Ok(()) };
        server.failures = UNHEALTHY_AFTER;
        server.health = HealthStatus::Unhealthy;
        "its volume is full".clone_into(&mut server.last_error);
        // What could not be dropped keeps its slot; the sweep goes on with it.
        if dropped.is_ok() && allocations::delete_unmade(&mut tx, allocation.id).await? {
            server.fill.current -= 1;
            server.apply(PoolEvent::FillChanged, now)?;
        }
        servers::save(&mut tx, &server).await?;
        tx.commit().await?;
        Ok(())
    }

    async fn give_slot_back(&self, allocation: &Allocation) -> Result<(), Error> {
        let now = runtime::clock::now();
        let mut tx = self.pool.begin().await?;
        let Some(mut server) = servers::lock(&mut tx, allocation.db_server_id).await? else { return Ok(()) };
        if allocations::delete_unmade(&mut tx, allocation.id).await? {
            server.fill.current -= 1;
            server.apply(PoolEvent::FillChanged, now)?;
            servers::save(&mut tx, &server).await?;
        }
        tx.commit().await?;
        Ok(())
    }
}
