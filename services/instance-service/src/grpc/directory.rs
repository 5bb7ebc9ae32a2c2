//! `InstanceDirectoryService`: other services (service tokens only).

use contracts::instance::v1 as wire;
use contracts::instance::v1::instance_directory_service_server::InstanceDirectoryService;
use runtime::identity::Caller;
use tonic::{Request, Response, Status};
use uuid::Uuid;

use super::field_id;
use crate::app::{App, directory, usage};
use crate::error::Error;

/// Customers in one question at most.
const MOST: usize = 1000;

/// The service.
#[derive(Debug, Clone)]
pub(super) struct Api(pub(super) App);

#[tonic::async_trait]
impl InstanceDirectoryService for Api {
    async fn count_instances(
        &self,
        request: Request<wire::CountInstancesRequest>,
    ) -> Result<Response<wire::CountInstancesResponse>, Status> {
        let ids = &request.get_ref().customer_ids;
        if ids.len() > MOST {
            return Err(Error::invalid("customer_ids", "must have at most 1000 entries").into());
        }
        let customers: Vec<Uuid> =
            ids.iter().map(|text| field_id("customer_ids", text)).collect::<Result<_, _>>()?;
        let counts = directory::count(&self.0, &customers).await?;
        let counts = counts.into_iter().map(|(customer, count)| (customer.to_string(), count)).collect();
        Ok(Response::new(wire::CountInstancesResponse { counts }))
    }

    async fn terminate_all(
        &self,
        request: Request<wire::TerminateAllRequest>,
    ) -> Result<Response<wire::TerminateAllResponse>, Status> {
        let caller = Caller::of(&request)?.clone();
        let wire::TerminateAllRequest { customer_id, reason } = request.into_inner();
        let customer = field_id("customer_id", &customer_id)?;
        let count =
            directory::terminate_all(&self.0, &caller.service, &caller.request_id, customer, &reason).await?;
        Ok(Response::new(wire::TerminateAllResponse { count }))
    }

    async fn find_by_subscription(
        &self,
        request: Request<wire::FindBySubscriptionRequest>,
    ) -> Result<Response<wire::FindBySubscriptionResponse>, Status> {
        let subscription = field_id("subscription_id", &request.get_ref().subscription_id)?;
        let found = directory::find_by_subscription(&self.0, subscription).await?;
        Ok(Response::new(wire::FindBySubscriptionResponse {
            found: found.is_some(),
            instance_id: found.as_ref().map(|found| found.id.to_string()).unwrap_or_default(),
            status: found.as_ref().map(|found| found.status.to_string()).unwrap_or_default(),
            provisioned: found.as_ref().is_some_and(instance::domain::Instance::is_provisioned),
            error_since: found.as_ref().and_then(directory::error_since).map(contracts::scalars::timestamp),
        }))
    }

    async fn get_storage_usage(
        &self,
        request: Request<wire::GetStorageUsageRequest>,
    ) -> Result<Response<wire::GetStorageUsageResponse>, Status> {
        let instance = field_id("instance_id", &request.get_ref().instance_id)?;
        let usage = usage::storage(&self.0, instance).await?;
        Ok(Response::new(wire::GetStorageUsageResponse {
            used_bytes: usage.used_bytes,
            limit_bytes: usage.limit_bytes,
            measured_at: Some(contracts::scalars::timestamp(usage.at)),
        }))
    }

    async fn list_live(
        &self,
        request: Request<wire::ListLiveRequest>,
    ) -> Result<Response<wire::ListLiveResponse>, Status> {
        let asked = request.get_ref();
        if !(1..=MOST).contains(&usize::try_from(asked.page_size).unwrap_or(0)) {
            return Err(Error::invalid("page_size", "must be from 1 to 1000").into());
        }
        let after = match asked.after.as_str() {
            "" => Uuid::nil(),
            text => field_id("after", text)?,
        };
        let found = directory::live(&self.0, after, asked.page_size.into()).await?;
        let instances = found
            .into_iter()
            .map(|live| wire::LiveInstance {
                instance_id: live.id.to_string(),
                customer_id: live.customer_id.to_string(),
                subscription_id: live.subscription_id.map(|id| id.to_string()).unwrap_or_default(),
            })
            .collect();
        Ok(Response::new(wire::ListLiveResponse { instances }))
    }
}
