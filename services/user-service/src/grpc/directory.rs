//! `CustomerDirectoryService`: look-ups of other services (USR-28).

use contracts::scalars::timestamp;
use contracts::user::v1::customer_directory_service_server::CustomerDirectoryService;
use contracts::user::v1::{
    BatchGetCustomersRequest, BatchGetCustomersResponse, ErasedCustomer, GetCustomerRequest,
    GetCustomerResponse, ListErasedCustomersRequest, ListErasedCustomersResponse,
};
use tonic::{Request, Response, Status};
use uuid::Uuid;

use super::{Api, convert};
use crate::error::Error;

/// Ids of one batch.
const MAX_BATCH: usize = 500;
/// Persons of one page.
const MAX_PAGE: u16 = 500;

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

    async fn list_erased_customers(
        &self,
        request: Request<ListErasedCustomersRequest>,
    ) -> Result<Response<ListErasedCustomersResponse>, Status> {
        let ListErasedCustomersRequest { after, limit } = request.into_inner();
        let after = if after.is_empty() { Uuid::nil() } else { convert::id(&after, "after")? };
        let limit = u16::try_from(limit).ok().filter(|&limit| limit > 0).unwrap_or(MAX_PAGE).min(MAX_PAGE);
        let erased = self.app.erased_customers(after, limit).await?;
        let customers = erased
            .into_iter()
            .map(|(id, at)| ErasedCustomer { customer_id: id.to_string(), erased_at: Some(timestamp(at)) });
        Ok(Response::new(ListErasedCustomersResponse { customers: customers.collect() }))
    }
}
