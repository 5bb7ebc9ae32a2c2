//! `DatabaseAdminService`: what administrators see and do.

use contracts::database::v1 as proto;
use contracts::database::v1::database_admin_service_server::DatabaseAdminService;
use contracts::scalars::timestamp;
use runtime::page::Page;
use tonic::{Request, Response, Status};
use uuid::Uuid;

use super::{allocation_message, caller, count, messages};
use crate::app::allocate::{RETRY_AFTER, Wanted};
use crate::app::dedicated::Dedicated;
use crate::app::pools::{Change, Provision};
use crate::app::{App, external_id};
use crate::domain::TaskKind;
use crate::domain::pool::ServerType;
use crate::error::Error;

pub(super) struct Api(pub(super) App);

/// Shortest and longest reason.
const REASON: std::ops::RangeInclusive<usize> = 5..=500;

#[tonic::async_trait]
impl DatabaseAdminService for Api {
    async fn list_pools(
        &self,
        request: Request<proto::ListPoolsRequest>,
    ) -> Result<Response<proto::ListPoolsResponse>, Status> {
        let request = request.into_inner();
        let page = Page::try_new(request.page, request.page_size)?;
        let status = filter("status", &request.status)?;
        let server_type = filter("server_type", &request.server_type)?;
        let (servers, total) = self.0.list_pools(status, server_type, page.limit(), page.offset()).await?;
        Ok(Response::new(proto::ListPoolsResponse {
            pools: servers.iter().map(|server| self.pool(server)).collect(),
            total: count(total),
        }))
    }

    async fn get_pool(
        &self,
        request: Request<proto::GetPoolRequest>,
    ) -> Result<Response<proto::GetPoolResponse>, Status> {
        let (server, held) = self.0.pool(&request.into_inner().pool).await?;
        Ok(Response::new(proto::GetPoolResponse {
            pool: Some(self.pool(&server)),
            allocations: held
                .iter()
                .map(|allocation| allocation_message(&self.0, allocation, &server))
                .collect(),
        }))
    }

    async fn provision_pool(
        &self,
        request: Request<proto::ProvisionPoolRequest>,
    ) -> Result<Response<proto::ProvisionPoolResponse>, Status> {
        let caller = caller(&request)?;
        let request = request.into_inner();
        if !matches!(request.server_type.as_str(), "" | "shared") {
            let message = "must be shared; dedicated servers are ordered for an instance";
            return Err(Error::Invalid { field: "server_type", message }.into());
        }
        let max_instances =
            (request.max_instances > 0).then(|| i32::try_from(request.max_instances).unwrap_or(i32::MAX));
        let key = (!request.request_key.is_empty()).then_some(request.request_key);
        let (task, server) = self.0.provision_pool(&caller, &Provision { max_instances, key }).await?;
        Ok(Response::new(proto::ProvisionPoolResponse {
            task_id: task.to_string(),
            pool: Some(self.pool(&server)),
        }))
    }

    async fn update_pool(
        &self,
        request: Request<proto::UpdatePoolRequest>,
    ) -> Result<Response<proto::UpdatePoolResponse>, Status> {
        let caller = caller(&request)?;
        let request = request.into_inner();
        let number = |given: Option<u32>| given.map(|number| i32::try_from(number).unwrap_or(i32::MAX));
        let change = Change {
            status: filter("status", request.status.as_deref().unwrap_or_default())?,
            max_instances: number(request.max_instances),
            priority: number(request.priority),
            reason: reason(request.reason)?,
        };
        let (server, held) = self.0.update_pool(&caller, &request.pool, &change).await?;
        Ok(Response::new(proto::UpdatePoolResponse {
            pool: Some(self.pool(&server)),
            allocations: held
                .iter()
                .map(|allocation| allocation_message(&self.0, allocation, &server))
                .collect(),
        }))
    }

    async fn delete_pool(
        &self,
        request: Request<proto::DeletePoolRequest>,
    ) -> Result<Response<proto::DeletePoolResponse>, Status> {
        let caller = caller(&request)?;
        let request = request.into_inner();
        let server = self.0.delete_pool(&caller, &request.pool, &reason(request.reason)?).await?;
        Ok(Response::new(proto::DeletePoolResponse { pool: Some(self.pool(&server)) }))
    }

