//! `MoveService`: the steps of a move, called by the worker.

use contracts::database::v1::move_service_server::MoveService;
use contracts::database::v1::{
    AbortMoveRequest, AbortMoveResponse, BeginCopyRequest, BeginCopyResponse, CompareCopyRequest,
    CompareCopyResponse, CopyEnd, FinishMoveRequest, FinishMoveResponse, ReserveMoveRequest,
    ReserveMoveResponse, SwitchMoveRequest, SwitchMoveResponse, SyncCopyRequest, SyncCopyResponse,
    VerifyCopyRequest, VerifyCopyResponse,
};
use contracts::scalars::timestamp;
use secrecy::ExposeSecret as _;
use tonic::{Request, Response, Status};
use uuid::Uuid;

use super::{allocation_message, unsigned};
use crate::app::moves::{End, Reserved, Synced, Wish};
use crate::app::{App, external_id};
use crate::error::Error;

pub(super) struct Api(pub(super) App);

fn id(text: &str) -> Result<Uuid, Error> {
    Uuid::parse_str(text).map_err(|_| Error::Invalid { field: "move_id", message: "must be a UUID" })
}

fn end(end: &End) -> CopyEnd {
    CopyEnd {
        pool_id: end.server.id.to_string(),
        host: end.server.host.clone(),
        port: unsigned(end.server.port),
        database: end.name.clone(),
        user: end.user.clone(),
        password: end.password.expose_secret().to_owned(),
    }
}

#[tonic::async_trait]
impl MoveService for Api {
    async fn reserve_move(
        &self,
        request: Request<ReserveMoveRequest>,
    ) -> Result<Response<ReserveMoveResponse>, Status> {
        let request = request.into_inner();
        let tier = match request.plan_tier.as_str() {
            "" => None,
            word => Some(word.parse().map_err(|_| Error::PlanTierUnknown)?),
        };
        let wish = Wish { pool: request.target_pool, dedicated: request.dedicated, tier };
        let instance = external_id("instance_id", &request.instance_id)?;
        let answer = match self.0.reserve_move(id(&request.move_id)?, &instance, &wish).await? {
            Reserved::Held(held) => ReserveMoveResponse {
                status: "reserved".into(),
                source_pool: held.source,
                target_pool: held.target,
                size_bytes: u64::try_from(held.size_bytes).unwrap_or(0),
                estimated_downtime_seconds: held.estimate.seconds,
            },
            Reserved::Provisioning => {
                ReserveMoveResponse { status: "provisioning".into(), ..ReserveMoveResponse::default() }
            }
        };
        Ok(Response::new(answer))
    }

    async fn begin_copy(
        &self,
        request: Request<BeginCopyRequest>,
    ) -> Result<Response<BeginCopyResponse>, Status> {
        let ends = self.0.begin_copy(id(&request.get_ref().move_id)?).await?;
        Ok(Response::new(BeginCopyResponse {
            source: Some(end(&ends.source)),
            target: Some(end(&ends.target)),
            image: ends.target.server.image.clone(),
            ca_certificates: ends.authorities,
        }))
    }

    async fn compare_copy(
        &self,
        request: Request<CompareCopyRequest>,
    ) -> Result<Response<CompareCopyResponse>, Status> {
        let done = self.0.compare_copy(id(&request.get_ref().move_id)?).await?;
        let status = if done { "compared" } else { "running" };
        Ok(Response::new(CompareCopyResponse { status: status.into() }))
    }

    async fn sync_copy(
        &self,
        request: Request<SyncCopyRequest>,
    ) -> Result<Response<SyncCopyResponse>, Status> {
        let status = match self.0.sync_copy(id(&request.get_ref().move_id)?).await? {
            Synced::Yes => "synced",
            Synced::Running => "running",
            Synced::CopyAgain => "copy_again",
        };
        Ok(Response::new(SyncCopyResponse { status: status.into() }))
    }

    async fn verify_copy(
        &self,
        request: Request<VerifyCopyRequest>,
    ) -> Result<Response<VerifyCopyResponse>, Status> {
        let done = self.0.verify_copy(id(&request.get_ref().move_id)?).await?;
        let status = if done { "verified" } else { "running" };
        Ok(Response::new(VerifyCopyResponse { status: status.into() }))
    }

    async fn switch_move(
        &self,
        request: Request<SwitchMoveRequest>,
    ) -> Result<Response<SwitchMoveResponse>, Status> {
        let (allocation, server, kept_until) = self.0.switch_move(id(&request.get_ref().move_id)?).await?;
        Ok(Response::new(SwitchMoveResponse {
            allocation: Some(allocation_message(&self.0, &allocation, &server)),
            source_kept_until: kept_until.map(timestamp),
        }))
    }

    async fn abort_move(
        &self,
        request: Request<AbortMoveRequest>,
    ) -> Result<Response<AbortMoveResponse>, Status> {
        let status = self.0.abort_move(id(&request.get_ref().move_id)?).await?;
        Ok(Response::new(AbortMoveResponse { status: status.into() }))
    }

    async fn finish_move(
        &self,
        request: Request<FinishMoveRequest>,
    ) -> Result<Response<FinishMoveResponse>, Status> {
        let FinishMoveRequest { move_id, off_seconds } = request.into_inner();
        self.0.finish_move(id(&move_id)?, off_seconds).await?;
        Ok(Response::new(FinishMoveResponse {}))
    }
}
