//! `AllocationService`: calls of the worker for one instance.

use contracts::database::v1::allocation_service_server::AllocationService;
use contracts::database::v1::{
    AllocateRequest, AllocateResponse, GetCredentialsRequest, GetCredentialsResponse, ReclaimRequest,
    ReclaimResponse, ReleaseRequest, ReleaseResponse,
};
use contracts::scalars::timestamp;
use runtime::identity;
use secrecy::ExposeSecret as _;
use tonic::{Request, Response, Status};

use super::{allocation_message, caller};
use crate::app::allocate::{Outcome, RETRY_AFTER, Wanted};
use crate::app::{App, external_id};
use crate::domain::ReleaseMode;
use crate::error::Error;

pub(super) struct Api(pub(super) App);

#[tonic::async_trait]
impl AllocationService for Api {
    async fn allocate(
        &self,
        request: Request<AllocateRequest>,
    ) -> Result<Response<AllocateResponse>, Status> {
        let caller = caller(&request)?;
        let by_hand = identity::Caller::of(&request)?.is_by_hand();
        let request = request.into_inner();
        let dedicated = request.require_dedicated.unwrap_or(false);
        let wanted =
            Wanted::parse(&request.instance_id, &request.customer_id, &request.plan_tier, dedicated)?;
        if by_hand {
            self.0.note_by_hand(&caller, "allocate", &wanted.instance, "").await?;
        }
        let response = match self.0.allocate(wanted).await? {
            Outcome::Allocated(allocation, server) => AllocateResponse {
                status: "allocated".into(),
                allocation: Some(allocation_message(&self.0, &allocation, &server)),
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
            allocation: Some(allocation_message(&self.0, &found.allocation, &found.server)),
            password: found.password.expose_secret().to_owned(),
        }))
    }

    async fn release(&self, request: Request<ReleaseRequest>) -> Result<Response<ReleaseResponse>, Status> {
        let caller = caller(&request)?;
        let by_hand = identity::Caller::of(&request)?.is_by_hand();
        let request = request.into_inner();
        let mode: ReleaseMode = request
            .mode
            .parse()
            .map_err(|_| Error::Invalid { field: "mode", message: "must be soft or purge" })?;
        let instance = external_id("instance_id", &request.instance_id)?;
        if by_hand {
            let action = ["release.", mode.as_str()].concat();
            self.0.note_by_hand(&caller, &action, &instance, &request.reason).await?;
        }
        let released = self.0.release(&instance, mode).await?;
        Ok(Response::new(ReleaseResponse {
            status: released.status.into(),
            purge_after: released.purge_after.map(timestamp),
        }))
    }

    async fn reclaim(&self, request: Request<ReclaimRequest>) -> Result<Response<ReclaimResponse>, Status> {
        let (allocation, server) =
            self.0.reclaim(&external_id("instance_id", &request.into_inner().instance_id)?).await?;
        Ok(Response::new(ReclaimResponse {
            allocation: Some(allocation_message(&self.0, &allocation, &server)),
        }))
    }
}
