//! `AllocationService`: calls of the worker for one instance.

use contracts::database::v1::allocation_service_server::AllocationService;
use contracts::database::v1::{
    AllocateRequest, AllocateResponse, GetCredentialsRequest, GetCredentialsResponse, ReclaimRequest,
    ReclaimResponse, ReleaseRequest, ReleaseResponse,
};
use contracts::scalars::timestamp;
use secrecy::ExposeSecret as _;
use tonic::{Request, Response, Status};

use super::allocation_message;
use crate::app::allocate::{Outcome, RETRY_AFTER, Wanted};
use crate::app::{App, external_id};
use crate::error::Error;

pub(super) struct Api(pub(super) App);

#[tonic::async_trait]
impl AllocationService for Api {
    async fn allocate(
        &self,
        request: Request<AllocateRequest>,
    ) -> Result<Response<AllocateResponse>, Status> {
        let request = request.into_inner();
        let dedicated = request.require_dedicated.unwrap_or(false);
        let wanted =
            Wanted::parse(&request.instance_id, &request.customer_id, &request.plan_tier, dedicated)?;
        let response = match self.0.allocate(wanted).await? {
            Outcome::Allocated(allocation, server) => AllocateResponse {
                status: "allocated".into(),
                allocation: Some(allocation_message(&allocation, &server)),
                retry_after_seconds: 0,
            },
            Outcome::Provisioning => AllocateResponse {
                status: "provisioning".into(),
                allocation: None,
                retry_after_seconds: u32::try_from(RETRY_AFTER.as_secs()).unwrap_or(30),
            },
        };
        Ok(Response::new(response))
    }

    async fn get_credentials(
        &self,
        request: Request<GetCredentialsRequest>,
    ) -> Result<Response<GetCredentialsResponse>, Status> {
        let found =
            self.0.credentials(&external_id("instance_id", &request.into_inner().instance_id)?).await?;
        Ok(Response::new(GetCredentialsResponse {
            allocation: Some(allocation_message(&found.allocation, &found.server)),
            password: found.password.expose_secret().to_owned(),
        }))
    }

    async fn release(&self, request: Request<ReleaseRequest>) -> Result<Response<ReleaseResponse>, Status> {
        let request = request.into_inner();
        let mode = request
            .mode
            .parse()
            .map_err(|_| Error::Invalid { field: "mode", message: "must be soft or purge" })?;
        let released = self.0.release(&external_id("instance_id", &request.instance_id)?, mode).await?;
        Ok(Response::new(ReleaseResponse {
            status: released.status.into(),
            purge_after: released.purge_after.map(timestamp),
        }))
    }

    async fn reclaim(&self, request: Request<ReclaimRequest>) -> Result<Response<ReclaimResponse>, Status> {
        let (allocation, server) =
            self.0.reclaim(&external_id("instance_id", &request.into_inner().instance_id)?).await?;
        Ok(Response::new(ReclaimResponse { allocation: Some(allocation_message(&allocation, &server)) }))
    }
}
