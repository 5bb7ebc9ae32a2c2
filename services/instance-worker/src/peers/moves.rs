//! database-service while a database moves (DBS-33): a call a step of the operation.

use contracts::database::v1 as database;
use contracts::services;
use runtime::grpc::retry_unavailable;
use uuid::Uuid;

use super::{Error, Peers, failed};

impl Peers {
    /// A slot on another server, or the news that one is being made.
    pub async fn reserve_move(
        &self,
        request: database::ReserveMoveRequest,
    ) -> Result<database::ReserveMoveResponse, Error> {
        retry_unavailable(|| {
            let (mut client, request) = (self.moves.clone(), request.clone());
            async move { client.reserve_move(request).await }
        })
        .await
        .map(tonic::Response::into_inner)
        .map_err(failed(services::DATABASE))
    }

    /// An empty target, and both ends of the copy.
    pub async fn begin_copy(&self, id: Uuid) -> Result<database::BeginCopyResponse, Error> {
        let request = database::BeginCopyRequest { move_id: id.to_string() };
        retry_unavailable(|| {
            let (mut client, request) = (self.moves.clone(), request.clone());
            async move { client.begin_copy(request).await }
        })
        .await
        .map(tonic::Response::into_inner)
        .map_err(failed(services::DATABASE))
    }

    /// Is it known which tables are the same? False: they are still being compared.
    pub async fn compare_copy(&self, id: Uuid) -> Result<bool, Error> {
        let request = database::CompareCopyRequest { move_id: id.to_string() };
        retry_unavailable(|| {
            let (mut client, request) = (self.moves.clone(), request.clone());
            async move { client.compare_copy(request).await }
        })
        .await
        .map(|answer| answer.into_inner().status == "compared")
        .map_err(failed(services::DATABASE))
    }

    /// Copies what was written to since: `running`, `synced`, or `copy_again`.
    pub async fn sync_copy(&self, id: Uuid) -> Result<String, Error> {
        let request = database::SyncCopyRequest { move_id: id.to_string() };
        retry_unavailable(|| {
            let (mut client, request) = (self.moves.clone(), request.clone());
            async move { client.sync_copy(request).await }
        })
        .await
        .map(|answer| answer.into_inner().status)
        .map_err(failed(services::DATABASE))
    }

    /// Is the copy the same? False: it is still being compared.
    pub async fn verify_copy(&self, id: Uuid) -> Result<bool, Error> {
        let request = database::VerifyCopyRequest { move_id: id.to_string() };
        retry_unavailable(|| {
            let (mut client, request) = (self.moves.clone(), request.clone());
            async move { client.verify_copy(request).await }
        })
        .await
        .map(|answer| answer.into_inner().status == "verified")
        .map_err(failed(services::DATABASE))
    }

    /// The copy is the database from now on.
    pub async fn switch_move(&self, id: Uuid) -> Result<database::Allocation, Error> {
        let request = database::SwitchMoveRequest { move_id: id.to_string() };
        retry_unavailable(|| {
            let (mut client, request) = (self.moves.clone(), request.clone());
            async move { client.switch_move(request).await }
        })
        .await
        .map_err(failed(services::DATABASE))?
        .into_inner()
        .allocation
        .ok_or(Error::Broken { service: services::DATABASE, missing: "an allocation" })
    }

    /// How long the instance of a moved database was off.
    pub async fn finish_move(&self, id: Uuid, off_seconds: u32) -> Result<(), Error> {
        let request = database::FinishMoveRequest { move_id: id.to_string(), off_seconds };
        retry_unavailable(|| {
            let (mut client, request) = (self.moves.clone(), request.clone());
            async move { client.finish_move(request).await }
        })
        .await
        .map(drop)
        .map_err(failed(services::DATABASE))
    }

    /// Gives a move up; what was switched stays.
    pub async fn abort_move(&self, id: Uuid) -> Result<(), Error> {
        let request = database::AbortMoveRequest { move_id: id.to_string() };
        retry_unavailable(|| {
            let (mut client, request) = (self.moves.clone(), request.clone());
            async move { client.abort_move(request).await }
        })
        .await
        .map(drop)
        .map_err(failed(services::DATABASE))
    }
}
