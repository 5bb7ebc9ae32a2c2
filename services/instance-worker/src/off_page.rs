//! What visitors see at the host name of an instance that does not answer (GTW-18, INS-24): 503, when to come
//! again, and a page that says what the matter is and what the owner can do about it.
//!
//! A program of its own beside the worker, without rights, database or peers: the Ingress of an instance leads
//! to one port a state, so nothing has to be looked up. Must not know of any instance.

use axum::Router;
use axum::extract::Request;
use axum::http::header::{ACCEPT, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use contracts::services;
use runtime::admin::Health;
use runtime::config::Common;
use runtime::http::Limits;
use runtime::process::Process;
use std::net::SocketAddr;
use tokio::net::TcpListener;

use crate::objects::off::Off;

/// Where probes ask; on the general port alone, which no host of an instance leads to any more.
const HEALTH: &str = "/instance-off/health";

/// What one state says.
struct Words {
    title: &'static str,
    text: &'static str,
    /// Stable word for programs.
    reason: &'static str,
    /// Seconds until another try makes sense.
    retry_after: u32,
    /// The state ends by itself: the page looks again.
    reloads: bool,
}

fn words(off: Off) -> Words {
    let (title, reason, text) = match off {
        Off::Unknown => (
            "This Odoo is not running",
            "instance_off",
            "If it is yours, sign in to see why, and to start it again. Its data is kept.",
        ),
        Off::Stopped => (
            "This Odoo is switched off",
            "instance_stopped",
            "If it is yours, sign in, open the instance and choose Start; it is back within a few minutes. Its data \
             is kept.",
        ),
        Off::Suspended => (
            "This Odoo is suspended",
            "instance_suspended",
            "If it is yours, sign in: most often an invoice is overdue, and the instance comes back by itself as soon \
             as it is paid. Its data is kept.",
        ),
        Off::Terminated => (
            "This Odoo has been closed",
            "instance_terminated",
            "If it was yours, sign in: it can be brought back with all of its data for a limited time.",
        ),
        Off::Starting => (
            "This Odoo is starting",
            "instance_starting",
            "This usually takes a few minutes. The page reloads by itself.",
        ),
        Off::Maintenance => (
            "This Odoo is being maintained",
            "instance_maintenance",
            "It will be back within a few minutes. The page reloads by itself.",
        ),
    };
    let (reloads, retry_after) = match off {
        Off::Starting => (true, 10),
        Off::Maintenance => (true, 30),
        Off::Unknown | Off::Stopped | Off::Suspended | Off::Terminated => (false, 3600),
    };
    Words { title, text, reason, retry_after, reloads }
}

/// Serves the pages until SIGTERM.
pub async fn serve(common: Common) -> anyhow::Result<()> {
    let process = Process::try_new(services::WORKER, &common)?;
    for off in Off::ALL {
        let address = SocketAddr::new(common.bind_address, off.target_port());
        let listener = TcpListener::bind(address).await?;
        tracing::info!(%address, page = words(off).reason, "off page listening");
        let served = runtime::http::serve(listener, router(off), Limits::INTERNAL, process.stopping());
        process.spawn("off page", served);
    }
    process.run(&Health::new(services::WORKER)).await
}

/// Every path and method of one state.
pub fn router(off: Off) -> Router {
    let pages = Router::new().fallback(async move |request: Request| answer(off, &request));
    if off == Off::Unknown { pages.route(HEALTH, get(|| async { "ok" })) } else { pages }
}

fn answer(off: Off, request: &Request) -> Response {
    let words = words(off);
    let (kind, body) = if wants_json(request.headers(), request.method(), request.uri().path()) {
        let problem = serde_json::json!({
            "type": "about:blank", "title": words.title, "status": 503, "detail": words.text, "reason": words.reason,
        });
        ("application/problem+json", problem.to_string())
    } else {
        ("text/html; charset=utf-8", page(&words))
    };
    let fixed = |text: &'static str| HeaderValue::from_static(text);
    let headers: [(HeaderName, HeaderValue); 6] = [
        (CONTENT_TYPE, fixed(kind)),
        (RETRY_AFTER, HeaderValue::from(words.retry_after)),
        (CACHE_CONTROL, fixed("no-store")),
        (HeaderName::from_static("x-robots-tag"), fixed("noindex")),
        (HeaderName::from_static("x-content-type-options"), fixed("nosniff")),
        (
            CONTENT_SECURITY_POLICY,
            fixed("default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"),
        ),
    ];
    (StatusCode::SERVICE_UNAVAILABLE, headers, body).into_response()
}

/// Programs that speak to Odoo get an answer that they can read.
fn wants_json(headers: &HeaderMap, method: &Method, path: &str) -> bool {
    let accepted = headers.get(ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
    let calls = ["/jsonrpc", "/web/dataset/", "/json/"].iter().any(|start| path.starts_with(start));
    (accepted.contains("json") && !accepted.contains("html")) || (calls && method == Method::POST)
}

fn page(words: &Words) -> String {
    let Words { title, text, retry_after, reloads, .. } = words;
    let reload = if *reloads {
        format!("<meta http-equiv=\"refresh\" content=\"{retry_after}\">")
    } else {
        String::new()
    };
    format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">{reload}\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"><title>{title}</title>\
         <style>body{{font:1.1rem/1.6 system-ui,sans-serif;color:#222;background:#f6f6f8;margin:0}}\
         main{{max-width:34rem;margin:18vh auto 0;padding:2rem;background:#fff;border-radius:.75rem}}\
         h1{{font-size:1.5rem;margin-top:0}}\
         @media(prefers-color-scheme:dark){{body{{color:#eee;background:#17171b}}main{{background:#222228}}}}\
         </style></head><body><main><h1>{title}</h1><p>{text}</p></main></body></html>\n"
    )
}

#[cfg(test)]
mod tests {
    use axum::body::{Body, to_bytes};
    use tower::ServiceExt as _;

    use super::*;

    async fn asked(off: Off, request: Request) -> (StatusCode, HeaderMap, String) {
        let answer = router(off).oneshot(request).await.unwrap();
        let (head, body) = answer.into_parts();
        let body = to_bytes(body, 1 << 16).await.unwrap();
        (head.status, head.headers, String::from_utf8(body.to_vec()).unwrap())
    }

    /// GTW-18: each state has words of its own, and says when to come again.
    #[tokio::test]
    async fn every_state_tells_what_the_matter_is_and_when_to_come_again() {
        let mut titles = std::collections::BTreeSet::new();
        for off in Off::ALL {
            let request = Request::get("/odoo/any/path?x=1").body(Body::empty()).unwrap();
            let (status, headers, body) = asked(off, request).await;
            assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
            assert!(headers[RETRY_AFTER].to_str().unwrap().parse::<u32>().unwrap() >= 10);
            assert_eq!(headers[CACHE_CONTROL], "no-store");
            assert!(body.starts_with("<!doctype html>"), "{body}");
            assert_eq!(
                body.contains("http-equiv=\"refresh\""),
                body.contains("reloads by itself"),
                "{off:?}"
            );
            let title = body.split("<title>").nth(1).unwrap().split('<').next().unwrap().to_owned();
            assert!(titles.insert(title), "{off:?} says the same as another one");
        }
    }

    #[tokio::test]
    async fn programs_get_a_word_that_they_can_read() {
        let request = Request::post("/jsonrpc").body(Body::empty()).unwrap();
        let (status, headers, body) = asked(Off::Suspended, request).await;
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(headers[CONTENT_TYPE], "application/problem+json");
        let problem: serde_json::Value = serde_json::from_str(&body).unwrap();
        assert_eq!(problem["reason"], "instance_suspended");
    }

    /// A probe of the cluster must not be answered at the host of an instance.
    #[tokio::test]
    async fn only_the_general_port_is_healthy() {
        for off in Off::ALL {
            let request = Request::get(HEALTH).body(Body::empty()).unwrap();
            assert_eq!(asked(off, request).await.0.is_success(), off == Off::Unknown, "{off:?}");
        }
    }
}
