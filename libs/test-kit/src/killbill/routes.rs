//! The calls, one by one. What is not here is refused as an unknown page, so that no call is made that nobody
//! looked at.

mod accounts;
mod corrections;
mod invoices;
mod subscriptions;
mod tenants;

use std::collections::HashMap;

use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::{IntoResponse as _, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use time::OffsetDateTime;
use uuid::Uuid;

pub(super) use self::corrections::void;
use super::books::Tenant;
use super::{Line, PASSWORD, Server, USER, page};

/// One call, as far as it was read.
pub(super) struct Call<'a> {
    pub line: Line,
    pub now: OffsetDateTime,
    pub host: String,
    pub query: HashMap<String, String>,
    pub json: Value,
    pub text: &'a str,
}

impl Call<'_> {
    pub fn query(&self, name: &str) -> Option<&str> {
        self.query.get(name).map(String::as_str)
    }

    pub fn field(&self, name: &str) -> Option<&str> {
        self.json.get(name).and_then(Value::as_str)
    }

    pub fn id(&self, name: &str) -> Option<Uuid> {
        self.field(name).and_then(|text| text.parse().ok())
    }
}

/// An amount in its literal form: JSON would make a float of it.
pub(super) fn amount(cents: i64) -> Value {
    Value::String(format!("§{}§", super::books::decimal(cents)))
}

pub(super) fn ok(body: &Value) -> Response {
    let text = body.to_string().replace("\"§", "").replace("§\"", "");
    (StatusCode::OK, [("content-type", "application/json")], text).into_response()
}

pub(super) fn made(call: &Call<'_>, path: &str) -> Response {
    let location = format!("http://{}/1.0/kb/{path}", call.host);
    (StatusCode::CREATED, [("content-type", "application/json"), ("location", location.as_str())])
        .into_response()
}

pub(super) fn done() -> Response {
    (StatusCode::NO_CONTENT, [("content-type", "application/json")]).into_response()
}

pub(super) fn error(status: u16, code: Option<i64>, message: &str) -> Response {
    let body = json!({
        "className": "org.killbill.billing.SomeApiException", "code": code, "message": message, "causeClassName": null,
        "causeMessage": null, "stackTrace": [],
    });
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    (status, [("content-type", "application/json")], body.to_string()).into_response()
}

