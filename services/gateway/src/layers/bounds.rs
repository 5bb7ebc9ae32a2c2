//! Bounds of every request (GTW-11): how many at once, header size, body size, time. An event stream is bounded
//! until its head only.

use std::time::Duration;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use http::header::{CONTENT_LENGTH, HOST};
use http::{HeaderMap, StatusCode, Version};

use crate::extract::too_large;
use crate::problem::Problem;
use crate::state::App;

/// Largest body.
pub const BODY: usize = 1024 * 1024;
/// Largest sum of header names and values.
const HEADERS: usize = 16 * 1024;
/// Longest request.
const TIME: Duration = Duration::from_secs(30);

/// Refuses what is too large at once, and what takes too long in the end.
pub async fn bound(State(app): State<App>, request: Request, next: Next) -> Response {
    // Until the head of the answer: event streams have bounds of their own.
    let _place = match app.rooms.enter() {
        Ok(place) => place,
        Err(problem) => return problem.into_response(),
    };
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
    in_time(TIME, next.run(request)).await
}

/// The answer, or after this time the word that there is none.
async fn in_time(time: Duration, answer: impl Future<Output = Response>) -> Response {
    match tokio::time::timeout(time, answer).await {
        Ok(response) => response,
        Err(_) => Problem::unavailable("the request took too long").into_response(),
    }
}

fn size(headers: &HeaderMap) -> usize {
    headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// GTW-11
    #[tokio::test]
    async fn a_request_ends_after_its_time() {
        assert_eq!(TIME.as_secs(), 30);
        let answer = in_time(Duration::from_millis(20), std::future::pending()).await;
        assert_eq!(answer.status().as_u16(), 503);
        assert!(answer.headers().contains_key("retry-after"));
        let quick = in_time(TIME, async { StatusCode::OK.into_response() }).await;
        assert_eq!(quick.status().as_u16(), 200);
    }
}
