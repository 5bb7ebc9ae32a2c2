//! What a step sees.

use std::sync::Arc;
use std::time::Duration;

use instance::domain::{Instance, OperationKind};
use instance::store::instances;
use instance::store::{Scope, lease::Claimed};
use k8s_openapi::api::core::v1::Pod;
use time::OffsetDateTime;

use super::step::Failure;
use crate::cluster::LookAt;
use crate::objects::{Tenant, Wish};
use crate::worker::Worker;

/// One operation at one step.
#[derive(Debug)]
pub struct Context<'a> {
    /// Shared parts.
    pub worker: &'a Worker,
    /// The operation.
    pub operation: &'a Claimed,
    /// The row, as it was before this step.
    pub instance: Instance,
    /// First beginning of this step.
    pub step_began: OffsetDateTime,
    /// Time at the beginning of this run of the step.
    pub now: OffsetDateTime,
}

impl Context<'_> {
    /// Reads the row again: another step of this run, or the watch, may have changed it.
    pub async fn reload(&mut self) -> Result<(), Failure> {
        let mut connection = self.worker.database.acquire().await?;
        let found = instances::find(&mut connection, self.instance.id, Scope::All).await?;
        self.instance = found
            .ok_or_else(|| Failure::permanent("not_found", "the instance does not exist", "row is gone"))?
            .instance;
        Ok(())
    }

    /// The wanted objects of the row for `wish`.
    pub fn tenant(&self, wish: Wish) -> Result<Tenant, Failure> {
        Tenant::of(&self.instance, wish).ok_or_else(|| {
            Failure::permanent("no_database", "the instance has no database", "no allocation in the row")
        })
    }

    /// What the desired state means for the objects.
    pub fn wish(&self) -> Wish {
        Wish::of(self.instance.desired_state)
    }

    /// Has this step waited for longer than this?
    pub fn waited_longer_than(&self, limit: Duration) -> bool {
        self.now - self.step_began > limit
    }

    /// Objects of a new instance are nobody else's yet, so the watches are good enough; any other may have
    /// been changed just now.
    pub fn look_at(&self) -> LookAt {
        let new = self.operation.kind == OperationKind::Create && self.operation.attempts == 1;
        if new && !self.instance.is_provisioned() { LookAt::Watches } else { LookAt::Server }
    }

    /// The pods of the instance, those on their way out among them.
    pub async fn pods(&self) -> Result<Vec<Arc<Pod>>, Failure> {
        Ok(self.worker.cluster.pods_of(self.namespace(), self.instance.id).await?)
    }

    /// Namespace of tenants.
    pub fn namespace(&self) -> &str {
        &self.worker.settings.tenants
    }
}
