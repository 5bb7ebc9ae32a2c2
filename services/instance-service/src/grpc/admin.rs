//! `InstanceAdminService`: operators' routes.

use contracts::instance::v1 as wire;
use contracts::instance::v1::instance_admin_service_server::InstanceAdminService;
use contracts::scalars::timestamp;
use contracts::worker::v1::ClusterDifference;
use runtime::identity;
use runtime::page::Page;
use tonic::{Request, Response, Status};
use uuid::Uuid;

use super::{convert, id};
use crate::app::App;
use crate::app::act::check_reason;
use crate::app::admin;
use crate::app::caller::Caller;
use crate::app::drain::{self, DrainRequest};
use crate::app::monitor::{self, Command, Reconciled};
use crate::app::move_database::{self, Target};
use crate::app::rotate_password;

/// The service.
#[derive(Debug, Clone)]
pub(super) struct Api(pub(super) App);

fn caller_of<T>(request: &Request<T>) -> Result<Caller, Status> {
    Caller::of(identity::Caller::of(request)?)
}

/// `object` is `Kind/name` or `Kind name`.
fn orphan(difference: ClusterDifference) -> wire::OrphanObject {
    let object = difference.object.replacen(' ', "/", 1);
    let (kind, name) = object.split_once('/').unwrap_or(("", &object));
    wire::OrphanObject {
        kind: kind.to_owned(),
        namespace: difference.namespace,
        name: name.to_owned(),
        instance_id: difference.instance_id,
    }
}

fn drained((drain, progress): drain::Seen) -> wire::Drain {
    let count = |number: i64| u32::try_from(number).unwrap_or(0);
    let not_moved = progress
        .failed
        .into_iter()
        .map(|(instance, reason)| wire::NotMoved { instance_id: instance.to_string(), reason });
    wire::Drain {
        id: drain.id.to_string(),
        pool_id: drain.pool_id.to_string(),
        state: drain.state,
        parallel: u32::try_from(drain.parallel).unwrap_or(0),
        moved: count(progress.moved),
        moving: u32::try_from(progress.moving.len()).unwrap_or(u32::MAX),
        remaining: count(progress.remaining),
        kept: count(progress.kept),
        not_moved: not_moved.collect(),
        operation_ids: progress.moving.iter().map(ToString::to_string).collect(),
    }
}

#[tonic::async_trait]
impl InstanceAdminService for Api {
    async fn list_failed_instances(
        &self,
        request: Request<wire::ListFailedInstancesRequest>,
    ) -> Result<Response<wire::ListFailedInstancesResponse>, Status> {
        let caller = caller_of(&request)?;
        let page = Page::try_new(request.get_ref().page, request.get_ref().page_size)?;
        let (found, total) = admin::failed(&self.0, page).await?;
        let instances = found.into_iter().map(|found| convert::instance(&self.0, &caller, found)).collect();
        Ok(Response::new(wire::ListFailedInstancesResponse { instances, total }))
    }

    async fn retry_instance(
        &self,
        request: Request<wire::RetryInstanceRequest>,
    ) -> Result<Response<wire::RetryInstanceResponse>, Status> {
        let caller = caller_of(&request)?;
        let wire::RetryInstanceRequest { instance_id, reason } = request.into_inner();
        let acted = admin::retry(&self.0, &caller, id("instance", &instance_id)?, reason).await?;
        Ok(Response::new(wire::RetryInstanceResponse { action: Some(convert::acted(acted)) }))
    }

    async fn move_database(
        &self,
        request: Request<wire::MoveDatabaseRequest>,
    ) -> Result<Response<wire::MoveDatabaseResponse>, Status> {
        let caller = caller_of(&request)?;
        let wire::MoveDatabaseRequest { instance_id, target_pool, dedicated, reason } = request.into_inner();
        let target = Target {
            pool: Some(target_pool).filter(|pool| !pool.is_empty()),
            dedicated,
            tier: None,
            drain: None,
            reason: check_reason(Some(&reason))?.to_owned(),
        };
        let operation =
            move_database::begin(&self.0, &caller, id("instance", &instance_id)?, &target).await?;
        Ok(Response::new(wire::MoveDatabaseResponse { operation_id: operation.to_string() }))
    }

    async fn rotate_password(
        &self,
        request: Request<wire::RotatePasswordRequest>,
    ) -> Result<Response<wire::RotatePasswordResponse>, Status> {
        let caller = caller_of(&request)?;
        let wire::RotatePasswordRequest { instance_id, reason } = request.into_inner();
        let reason = check_reason(Some(&reason))?;
        let operation =
            rotate_password::begin(&self.0, &caller, id("instance", &instance_id)?, reason).await?;
        Ok(Response::new(wire::RotatePasswordResponse { operation_id: operation.to_string() }))
    }

    async fn drain_pool(
        &self,
        request: Request<wire::DrainPoolRequest>,
    ) -> Result<Response<wire::DrainPoolResponse>, Status> {
        let caller = caller_of(&request)?;
        let wire::DrainPoolRequest { pool_id, parallel, dedicated, reason } = request.into_inner();
        let drain = DrainRequest { pool: id("pool", &pool_id)?, parallel, dedicated, reason };
        let seen = drain::begin(&self.0, &caller, &drain).await?;
        Ok(Response::new(wire::DrainPoolResponse { drain: Some(drained(seen)) }))
    }

