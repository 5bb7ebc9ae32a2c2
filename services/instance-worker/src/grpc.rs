//! Questions of instance-service that only the holder of the Kubernetes client can answer.

use std::sync::Arc;
use std::time::Duration;

use contracts::services;
use contracts::worker::v1 as api;
use contracts::worker::v1::worker_service_server::WorkerService;
use instance::domain::Instance;
use instance::store::{Scope, instances, observe};
use k8s_openapi::api::core::v1::{Pod, Secret};
use runtime::grpc::{Allow, MethodPolicy, Needs, Refusal};
use secrecy::ExposeSecret as _;
use tonic::{Code, Request, Response, Status};
use uuid::Uuid;

use crate::cluster::{self, Error, Owner, Target};
use crate::objects::Name;
use crate::objects::secret::{keys, knows_admin_password, value};
use crate::objects::service::HTTP;
use crate::reconcile;
use crate::watch::facts;
use crate::worker::Worker;

const BY_INSTANCE_SERVICE: &[Allow] = &[Allow { caller: services::INSTANCE, needs: Needs::Nothing }];

/// Who may call what.
pub const POLICIES: &[MethodPolicy] = &[
    MethodPolicy { method: "/saasodoo.worker.v1.WorkerService/GetPodLogs", allow: BY_INSTANCE_SERVICE },
    MethodPolicy { method: "/saasodoo.worker.v1.WorkerService/ProbeInstance", allow: BY_INSTANCE_SERVICE },
    MethodPolicy { method: "/saasodoo.worker.v1.WorkerService/GetAdminPassword", allow: BY_INSTANCE_SERVICE },
    MethodPolicy { method: "/saasodoo.worker.v1.WorkerService/CompareCluster", allow: BY_INSTANCE_SERVICE },
    MethodPolicy { method: "/saasodoo.worker.v1.WorkerService/MeasureStorage", allow: BY_INSTANCE_SERVICE },
];

/// The handlers.
#[derive(Debug, Clone)]
pub struct Handlers {
    /// Shared parts.
    pub worker: Worker,
}

fn parse(id: &str) -> Result<Uuid, Status> {
    Uuid::parse_str(id).map_err(|_| Refusal::invalid("instance_id", "must be a UUID").into())
}

fn no_pod() -> Status {
    Refusal::new(Code::FailedPrecondition, "no_pod", "the instance has no pod now").into()
}

fn refused(error: Error) -> Status {
    match error {
        Error::NotFound(_) => no_pod(),
        Error::Unavailable(_) => {
            tracing::warn!(error = %error, "the cluster does not answer");
            Refusal::unavailable("the cluster does not answer").into()
        }
        error => {
            tracing::error!(error = %error, "the cluster refuses a question");
            Refusal::internal().into()
        }
    }
}

fn failed(error: &dyn std::fmt::Display) -> Status {
    tracing::error!(error = %error, "question not answered");
    Refusal::unavailable("the worker cannot answer now").into()
}

impl Handlers {
    /// The newest pod that stays.
    async fn pod(&self, id: Uuid) -> Result<Arc<Pod>, Status> {
        let namespace = &self.worker.settings.tenants;
        let mut pods = self.worker.cluster.pods_of(namespace, id).await.map_err(refused)?;
        pods.sort_by_key(|pod| {
            (pod.metadata.deletion_timestamp.is_none(), pod.metadata.creation_timestamp.clone())
        });
        pods.pop().ok_or_else(no_pod)
    }

    async fn instance(&self, id: Uuid) -> Result<Instance, Status> {
        let mut connection = self.worker.database.acquire().await.map_err(|error| failed(&error))?;
        let found = instances::find(&mut connection, id, Scope::All).await.map_err(|error| failed(&error))?;
        found.map(|found| found.instance).ok_or_else(|| Refusal::not_found("instance").into())
    }
}

#[tonic::async_trait]
impl WorkerService for Handlers {
    async fn get_pod_logs(
        &self,
        request: Request<api::GetPodLogsRequest>,
    ) -> Result<Response<api::GetPodLogsResponse>, Status> {
        let request = request.into_inner();
        let id = parse(&request.instance_id)?;
        let pod = self.pod(id).await?;
        let name = pod.metadata.name.as_deref().unwrap_or_default();
        let lines = match request.lines {
            0 => 100,
            lines => lines.min(1000),
        };
        let namespace = &self.worker.settings.tenants;
        let lines = match cluster::logs(&self.worker.cluster, namespace, name, lines, request.previous).await
        {
            Ok(lines) => lines,
            // A container that has not begun, or has no former life, has no log.
            Err(Error::Invalid(_)) => return Err(no_pod()),
            Err(error) => return Err(refused(error)),
        };
        let lines =
            lines.into_iter().map(|line| api::PodLogLine { time: line.time, text: line.text }).collect();
        Ok(Response::new(api::GetPodLogsResponse { lines }))
    }

