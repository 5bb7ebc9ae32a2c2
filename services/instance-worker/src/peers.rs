//! The other services as the worker calls them. Every call has a deadline; only `Unavailable` is repeated,
//! because every call is idempotent.

mod moves;

use std::time::Duration;

use contracts::billing::v1 as billing;
use contracts::billing::v1::order_service_client::OrderServiceClient;
use contracts::database::v1 as database;
use contracts::database::v1::allocation_service_client::AllocationServiceClient;
use contracts::database::v1::credential_service_client::CredentialServiceClient;
use contracts::database::v1::move_service_client::MoveServiceClient;
use contracts::database::v1::pool_work_service_client::PoolWorkServiceClient;
use contracts::services;
use prost_types::Timestamp;
use runtime::grpc::{Authenticated, Dialer, Refusal, retry_unavailable};
use secrecy::SecretString;
use tonic::{Code, Status};
use uuid::Uuid;

use crate::objects::pool;

/// Longest wait for one call.
const DEADLINE: Duration = Duration::from_secs(15);

/// A call that another service did not fulfil.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It is away, or too slow: worth another try.
    #[error("{service} is unavailable: {message}")]
    Unavailable {
        /// Which service.
        service: &'static str,
        /// Cause, for operators.
        message: String,
    },
    /// It understood and refused.
    #[error("{service} refused: {reason}: {message}")]
    Refused {
        /// Which service.
        service: &'static str,
        /// Reason word.
        reason: String,
        /// Text, for operators.
        message: String,
    },
    /// It answered what the contract does not allow.
    #[error("{service} answered without {missing}")]
    Broken {
        /// Which service.
        service: &'static str,
        /// What is missing.
        missing: &'static str,
    },
}

fn failed(service: &'static str) -> impl Fn(Status) -> Error {
    move |status| match status.code() {
        Code::Unavailable
        | Code::DeadlineExceeded
        | Code::Cancelled
        | Code::Unknown
        | Code::Internal
        | Code::Aborted
        | Code::ResourceExhausted
        | Code::Unauthenticated => {
            Error::Unavailable { service, message: format!("{:?}: {}", status.code(), status.message()) }
        }
        _ => {
            let refusal = Refusal::from_status(&status);
            Error::Refused { service, reason: refusal.reason, message: refusal.message }
        }
    }
}

/// Answer to a wish for a database.
#[derive(Debug, Clone, PartialEq)]
pub enum Placement {
    /// It is there.
    Allocated(Box<database::Allocation>),
    /// A server is being made.
    Provisioning,
}

/// Credentials of a tenant's role.
#[derive(Debug, Clone)]
pub struct Credentials {
    /// Role.
    pub user: String,
    /// Password.
    pub password: SecretString,
}

/// Clients of the other services.
#[derive(Debug, Clone)]
pub struct Peers {
    orders: OrderServiceClient<Authenticated>,
    allocations: AllocationServiceClient<Authenticated>,
    moves: MoveServiceClient<Authenticated>,
    rotations: CredentialServiceClient<Authenticated>,
    pools: PoolWorkServiceClient<Authenticated>,
}

impl Peers {
    /// Connects on the first call.
    pub fn try_new(dialer: &Dialer, billing_url: &str, database_url: &str) -> anyhow::Result<Self> {
        Ok(Self::over(
            dialer.channel(services::BILLING, billing_url, DEADLINE)?,
            dialer.channel(services::DATABASE, database_url, DEADLINE)?,
        ))
    }

    /// Over open channels.
    pub fn over(billing: Authenticated, database: Authenticated) -> Self {
        Self {
            orders: OrderServiceClient::new(billing),
            allocations: AllocationServiceClient::new(database.clone()),
            moves: MoveServiceClient::new(database.clone()),
            rotations: CredentialServiceClient::new(database.clone()),
            pools: PoolWorkServiceClient::new(database),
        }
    }

