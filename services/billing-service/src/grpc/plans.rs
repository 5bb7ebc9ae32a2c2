//! `CatalogService`: what can be bought (BIL-04).

use contracts::billing::v1 as proto;
use contracts::billing::v1::catalog_service_server::CatalogService;
use contracts::services::GATEWAY;
use runtime::identity::Caller;
use tonic::{Request, Response, Status};

use super::{Api, convert};
use crate::app::catalogue::{find_plan, list_plans};

#[tonic::async_trait]
impl CatalogService for Api {
    async fn list_plans(
        &self,
        request: Request<proto::ListPlansRequest>,
    ) -> Result<Response<proto::ListPlansResponse>, Status> {
        let include = request.get_ref().include_unavailable && sees_all(&request)?;
        let plans = list_plans(&self.app, include).await?;
        Ok(Response::new(proto::ListPlansResponse { plans: plans.into_iter().map(convert::plan).collect() }))
    }

    async fn get_plan(
        &self,
        request: Request<proto::GetPlanRequest>,
    ) -> Result<Response<proto::GetPlanResponse>, Status> {
        let all = sees_all(&request)?;
        let plan = find_plan(&self.app, &request.get_ref().name, all).await?;
        Ok(Response::new(proto::GetPlanResponse { plan: Some(convert::plan(plan)) }))
    }
}

/// The public sees what is for sale; services also see what was sold.
fn sees_all<T>(request: &Request<T>) -> Result<bool, Status> {
    Ok(Caller::of(request)?.service != GATEWAY)
}
