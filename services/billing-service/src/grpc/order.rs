//! `OrderService`: orders of instance-service.

use contracts::billing::v1 as proto;
use contracts::billing::v1::order_service_server::OrderService;
use serde_json::Value;
use tonic::{Request, Response, Status};
use uuid::Uuid;

use super::customer::shown;
use super::{Api, convert};
use crate::app::invoices::read as invoices;
use crate::app::orders::place::{Wish, place_order};
use crate::app::orders::reactivate::reactivate;
use crate::app::orders::reverse::cancel_order;
use crate::app::repeat;
use crate::app::subscriptions::entitlement::{Entitled, entitlement, entitlements};
use crate::error::Error;

#[tonic::async_trait]
impl OrderService for Api {
    async fn place_order(
        &self,
        request: Request<proto::PlaceOrderRequest>,
    ) -> Result<Response<proto::PlaceOrderResponse>, Status> {
        self.placed(wish(request.into_inner())?, Kind::New).await
    }

    async fn reactivate_order(
        &self,
        request: Request<proto::PlaceOrderRequest>,
    ) -> Result<Response<proto::PlaceOrderResponse>, Status> {
        let request = request.into_inner();
        let former = match request.replaces_subscription_id.as_str() {
            "" => None,
            id => Some(convert::uuid("replaces_subscription_id", id)?),
        };
        self.placed(wish(request)?, Kind::Back(former)).await
    }

    async fn cancel_order(
        &self,
        request: Request<proto::CancelOrderRequest>,
    ) -> Result<Response<proto::CancelOrderResponse>, Status> {
        let request = request.into_inner();
        let instance = convert::uuid("instance_id", &request.instance_id)?;
        let reason = if request.reason.is_empty() { "cancelled" } else { &request.reason };
        let now = self.app.now().await;
        repeat(|| cancel_order(&self.app, instance, reason, now)).await?;
        Ok(Response::new(proto::CancelOrderResponse {}))
    }

    async fn get_entitlement(
        &self,
        request: Request<proto::GetEntitlementRequest>,
    ) -> Result<Response<proto::GetEntitlementResponse>, Status> {
        let id = convert::uuid("subscription_id", &request.get_ref().subscription_id)?;
        Ok(Response::new(entitlement_message(entitlement(&self.app, id).await?)))
    }

    async fn get_entitlements(
        &self,
        request: Request<proto::GetEntitlementsRequest>,
    ) -> Result<Response<proto::GetEntitlementsResponse>, Status> {
        let ids = &request.get_ref().subscription_ids;
        if ids.len() > MANY {
            let message = "must be at most 100 ids";
            return Err(Error::Field { field: "subscription_ids", message }.into());
        }
        let ids: Result<Vec<Uuid>, _> = ids.iter().map(|id| convert::uuid("subscription_ids", id)).collect();
        let many = entitlements(&self.app, &ids?).await?;
        let one = |entitled: Entitled| proto::SubscriptionEntitlement {
            subscription_id: entitled.subscription.id.to_string(),
            entitlement: Some(entitlement_message(entitled)),
        };
        Ok(Response::new(proto::GetEntitlementsResponse {
            entitlements: many.entitled.into_iter().map(one).collect(),
            unknown_ids: many.unknown.iter().map(Uuid::to_string).collect(),
            unreadable_ids: many.unreadable.iter().map(Uuid::to_string).collect(),
        }))
    }
}

/// How many subscriptions one call may ask for.
const MANY: usize = 100;

fn entitlement_message(entitled: Entitled) -> proto::GetEntitlementResponse {
    let status = entitled.subscription.status;
    proto::GetEntitlementResponse {
        may_run: status.may_run().is_ok(),
        billing_status: status.billing_status(entitled.owes).as_str().into(),
        plan: Some(convert::plan(entitled.plan)),
        reason: status.may_run().err().unwrap_or_default().into(),
        cause: entitled.subscription.stopped_by().unwrap_or_default().into(),
    }
}

/// What an order is for.
#[derive(Debug, Clone, Copy)]
enum Kind {
    /// A new instance.
    New,
    /// An ended one that comes back, with the subscription that goes.
    Back(Option<Uuid>),
}

impl Api {
    /// Places an order.
    async fn placed(&self, wish: Wish, kind: Kind) -> Result<Response<proto::PlaceOrderResponse>, Status> {
        let start = std::time::Instant::now();
        let app = self.app.clone();
        // A caller that hangs up must not cut the order in two.
        let placed = tokio::spawn(async move {
            let now = app.now().await;
            match kind {
                Kind::New => repeat(|| place_order(&app, wish.clone(), now)).await,
                Kind::Back(former) => repeat(|| reactivate(&app, wish.clone(), former, now)).await,
            }
        });
        let answer = placed.await.map_err(|error| Error::Internal(error.into()))??;
        self.app.metrics.order_took(start.elapsed());
        let status = answer.subscription.status;
        let owes = invoices::owes(&self.app, answer.subscription.id).await?;
        let invoice = invoices::first_of(&self.app, answer.subscription.id).await?;
        Ok(Response::new(proto::PlaceOrderResponse {
            billing_status: status.billing_status(owes).as_str().into(),
            provision_now: status.may_run().is_ok(),
            subscription: Some(shown(&self.app, answer.subscription).await?),
            plan: Some(convert::plan(answer.plan)),
            trial_reason: answer.trial_reason.into(),
            invoice: invoice.map(convert::invoice),
        }))
    }
}

fn wish(request: proto::PlaceOrderRequest) -> Result<Wish, Error> {
    let settings = match request.settings_json.as_str() {
        "" => Value::Object(serde_json::Map::new()),
        text => serde_json::from_str(text)
            .ok()
            .filter(Value::is_object)
            .ok_or(Error::Field { field: "settings_json", message: "must be a JSON object" })?,
    };
    Ok(Wish {
        instance_id: convert::uuid("instance_id", &request.instance_id)?,
        customer_id: convert::uuid("customer_id", &request.customer_id)?,
        plan_name: request.plan_name,
        trial: request.trial,
        settings,
        coupon: Some(request.coupon).filter(|code| !code.trim().is_empty()),
    })
}
