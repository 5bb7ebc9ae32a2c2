//! `CredentialService`: the steps of a rotation, called by the worker.

use contracts::database::v1::credential_service_server::CredentialService;
use contracts::database::v1::{
    AbortRotationRequest, AbortRotationResponse, BeginRotationRequest, BeginRotationResponse,
    RetireRotationRequest, RetireRotationResponse, SwitchRotationRequest, SwitchRotationResponse,
};
use tonic::{Request, Response, Status};
use uuid::Uuid;

use super::allocation_message;
use crate::app::{App, external_id};
use crate::error::Error;

pub(super) struct Api(pub(super) App);

fn id(text: &str) -> Result<Uuid, Error> {
    Uuid::parse_str(text).map_err(|_| Error::Invalid { field: "rotation_id", message: "must be a UUID" })
}

#[tonic::async_trait]
impl CredentialService for Api {
    async fn begin_rotation(
        &self,
        request: Request<BeginRotationRequest>,
    ) -> Result<Response<BeginRotationResponse>, Status> {
        let request = request.into_inner();
        let instance = external_id("instance_id", &request.instance_id)?;
        self.0.begin_rotation(id(&request.rotation_id)?, &instance).await?;
        Ok(Response::new(BeginRotationResponse {}))
    }

    async fn switch_rotation(
        &self,
        request: Request<SwitchRotationRequest>,
    ) -> Result<Response<SwitchRotationResponse>, Status> {
        let (allocation, server) = self.0.switch_rotation(id(&request.get_ref().rotation_id)?).await?;
        let allocation = Some(allocation_message(&self.0, &allocation, &server));
        Ok(Response::new(SwitchRotationResponse { allocation }))
    }

    async fn retire_rotation(
        &self,
        request: Request<RetireRotationRequest>,
    ) -> Result<Response<RetireRotationResponse>, Status> {
        self.0.retire_rotation(id(&request.get_ref().rotation_id)?).await?;
        Ok(Response::new(RetireRotationResponse {}))
    }

    async fn abort_rotation(
        &self,
        request: Request<AbortRotationRequest>,
    ) -> Result<Response<AbortRotationResponse>, Status> {
        let status = self.0.abort_rotation(id(&request.get_ref().rotation_id)?).await?;
        Ok(Response::new(AbortRotationResponse { status: status.into() }))
    }
}
