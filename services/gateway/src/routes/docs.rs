//! The documents: `/openapi.json`, the part of each prefix, and a page of each prefix without any outside asset (GTW-03).
//!
//! The pages are rendered here from the document, once; they need no script.

mod render;

use std::sync::{Arc, OnceLock};

use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::HeaderValue;
use http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use serde_json::{Value, json};

use crate::access::Limit;
use crate::api::Api;
use crate::clients::Part;
use crate::openapi::{self, operation_id};
use crate::problem::Problem;
use crate::routes::pages::hash_of;

/// The rendered documents.
#[derive(Debug)]
pub struct Library {
    whole: String,
    parts: Vec<(Part, String, String)>,
    policy: String,
}

impl Library {
    /// Renders all documents.
    pub fn new(document: &Value) -> Self {
        let parts = Part::ALL.map(|part| {
            let of_part = openapi::part(document, part.prefix());
            let page = render::page(&of_part, part.prefix());
            (part, of_part.to_string(), page)
        });
        Self {
            whole: document.to_string(),
            parts: parts.into(),
            policy: format!(
                "default-src 'none'; style-src '{}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
                hash_of(render::STYLE)
            ),
        }
    }

    fn part(&self, wanted: Part) -> Option<&(Part, String, String)> {
        self.parts.iter().find(|(part, ..)| *part == wanted)
    }
}

type Shelf = Arc<OnceLock<Library>>;

/// Adds the routes; `shelf` is filled when all routes are known.
pub fn add(mut api: Api, shelf: &Shelf) -> Api {
    let whole = Arc::clone(shelf);
    let handler =
        get(move || async move { whole.get().map_or_else(missing, |library| json_text(&library.whole)) });
    api = api.page(Limit::Usual, "/openapi.json", &describe("/openapi.json", "application/json"), &handler);
    for part in Part::ALL {
        let books = Arc::clone(shelf);
        let handler = get(move || async move {
            let found = books.get().and_then(|library| library.part(part));
            found.map_or_else(missing, |(_, text, _)| json_text(text))
        });
        let path = format!("/{}/openapi.json", part.prefix());
        api = api.page(Limit::Usual, &path, &describe(&path, "application/json"), &handler);
        let books = Arc::clone(shelf);
        let handler = get(move || async move {
            let Some(library) = books.get() else { return missing() };
            library.part(part).map_or_else(missing, |(.., page)| html(page, &library.policy))
        });
        let path = format!("/{}/docs", part.prefix());
        api = api.page(Limit::Usual, &path, &describe(&path, "text/html"), &handler);
    }
    api
}

fn describe(path: &str, media: &str) -> Value {
    let (summary, schema, example) = if media == "text/html" {
        ("The document as a page.", json!({"type": "string"}), json!("<!doctype html>…"))
    } else {
        ("This document.", json!({"type": "object"}), json!({"openapi": "3.1.0"}))
    };
    json!({
        "summary": summary,
        "description": "404 when the documents are switched off.",
        "operationId": operation_id("get", path),
        "responses": {
            "200": {"description": "the document", "content": {media: {"schema": schema, "example": example}}},
            "404": {"description": "not_found"},
        },
    })
}

fn missing() -> Response {
    Problem::not_found("document").into_response()
}

fn json_text(text: &str) -> Response {
    let mut response = text.to_owned().into_response();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("public, max-age=300"));
    response
}

fn html(page: &str, policy: &str) -> Response {
    let mut response = page.to_owned().into_response();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("public, max-age=300"));
    if let Ok(policy) = HeaderValue::from_str(policy) {
        headers.insert(CONTENT_SECURITY_POLICY, policy);
    }
    response
}
