//! Subscriptions: made, changed, ended. Our id is the key of the bundle and of the subscription; a key is
//! spent for good, so each subscription has a fresh one. Whatever a call answers, what is there is looked at
//! before anything is done twice.

use reqwest::Method;
use serde_json::json;
use time::OffsetDateTime;
use uuid::Uuid;

use super::KillBill;
use super::accounts::parse;
use super::catalog::period;
use super::client::Body;
use super::fault::{Fault, code};
use super::model::{Event, Subscription};
use super::values::Moment;
use crate::provider::{NewSubscription, ProviderError};
use crate::store::plans;

/// Ended.
const CANCELLED: &str = "CANCELLED";

/// When a change or a cancellation takes effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// At once.
    Now,
    /// At the end of what is paid for, or of the trial.
    PeriodEnd,
}

impl When {
    fn policy(self) -> &'static str {
        match self {
            Self::Now => "IMMEDIATE",
            Self::PeriodEnd => "END_OF_TERM",
        }
    }
}

impl Event {
    /// Another plan begins with it.
    pub fn is_change(&self) -> bool {
        self.event_type == "CHANGE"
    }
}

impl Subscription {
    /// End of the trial that it is in: its future change of phase.
    pub fn trial_end(&self) -> Option<Moment> {
        let in_trial = self.phase_type == "TRIAL";
        let mut phases = self.events.iter().filter(|event| event.event_type == "PHASE");
        phases.find(|_| in_trial).map(|event| event.effective_date)
    }

    /// Has it ended?
    pub fn is_over(&self) -> bool {
        self.state == CANCELLED || self.state == "EXPIRED"
    }

    /// When it will end, if that was asked for.
    pub fn ends_at(&self) -> Option<OffsetDateTime> {
        self.cancelled_date.map(|date| date.0)
    }

    /// Plan that it changes to later.
    pub fn pending_plan(&self, now: OffsetDateTime) -> Option<(&str, OffsetDateTime)> {
        let mut changes = self.events.iter().filter(|event| event.is_change());
        let later = changes
            .find(|event| event.effective_date.0 > now && event.plan.as_deref() != Some(&self.plan_name));
        later.and_then(|event| event.plan.as_deref().map(|plan| (plan, event.effective_date.0)))
    }
}

impl KillBill {
    /// Makes a subscription; one that is there already is the same success.
    pub(super) async fn subscribe(&self, wanted: &NewSubscription<'_>) -> Result<Uuid, ProviderError> {
        let account = self.account_of(wanted.customer_id).await?;
        let mut body = json!({
            "accountId": account, "externalKey": wanted.id, "bundleExternalKey": wanted.id, "planName": wanted.plan_name,
        });
        if wanted.beginning.trial_ends_at.is_none()
            && let Some(object) = body.as_object_mut()
        {
            object.insert("phaseType".into(), "EVERGREEN".into());
        }
        // The answer waits for the first invoice, but not for ever.
        let query = [("callCompletion", "true"), ("callTimeoutSec", "5")];
        let fault = match self
            .client
            .call(Method::POST, "/subscriptions", &query, Body::Json(body.to_string()))
            .await
        {
            Ok(answer) => return Ok(parse(&answer.id()?)?),
            Err(fault) => fault,
        };
        // Used before, done although the answer says 500, still at it after the time (408), or the answer was
        // lost: look.
        match self.subscription_by_key(wanted.id).await? {
            Some(found) if found.account_id == account && found.plan_name == wanted.plan_name => {
                tracing::info!(subscription.id = %wanted.id, fault = %fault, "subscription was there already");
                Ok(found.subscription_id)
            }
            Some(_) => Err(ProviderError::Refused("the key belongs to another subscription".into())),
            None => Err(fault.into()),
        }
    }

    /// By our key.
    pub(super) async fn subscription_by_key(&self, id: Uuid) -> Result<Option<Subscription>, Fault> {
        let key = id.to_string();
        self.find("/subscriptions", &[("externalKey", key.as_str())], code::NO_SUBSCRIPTION).await
    }

    async fn known(&self, id: Uuid) -> Result<Subscription, ProviderError> {
        let found = self.subscription_by_key(id).await?;
        found.ok_or_else(|| ProviderError::Refused("Kill Bill does not know this subscription".into()))
    }

