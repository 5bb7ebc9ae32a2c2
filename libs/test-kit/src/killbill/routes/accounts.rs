//! Accounts, their tags and payment methods.

use axum::response::Response;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{Call, amount, error, made, ok};
use crate::killbill::books::{Account, Tenant};

const NO_OBJECT: &str = "Object id doesn't exist!";

pub(super) fn make(tenant: &mut Tenant, call: &Call<'_>) -> Response {
    let (Some(key), Some(currency)) = (call.field("externalKey"), call.field("currency")) else {
        return error(400, None, "AccountJson name needs to be set");
    };
    if tenant.accounts.iter().any(|account| account.key == key) {
        return error(409, Some(3000), "Account already exists for key");
    }
    let id = Uuid::new_v4();
    tenant.accounts.push(Account {
        id,
        key: key.to_owned(),
        currency: currency.to_owned(),
        tags: Vec::new(),
        has_method: false,
        credit: 0,
    });
    tenant.hook("ACCOUNT_CREATION", id, "ACCOUNT", id, None);
    made(call, &format!("accounts/{id}"))
}

pub(super) fn by_key(tenant: &Tenant, call: &Call<'_>) -> Response {
    let key = call.query("externalKey").unwrap_or_default();
    let Some(account) = tenant.accounts.iter().find(|account| account.key == key) else {
        return error(404, Some(3003), "Account does not exist for key");
    };
    shown(account, call)
}

pub(super) fn by_id(tenant: &Tenant, id: Uuid, call: &Call<'_>) -> Response {
    match tenant.accounts.iter().find(|account| account.id == id) {
        Some(account) => shown(account, call),
        None => error(404, Some(3002), "Account does not exist for id"),
    }
}

fn shown(account: &Account, call: &Call<'_>) -> Response {
    let with_balance = call.query("accountWithBalanceAndCBA") == Some("true");
    // Nothing is `0E-9` there.
    let credit = if account.credit == 0 { Value::String("§0E-9§".into()) } else { amount(account.credit) };
    ok(&json!({
        "accountId": account.id, "name": account.key, "externalKey": account.key, "email": null, "billCycleDayLocal": 0,
        "currency": account.currency, "timeZone": "UTC", "locale": "en_US", "accountBalance": null,
        "accountCBA": if with_balance { credit } else { Value::Null }, "auditLogs": [],
    }))
}

pub(super) fn tags(tenant: &Tenant, id: Uuid) -> Response {
    let Some(account) = tenant.accounts.iter().find(|account| account.id == id) else {
        return error(404, None, NO_OBJECT);
    };
    let tags: Vec<Value> = account
        .tags
        .iter()
        .map(|tag| json!({"tagId": tag, "objectType": "ACCOUNT", "objectId": id, "tagDefinitionId": tag}))
        .collect();
    ok(&Value::Array(tags))
}

pub(super) fn tag(tenant: &mut Tenant, id: Uuid, call: &Call<'_>) -> Response {
    let Some(account) = tenant.accounts.iter_mut().find(|account| account.id == id) else {
        return error(404, None, NO_OBJECT);
    };
    let wanted: Vec<Uuid> =
        call.json.as_array().into_iter().flatten().filter_map(|tag| tag.as_str()?.parse().ok()).collect();
    if wanted.is_empty() {
        return error(400, None, "Tag definitions need to be set");
    }
    account.tags.extend(wanted);
    account.tags.sort_unstable();
    account.tags.dedup();
    made(call, &format!("accounts/{id}/tags"))
}

pub(super) fn method(tenant: &mut Tenant, id: Uuid, call: &Call<'_>) -> Response {
    let Some(account) = tenant.accounts.iter_mut().find(|account| account.id == id) else {
        return error(404, None, NO_OBJECT);
    };
    if call.field("pluginName") != Some("__EXTERNAL_PAYMENT__") || call.json.get("pluginInfo").is_none() {
        return error(400, None, "PaymentMethodJson pluginName needs to be set");
    }
    if account.has_method {
        return error(400, Some(7023), "External payment method already exists for account");
    }
    account.has_method = true;
    made(call, &format!("paymentMethods/{}", Uuid::new_v4()))
}
