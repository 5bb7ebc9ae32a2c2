//! What stands in the address of a request: its query and the parts of its path. It is checked here, once for
//! all routes, against the route's own entry in the document, so that the document is true and no handler has
//! to think of it.

use std::collections::HashMap;

use axum::extract::{FromRequestParts as _, RawPathParams};
use http::request::Parts;
use runtime::text::is_forbidden;
use serde_json::{Map, Value, json};

use crate::dto::checks::Checks;
use crate::problem::Problem;

/// The words of filters. Any other text would find nothing, which looks like an answer.
const WORDS: &[(&str, &str, &[&str])] = &[
    ("/notification/api/v1/emails/history", "status", &["queued", "sending", "sent", "failed", "cancelled"]),
    ("/database/api/database/admin/pools", "status", POOL_STATES),
    ("/database/api/database/admin/pools", "server_type", &["platform", "shared", "dedicated"]),
    ("/database/api/database/admin/tasks", "kind", TASK_KINDS),
    ("/user/admin/customers", "status", &["active", "inactive", "unverified"]),
    ("/user/admin/audit", "format", &["json", "csv"]),
    ("/instance/instances", "status", INSTANCE_STATES),
    ("/instance/instances", "sort", INSTANCE_ORDERS),
    ("/instance/admin/all-instances", "status", INSTANCE_STATES),
    ("/instance/admin/all-instances", "sort", INSTANCE_ORDERS),
    ("/billing/api/billing/admin/payments", "status", PAYMENT_STATES),
    ("/billing/api/billing/admin/webhooks", "provider", &["killbill", "paynow"]),
    ("/billing/api/billing/admin/webhooks", "status", &["new", "done", "ignored", "failed"]),
    ("/billing/api/billing/admin/findings", "state", &["open", "resolved"]),
    ("/billing/api/billing/invoices", "status", INVOICE_STATES),
    ("/billing/api/billing/admin/invoices", "status", INVOICE_STATES),
    ("/billing/api/billing/admin/subscriptions", "status", SUBSCRIPTION_STATES),
    ("/billing/api/billing/admin/subscriptions", "ladder", &["none", "warning", "suspended", "terminated"]),
];
const INSTANCE_STATES: &[&str] = &[
    "live",
    "pending_payment",
    "creating",
    "starting",
    "running",
    "stopping",
    "stopped",
    "restarting",
    "updating",
    "maintenance",
    "suspended",
    "error",
    "terminating",
    "terminated",
    "purged",
];
const INSTANCE_ORDERS: &[&str] = &["created_at", "-created_at", "name"];
const POOL_STATES: &[&str] = &[
    "provisioning",
    "initializing",
    "active",
    "full",
    "maintenance",
    "deprovisioning",
    "deprovisioned",
    "error",
];
const TASK_KINDS: &[&str] = &[
    "health_check",
    "cleanup",
    "provision_pool",
    "provision_dedicated",
    "rotate_password",
    "rotate_pool_password",
];
const INVOICE_STATES: &[&str] = &["open", "paid", "void", "written_off"];
const PAYMENT_STATES: &[&str] = &["pending", "paid", "failed", "cancelled", "refunded", "disputed"];
const SUBSCRIPTION_STATES: &[&str] =
    &["pending", "trialing", "active", "past_due", "suspended", "cancelling", "ended"];

/// Puts the words of the filters of a path into the document.
pub fn document(operation: &mut Value, path: &str) {
    for parameter in operation.get_mut("parameters").and_then(Value::as_array_mut).into_iter().flatten() {
        let found = WORDS.iter().find(|(of, name, _)| *of == path && parameter["name"] == *name);
        let Some((_, _, words)) = found else { continue };
        let schema = &mut parameter["schema"];
        let place = if schema.get("items").is_some() { &mut schema["items"] } else { schema };
        place["enum"] = json!(words);
        place["type"] = json!("string");
    }
}

/// The query parameters of one path, by method.
#[derive(Debug, Clone, Default)]
pub struct Inputs {
    by_method: HashMap<String, Vec<Parameter>>,
}

#[derive(Debug, Clone)]
struct Parameter {
    name: String,
    words: Vec<String>,
}

impl Inputs {
    /// From the operations of a path as they are documented. Where a route is called by others than clients of the API (pages that links lead to,
    /// hooks of payment providers), more parameters may come than we know.
    pub fn of(operations: &Map<String, Value>) -> Self {
        let by_method = operations.iter().map(|(method, operation)| {
            let parameters = operation["parameters"].as_array().into_iter().flatten();
            let query = parameters.filter(|parameter| parameter["in"] == "query").map(|parameter| {
                let schema = &parameter["schema"];
                let words = schema["enum"].as_array().or_else(|| schema["items"]["enum"].as_array());
                Parameter {
                    name: parameter["name"].as_str().unwrap_or_default().to_owned(),
                    words: words
                        .into_iter()
                        .flatten()
                        .filter_map(|word| word.as_str().map(str::to_owned))
                        .collect(),
                }
            });
            (method.to_uppercase(), query.collect())
        });
        Self { by_method: by_method.collect() }
    }

    /// Refuses what the route does not take, with what it does take.
    pub async fn check(&self, parts: &mut Parts) -> Result<(), Problem> {
        let mut checks = Checks::default();
        if let Ok(path) = RawPathParams::from_request_parts(parts, &()).await {
            for (name, value) in &path {
                checks = checks.readable(name, value);
            }
        }
        let pairs: Vec<(String, String)> =
            serde_urlencoded::from_str(parts.uri.query().unwrap_or_default()).unwrap_or_default();
        let known = self.by_method.get(parts.method.as_str());
        for (name, value) in &pairs {
            let shown: String = name.chars().filter(|c| !is_forbidden(*c)).take(50).collect();
            checks = checks.readable(&shown, name).readable(&shown, value);
            let Some(known) = known else { continue };
            match known.iter().find(|parameter| parameter.name == *name) {
                Some(Parameter { words, .. }) if !words.is_empty() && !value.is_empty() => {
                    let message = || format!("must be {}", one_of(words));
                    checks = checks.that(words.contains(value), &shown, message());
                }
                Some(_) => {}
                None => checks = checks.that(false, &shown, unknown(known)),
            }
        }
        checks.done()
    }
}

fn unknown(known: &[Parameter]) -> String {
    let names: Vec<&str> = known.iter().map(|parameter| parameter.name.as_str()).collect();
    if names.is_empty() {
        return "is not a parameter of this request, which takes none".to_owned();
    }
    format!("is not a parameter of this request, which takes {}", names.join(", "))
}

/// `a`, `a or b`, `a, b or c`.
pub fn one_of<T: AsRef<str>>(words: &[T]) -> String {
    match words {
        [] => String::new(),
        [one] => one.as_ref().to_owned(),
        [first @ .., last] => {
            let first: Vec<&str> = first.iter().map(AsRef::as_ref).collect();
            format!("{} or {}", first.join(", "), last.as_ref())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_listed_as_people_do() {
        assert_eq!(one_of(&["a"]), "a");
        assert_eq!(one_of(&["a", "b", "c"]), "a, b or c");
    }
}
