//! Plans and orders in billing-service. Plans are kept for 30 s; orders are idempotent by instance id, so
//! calls are repeated while it is away.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use contracts::billing::v1::catalog_service_client::CatalogServiceClient;
use contracts::billing::v1::order_service_client::OrderServiceClient;
use contracts::billing::v1::{
    CancelOrderRequest, GetEntitlementRequest, GetEntitlementResponse, GetEntitlementsRequest,
    GetPlanRequest, PlaceOrderRequest, PlaceOrderResponse, Plan as WirePlan,
};
use contracts::services::BILLING;
use futures::StreamExt as _;
use instance::domain::{BillingStatus, Limits};
use moka::future::Cache;
use runtime::grpc::{Authenticated, Dialer, Refusal, retry_unavailable};
use tonic::Code;
use uuid::Uuid;

use super::failure;
use crate::error::Error;

/// How long a plan is believed.
const PLAN_LIFE: Duration = Duration::from_secs(30);

/// Subscriptions that are asked for beside each other.
const BESIDE: usize = 8;

/// What a plan gives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// Name, such as `basic-monthly`.
    pub name: String,
    /// basic, standard, premium, enterprise.
    pub tier: String,
    /// starter, standard, premium, enterprise.
    pub db_tier: String,
    /// shared, dedicated.
    pub db_type: String,
    /// Can be bought now.
    pub available: bool,
    /// Zero where the plan says nothing.
    pub limits: Limits,
}

/// May a subscription's instance run?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Yes.
    MayRun,
    /// Not before a payment.
    Unpaid,
    /// Never again.
    Ended,
}

/// What billing says of a subscription now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entitlement {
    /// May it run?
    pub standing: Standing,
    /// For the row; `None` for a word that we do not know.
    pub billing_status: Option<BillingStatus>,
    /// Its plan, as it was bought.
    pub plan: Option<Plan>,
    /// What stopped it, as a reason word of billing; `None` while it may run, and from a billing that does
    /// not say.
    pub cause: Option<String>,
}

/// What billing says of one subscription of a page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// How it stands.
    Known(Entitlement),
    /// There is none.
    Unknown,
}

/// An order that billing took.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placed {
    /// Its subscription.
    pub subscription_id: Uuid,
    /// Standing of the subscription.
    pub billing_status: BillingStatus,
    /// False: wait for a payment (BIL-13).
    pub provision_now: bool,
}

/// An order to place.
#[derive(Debug, Clone)]
pub struct Order {
    /// Our choice of id; makes the call idempotent.
    pub instance_id: Uuid,
    /// Who pays.
    pub customer_id: Uuid,
    /// Which plan.
    pub plan: String,
    /// Absent: a trial when the customer may have one.
    pub trial: Option<bool>,
    /// JSON of the instance's settings.
    pub settings_json: String,
    /// Discount code; empty: none.
    pub coupon: String,
}

/// Asks billing-service.
#[derive(Debug, Clone)]
pub struct Billing {
    catalogue: CatalogServiceClient<Authenticated>,
    orders: OrderServiceClient<Authenticated>,
    plans: Cache<String, Arc<Plan>>,
}

impl Billing {
    /// Connects on the first call.
    pub fn try_new(dialer: &Dialer, url: &str) -> anyhow::Result<Self> {
        let channel = dialer.channel(BILLING, url, Duration::from_secs(5))?;
        Ok(Self {
            catalogue: CatalogServiceClient::new(channel.clone()),
            orders: OrderServiceClient::new(channel),
            plans: Cache::builder().max_capacity(1000).time_to_live(PLAN_LIFE).build(),
        })
    }

    /// A plan by its name, at most 30 s old.
    pub async fn plan(&self, name: &str) -> Result<Arc<Plan>, Error> {
        // No plan has such a name, and no database takes one.
        if name.chars().any(char::is_control) {
            return Err(Error::PlanUnavailable(String::new()));
        }
        if let Some(plan) = self.plans.get(name).await {
            return Ok(plan);
        }
        let request = || {
            let mut client = self.catalogue.clone();
            async move { client.get_plan(GetPlanRequest { name: name.to_owned() }).await }
        };
        let answer = retry_unavailable(request).await.map_err(|status| {
            if status.code() == Code::NotFound {
                Error::PlanUnavailable(name.to_owned())
            } else {
                failure("billing", &status)
            }
        })?;
        let plan = answer.into_inner().plan.ok_or_else(|| Error::PlanUnavailable(name.to_owned()))?;
        let plan = Arc::new(Plan::from(plan));
        self.plans.insert(name.to_owned(), Arc::clone(&plan)).await;
        Ok(plan)
    }

