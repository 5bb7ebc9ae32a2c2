//! `DatabaseAdminService`: operators' reads.

use contracts::database::v1::database_admin_service_server::DatabaseAdminService;
use contracts::database::v1::{
    GetClusterContactRequest, GetClusterContactResponse, GetPoolRequest, GetPoolResponse, ListPoolsRequest,
    ListPoolsResponse, Pool,
};
use contracts::scalars::timestamp;
use runtime::page::Page;
use tonic::{Request, Response, Status};

use super::{allocation_message, unsigned};
use crate::app::App;
use crate::error::Error;
use crate::store::servers::Server;

pub(super) struct Api(pub(super) App);

#[tonic::async_trait]
impl DatabaseAdminService for Api {
    async fn list_pools(
        &self,
        request: Request<ListPoolsRequest>,
    ) -> Result<Response<ListPoolsResponse>, Status> {
        let request = request.into_inner();
        let page = Page::try_new(request.page, request.page_size)?;
        let status = filter("status", &request.status)?;
        let server_type = filter("server_type", &request.server_type)?;
        let (servers, total) = self.0.list_pools(status, server_type, page.limit(), page.offset()).await?;
        Ok(Response::new(ListPoolsResponse {
            pools: servers.iter().map(pool_message).collect(),
            total: u64::try_from(total).unwrap_or(0),
        }))
    }

    async fn get_pool(&self, request: Request<GetPoolRequest>) -> Result<Response<GetPoolResponse>, Status> {
        let (server, held) = self.0.pool(&request.into_inner().pool).await?;
        Ok(Response::new(GetPoolResponse {
            pool: Some(pool_message(&server)),
            allocations: held.iter().map(|allocation| allocation_message(allocation, &server)).collect(),
        }))
    }

    async fn get_cluster_contact(
        &self,
        _request: Request<GetClusterContactRequest>,
    ) -> Result<Response<GetClusterContactResponse>, Status> {
        let (last, connected) = self.0.last_contact().await?;
        Ok(Response::new(GetClusterContactResponse { last_contact: last.map(timestamp), connected }))
    }
}

/// An empty word filters nothing.
fn filter<T: std::str::FromStr>(field: &'static str, word: &str) -> Result<Option<T>, Error> {
    if word.is_empty() {
        return Ok(None);
    }
    word.parse().map(Some).map_err(|_| Error::Invalid { field, message: "is no known word" })
}

fn pool_message(server: &Server) -> Pool {
    Pool {
        id: server.id.to_string(),
        name: server.name.clone(),
        server_type: server.server_type.to_string(),
        status: server.status.to_string(),
        health_status: server.health.to_string(),
        current_instances: unsigned(server.fill.current),
        max_instances: unsigned(server.fill.max),
        host: server.host.clone(),
        port: unsigned(server.port),
        postgres_version: server.postgres_version.clone(),
        cpu_limit: server.resources.cpu_limit.clone(),
        memory_limit: server.resources.memory_limit.clone(),
        created_at: Some(timestamp(server.created_at)),
        last_health_check: server.last_health_check.map(timestamp),
        admin_user: server.admin_user.clone(),
        priority: server.priority,
        storage_size: server.resources.storage.clone(),
        last_error: server.last_error.clone(),
        provisioned_at: server.provisioned_at.map(timestamp),
        last_allocated_at: server.last_allocated_at.map(timestamp),
    }
}
