//! Look-ups of accounts in user-service: address, greeting, switches.

use std::time::Duration;

use anyhow::Context as _;
use contracts::services::USER;
use contracts::user::v1::customer_directory_service_client::CustomerDirectoryServiceClient;
use contracts::user::v1::{GetCustomerRequest, ListErasedCustomersRequest};
use runtime::grpc::{Authenticated, Dialer};
use tonic::Code;
use uuid::Uuid;

/// What a mail needs to know of an account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// Address; mails go nowhere else (NTF-11).
    pub email: String,
    /// Greeting.
    pub first_name: String,
    /// The address was proved to be its owner's.
    pub is_verified: bool,
    /// Wants mails on instances.
    pub instance_mails: bool,
}

/// Answer of a look-up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lookup {
    /// It exists.
    Found(Account),
    /// It does not (any more).
    Unknown,
    /// user-service did not answer; ask again later.
    Away(String),
}

/// Asks user-service.
#[derive(Debug, Clone)]
pub struct Customers {
    client: CustomerDirectoryServiceClient<Authenticated>,
}

impl Customers {
    /// Connects on the first look-up.
    pub fn try_new(dialer: &Dialer, url: &str) -> anyhow::Result<Self> {
        let channel = dialer.channel(USER, url, Duration::from_secs(5))?;
        Ok(Self { client: CustomerDirectoryServiceClient::new(channel) })
    }

    /// The account as it is now.
    pub async fn find(&self, id: Uuid) -> Lookup {
        let request = GetCustomerRequest { customer_id: id.to_string() };
        match self.client.clone().get_customer(request).await {
            Ok(answer) => match answer.into_inner().customer {
                Some(customer) if !customer.email.is_empty() => Lookup::Found(Account {
                    email: customer.email,
                    first_name: customer.first_name,
                    is_verified: customer.is_verified,
                    // Without an answer on switches, all are on: that is the default of an account.
                    instance_mails: customer
                        .preferences
                        .and_then(|preferences| preferences.notifications)
                        .is_none_or(|switches| switches.instance),
                }),
                _ => Lookup::Unknown,
            },
            Err(status) if status.code() == Code::NotFound => Lookup::Unknown,
            Err(status) => Lookup::Away(format!("user-service: {:?}", status.code())),
        }
    }

    /// Erased accounts after this one, in order of their ids; none: there are no more.
    pub async fn erased_after(&self, after: Option<Uuid>) -> anyhow::Result<Vec<Uuid>> {
        let after = after.map(|id| id.to_string()).unwrap_or_default();
        let answer =
            self.client.clone().list_erased_customers(ListErasedCustomersRequest { after, limit: 0 }).await?;
        let ids =
            answer.into_inner().customers.into_iter().map(|customer| Uuid::parse_str(&customer.customer_id));
        ids.collect::<Result<_, _>>().context("user-service names an account that is no UUID")
    }
}
