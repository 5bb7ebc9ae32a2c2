//! Bounds of every request (GTW-11): header size, body size, time. An event stream is bounded until its head only.

use std::time::Duration;

use axum::extract::Request;
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use http::header::{CONTENT_LENGTH, HOST};
use http::{HeaderMap, StatusCode, Version};

use crate::extract::too_large;
use crate::problem::Problem;

/// Largest body.
pub const BODY: usize = 1024 * 1024;
/// Largest sum of header names and values.
const HEADERS: usize = 16 * 1024;
/// Longest request.
const TIME: Duration = Duration::from_secs(30);

/// Refuses what is too large at once, and what takes too long in the end.
pub async fn bound(request: Request, next: Next) -> Response {
    if size(request.headers()) > HEADERS {
        let problem = Problem::new(
            StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            "headers_too_large",
            "the request headers are too large",
        );
        return problem.into_response();
    }
    // RFC 9112, 3.2: exactly one Host, else somebody in front may have read another request than we do.
    if request.version() == Version::HTTP_11 && request.headers().get_all(HOST).iter().count() != 1 {
        let detail = "an HTTP/1.1 request needs exactly one header Host";
        return Problem::new(StatusCode::BAD_REQUEST, "bad_request", detail).into_response();
    }
    let length = request.headers().get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
    if length.is_some_and(|length: usize| length > BODY) {
        return too_large().into_response();
    }
    match tokio::time::timeout(TIME, next.run(request)).await {
        Ok(response) => response,
        Err(_) => Problem::unavailable("the request took too long").into_response(),
    }
}

fn size(headers: &HeaderMap) -> usize {
    headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum()
}
