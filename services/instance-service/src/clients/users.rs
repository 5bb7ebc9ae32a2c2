//! Accounts in user-service: address and quota. Kept for 10 s, so that a burst of creates asks once.

use std::sync::Arc;
use std::time::Duration;

use contracts::services::USER;
use contracts::user::v1::customer_directory_service_client::CustomerDirectoryServiceClient;
use contracts::user::v1::{GetCustomerRequest, ListErasedCustomersRequest};
use moka::future::Cache;
use runtime::grpc::{Authenticated, Dialer, retry_unavailable};
use tonic::Code;
use uuid::Uuid;

use super::failure;
use crate::error::Error;

/// How long an account is believed.
const LIFE: Duration = Duration::from_secs(10);

/// What a create needs to know of an account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// Default of `admin_email`.
    pub email: String,
    /// Its own quota.
    pub max_instances: Option<u32>,
    /// A closed account gets nothing new.
    pub is_active: bool,
}

/// Asks user-service.
#[derive(Debug, Clone)]
pub struct Customers {
    client: CustomerDirectoryServiceClient<Authenticated>,
    known: Cache<Uuid, Arc<Account>>,
}

impl Customers {
    /// Connects on the first call.
    pub fn try_new(dialer: &Dialer, url: &str) -> anyhow::Result<Self> {
        let channel = dialer.channel(USER, url, Duration::from_secs(5))?;
        Ok(Self {
            client: CustomerDirectoryServiceClient::new(channel),
            known: Cache::builder().max_capacity(10_000).time_to_live(LIFE).build(),
        })
    }

    /// The account; `None` when there is none.
    pub async fn find(&self, id: Uuid) -> Result<Option<Arc<Account>>, Error> {
        if let Some(account) = self.known.get(&id).await {
            return Ok(Some(account));
        }
        let call = || {
            let mut client = self.client.clone();
            async move { client.get_customer(GetCustomerRequest { customer_id: id.to_string() }).await }
        };
        let customer = match retry_unavailable(call).await {
            Ok(answer) => answer.into_inner().customer,
            Err(status) if status.code() == Code::NotFound => None,
            Err(status) => return Err(failure("user-service", &status)),
        };
        let Some(customer) = customer else { return Ok(None) };
        let account = Arc::new(Account {
            email: customer.email,
            max_instances: customer.max_instances,
            is_active: customer.is_active,
        });
        self.known.insert(id, Arc::clone(&account)).await;
        Ok(Some(account))
    }

    /// A page of the persons who were erased, in the order of their ids (USR-20). An empty one is the last.
    pub async fn erased(&self, after: Option<Uuid>) -> Result<Vec<Uuid>, Error> {
        let request = ListErasedCustomersRequest {
            after: after.map(|id| id.to_string()).unwrap_or_default(),
            limit: 0,
        };
        let call = || {
            let (mut client, request) = (self.client.clone(), request.clone());
            async move { client.list_erased_customers(request).await }
        };
        let answer = retry_unavailable(call).await.map_err(|status| failure("user-service", &status))?;
        let ids = answer.into_inner().customers;
        let ids = ids.iter().map(|one| Uuid::parse_str(&one.customer_id));
        ids.collect::<Result<_, _>>().map_err(|error| Error::Internal(error.into()))
    }
}
