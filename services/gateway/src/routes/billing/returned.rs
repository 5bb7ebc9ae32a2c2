//! The page to which a payment provider sends people back (BIL-27). Nobody is signed in there, so that it tells the state of the payment alone, and
//! only to who has its id, of which 74 bits are random. It has no script: while the payment is pending the browser loads it again.

use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use contracts::billing::v1 as pb;
use http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use http::{HeaderValue, StatusCode};
use tonic::Code;
use uuid::Uuid;

use crate::context::Ctx;
use crate::dto::wire;
use crate::extract::Query;
use crate::routes::pages::hash_of;
use crate::state::App;

/// Seconds until a pending payment is looked at again.
const AGAIN: u32 = 5;

const STYLE: &str = "\
:root{color-scheme:light dark}\
body{font:17px/1.5 system-ui,sans-serif;max-width:28rem;margin:0 auto;padding:2rem 1rem}";

/// What a page says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Said {
    status: StatusCode,
    title: &'static str,
    text: &'static str,
    /// Seconds after which it is loaded again.
    again: Option<u32>,
}

fn said(state: &str) -> Said {
    let (title, text) = match state {
        "paid" => (
            "Your payment has arrived",
            "Thank you. The invoice is settled, and what waited for it goes on by itself. You can close this page.",
        ),
        "pending" => {
            return Said {
                status: StatusCode::OK,
                title: "Your payment is on its way",
                text: "We wait for the word of the payment provider. If your phone asks you to confirm, please do. This page looks again by itself; \
                       please do not pay a second time.",
                again: Some(AGAIN),
            };
        }
        "failed" => (
            "Your payment did not work",
            "The payment provider did not take the payment. Your invoice is still open: you can pay it again, in the same or in another way.",
        ),
        "cancelled" => (
            "Your payment was cancelled",
            "Nothing was paid. Your invoice is still open: you can pay it whenever you like.",
        ),
        "refunded" => {
            ("Your payment was given back", "The money is on its way back to you. There is nothing to do.")
        }
        _ => (
            "We are looking at your payment",
            "Something about this payment needs a person. Please do not pay again; write to us if you have not heard from us within a working day.",
        ),
    };
    Said { status: StatusCode::OK, title, text, again: None }
}

const UNKNOWN: Said = Said {
    status: StatusCode::NOT_FOUND,
    title: "There is no such payment",
    text: "This link is not complete. Your invoices tell how your payments stand.",
    again: None,
};

const AWAY: Said = Said {
    status: StatusCode::SERVICE_UNAVAILABLE,
    title: "We cannot look at your payment now",
    text: "This page tries again by itself. Nothing is lost: please do not pay a second time.",
    again: Some(2 * AGAIN),
};

/// How a payment stands, as a page for the person whom the payment provider sends back.
#[utoipa::path(get, path = "/billing/payment-status",
    params(("payment" = String, Query, description = "id of the payment")),
    responses((status = 200, body = String, content_type = "text/html", example = "<!doctype html>…"),
        (status = 400, body = String, content_type = "text/html", example = "<!doctype html>…"),
        (status = 404, body = String, content_type = "text/html", example = "<!doctype html>…"),
        (status = 503, body = String, content_type = "text/html", example = "<!doctype html>…")))]
pub async fn payment_status(State(app): State<App>, context: Ctx, query: Query) -> Response {
    let Some(payment) = query.text("payment").and_then(|id| Uuid::try_parse(&id).ok()) else {
        return page(&Said { status: StatusCode::BAD_REQUEST, ..UNKNOWN });
    };
    let request = context.request(pb::GetPaymentRequest { payment_id: wire(payment) });
    let said = match app.clients.payments.clone().get_payment_outcome(request).await {
        Ok(found) => said(&found.into_inner().state),
        Err(status) if status.code() == Code::NotFound => UNKNOWN,
        Err(status) => {
            tracing::warn!(code = ?status.code(), "a payment cannot be looked at now");
            AWAY
        }
    };
    page(&said)
}

fn page(said: &Said) -> Response {
    let Said { status, title, text, again } = said;
    let refresh = again
        .map(|seconds| format!("<meta http-equiv=\"refresh\" content=\"{seconds}\">"))
        .unwrap_or_default();
    let html = format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\
         <meta name=\"robots\" content=\"noindex\">{refresh}<title>{title}</title><style>{STYLE}</style></head>\
         <body><main><h1>{title}</h1><p role=\"status\">{text}</p></main></body></html>"
    );
    let policy = format!(
        "default-src 'none'; style-src '{}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        hash_of(STYLE)
    );
    let mut response = (*status, html).into_response();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    if let Ok(policy) = HeaderValue::from_str(&policy) {
        headers.insert(CONTENT_SECURITY_POLICY, policy);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    /// BIL-27: only what is not decided yet is looked at again, and nobody who should not is asked to pay twice.
    #[test]
    fn each_state_has_its_words() {
        for state in ["paid", "pending", "failed", "cancelled", "refunded", "disputed", "a new one"] {
            let said = said(state);
            assert_eq!(said.again.is_some(), state == "pending", "{state}");
            assert_eq!(said.text.contains("pay it"), matches!(state, "failed" | "cancelled"), "{state}");
        }
    }
}