    async fn probe_instance(
        &self,
        request: Request<api::ProbeInstanceRequest>,
    ) -> Result<Response<api::ProbeInstanceResponse>, Status> {
        let id = parse(&request.get_ref().instance_id)?;
        let instance = self.instance(id).await?;
        let at = Some(contracts::scalars::timestamp(runtime::clock::now()));
        let bad = api::ProbeInstanceResponse { at, ok: false, latency_ms: 0 };
        let Ok(pod) = self.pod(id).await else { return Ok(Response::new(bad)) };
        if !facts::is_ready(&pod) {
            return Ok(Response::new(bad));
        }
        let (service, host) = (Name::tenant(id).to_string(), self.worker.settings.host(&instance.subdomain));
        let target = Target {
            namespace: &self.worker.settings.tenants,
            service: &service,
            pod: pod.metadata.name.as_deref().unwrap_or_default(),
            pod_ip: pod.status.as_ref().and_then(|status| status.pod_ip.as_deref()).unwrap_or_default(),
            port: u16::try_from(HTTP).unwrap_or(8069),
            host: &host,
        };
        let deadline = Duration::from_secs(5);
        let answer =
            cluster::probe(&self.worker.cluster, self.worker.addressing, &target, "/", deadline).await;
        let Ok((200 | 302 | 303, took)) = answer else { return Ok(Response::new(bad)) };
        let mut connection = self.worker.database.acquire().await.map_err(|error| failed(&error))?;
        observe::probed(&mut connection, id).await.map_err(|error| failed(&error))?;
        let latency_ms = u32::try_from(took.as_millis()).unwrap_or(u32::MAX);
        Ok(Response::new(api::ProbeInstanceResponse { at, ok: true, latency_ms }))
    }

    async fn get_admin_password(
        &self,
        request: Request<api::GetAdminPasswordRequest>,
    ) -> Result<Response<api::GetAdminPasswordResponse>, Status> {
        let id = parse(&request.get_ref().instance_id)?;
        let (namespace, name) = (&self.worker.settings.tenants, Name::tenant(id));
        let secret: Option<Secret> =
            self.worker.cluster.get(namespace, name.as_str()).await.map_err(refused)?;
        let missing = || Status::from(Refusal::not_found("credentials of the instance"));
        let secret =
            secret.filter(|secret| Owner::Instance(id).owns(&secret.metadata)).ok_or_else(missing)?;
        // One that was made anew is not the one that Odoo knows: better none than a wrong one.
        if !knows_admin_password(&secret) {
            return Err(missing());
        }
        let read = |key| value(&secret, key).ok_or_else(missing);
        Ok(Response::new(api::GetAdminPasswordResponse {
            admin_email: read(keys::ADMIN_EMAIL)?.expose_secret().to_owned(),
            admin_password: read(keys::ADMIN_PASSWORD)?.expose_secret().to_owned(),
        }))
    }

    async fn compare_cluster(
        &self,
        request: Request<api::CompareClusterRequest>,
    ) -> Result<Response<api::CompareClusterResponse>, Status> {
        let only = request.get_ref().instance_id.as_deref().map(parse).transpose()?;
        let differences = reconcile::compare(&self.worker, only).await.map_err(|error| {
            match error.downcast::<Error>() {
                Ok(error) => refused(error),
                Err(error) => failed(&format!("{error:#}")),
            }
        })?;
        let differences = differences
            .into_iter()
            .map(|found| api::ClusterDifference {
                instance_id: found.instance_id,
                object: found.object,
                kind: found.kind.to_owned(),
                detail: found.detail,
                namespace: found.namespace,
            })
            .collect();
        Ok(Response::new(api::CompareClusterResponse { differences }))
    }

    async fn measure_storage(
        &self,
        request: Request<api::MeasureStorageRequest>,
    ) -> Result<Response<api::MeasureStorageResponse>, Status> {
        let id = parse(&request.get_ref().instance_id)?;
        let instance = self.instance(id).await?;
        let pod = self.pod(id).await?;
        if !facts::is_ready(&pod) {
            return Err(no_pod());
        }
        let settings = &self.worker.settings;
        let path = settings.catalogue.image(&instance.odoo_version).flavour.data_path();
        let name = pod.metadata.name.as_deref().unwrap_or_default();
        let deadline = Duration::from_secs(7);
        let used = cluster::used_bytes(&self.worker.cluster, &settings.tenants, name, path, deadline).await;
        Ok(Response::new(api::MeasureStorageResponse {
            used_bytes: used.map_err(refused)?,
            at: Some(contracts::scalars::timestamp(runtime::clock::now())),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// SEC-02
    #[test]
    fn every_method_has_a_policy() {
        let undeclared =
            runtime::grpc::undeclared_methods(contracts::DESCRIPTOR_SET, "saasodoo.worker.v1", POLICIES);
        assert!(undeclared.is_empty(), "{undeclared:?}");
    }
}
