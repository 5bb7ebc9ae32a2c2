//! Questions to other services: the address of a customer (for the trial rule), the instance of an order.

use std::time::Duration;

use contracts::instance::v1::instance_directory_service_client::InstanceDirectoryServiceClient;
use contracts::instance::v1::{FindBySubscriptionRequest, GetStorageUsageRequest, ListLiveRequest};
use contracts::scalars::datetime;
use contracts::services::{INSTANCE, USER};
use contracts::user::v1::customer_directory_service_client::CustomerDirectoryServiceClient;
use contracts::user::v1::{ErasedCustomer, GetCustomerRequest, ListErasedCustomersRequest};
use runtime::grpc::{Authenticated, Dialer, Refusal};
use tonic::Status;
use uuid::Uuid;

use crate::domain::audit::LiveInstance;
use crate::domain::delivery::Seen;
use crate::domain::people::{Profile, country, person};
use crate::domain::trial::EmailHash;

/// Longest wait for an answer; an order waits for the first of them.
const DEADLINE: Duration = Duration::from_secs(2);

/// Longest wait for the size of a volume: its files are counted one by one.
const MEASURING: Duration = Duration::from_secs(9);

/// What is on a volume.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Measured {
    /// So much.
    Bytes(u64),
    /// Nobody can look: the instance is off.
    NoPod,
}

/// Clients of user-service and instance-service.
#[derive(Debug, Clone)]
pub struct Clients {
    customers: CustomerDirectoryServiceClient<Authenticated>,
    instances: InstanceDirectoryServiceClient<Authenticated>,
    measuring: InstanceDirectoryServiceClient<Authenticated>,
}

impl Clients {
    /// Connects on the first question.
    pub fn try_new(dialer: &Dialer, user_url: &str, instance_url: &str) -> anyhow::Result<Self> {
        Ok(Self {
            customers: CustomerDirectoryServiceClient::new(dialer.channel(USER, user_url, DEADLINE)?),
            instances: InstanceDirectoryServiceClient::new(dialer.channel(
                INSTANCE,
                instance_url,
                DEADLINE,
            )?),
            measuring: InstanceDirectoryServiceClient::new(dialer.channel(
                INSTANCE,
                instance_url,
                MEASURING,
            )?),
        })
    }

    /// Hash of the address of a customer.
    pub async fn email_hash(&self, customer: Uuid) -> Result<EmailHash, Status> {
        self.profile(customer).await.map(|profile| profile.email_hash)
    }

    /// Who a customer is, as the account says it.
    pub async fn profile(&self, customer: Uuid) -> Result<Profile, Status> {
        let request = GetCustomerRequest { customer_id: customer.to_string() };
        let answer = in_time(self.customers.clone().get_customer(request)).await?;
        let customer = answer.into_inner().customer.unwrap_or_default();
        if customer.email.is_empty() {
            return Err(Status::not_found("the customer has no address"));
        }
        Ok(Profile {
            email_hash: EmailHash::of(&customer.email),
            person: person(&customer.first_name, &customer.last_name),
            country: country(&customer.country),
        })
    }

    /// Persons who were erased, after this id: a page of them.
    pub async fn erased_customers(&self, after: Option<Uuid>, limit: u16) -> Result<Vec<Uuid>, Status> {
        let after = after.map(|id| id.to_string()).unwrap_or_default();
        let request = ListErasedCustomersRequest { after, limit: limit.into() };
        let answer = in_time(self.customers.clone().list_erased_customers(request)).await?.into_inner();
        let id = |erased: &ErasedCustomer| {
            Uuid::parse_str(&erased.customer_id).map_err(|_| Status::internal("an id that is none"))
        };
        answer.customers.iter().map(id).collect()
    }

    /// What the volume of an instance holds (BIL-22).
    pub async fn storage(&self, instance: Uuid) -> Result<Measured, Status> {
        let request = GetStorageUsageRequest { instance_id: instance.to_string() };
        let mut client = self.measuring.clone();
        let answer = tokio::time::timeout(MEASURING, client.get_storage_usage(request))
            .await
            .unwrap_or_else(|_| Err(Status::deadline_exceeded("not measured in time")));
        match answer {
            Ok(answer) => Ok(Measured::Bytes(answer.into_inner().used_bytes)),
            Err(status) if Refusal::from_status(&status).reason == "no_pod" => Ok(Measured::NoPod),
            Err(status) => Err(status),
        }
    }

    /// How the instance of a subscription stands now; `None`: there is none.
    pub async fn instance_of(&self, subscription: Uuid) -> Result<Option<Seen>, Status> {
        let request = FindBySubscriptionRequest { subscription_id: subscription.to_string() };
        let answer = in_time(self.instances.clone().find_by_subscription(request)).await?.into_inner();
        Ok(answer.found.then(|| Seen {
            status: answer.status,
            provisioned: answer.provisioned,
            error_since: answer.error_since.as_ref().and_then(datetime),
        }))
    }

    /// Does an instance have this subscription?
    pub async fn instance_exists(&self, subscription: Uuid) -> Result<bool, Status> {
        let request = FindBySubscriptionRequest { subscription_id: subscription.to_string() };
        let answer = in_time(self.instances.clone().find_by_subscription(request)).await?;
        Ok(answer.into_inner().found)
    }

    /// Live instances after an id; none: that was all of them.
    pub async fn live_instances(&self, after: Uuid, page_size: u16) -> Result<Vec<LiveInstance>, Status> {
        let request = ListLiveRequest { after: after.to_string(), page_size: page_size.into() };
        let answer = in_time(self.instances.clone().list_live(request)).await?.into_inner();
        let id = |text: &str| Uuid::parse_str(text).map_err(|_| Status::internal("an id that is none"));
        answer
            .instances
            .iter()
            .map(|live| {
                Ok(LiveInstance {
                    id: id(&live.instance_id)?,
                    customer_id: id(&live.customer_id)?,
                    subscription_id: match live.subscription_id.as_str() {
                        "" => None,
                        text => Some(id(text)?),
                    },
                })
            })
            .collect()
    }
}

/// The deadline on the wire is the other side's; this one also holds while there is no connection.
async fn in_time<T>(call: impl Future<Output = Result<T, Status>>) -> Result<T, Status> {
    tokio::time::timeout(DEADLINE, call)
        .await
        .unwrap_or_else(|_| Err(Status::deadline_exceeded("no answer in time")))
}
