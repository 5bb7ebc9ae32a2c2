//! database: role and database on a pool, made by database-service; the worker asks, waits and writes down
//! where it is.

use std::time::Duration;

use contracts::database::v1::{AllocateRequest, Allocation};
use instance::domain::{DesiredState, ParkedFor};
use instance::store::observe;
use uuid::Uuid;

use super::super::context::Context;
use super::super::step::{Failure, Outcome};
use crate::peers::{Error, Placement};

/// K8S-36
const DEADLINE: Duration = Duration::from_mins(20);
/// K8S-36
const POLL: Duration = Duration::from_secs(10);

pub(super) async fn allocate(context: &mut Context<'_>) -> Result<Outcome, Failure> {
    let instance = &context.instance;
    let request = AllocateRequest {
        instance_id: instance.id.to_string(),
        customer_id: instance.customer_id.to_string(),
        plan_tier: instance.db_tier.clone(),
        require_dedicated: (instance.db_type == "dedicated").then_some(true),
    };
    match context.worker.peers.allocate(request).await? {
        Placement::Allocated(allocation) => note(context, &allocation).await,
        Placement::Provisioning if context.waited_longer_than(DEADLINE) => Err(Failure::permanent(
            "database_timeout",
            "no database server became ready in time",
            format!("no room for {} s", DEADLINE.as_secs()),
        )),
        Placement::Provisioning => Ok(Outcome::Wait(ParkedFor::Pool, POLL)),
    }
}

pub(super) async fn reclaim(context: &mut Context<'_>) -> Result<Outcome, Failure> {
    match context.worker.peers.reclaim(context.instance.id).await {
        Ok(allocation) => note(context, &allocation).await,
        // It was terminated before it had one.
        Err(Error::Refused { reason, .. }) if reason == "not_found" && !context.instance.is_provisioned() => {
            allocate(context).await
        }
        Err(error) => Err(error.into()),
    }
}

pub(super) async fn release(context: &mut Context<'_>, purge: bool) -> Result<Outcome, Failure> {
    let id = context.instance.id;
    let reason = format!("operation {}", context.operation.kind);
    context.worker.peers.release(id, purge, &reason).await?;
    // A purged row keeps where its database was, for accounting; a failed create has none and may be tried
    // again.
    if purge && context.instance.desired_state != DesiredState::Terminated {
        let mut connection = context.worker.database.acquire().await?;
        observe::deallocated(&mut connection, id).await?;
    }
    Ok(Outcome::Done)
}

pub(super) async fn note(context: &mut Context<'_>, allocation: &Allocation) -> Result<Outcome, Failure> {
    let server_id = Uuid::parse_str(&allocation.db_server_id).map_err(|error| Failure::Retry {
        reason: "dependency_unavailable",
        message: "another part of the platform did not answer as agreed",
        internal: format!("db_server_id: {error}"),
    })?;
    let allocated = observe::Allocated {
        db_type: if allocation.db_type == "dedicated" { "dedicated" } else { "shared" },
        name: &allocation.db_name,
        host: &allocation.db_host,
        port: i32::try_from(allocation.db_port).unwrap_or(5432),
        server_id,
    };
    let mut connection = context.worker.database.acquire().await?;
    observe::allocated(&mut connection, context.instance.id, &allocated).await?;
    drop(connection);
    context.reload().await?;
    Ok(Outcome::Done)
}