    /// Places an order.
    pub async fn place(&self, order: &Order) -> Result<Placed, Error> {
        let call = || {
            let (mut client, request) = (self.orders.clone(), order.request());
            async move { client.place_order(request).await }
        };
        placed(order, retry_unavailable(call).await)
    }

    /// A new subscription for an instance that had `former`, which ends with it (BIL-25). The same one while
    /// it lives.
    pub async fn reactivate(&self, order: &Order, former: Option<Uuid>) -> Result<Placed, Error> {
        let former = former.map(|id| id.to_string()).unwrap_or_default();
        let request = PlaceOrderRequest { replaces_subscription_id: former, ..order.request() };
        let call = || {
            let (mut client, request) = (self.orders.clone(), request.clone());
            async move { client.reactivate_order(request).await }
        };
        placed(order, retry_unavailable(call).await)
    }

    /// What an older plan gives; `None` when nobody can say: then the instance counts as having had all of
    /// it.
    pub async fn former_limits(&self, name: &str, fallback: Limits) -> Option<Limits> {
        match self.plan(name).await {
            Ok(plan) => Some(plan.limits.or(fallback)),
            Err(error) => {
                tracing::info!(
                    plan = name,
                    reason = error.reason(),
                    "the limits of a former plan are not known"
                );
                None
            }
        }
    }

    /// Takes an order back. Best effort: billing finds an order without an instance by itself.
    pub async fn cancel(&self, instance_id: Uuid, reason: &str) {
        let request = CancelOrderRequest { instance_id: instance_id.to_string(), reason: reason.to_owned() };
        let call = || {
            let (mut client, request) = (self.orders.clone(), request.clone());
            async move { client.cancel_order(request).await }
        };
        if let Err(status) = retry_unavailable(call).await {
            tracing::warn!(instance.id = %instance_id, code = ?status.code(), "an order could not be taken back");
        }
    }

    /// May this subscription run now, and with which plan? `None`: billing does not know it.
    pub async fn entitlement(&self, subscription: Uuid) -> Result<Option<Entitlement>, Error> {
        let request = GetEntitlementRequest { subscription_id: subscription.to_string() };
        let answer = match self.orders.clone().get_entitlement(request).await {
            Ok(answer) => answer.into_inner(),
            Err(status) if status.code() == Code::NotFound => return Ok(None),
            Err(status) => return Err(failure("billing", &status)),
        };
        Entitlement::try_from(answer).map(Some)
    }

    /// The same of a page of subscriptions, in one call. Those that billing cannot say anything of now are
    /// missing in the answer.
    pub async fn entitlements(&self, subscriptions: &[Uuid]) -> Result<HashMap<Uuid, Answer>, Error> {
        if subscriptions.is_empty() {
            return Ok(HashMap::new());
        }
        let subscription_ids = subscriptions.iter().map(Uuid::to_string).collect();
        let request = GetEntitlementsRequest { subscription_ids };
        let answer = self.orders.clone().get_entitlements(request).await;
        let answer = match answer {
            Ok(answer) => answer.into_inner(),
            // A billing of the former release, while both are there.
            Err(status) if status.code() == Code::Unimplemented => {
                return self.one_by_one(subscriptions).await;
            }
            Err(status) => return Err(failure("billing", &status)),
        };
        let mut answers = HashMap::new();
        for one in answer.entitlements {
            let id = Uuid::parse_str(&one.subscription_id);
            let read = one.entitlement.map(Entitlement::try_from);
            match (id, read) {
                (Ok(id), Some(Ok(entitlement))) => drop(answers.insert(id, Answer::Known(entitlement))),
                // It hinders no other one of the page.
                (_, read) => {
                    let why = read.and_then(Result::err).map(|error| format!("{error:#}"));
                    tracing::error!(
                        subscription.id = one.subscription_id,
                        why,
                        "billing's answer is not understood"
                    );
                }
            }
        }
        let unknown = answer.unknown_ids.iter().filter_map(|id| Uuid::parse_str(id).ok());
        answers.extend(unknown.map(|id| (id, Answer::Unknown)));
        if !answer.unreadable_ids.is_empty() {
            tracing::warn!(count = answer.unreadable_ids.len(), "billing cannot read some subscriptions now");
        }
        Ok(answers)
    }