    async fn check_pool(
        &self,
        request: Request<proto::CheckPoolRequest>,
    ) -> Result<Response<proto::CheckPoolResponse>, Status> {
        let checked = self.0.check_now(&request.into_inner().pool).await?;
        Ok(Response::new(proto::CheckPoolResponse {
            pool: Some(self.pool(&checked.server)),
            checked_at: Some(timestamp(checked.at)),
            latency_ms: checked.probe.took.and_then(|took| u32::try_from(took.as_millis()).ok()),
            checks: checked
                .probe
                .checks
                .into_iter()
                .map(|check| proto::PoolCheck { name: check.name.into(), ok: check.ok, detail: check.detail })
                .collect(),
        }))
    }

    async fn list_pool_tenants(
        &self,
        request: Request<proto::ListPoolTenantsRequest>,
    ) -> Result<Response<proto::ListPoolTenantsResponse>, Status> {
        let (server, tenants) = self.0.tenants_of(&request.into_inner().pool).await?;
        Ok(Response::new(proto::ListPoolTenantsResponse {
            pool: Some(self.pool(&server)),
            tenants: tenants.into_iter().map(messages::tenant).collect(),
        }))
    }

    async fn get_database_stats(
        &self,
        _request: Request<proto::GetDatabaseStatsRequest>,
    ) -> Result<Response<proto::GetDatabaseStatsResponse>, Status> {
        Ok(Response::new(messages::stats(self.0.stats().await?)))
    }

    async fn provision_dedicated(
        &self,
        request: Request<proto::ProvisionDedicatedRequest>,
    ) -> Result<Response<proto::ProvisionDedicatedResponse>, Status> {
        let caller = caller(&request)?;
        let request = request.into_inner();
        let wanted = Wanted::parse(&request.instance_id, &request.customer_id, &request.plan_tier, true)?;
        debug_assert_eq!(wanted.placement, ServerType::Dedicated);
        let answer = match self.0.provision_dedicated(&caller, wanted).await? {
            Dedicated::Allocated(allocation, server) => proto::ProvisionDedicatedResponse {
                status: "allocated".into(),
                allocation: Some(allocation_message(&self.0, &allocation, &server)),
                pool: Some(self.pool(&server)),
                ..proto::ProvisionDedicatedResponse::default()
            },
            Dedicated::Provisioning(task, server) => proto::ProvisionDedicatedResponse {
                status: "provisioning".into(),
                task_id: task.to_string(),
                pool: Some(self.pool(&server)),
                retry_after_seconds: u32::try_from(RETRY_AFTER.as_secs()).unwrap_or(30),
                allocation: None,
            },
        };
        Ok(Response::new(answer))
    }

    async fn get_allocation(
        &self,
        request: Request<proto::GetAllocationRequest>,
    ) -> Result<Response<proto::GetAllocationResponse>, Status> {
        let instance = external_id("instance_id", &request.into_inner().instance_id)?;
        let (allocation, server) = self.0.allocation(&instance).await?;
        Ok(Response::new(proto::GetAllocationResponse {
            allocation: Some(allocation_message(&self.0, &allocation, &server)),
        }))
    }

    async fn start_database_task(
        &self,
        request: Request<proto::StartDatabaseTaskRequest>,
    ) -> Result<Response<proto::StartDatabaseTaskResponse>, Status> {
        let caller = caller(&request)?;
        let request = request.into_inner();
        let Ok(kind @ (TaskKind::HealthCheck | TaskKind::Cleanup)) = request.kind.parse() else {
            return Err(Error::Invalid { field: "kind", message: "must be health_check or cleanup" }.into());
        };
        if request.dry_run {
            let candidates = match kind {
                TaskKind::Cleanup => self.0.cleanup_candidates().await?,
                _ => return Err(Error::Invalid { field: "dry_run", message: "is for cleanup" }.into()),
            };
            return Ok(Response::new(proto::StartDatabaseTaskResponse {
                task_id: String::new(),
                candidates: candidates.iter().map(messages::candidate).collect(),
            }));
        }
        let task_id = self.0.start_task(&caller, kind, &request.reason).await?.to_string();
        Ok(Response::new(proto::StartDatabaseTaskResponse { task_id, candidates: Vec::new() }))
    }

