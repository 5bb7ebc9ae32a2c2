//! `PoolWorkService`: what the worker builds for servers, and what it saw.

use contracts::database::v1::pool_work_service_server::PoolWorkService;
use contracts::database::v1::{
    GetPoolSecretRequest, GetPoolSecretResponse, ListPoolSpecsRequest, ListPoolSpecsResponse, PoolSpec,
    ReportClusterContactRequest, ReportClusterContactResponse, ReportPoolRequest, ReportPoolResponse,
};
use contracts::scalars::datetime;
use secrecy::ExposeSecret as _;
use tonic::{Request, Response, Status};
use uuid::Uuid;

use crate::app::App;
use crate::app::pool_work::{Address, Report, Spec};
use crate::domain::pool::{Observed, PoolStatus};
use crate::error::Error;

/// Longest message of the worker that is kept.
const MESSAGE: usize = 500;

pub(super) struct Api(pub(super) App);

#[tonic::async_trait]
impl PoolWorkService for Api {
    async fn list_pool_specs(
        &self,
        _request: Request<ListPoolSpecsRequest>,
    ) -> Result<Response<ListPoolSpecsResponse>, Status> {
        let specs = self.0.pool_specs().await?;
        Ok(Response::new(ListPoolSpecsResponse { pools: specs.into_iter().map(spec_message).collect() }))
    }

    async fn get_pool_secret(
        &self,
        request: Request<GetPoolSecretRequest>,
    ) -> Result<Response<GetPoolSecretResponse>, Status> {
        let secret = self.0.pool_secret(pool_id(&request.into_inner().pool_id)?).await?;
        let (mut certificate, mut key, mut authorities) = <(String, String, String)>::default();
        if let Some(tls) = secret.tls {
            (certificate, authorities) = (tls.certificate, tls.authorities);
            tls.key.expose_secret().clone_into(&mut key);
        }
        Ok(Response::new(GetPoolSecretResponse {
            admin_user: secret.user,
            admin_password: secret.password.expose_secret().to_owned(),
            secret_hash: secret.hash,
            tls_certificate: certificate,
            tls_private_key: key,
            ca_certificates: authorities,
        }))
    }

    async fn report_pool(
        &self,
        request: Request<ReportPoolRequest>,
    ) -> Result<Response<ReportPoolResponse>, Status> {
        let request = request.into_inner();
        let status = if request.observed == "volume_removed" {
            self.0.report_no_volume(pool_id(&request.pool_id)?).await?
        } else {
            self.0.report(&parse(request)?).await?
        };
        Ok(Response::new(ReportPoolResponse { status: status.to_string() }))
    }

    async fn report_cluster_contact(
        &self,
        request: Request<ReportClusterContactRequest>,
    ) -> Result<Response<ReportClusterContactResponse>, Status> {
        let at = request.into_inner().at.as_ref().and_then(datetime);
        let at = at.ok_or(Error::Invalid { field: "at", message: "must be a time" })?;
        self.0.cluster_contact(at).await?;
        Ok(Response::new(ReportClusterContactResponse {}))
    }
}

fn pool_id(text: &str) -> Result<Uuid, Error> {
    Uuid::parse_str(text).map_err(|_| Error::Invalid { field: "pool_id", message: "must be a UUID" })
}

fn spec_message(spec: Spec) -> PoolSpec {
    let server = spec.server;
    PoolSpec {
        id: server.id.to_string(),
        name: server.name,
        server_type: server.server_type.to_string(),
        desired: match server.status {
            // Listed only when the volume was kept long enough.
            PoolStatus::Deprovisioned => "no_volume",
            status if status.wants_objects() => "present",
            _ => "absent",
        }
        .into(),
        image: server.image,
        storage: server.resources.storage,
        cpu_request: server.resources.cpu_request,
        cpu_limit: server.resources.cpu_limit,
        memory_request: server.resources.memory_request,
        memory_limit: server.resources.memory_limit,
        config: spec.config,
        admin_user: server.admin_user,
        secret_hash: spec.secret_hash,
        instance_id: server.instance_id,
        generation: server.generation,
        status: server.status.to_string(),
    }
}

fn parse(request: ReportPoolRequest) -> Result<Report, Error> {
    let observed = match request.observed.parse() {
        Ok(Observed::Nothing) | Err(_) => {
            return Err(Error::Invalid {
                field: "observed",
                message: "must be applied, ready, not_ready, removed, failed or volume_removed",
            });
        }
        Ok(observed) => observed,
    };
    let port = |field, number: u32| match i32::try_from(number) {
        Ok(port @ 1..=65535) => Ok(port),
        _ => Err(Error::Invalid { field, message: "must be from 1 to 65535" }),
    };
    let address = if request.platform_host.is_empty() {
        None
    } else {
        // Without an address of its own for tenants, both take the same way.
        let tenant = if request.tenant_host.is_empty() {
            (request.platform_host.clone(), port("platform_port", request.platform_port)?)
        } else {
            (request.tenant_host, port("tenant_port", request.tenant_port)?)
        };
        Some(Address {
            platform: (request.platform_host, port("platform_port", request.platform_port)?),
            tenant,
        })
    };
    if observed == Observed::Ready && address.is_none() {
        return Err(Error::Invalid { field: "platform_host", message: "must be given for a ready pool" });
    }
    Ok(Report {
        server: pool_id(&request.pool_id)?,
        observed,
        address,
        node: request.node,
        message: request.message.chars().take(MESSAGE).collect(),
    })
}