    /// A billing that is away is not asked for the rest.
    async fn one_by_one(&self, subscriptions: &[Uuid]) -> Result<HashMap<Uuid, Answer>, Error> {
        let asked = futures::stream::iter(subscriptions.iter().copied())
            .map(|subscription| async move { (subscription, self.entitlement(subscription).await) });
        let mut asked = asked.buffer_unordered(BESIDE);
        let mut answers = HashMap::new();
        while let Some((subscription, answer)) = asked.next().await {
            match answer {
                Ok(Some(entitlement)) => drop(answers.insert(subscription, Answer::Known(entitlement))),
                Ok(None) => drop(answers.insert(subscription, Answer::Unknown)),
                Err(error @ Error::Unavailable(_)) => return Err(error),
                // It hinders no other one of the page.
                Err(error) => {
                    tracing::error!(subscription.id = %subscription, error = format!("{error:#}"),
                        "billing's answer is not understood");
                }
            }
        }
        Ok(answers)
    }
}

impl TryFrom<GetEntitlementResponse> for Entitlement {
    type Error = Error;

    fn try_from(answer: GetEntitlementResponse) -> Result<Self, Error> {
        let standing = match (answer.may_run, answer.reason.as_str()) {
            (true, _) => Standing::MayRun,
            (false, "subscription_ended") => Standing::Ended,
            (false, "payment_required") => Standing::Unpaid,
            // Nothing is done on a word that we do not understand.
            (false, reason) => {
                return Err(Error::Internal(anyhow::anyhow!("billing: unknown reason {reason:?}")));
            }
        };
        Ok(Self {
            standing,
            billing_status: answer.billing_status.parse().ok(),
            plan: answer.plan.map(Plan::from),
            cause: (!answer.cause.is_empty()).then_some(answer.cause),
        })
    }
}

impl Order {
    fn request(&self) -> PlaceOrderRequest {
        PlaceOrderRequest {
            instance_id: self.instance_id.to_string(),
            customer_id: self.customer_id.to_string(),
            plan_name: self.plan.clone(),
            trial: self.trial,
            settings_json: self.settings_json.clone(),
            coupon: self.coupon.clone(),
            ..PlaceOrderRequest::default()
        }
    }
}

/// What became of an order.
fn placed(
    order: &Order,
    answer: Result<tonic::Response<PlaceOrderResponse>, tonic::Status>,
) -> Result<Placed, Error> {
    let answer = answer.map_err(|status| {
        let refusal = Refusal::from_status(&status);
        match refusal.reason.as_str() {
            "plan_unavailable" => Error::PlanUnavailable(order.plan.clone()),
            "payment_required" => Error::PaymentRequired,
            "unpaid_invoices" => Error::UnpaidInvoices,
            "trial_not_available" => Error::TrialNotAvailable(status.message().to_owned()),
            "provider_unavailable" => Error::Unavailable("billing"),
            // A field of the order that only billing can check, such as a discount code.
            "validation_failed" if !refusal.fields.is_empty() => Error::Invalid(refusal.fields),
            _ => failure("billing", &status),
        }
    })?;
    let answer = answer.into_inner();
    let subscription = answer.subscription.unwrap_or_default();
    let parsed = Uuid::parse_str(&subscription.id).map_err(anyhow::Error::from);
    let billing_status = answer.billing_status.parse().map_err(anyhow::Error::from);
    Ok(Placed {
        subscription_id: parsed.map_err(Error::Internal)?,
        billing_status: billing_status.map_err(Error::Internal)?,
        provision_now: answer.provision_now,
    })
}

impl From<WirePlan> for Plan {
    fn from(plan: WirePlan) -> Self {
        let limits = plan.limits.unwrap_or_default();
        Self {
            name: plan.name,
            tier: plan.tier,
            db_tier: plan.db_tier,
            db_type: plan.db_type,
            available: plan.available,
            limits: Limits {
                cpu_millis: limits.cpu_millis,
                memory_mib: limits.memory_mib,
                storage_mib: limits.storage_mib,
            },
        }
    }
}
