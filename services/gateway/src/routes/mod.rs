//! All routes. Each is added with its access; there is no other way in (GTW-05).

mod billing;
mod database;
mod docs;
pub mod health;
mod instance;
mod notification;
mod pages;
mod user;

use std::sync::{Arc, OnceLock};

use axum::Json;
use axum::response::{IntoResponse, Response};
use http::header::{ETAG, LOCATION};
use http::{HeaderValue, StatusCode};
use serde::Serialize;

use crate::api::{Api, Finished};
use crate::problem::Problem;
use crate::state::App;

/// Every route of the gateway and the document of them.
pub fn all(app: &App) -> Finished {
    let library = Arc::new(OnceLock::new());
    let mut api = health::add(Api::new(app));
    if app.docs {
        api = docs::add(api, &library);
    }
    api = pages::add(api);
    api = user::add(api);
    api = instance::add(api);
    api = database::add(api);
    api = billing::add(api);
    api = notification::add(api);
    let finished = api.finish();
    if app.docs {
        // Rendered once: the document does not change while the process lives.
        let _ = library.set(docs::Library::new(&finished.document));
    }
    finished
}

/// A message that its service must have sent.
fn present<T>(message: Option<T>, what: &'static str) -> Result<T, Problem> {
    message.ok_or_else(|| {
        tracing::error!(what, "an answer without its message");
        Problem::internal()
    })
}

/// JSON with a status and, when given, `Location` and `ETag`.
fn answer<T: Serialize>(
    status: StatusCode,
    body: T,
    location: Option<&str>,
    version: Option<i64>,
) -> Response {
    let mut response = (status, Json(body)).into_response();
    let headers = response.headers_mut();
    if let Some(location) = location.and_then(|location| HeaderValue::from_str(location).ok()) {
        headers.insert(LOCATION, location);
    }
    if let Some(tag) = version.and_then(|version| HeaderValue::from_str(&format!("\"{version}\"")).ok()) {
        headers.insert(ETAG, tag);
    }
    response
}
