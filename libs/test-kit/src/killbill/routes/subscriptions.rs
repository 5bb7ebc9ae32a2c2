//! Subscriptions. The two lines differ in the form of dates and in what END_OF_TERM means in a trial.

use axum::response::Response;
use serde_json::{Value, json};
use time::macros::format_description;
use time::{Date, OffsetDateTime, Time};
use uuid::Uuid;

use super::{Call, done, error, made, ok};
use crate::killbill::Line;
use crate::killbill::books::{Item, Subscription, Tenant, day, days, when};

const NO_OBJECT: &str = "Object id doesn't exist!";

pub(super) fn make(tenant: &mut Tenant, call: &Call<'_>) -> Response {
    let (Some(account), Some(key), Some(bundle_key)) =
        (call.id("accountId"), call.field("externalKey"), call.field("bundleExternalKey"))
    else {
        return error(400, None, "SubscriptionJson accountId needs to be set");
    };
    let Some(owner) = tenant.accounts.iter().find(|found| found.id == account) else {
        return error(404, None, NO_OBJECT);
    };
    let charges_itself =
        !owner.tags.contains(&Uuid::from_u128(1)) && !owner.tags.contains(&Uuid::from_u128(5));
    let Some(plan) = call.field("planName").and_then(|name| tenant.plan(name)) else {
        return error(400, Some(2021), "Could not find any plans named");
    };
    match tenant.subscriptions.iter().find(|found| found.key == key) {
        Some(found) if !found.over => {
            return error(400, Some(1015), "Subscription bundle already has a base subscription");
        }
        // A key is spent for good.
        Some(_) => return error(500, None, "Unique index or primary key violation"),
        None if key != bundle_key => return error(400, None, "the fake knows one subscription a bundle"),
        None => {}
    }
    let trial = (plan.trial_days > 0 && call.field("phaseType") != Some("EVERGREEN"))
        .then(|| call.now + days(plan.trial_days));
    let subscription = Subscription {
        id: Uuid::new_v4(),
        bundle: Uuid::new_v4(),
        account,
        key: key.to_owned(),
        start: call.now,
        trial_end: trial,
        in_trial: trial.is_some(),
        charged: trial.unwrap_or(call.now),
        anchor: trial.unwrap_or(call.now).day(),
        pending: None,
        cancelled: None,
        over: false,
        plan,
    };
    let (id, index) = (subscription.id, tenant.subscriptions.len());
    tenant.twins("SUBSCRIPTION_CREATION", &subscription);
    tenant.hook("ENTITLEMENT_CREATION", account, "SUBSCRIPTION", id, None);
    tenant.subscriptions.push(subscription);
    if let Some(end) = trial {
        let item = Item {
            id: Uuid::new_v4(),
            kind: "FIXED",
            subscription: Some(id),
            description: "trial".into(),
            start: call.now,
            end,
            linked: None,
            cents: 0,
        };
        tenant.invoice(account, call.now, vec![item]);
    } else {
        tenant.charge(index, call.now);
    }
    if charges_itself && let Some(invoice) = tenant.invoices.last_mut() {
        // Without the tag an external method "pays" at once.
        invoice.paid = invoice.balance();
    }
    made(call, &format!("subscriptions/{id}"))
}

fn shown(found: &Subscription, call: &Call<'_>) -> Value {
    let date = |at| when(call.line, at);
    let event = |at: OffsetDateTime, kind: &str, plan: &str| json!({"eventId": Uuid::new_v4(), "effectiveDate": date(at), "plan": plan, "eventType": kind, "phase": null});
    let mut events = vec![
        event(found.start, "START_ENTITLEMENT", &found.plan.name),
        event(found.start, "START_BILLING", &found.plan.name),
    ];
    events.extend(
        found
            .trial_end
            .filter(|end| found.cancelled.is_none_or(|at| *end < at))
            .map(|end| event(end, "PHASE", &found.plan.name)),
    );
    events.extend(found.pending.iter().map(|(plan, at)| event(*at, "CHANGE", &plan.name)));
    for kind in ["STOP_ENTITLEMENT", "STOP_BILLING"] {
        events.extend(found.cancelled.map(|at| event(at, kind, &found.plan.name)));
    }
    json!({
        "accountId": found.account, "bundleId": found.bundle, "bundleExternalKey": found.key, "subscriptionId": found.id,
        "externalKey": found.key, "startDate": date(found.start), "productName": found.plan.product, "productCategory": "BASE",
        "billingPeriod": found.plan.period, "phaseType": if found.in_trial { "TRIAL" } else { "EVERGREEN" }, "priceList": "DEFAULT",
        "planName": found.plan.name, "state": if found.over { "CANCELLED" } else { "ACTIVE" }, "cancelledDate": found.cancelled.map(date),
        "chargedThroughDate": day(found.charged), "billingStartDate": date(found.start), "billingEndDate": found.cancelled.map(date),
        "events": events, "auditLogs": [],
    })
}

