//! The other services that we ask. Each call has a deadline; what an absence means is decided by the use
//! case.

use std::collections::HashMap;
use std::time::Duration;

use contracts::billing::v1::GetCustomerStandingRequest;
use contracts::billing::v1::billing_directory_service_client::BillingDirectoryServiceClient;
use contracts::instance::v1::instance_directory_service_client::InstanceDirectoryServiceClient;
use contracts::instance::v1::{CountInstancesRequest, TerminateAllRequest};
use contracts::notification::v1::SendTemplateRequest;
use contracts::notification::v1::notification_service_client::NotificationServiceClient;
use contracts::services::{BILLING, INSTANCE, NOTIFICATION};
use runtime::grpc::{Authenticated, Dialer};
use tonic::Status;
use uuid::Uuid;

/// Longest wait for an answer that a page needs.
const READ: Duration = Duration::from_secs(1);
/// Longest wait for work that a background task asks for.
const WORK: Duration = Duration::from_secs(10);

/// What billing knows of a customer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// Highest live plan.
    pub plan: Option<String>,
    /// none, trialing, active, past_due, suspended.
    pub status: String,
    /// Unpaid invoices.
    pub unpaid_invoices: u32,
}

/// Clients of the other services.
#[derive(Debug, Clone)]
pub struct Clients {
    instances: InstanceDirectoryServiceClient<Authenticated>,
    instance_work: InstanceDirectoryServiceClient<Authenticated>,
    billing: BillingDirectoryServiceClient<Authenticated>,
    mail: NotificationServiceClient<Authenticated>,
}

impl Clients {
    /// Lazy channels to all.
    pub fn try_new(
        dialer: &Dialer,
        instance: &str,
        billing: &str,
        notification: &str,
    ) -> anyhow::Result<Self> {
        Ok(Self {
            instances: InstanceDirectoryServiceClient::new(dialer.channel(INSTANCE, instance, READ)?),
            instance_work: InstanceDirectoryServiceClient::new(dialer.channel(INSTANCE, instance, WORK)?),
            billing: BillingDirectoryServiceClient::new(dialer.channel(BILLING, billing, READ)?),
            mail: NotificationServiceClient::new(dialer.channel(NOTIFICATION, notification, WORK)?),
        })
    }

    /// Live instances of each customer; who has none is absent.
    pub async fn count_instances(&self, customers: &[Uuid]) -> Result<HashMap<Uuid, u32>, Status> {
        let request = CountInstancesRequest { customer_ids: customers.iter().map(Uuid::to_string).collect() };
        let answer = deadline(READ, self.instances.clone().count_instances(request)).await?;
        let counts = answer.into_inner().counts;
        Ok(counts.into_iter().filter_map(|(id, count)| Some((id.parse().ok()?, count))).collect())
    }

    /// Plan, status and debts of a customer.
    pub async fn standing(&self, customer: Uuid) -> Result<Standing, Status> {
        let request = GetCustomerStandingRequest { customer_id: customer.to_string() };
        let answer = deadline(READ, self.billing.clone().get_customer_standing(request)).await?.into_inner();
        let status = if answer.status.is_empty() { "none".to_owned() } else { answer.status };
        Ok(Standing { plan: answer.highest_plan, status, unpaid_invoices: answer.unpaid_invoices })
    }

    /// Terminates every live instance of a customer. Idempotent.
    pub async fn terminate_all(&self, customer: Uuid, reason: &str) -> Result<u32, Status> {
        let request = TerminateAllRequest { customer_id: customer.to_string(), reason: reason.to_owned() };
        let answer = deadline(WORK, self.instance_work.clone().terminate_all(request)).await?;
        Ok(answer.into_inner().count)
    }

    /// Hands a mail over; `key` makes a repetition harmless.
    pub async fn send_template(
        &self,
        key: Uuid,
        customer: Uuid,
        template: &str,
        variables: &serde_json::Value,
    ) -> Result<(), Status> {
        let request = SendTemplateRequest {
            dedupe_key: key.to_string(),
            customer_id: customer.to_string(),
            template_name: template.to_owned(),
            variables_json: variables.to_string(),
        };
        deadline(WORK, self.mail.clone().send_template(request)).await.map(drop)
    }
}

/// The deadline on the wire is the other side's; this one holds also while there is no connection.
async fn deadline<T>(limit: Duration, call: impl Future<Output = Result<T, Status>>) -> Result<T, Status> {
    tokio::time::timeout(limit, call)
        .await
        .unwrap_or_else(|_| Err(Status::deadline_exceeded("no answer in time")))
}
