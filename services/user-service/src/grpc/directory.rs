//! `CustomerDirectoryService`: look-ups of other services (USR-28).

use contracts::user::v1::customer_directory_service_server::CustomerDirectoryService;
use contracts::user::v1::{
    BatchGetCustomersRequest, BatchGetCustomersResponse, GetCustomerRequest, GetCustomerResponse,
};
use tonic::{Request, Response, Status};
use uuid::Uuid;

use super::{Api, convert};
use crate::error::Error;

/// Ids of one batch.
const MAX_BATCH: usize = 500;

#[tonic::async_trait]
impl CustomerDirectoryService for Api {
    async fn get_customer(
        &self,
        request: Request<GetCustomerRequest>,
    ) -> Result<Response<GetCustomerResponse>, Status> {
        let id = convert::id(&request.get_ref().customer_id, "customer")?;
        let user = self.app.customer(id).await?;
        Ok(Response::new(GetCustomerResponse { customer: Some(convert::customer(&user)) }))
    }

    async fn batch_get_customers(
        &self,
        request: Request<BatchGetCustomersRequest>,
    ) -> Result<Response<BatchGetCustomersResponse>, Status> {
        let wanted = &request.get_ref().customer_ids;
        if wanted.len() > MAX_BATCH {
            return Err(Error::invalid("customer_ids", format!("must be at most {MAX_BATCH}")).into());
        }
        let ids: Vec<Uuid> = wanted.iter().filter_map(|id| Uuid::parse_str(id).ok()).collect();
        let users = self.app.customers(&ids).await?;
        Ok(Response::new(BatchGetCustomersResponse {
            customers: users.iter().map(convert::customer).collect(),
        }))
    }
}