fn decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        let hex = |byte: Option<u8>| {
            byte.and_then(|byte| char::from(byte).to_digit(16)).and_then(|digit| u8::try_from(digit).ok())
        };
        match byte {
            b'%' => {
                if let (Some(high), Some(low)) = (hex(rest.next()), hex(rest.next())) {
                    bytes.push(high * 16 + low);
                }
            }
            b'+' => bytes.push(b' '),
            other => bytes.push(other),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

/// Reads a call as the real one does, in its order, and answers it.
pub(super) fn route(
    server: &mut Server,
    method: &Method,
    uri: &Uri,
    headers: &HeaderMap,
    body: &[u8],
) -> Response {
    if uri.path() == "/1.0/healthcheck" {
        return ok(&json!({"healthy": true}));
    }
    let Some(path) = uri.path().strip_prefix("/1.0/kb/") else {
        return page(StatusCode::NOT_FOUND, "Not Found");
    };
    let segments: Vec<&str> = path.split('/').collect();
    if segments.iter().any(|segment| segment.is_empty()) {
        return page(StatusCode::BAD_REQUEST, "Ambiguous URI empty segment");
    }
    let basic = format!("Basic {}", STANDARD.encode(format!("{USER}:{PASSWORD}")));
    if header(headers, "authorization") != basic {
        let challenge = [("www-authenticate", "BASIC realm=\"application\"")];
        return (StatusCode::UNAUTHORIZED, challenge).into_response();
    }
    let pairs = uri.query().unwrap_or_default().split('&').filter_map(|pair| pair.split_once('='));
    let query: HashMap<String, String> = pairs.map(|(name, value)| (decoded(name), decoded(value))).collect();
    if query.get("audit").is_some_and(|audit| !["NONE", "MINIMAL", "FULL"].contains(&audit.as_str())) {
        return page(StatusCode::NOT_FOUND, "Not Found");
    }
    let writes = method != Method::GET;
    if writes && header(headers, "x-killbill-createdby").is_empty() {
        return error(400, None, "X-Killbill-CreatedBy needs to be set");
    }
    let xml = path == "catalog/xml" && method == Method::POST;
    let kind = header(headers, "content-type");
    if writes && !kind.starts_with(if xml { "text/xml" } else { "application/json" }) {
        return page(StatusCode::UNSUPPORTED_MEDIA_TYPE, "Unsupported Media Type");
    }
    let Ok(text) = std::str::from_utf8(body) else { return error(400, None, "no UTF-8") };
    let json = if text.is_empty() || xml { Ok(Value::Null) } else { serde_json::from_str(text) };
    let Ok(json) = json else { return error(400, None, "Cannot deserialize value") };
    let mut call = Call {
        line: server.line,
        now: server.now,
        host: header(headers, "host").to_owned(),
        query,
        json,
        text,
    };
    if segments == ["tenants"] {
        return tenants::tenants(server, method, &call);
    }
    let (key, secret) = (header(headers, "x-killbill-apikey"), header(headers, "x-killbill-apisecret"));
    if server.tenants.get(key).is_none_or(|(known, _)| known != secret) {
        return page(StatusCode::UNAUTHORIZED, "No account found for user");
    }
    if segments == ["test", "clock"] {
        return tenants::clock(server, method, &call);
    }
    call.now = server.now;
    let Some((_, tenant)) = server.tenants.get_mut(key) else {
        return page(StatusCode::UNAUTHORIZED, "tenant");
    };
    within(tenant, method.as_str(), &segments, &call)
}

fn within(tenant: &mut Tenant, method: &str, segments: &[&str], call: &Call<'_>) -> Response {
    let id = |text: &str| text.parse::<Uuid>().unwrap_or_default();
    match (method, segments) {
        (_, ["tenants", "registerNotificationCallback"]) => tenants::callback(tenant, method, call),
        ("GET", ["catalog", "versions"]) => tenants::versions(tenant),
        ("GET", ["catalog"]) => tenants::catalog(tenant),
        ("POST", ["catalog", "xml"]) => tenants::upload(tenant, call),
        ("POST", ["accounts"]) => accounts::make(tenant, call),
        ("GET", ["accounts"]) => accounts::by_key(tenant, call),
        ("GET", ["accounts", account]) => accounts::by_id(tenant, id(account), call),
        ("GET", ["accounts", account, "tags"]) => accounts::tags(tenant, id(account)),
        ("POST", ["accounts", account, "tags"]) => accounts::tag(tenant, id(account), call),
        ("POST", ["accounts", account, "paymentMethods"]) => accounts::method(tenant, id(account), call),
        ("GET", ["accounts", account, "bundles"]) => subscriptions::bundles(tenant, id(account), call),
        ("GET", ["accounts", account, "invoices"]) => invoices::of_account(tenant, id(account), call),
        ("GET", ["accounts", account, "invoicePayments"]) => invoices::payments_of(tenant, id(account)),
        ("POST", ["subscriptions"]) => subscriptions::make(tenant, call),
        ("GET", ["subscriptions"]) => subscriptions::by_key(tenant, call),
        ("PUT", ["subscriptions", which]) => subscriptions::change(tenant, id(which), call),
        ("DELETE", ["subscriptions", which]) => subscriptions::cancel(tenant, id(which), call),
        ("PUT", ["subscriptions", which, "uncancel"]) => subscriptions::uncancel(tenant, id(which)),
        ("PUT", ["subscriptions", which, "undoChangePlan"]) => subscriptions::undo_change(tenant, id(which)),
        ("POST", ["invoices", "dryRun"]) => invoices::dry_run(tenant, call),
        ("POST", ["invoices", invoice, "payments"]) => invoices::pay(tenant, id(invoice), call),
        ("POST", ["invoices", invoice, "tags"]) => invoices::tag(tenant, id(invoice), call),
        ("GET", ["payments"]) => invoices::payment_by_key(tenant, call),
        ("GET", ["invoicePayments", payment]) => corrections::payment(tenant, id(payment)),
        ("POST", ["invoicePayments", payment, "refunds"]) => corrections::refund(tenant, id(payment), call),
        ("GET", ["invoices", invoice]) => corrections::invoice(tenant, id(invoice)),
        ("PUT", ["invoices", invoice, "voidInvoice"]) => corrections::void(tenant, id(invoice)),
        ("POST", ["invoices", invoice]) => corrections::adjust(tenant, id(invoice), call),
        ("POST", ["credits"]) => invoices::credit(tenant, call),
        _ => page(StatusCode::NOT_FOUND, "Not Found"),
    }
}
