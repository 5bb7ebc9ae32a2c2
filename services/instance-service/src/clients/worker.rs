//! Questions that only the holder of the Kubernetes client can answer.

use std::time::Duration;

use contracts::services::WORKER;
use contracts::worker::v1::worker_service_client::WorkerServiceClient;
use contracts::worker::v1::{
    ClusterDifference, CompareClusterRequest, GetAdminPasswordRequest, GetAdminPasswordResponse,
    GetPodLogsRequest, MeasureStorageRequest, MeasureStorageResponse, PodLogLine, ProbeInstanceRequest,
    ProbeInstanceResponse,
};
use runtime::grpc::{Authenticated, Dialer, Refusal};
use tonic::Code;
use uuid::Uuid;

use super::failure;
use crate::error::Error;

/// Longest wait for a probe: a status without one is better than a late status.
const PROBE: Duration = Duration::from_secs(2);

/// Asks instance-worker.
#[derive(Debug, Clone)]
pub struct Worker {
    client: WorkerServiceClient<Authenticated>,
}

impl Worker {
    /// Connects on the first call.
    pub fn try_new(dialer: &Dialer, url: &str) -> anyhow::Result<Self> {
        let channel = dialer.channel(WORKER, url, Duration::from_secs(10))?;
        Ok(Self { client: WorkerServiceClient::new(channel) })
    }

    /// The last lines of the instance's pod.
    pub async fn logs(&self, instance: Uuid, lines: u32, previous: bool) -> Result<Vec<PodLogLine>, Error> {
        let request = GetPodLogsRequest { instance_id: instance.to_string(), lines, previous };
        match self.client.clone().get_pod_logs(request).await {
            Ok(answer) => Ok(answer.into_inner().lines),
            Err(status)
                if Refusal::from_status(&status).reason == "no_pod" || status.code() == Code::NotFound =>
            {
                Err(Error::NoPod)
            }
            Err(status) => Err(failure("the worker", &status)),
        }
    }

    /// One light request to the instance now; `None` when the worker does not answer within 2 s.
    pub async fn probe(&self, instance: Uuid) -> Option<ProbeInstanceResponse> {
        let request = ProbeInstanceRequest { instance_id: instance.to_string() };
        let mut client = self.client.clone();
        let answer = tokio::time::timeout(PROBE, client.probe_instance(request)).await.ok()?;
        answer
            .inspect_err(|status| tracing::debug!(code = ?status.code(), "no probe"))
            .ok()
            .map(tonic::Response::into_inner)
    }

    /// The generated password (INS-37). The caller has checked owner and once-ness.
    pub async fn admin_password(&self, instance: Uuid) -> Result<GetAdminPasswordResponse, Error> {
        let request = GetAdminPasswordRequest { instance_id: instance.to_string() };
        let answer = self.client.clone().get_admin_password(request).await;
        match answer {
            Ok(answer) => Ok(answer.into_inner()),
            Err(status) if status.code() == Code::NotFound => Err(Error::NotFound("credentials")),
            Err(status) => Err(failure("the worker", &status)),
        }
    }

    /// What the instance's volume holds now, in bytes (BIL-22).
    pub async fn storage(&self, instance: Uuid) -> Result<MeasureStorageResponse, Error> {
        let request = MeasureStorageRequest { instance_id: instance.to_string() };
        match self.client.clone().measure_storage(request).await {
            Ok(answer) => Ok(answer.into_inner()),
            Err(status)
                if Refusal::from_status(&status).reason == "no_pod" || status.code() == Code::NotFound =>
            {
                Err(Error::NoPod)
            }
            Err(status) => Err(failure("the worker", &status)),
        }
    }

    /// Rows against the cluster, from a fresh list.
    pub async fn compare(&self, instance: Option<Uuid>) -> Result<Vec<ClusterDifference>, Error> {
        let request = CompareClusterRequest { instance_id: instance.map(|id| id.to_string()) };
        let answer = self.client.clone().compare_cluster(request).await;
        Ok(answer.map_err(|status| failure("the worker", &status))?.into_inner().differences)
    }
}