    async fn get_drain(
        &self,
        request: Request<wire::GetDrainRequest>,
    ) -> Result<Response<wire::GetDrainResponse>, Status> {
        let seen = drain::see(&self.0, id("drain", &request.get_ref().pool_id)?).await?;
        Ok(Response::new(wire::GetDrainResponse { drain: Some(drained(seen)) }))
    }

    async fn stop_drain(
        &self,
        request: Request<wire::StopDrainRequest>,
    ) -> Result<Response<wire::StopDrainResponse>, Status> {
        let caller = caller_of(&request)?;
        let wire::StopDrainRequest { pool_id, reason } = request.into_inner();
        let seen = drain::stop(&self.0, &caller, id("drain", &pool_id)?, &reason).await?;
        Ok(Response::new(wire::StopDrainResponse { drain: Some(drained(seen)) }))
    }

    async fn get_instance_stats(
        &self,
        _: Request<wire::GetInstanceStatsRequest>,
    ) -> Result<Response<wire::GetInstanceStatsResponse>, Status> {
        let stats = admin::stats(&self.0).await?;
        Ok(Response::new(wire::GetInstanceStatsResponse {
            total: stats.total,
            by_status: stats.by_status.into_iter().collect(),
            by_plan: stats.by_plan.into_iter().collect(),
            by_version: stats.by_version.into_iter().collect(),
        }))
    }

    async fn list_orphans(
        &self,
        _: Request<wire::ListOrphansRequest>,
    ) -> Result<Response<wire::ListOrphansResponse>, Status> {
        let objects = admin::orphans(&self.0).await?.into_iter().map(orphan).collect();
        Ok(Response::new(wire::ListOrphansResponse { objects }))
    }

    async fn purge_expired(
        &self,
        request: Request<wire::PurgeExpiredRequest>,
    ) -> Result<Response<wire::PurgeExpiredResponse>, Status> {
        let caller = caller_of(&request)?;
        let wire::PurgeExpiredRequest { dry_run, reason } = request.into_inner();
        let purged = admin::purge(&self.0, &caller, dry_run, &reason).await?;
        let words = |ids: Vec<Uuid>| ids.iter().map(ToString::to_string).collect();
        Ok(Response::new(wire::PurgeExpiredResponse {
            instance_ids: words(purged.instances),
            awaiting_consent: words(purged.awaiting_consent),
        }))
    }

    async fn get_monitoring(
        &self,
        _: Request<wire::GetMonitoringRequest>,
    ) -> Result<Response<wire::GetMonitoringResponse>, Status> {
        let row = monitor::read(&self.0).await?;
        let enabled = row.enabled.unwrap_or(false);
        let count = |number: i64| u64::try_from(number).unwrap_or(0);
        Ok(Response::new(wire::GetMonitoringResponse {
            status: monitor::word(enabled).to_owned(),
            enabled,
            leader: row.leader,
            watch_connected: row.watch_connected,
            last_event_at: row.last_event_at.map(timestamp),
            last_relist_at: row.last_relist_at.map(timestamp),
            resource_version: row.resource_version,
            reconnects: count(row.reconnects),
            instances_tracked: count(row.instances_tracked),
            queue_depth: count(row.queue_depth),
        }))
    }

    async fn set_monitoring(
        &self,
        request: Request<wire::SetMonitoringRequest>,
    ) -> Result<Response<wire::SetMonitoringResponse>, Status> {
        let caller = caller_of(&request)?;
        let wire::SetMonitoringRequest { command, reason } = request.into_inner();
        let (status, changed) = monitor::set(&self.0, &caller, Command::parse(&command)?, &reason).await?;
        let message = match (status, changed) {
            ("running", true) => "monitoring starts",
            ("running", false) => "monitoring runs already",
            (_, true) => "monitoring stops",
            (_, false) => "monitoring is stopped already",
        };
        Ok(Response::new(wire::SetMonitoringResponse {
            status: status.to_owned(),
            changed,
            message: message.to_owned(),
        }))
    }

    async fn reconcile(
        &self,
        request: Request<wire::ReconcileRequest>,
    ) -> Result<Response<wire::ReconcileResponse>, Status> {
        let caller = caller_of(&request)?;
        let wire::ReconcileRequest { dry_run, instance_id } = request.into_inner();
        let instance = instance_id.as_deref().map(|text| id("instance", text)).transpose()?;
        let answer = match monitor::reconcile(&self.0, &caller, instance, dry_run).await? {
            Reconciled::Task(task) => {
                wire::ReconcileResponse { task_id: Some(task.to_string()), differences: Vec::new() }
            }
            Reconciled::Differences(differences) => wire::ReconcileResponse {
                task_id: None,
                differences: differences
                    .into_iter()
                    .map(|difference| wire::Difference {
                        instance_id: difference.instance_id,
                        object: difference.object,
                        kind: difference.kind,
                        detail: difference.detail,
                    })
                    .collect(),
            },
        };
        Ok(Response::new(answer))
    }
}