pub(super) fn by_key(tenant: &Tenant, call: &Call<'_>) -> Response {
    let key = call.query("externalKey").unwrap_or_default();
    match tenant.subscriptions.iter().find(|found| found.key == key) {
        Some(found) => ok(&shown(found, call)),
        None => error(404, Some(1083), "Unknown subscription matching key"),
    }
}

pub(super) fn bundles(tenant: &Tenant, account: Uuid, call: &Call<'_>) -> Response {
    if !tenant.accounts.iter().any(|found| found.id == account) {
        return error(404, None, NO_OBJECT);
    }
    let bundles: Vec<Value> = tenant
        .subscriptions
        .iter()
        .filter(|found| found.account == account)
        .map(|found| json!({"accountId": account, "bundleId": found.bundle, "externalKey": found.key, "subscriptions": [shown(found, call)]}))
        .collect();
    ok(&Value::Array(bundles))
}

pub(super) fn change(tenant: &mut Tenant, id: Uuid, call: &Call<'_>) -> Response {
    let Some(plan) = call.field("planName").and_then(|name| tenant.plan(name)) else {
        return error(400, Some(2021), "Could not find any plans named");
    };
    let Some(index) = tenant.subscriptions.iter().position(|found| found.id == id) else {
        return error(404, None, NO_OBJECT);
    };
    let Some(found) = tenant.subscriptions.get_mut(index) else { return error(404, None, NO_OBJECT) };
    if found.over || found.cancelled.is_some() {
        return error(400, Some(1021), "Subscription is in a state that does not allow a change");
    }
    let at_end = call.query("billingPolicy") == Some("END_OF_TERM");
    if at_end {
        let end = found.trial_end.filter(|_| found.in_trial).unwrap_or(found.charged);
        found.pending = Some((plan, end));
    } else {
        found.pending = None;
        tenant.repair(index, call.now, Some(plan));
    }
    if let Some(found) = tenant.subscriptions.get(index).cloned() {
        tenant.twins("SUBSCRIPTION_CHANGE", &found);
    }
    done()
}

pub(super) fn undo_change(tenant: &mut Tenant, id: Uuid) -> Response {
    let Some(found) = tenant.subscriptions.iter_mut().find(|found| found.id == id) else {
        return error(404, None, NO_OBJECT);
    };
    if found.pending.take().is_none() {
        return error(400, Some(1071), "Subscription does not have a pending change plan");
    }
    done()
}

pub(super) fn cancel(tenant: &mut Tenant, id: Uuid, call: &Call<'_>) -> Response {
    let Some(index) = tenant.subscriptions.iter().position(|found| found.id == id) else {
        return error(404, None, NO_OBJECT);
    };
    let Some(found) = tenant.subscriptions.get_mut(index) else { return error(404, None, NO_OBJECT) };
    if found.over {
        return error(500, Some(1031), "Subscription is in state CANCELLED: Failed to cancel");
    }
    let at = match (call.query("requestedDate"), call.query("entitlementPolicy"), call.query("billingPolicy"))
    {
        (Some(date), None, None) if call.query("useRequestedDateForBilling") == Some("true") => {
            let date = Date::parse(date, format_description!("[year]-[month]-[day]"));
            let Ok(date) = date else { return error(404, None, "no date") };
            // On the day of the trial's end it is that moment.
            found
                .trial_end
                .filter(|end| end.date() == date)
                .unwrap_or_else(|| date.with_time(Time::MIDNIGHT).assume_utc())
        }
        (None, Some("IMMEDIATE"), Some("IMMEDIATE")) => call.now,
        (None, Some("END_OF_TERM"), Some("END_OF_TERM")) => match (found.in_trial, call.line) {
            (true, Line::V22) => call.now,
            (true, Line::V24) => found.trial_end.unwrap_or(call.now),
            (false, _) => found.charged,
        },
        _ => return error(400, None, "the fake wants both policies, or a date that holds for both"),
    };
    found.pending = None;
    found.cancelled = Some(at);
    if at <= call.now {
        found.over = true;
        let ended = found.clone();
        tenant.repair(index, call.now, None);
        tenant.twins("SUBSCRIPTION_CANCEL", &ended);
        tenant.hook("ENTITLEMENT_CANCEL", ended.account, "SUBSCRIPTION", id, None);
    } else {
        let meta = json!({"actionType": "REQUESTED", "bundleExternalKey": found.key});
        let account = found.account;
        tenant.hook("SUBSCRIPTION_CANCEL", account, "SUBSCRIPTION", id, Some(meta));
    }
    done()
}

pub(super) fn uncancel(tenant: &mut Tenant, id: Uuid) -> Response {
    let Some(found) = tenant.subscriptions.iter_mut().find(|found| found.id == id) else {
        return error(404, None, NO_OBJECT);
    };
    if found.over {
        return error(400, Some(1070), "Subscription was not in a pending cancelled state");
    }
    if found.cancelled.take().is_none() {
        return error(400, Some(8004), "Subscription was not previously cancelled: Failed to uncancel plan");
    }
    let account = found.account;
    tenant.hook("SUBSCRIPTION_UNCANCEL", account, "SUBSCRIPTION", id, None);
    done()
}