    /// May this subscription run now?
    pub async fn entitlement(&self, subscription: Uuid) -> Result<billing::GetEntitlementResponse, Error> {
        let request = billing::GetEntitlementRequest { subscription_id: subscription.to_string() };
        retry_unavailable(|| {
            let (mut client, request) = (self.orders.clone(), request.clone());
            async move { client.get_entitlement(request).await }
        })
        .await
        .map(tonic::Response::into_inner)
        .map_err(failed(services::BILLING))
    }

    /// A database for an instance.
    pub async fn allocate(&self, request: database::AllocateRequest) -> Result<Placement, Error> {
        let answer = retry_unavailable(|| {
            let (mut client, request) = (self.allocations.clone(), request.clone());
            async move { client.allocate(request).await }
        })
        .await
        .map_err(failed(services::DATABASE))?
        .into_inner();
        match (answer.status.as_str(), answer.allocation) {
            ("allocated", Some(allocation)) => Ok(Placement::Allocated(Box::new(allocation))),
            ("allocated", None) => {
                Err(Error::Broken { service: services::DATABASE, missing: "an allocation" })
            }
            _ => Ok(Placement::Provisioning),
        }
    }

    /// A softly released database is live again.
    pub async fn reclaim(&self, instance: Uuid) -> Result<database::Allocation, Error> {
        let request = database::ReclaimRequest { instance_id: instance.to_string() };
        retry_unavailable(|| {
            let (mut client, request) = (self.allocations.clone(), request.clone());
            async move { client.reclaim(request).await }
        })
        .await
        .map_err(failed(services::DATABASE))?
        .into_inner()
        .allocation
        .ok_or(Error::Broken { service: services::DATABASE, missing: "an allocation" })
    }

    /// Role and password of an instance's database.
    pub async fn credentials(&self, instance: Uuid) -> Result<Credentials, Error> {
        let request = database::GetCredentialsRequest { instance_id: instance.to_string() };
        let answer = retry_unavailable(|| {
            let (mut client, request) = (self.allocations.clone(), request.clone());
            async move { client.get_credentials(request).await }
        })
        .await
        .map_err(failed(services::DATABASE))?
        .into_inner();
        let broken = |missing| Error::Broken { service: services::DATABASE, missing };
        let user = answer.allocation.ok_or(broken("an allocation"))?.db_user;
        if answer.password.is_empty() {
            return Err(broken("a password"));
        }
        Ok(Credentials { user, password: SecretString::from(answer.password) })
    }

    /// Where an instance's database is.
    pub async fn allocation(&self, instance: Uuid) -> Result<database::Allocation, Error> {
        let request = database::GetCredentialsRequest { instance_id: instance.to_string() };
        retry_unavailable(|| {
            let (mut client, request) = (self.allocations.clone(), request.clone());
            async move { client.get_credentials(request).await }
        })
        .await
        .map_err(failed(services::DATABASE))?
        .into_inner()
        .allocation
        .ok_or(Error::Broken { service: services::DATABASE, missing: "an allocation" })
    }

    /// A second role; both passwords are valid afterwards.
    pub async fn begin_rotation(&self, id: Uuid, instance: Uuid) -> Result<(), Error> {
        let request =
            database::BeginRotationRequest { rotation_id: id.to_string(), instance_id: instance.to_string() };
        retry_unavailable(|| {
            let (mut client, request) = (self.rotations.clone(), request.clone());
            async move { client.begin_rotation(request).await }
        })
        .await
        .map(drop)
        .map_err(failed(services::DATABASE))
    }

    /// The second role is given out from now on.
    pub async fn switch_rotation(&self, id: Uuid) -> Result<database::Allocation, Error> {
        let request = database::SwitchRotationRequest { rotation_id: id.to_string() };
        retry_unavailable(|| {
            let (mut client, request) = (self.rotations.clone(), request.clone());
            async move { client.switch_rotation(request).await }
        })
        .await
        .map_err(failed(services::DATABASE))?
        .into_inner()
        .allocation
        .ok_or(Error::Broken { service: services::DATABASE, missing: "an allocation" })
    }

