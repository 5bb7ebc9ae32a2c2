//! `CatalogService`: what can be bought (BIL-04).

use contracts::billing::v1 as proto;
use contracts::billing::v1::catalog_service_server::CatalogService;
use contracts::services::GATEWAY;
use runtime::identity::Caller;
use tonic::{Request, Response, Status};

use super::{Api, convert};
use crate::error::Error;
use crate::store::plans;

#[tonic::async_trait]
impl CatalogService for Api {
    async fn list_plans(
        &self,
        request: Request<proto::ListPlansRequest>,
    ) -> Result<Response<proto::ListPlansResponse>, Status> {
        let include = request.get_ref().include_unavailable && sees_all(&request)?;
        let plans = plans::list(&self.app.pool, include).await.map_err(Error::from)?;
        Ok(Response::new(proto::ListPlansResponse { plans: plans.into_iter().map(convert::plan).collect() }))
    }

    async fn get_plan(
        &self,
        request: Request<proto::GetPlanRequest>,
    ) -> Result<Response<proto::GetPlanResponse>, Status> {
        let all = sees_all(&request)?;
        let plan = plans::find(&self.app.pool, &request.get_ref().name, None)
            .await
            .map_err(Error::from)?
            .filter(|plan| plan.active || all)
            .ok_or(Error::NotFound("plan"))?;
        Ok(Response::new(proto::GetPlanResponse { plan: Some(convert::plan(plan)) }))
    }
}

/// The public sees what is for sale; services also see what was sold.
fn sees_all<T>(request: &Request<T>) -> Result<bool, Status> {
    Ok(Caller::of(request)?.service != GATEWAY)
}
