//! `InstanceDirectoryService`: other services (service tokens only).

use contracts::instance::v1 as wire;
use contracts::instance::v1::instance_directory_service_server::InstanceDirectoryService;
use runtime::identity::Caller;
use tonic::{Request, Response, Status};
use uuid::Uuid;

use super::field_id;
use crate::app::{App, directory};
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
            instance_id: found.map(|id| id.to_string()).unwrap_or_default(),
        }))
    }
}