    /// The first role goes.
    pub async fn retire_rotation(&self, id: Uuid) -> Result<(), Error> {
        let request = database::RetireRotationRequest { rotation_id: id.to_string() };
        retry_unavailable(|| {
            let (mut client, request) = (self.rotations.clone(), request.clone());
            async move { client.retire_rotation(request).await }
        })
        .await
        .map(drop)
        .map_err(failed(services::DATABASE))
    }

    /// Gives a rotation up; what was switched stays.
    pub async fn abort_rotation(&self, id: Uuid) -> Result<(), Error> {
        let request = database::AbortRotationRequest { rotation_id: id.to_string() };
        retry_unavailable(|| {
            let (mut client, request) = (self.rotations.clone(), request.clone());
            async move { client.abort_rotation(request).await }
        })
        .await
        .map(drop)
        .map_err(failed(services::DATABASE))
    }

    /// Gives a database back; an unknown one is success.
    pub async fn release(&self, instance: Uuid, purge: bool, reason: &str) -> Result<(), Error> {
        let request = database::ReleaseRequest {
            instance_id: instance.to_string(),
            mode: if purge { "purge" } else { "soft" }.to_owned(),
            reason: reason.to_owned(),
        };
        let answer = retry_unavailable(|| {
            let (mut client, request) = (self.allocations.clone(), request.clone());
            async move { client.release(request).await }
        })
        .await;
        match answer {
            Ok(_) => Ok(()),
            Err(status) if status.code() == Code::NotFound => Ok(()),
            Err(status) => Err(failed(services::DATABASE)(status)),
        }
    }

    /// Pools that should have objects, and those that should lose them.
    pub async fn pool_specs(&self) -> Result<Vec<database::PoolSpec>, Error> {
        retry_unavailable(|| {
            let mut client = self.pools.clone();
            async move { client.list_pool_specs(database::ListPoolSpecsRequest {}).await }
        })
        .await
        .map(|answer| answer.into_inner().pools)
        .map_err(failed(services::DATABASE))
    }

    /// What the Secret of a pool holds.
    pub async fn pool_secret(&self, pool: &str) -> Result<pool::Content, Error> {
        let request = database::GetPoolSecretRequest { pool_id: pool.to_owned() };
        let answer = retry_unavailable(|| {
            let (mut client, request) = (self.pools.clone(), request.clone());
            async move { client.get_pool_secret(request).await }
        })
        .await
        .map_err(failed(services::DATABASE))?
        .into_inner();
        if answer.admin_password.is_empty() {
            return Err(Error::Broken { service: services::DATABASE, missing: "a password" });
        }
        if answer.tls_certificate.is_empty() || answer.tls_private_key.is_empty() {
            return Err(Error::Broken { service: services::DATABASE, missing: "a certificate" });
        }
        Ok(pool::Content {
            password: SecretString::from(answer.admin_password),
            certificate: answer.tls_certificate,
            key: SecretString::from(answer.tls_private_key),
            authorities: answer.ca_certificates,
        })
    }

    /// What was seen of a pool.
    pub async fn report_pool(&self, report: database::ReportPoolRequest) -> Result<(), Error> {
        retry_unavailable(|| {
            let (mut client, report) = (self.pools.clone(), report.clone());
            async move { client.report_pool(report).await }
        })
        .await
        .map(drop)
        .map_err(failed(services::DATABASE))
    }

    /// The cluster answered now (DBS-14).
    pub async fn report_contact(&self, at: Timestamp) -> Result<(), Error> {
        let mut client = self.pools.clone();
        client
            .report_cluster_contact(database::ReportClusterContactRequest { at: Some(at) })
            .await
            .map(drop)
            .map_err(failed(services::DATABASE))
    }
}