    async fn get_database_task(
        &self,
        request: Request<proto::GetDatabaseTaskRequest>,
    ) -> Result<Response<proto::GetDatabaseTaskResponse>, Status> {
        // A text that is no id names nothing.
        let id = Uuid::parse_str(&request.into_inner().task_id).map_err(|_| Error::NotFound("task"))?;
        let task = self.0.task(id).await?;
        Ok(Response::new(proto::GetDatabaseTaskResponse { task: Some(messages::task(task)) }))
    }

    async fn list_database_tasks(
        &self,
        request: Request<proto::ListDatabaseTasksRequest>,
    ) -> Result<Response<proto::ListDatabaseTasksResponse>, Status> {
        let request = request.into_inner();
        let page = Page::try_new(request.page, request.page_size)?;
        let kind = (!request.kind.is_empty()).then_some(request.kind.as_str());
        let (tasks, total) = self.0.list_tasks(kind, page.limit(), page.offset()).await?;
        Ok(Response::new(proto::ListDatabaseTasksResponse {
            tasks: tasks.into_iter().map(messages::task).collect(),
            total: count(total),
        }))
    }

    async fn preview_move(
        &self,
        request: Request<proto::PreviewMoveRequest>,
    ) -> Result<Response<proto::PreviewMoveResponse>, Status> {
        let request = request.into_inner();
        let instance = external_id("instance_id", &request.instance_id)?;
        let preview = self.0.preview_move(&instance, &request.target_pool).await?;
        Ok(Response::new(proto::PreviewMoveResponse {
            source_pool: preview.source,
            target_pool: preview.target,
            size_bytes: u64::try_from(preview.size_bytes).unwrap_or(0),
            estimated_downtime_seconds: preview.estimate.seconds,
            estimated_from_moves: preview.estimate.from_moves,
        }))
    }

    async fn rotate_allocation(
        &self,
        request: Request<proto::RotateAllocationRequest>,
    ) -> Result<Response<proto::RotateAllocationResponse>, Status> {
        let caller = caller(&request)?;
        let request = request.into_inner();
        let instance = external_id("instance_id", &request.instance_id)?;
        let operation = match request.operation_id.as_str() {
            "" => None,
            id => Some(
                Uuid::parse_str(id)
                    .map_err(|_| Error::Invalid { field: "operation_id", message: "must be a UUID" })?,
            ),
        };
        let task = self.0.rotate_allocation(&caller, &instance, &reason(request.reason)?, operation).await?;
        Ok(Response::new(proto::RotateAllocationResponse { task_id: task.to_string() }))
    }

    async fn rotate_pool(
        &self,
        request: Request<proto::RotatePoolRequest>,
    ) -> Result<Response<proto::RotatePoolResponse>, Status> {
        let caller = caller(&request)?;
        let request = request.into_inner();
        let task = self.0.rotate_pool(&caller, &request.pool, &reason(request.reason)?).await?;
        Ok(Response::new(proto::RotatePoolResponse { task_id: task.to_string() }))
    }

    async fn get_cluster_contact(
        &self,
        _request: Request<proto::GetClusterContactRequest>,
    ) -> Result<Response<proto::GetClusterContactResponse>, Status> {
        let (last, connected) = self.0.last_contact().await?;
        Ok(Response::new(proto::GetClusterContactResponse { last_contact: last.map(timestamp), connected }))
    }
}

impl Api {
    fn pool(&self, server: &crate::domain::server::Server) -> proto::Pool {
        messages::pool(server, &self.0.settings.platform_namespace)
    }
}

/// An empty word filters nothing.
fn filter<T: std::str::FromStr>(field: &'static str, word: &str) -> Result<Option<T>, Error> {
    if word.is_empty() {
        return Ok(None);
    }
    word.parse().map(Some).map_err(|_| Error::Invalid { field, message: "is no known word" })
}

fn reason(text: String) -> Result<String, Error> {
    if REASON.contains(&text.trim().chars().count()) {
        Ok(text)
    } else {
        Err(Error::Invalid { field: "reason", message: "must have 5 to 500 characters" })
    }
}