    /// Ends it; gives the time of the end. One that has ended, or ends then already, is a success.
    pub async fn end(&self, id: Uuid, when: When) -> Result<Option<OffsetDateTime>, ProviderError> {
        let Some(found) = self.subscription_by_key(id).await? else { return Ok(None) };
        if found.is_over() || (when == When::PeriodEnd && found.cancelled_date.is_some()) {
            return Ok(found.ends_at());
        }
        let path = format!("/subscriptions/{}", found.subscription_id);
        // The defaults of the two lines differ, above all in a trial, so everything is said.
        let day = found.trial_end().filter(|_| when == When::PeriodEnd).and_then(Moment::day);
        let query: Vec<(&str, &str)> = match &day {
            Some(day) => vec![("requestedDate", day), ("useRequestedDateForBilling", "true")],
            None => vec![("entitlementPolicy", when.policy()), ("billingPolicy", when.policy())],
        };
        match self.client.call(Method::DELETE, &path, &query, Body::Empty).await {
            Ok(_) => {}
            Err(fault) if fault.is(code::CANCELLED) => {}
            Err(fault) => {
                // Done although it says otherwise?
                let after = self.subscription_by_key(id).await?;
                let done = after.is_some_and(|after| match when {
                    When::Now => after.is_over(),
                    When::PeriodEnd => after.cancelled_date.is_some(),
                });
                if !done {
                    return Err(fault.into());
                }
            }
        }
        Ok(self.subscription_by_key(id).await?.and_then(|found| found.ends_at()))
    }

    /// Takes a cancellation back that lies ahead. Nothing to take back is a success while it runs.
    pub async fn keep(&self, id: Uuid) -> Result<(), ProviderError> {
        let found = self.known(id).await?;
        if found.is_over() {
            return Err(ProviderError::Refused("the subscription has ended".into()));
        }
        let path = format!("/subscriptions/{}/uncancel", found.subscription_id);
        match self.client.call(Method::PUT, &path, &[], Body::Empty).await {
            Ok(_) => Ok(()),
            Err(fault) if fault.is(code::NOTHING_TO_UNCANCEL) || fault.is(code::NOT_CANCELLED) => Ok(()),
            Err(fault) => Err(fault.into()),
        }
    }

    /// Changes the plan. One that it has, or will have then, is a success: there is no key, so what is there
    /// is read first.
    pub async fn change(&self, id: Uuid, plan: &str, when: When) -> Result<(), ProviderError> {
        let found = self.known(id).await?;
        let now = self.server_time().await?;
        let pending = found.pending_plan(now).map(|(plan, _)| plan.to_owned());
        let done = match (&pending, when) {
            (None, _) => found.plan_name == plan,
            (Some(pending), When::PeriodEnd) => pending == plan,
            (Some(_), When::Now) => false,
        };
        if done {
            return Ok(());
        }
        let path = format!("/subscriptions/{}", found.subscription_id);
        let mut query = vec![("billingPolicy", when.policy())];
        let mut body = json!({"planName": plan});
        let known = plans::find(&self.pool, plan, None).await;
        if let (When::Now, Ok(Some(known))) = (when, known)
            && let Some(object) = body.as_object_mut()
        {
            // With all of this the answer waits for the invoice, but not for ever.
            object.insert("productName".into(), known.tier.as_str().into());
            object.insert("billingPeriod".into(), period(known.billing_period).into());
            object.insert("priceList".into(), "DEFAULT".into());
            query.extend([("callCompletion", "true"), ("callTimeoutSec", "4")]);
        }
        let body = body.to_string();
        match self.client.call(Method::PUT, &path, &query, Body::Json(body)).await {
            Ok(_) => Ok(()),
            Err(fault) => {
                let after = self.known(id).await?;
                let pending = after.pending_plan(now).map(|(plan, _)| plan);
                let done = if when == When::Now { after.plan_name == plan } else { pending == Some(plan) };
                if done { Ok(()) } else { Err(fault.into()) }
            }
        }
    }

    /// Takes a change back that lies ahead; none is a success.
    pub async fn keep_plan(&self, id: Uuid) -> Result<(), ProviderError> {
        let found = self.known(id).await?;
        let path = format!("/subscriptions/{}/undoChangePlan", found.subscription_id);
        match self.client.call(Method::PUT, &path, &[], Body::Empty).await {
            Err(fault) if !fault.is(code::NO_PENDING_CHANGE) => Err(fault.into()),
            _ => Ok(()),
        }
    }
}
