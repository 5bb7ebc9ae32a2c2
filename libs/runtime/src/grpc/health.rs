//! `grpc.health.v1`: service name "" = the process serves, `ready` = all checks pass, `database` = its own
//! database answers now.

use tokio_stream::Empty;
use tonic::{Request, Response, Status};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_server::Health as HealthApi;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};

use crate::admin::Health;

#[derive(Debug)]
pub(super) struct HealthPages(pub(super) Health);

#[tonic::async_trait]
impl HealthApi for HealthPages {
    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        let good = match request.get_ref().service.as_str() {
            "" => self.0.is_serving(),
            "ready" => self.0.is_serving() && self.0.failing().await.is_empty(),
            name => !self.0.failing_one(name).await.ok_or_else(|| Status::not_found("unknown check"))?,
        };
        let status = if good { ServingStatus::Serving } else { ServingStatus::NotServing };
        Ok(Response::new(HealthCheckResponse { status: status.into() }))
    }

    type WatchStream = Empty<Result<HealthCheckResponse, Status>>;

    async fn watch(&self, _: Request<HealthCheckRequest>) -> Result<Response<Self::WatchStream>, Status> {
        Err(Status::unimplemented("poll Check"))
    }
}
