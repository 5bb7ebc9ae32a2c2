//! Tenants, their catalogue and callback, the clock.

use axum::http::{Method, StatusCode};
use axum::response::Response;
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::{Call, amount, done, error, made, ok};
use crate::killbill::books::{Catalog, Plan, Tenant, days};
use crate::killbill::{Server, page};

pub(super) fn tenants(server: &mut Server, method: &Method, call: &Call<'_>) -> Response {
    if method == Method::GET {
        let key = call.query("apiKey").unwrap_or_default();
        if !server.tenants.contains_key(key) {
            return error(500, None, "TenantCacheLoader cannot find value for key");
        }
        return ok(&json!({"apiKey": key}));
    }
    let (Some(key), Some(secret)) = (call.field("apiKey"), call.field("apiSecret")) else {
        return error(400, None, "apiKey needs to be set");
    };
    if server.tenants.contains_key(key) {
        return error(409, Some(20_000), "Tenant already exists for key null");
    }
    server.tenants.insert(key.to_owned(), (secret.to_owned(), Tenant::default()));
    made(call, "tenants/61b97551-bbc9-43ab-a561-bae38663549e")
}

pub(super) fn clock(server: &mut Server, method: &Method, call: &Call<'_>) -> Response {
    let wanted = call.query("requestedDate").and_then(|text| OffsetDateTime::parse(text, &Rfc3339).ok());
    let by_days = call.query("days").and_then(|text| text.parse().ok()).map(|count| server.now + days(count));
    if method != Method::GET
        && let Some(to) = wanted.or(by_days)
    {
        server.now = to;
        for (_, tenant) in server.tenants.values_mut() {
            tenant.advance(to);
        }
    }
    let now = server.now;
    let text = now.replace_nanosecond(0).ok().and_then(|at| at.format(&Rfc3339).ok()).unwrap_or_default();
    ok(
        &json!({"currentUtcTime": text.replace('Z', ".000Z"), "timeZone": "UTC", "localDate": now.date().to_string()}),
    )
}

pub(super) fn callback(tenant: &mut Tenant, method: &str, call: &Call<'_>) -> Response {
    match method {
        "GET" => {
            let values: Vec<&String> = tenant.callback.iter().collect();
            ok(&json!({"key": "PUSH_NOTIFICATION_CB", "values": values}))
        }
        "POST" => {
            let Some(url) = call.query("cb") else { return error(400, None, "cb") };
            tenant.callback = Some(url.to_owned());
            made(call, "tenants/registerNotificationCallback")
        }
        "DELETE" => {
            tenant.callback = None;
            done()
        }
        _ => page(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed"),
    }
}

pub(super) fn versions(tenant: &Tenant) -> Response {
    ok(&json!(tenant.catalogs.iter().map(|catalog| catalog.effective_text.clone()).collect::<Vec<_>>()))
}

pub(super) fn catalog(tenant: &Tenant) -> Response {
    ok(&Value::Array(tenant.catalogs.iter().map(shown).collect()))
}

fn shown(catalog: &Catalog) -> Value {
    let mut names: Vec<&str> = catalog.plans.iter().map(|plan| plan.product.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    let phases = |plan: &Plan| {
        let mut phases = Vec::new();
        if plan.trial_days > 0 {
            let length = json!({"unit": "DAYS", "number": plan.trial_days});
            phases.push(
                json!({"type": "TRIAL", "prices": [], "fixedPrices": [], "duration": length, "usages": []}),
            );
        }
        let prices = json!([{"currency": "USD", "value": amount(plan.cents)}]);
        let length = json!({"unit": "UNLIMITED", "number": -1});
        phases.push(json!({"type": "EVERGREEN", "prices": prices, "fixedPrices": [], "duration": length, "usages": []}));
        phases
    };
    let products: Vec<Value> = names
        .into_iter()
        .map(|name| {
            let plans: Vec<Value> = catalog
                .plans
                .iter()
                .filter(|plan| plan.product == name)
                .map(|plan| json!({"name": plan.name, "prettyName": plan.name, "billingPeriod": plan.period, "phases": phases(plan)}))
                .collect();
            json!({"type": "BASE", "name": name, "prettyName": name, "plans": plans, "included": [], "available": []})
        })
        .collect();
    json!({
        "name": catalog.name, "effectiveDate": catalog.effective_text, "currencies": ["USD"], "units": [], "products": products,
        "priceLists": [{"name": "DEFAULT", "plans": catalog.plans.iter().map(|plan| plan.name.clone()).collect::<Vec<_>>()}],
    })
}

fn between<'a>(text: &'a str, before: &str, after: &str) -> Option<&'a str> {
    let rest = text.split_once(before)?.1;
    Some(rest.split_once(after)?.0)
}

fn cents(text: &str) -> Option<i64> {
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    let part = format!("{part:0<2}");
    (part.len() == 2).then(|| format!("{whole}{part}").parse().ok()).flatten()
}

fn parse(text: &str) -> Option<Catalog> {
    let effective =
        OffsetDateTime::parse(between(text, "<effectiveDate>", "</effectiveDate>")?, &Rfc3339).ok()?;
    let mut plans = Vec::new();
    for piece in text.split("<plan name=\"").skip(1) {
        plans.push(Plan {
            name: piece.split('"').next()?.to_owned(),
            product: between(piece, "<product>", "</product>")?.to_owned(),
            period: between(piece, "<billingPeriod>", "</billingPeriod>")?.to_owned(),
            cents: cents(between(piece, "<value>", "</value>")?)?,
            trial_days: match between(piece, "<initialPhases>", "</initialPhases>") {
                Some(phases) => between(phases, "<number>", "</number>")?.parse().ok()?,
                None => 0,
            },
        });
    }
    let at = effective.format(&Rfc3339).ok()?.replace('Z', ".000+00:00");
    let name = between(text, "<catalogName>", "</catalogName>")?.to_owned();
    (!plans.is_empty()).then_some(Catalog { effective, effective_text: at, name, plans })
}

pub(super) fn upload(tenant: &mut Tenant, call: &Call<'_>) -> Response {
    let refused = || error(400, Some(2080), "Invalid catalog for tenant : 2");
    let Some(catalog) = parse(call.text) else { return refused() };
    if tenant.catalogs.iter().any(|known| known.effective == catalog.effective || known.name != catalog.name)
    {
        return refused();
    }
    tenant.catalogs.push(catalog);
    made(call, "catalog")
}
