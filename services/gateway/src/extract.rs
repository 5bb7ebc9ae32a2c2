//! Bodies, queries, path ids and headers of requests, refused with problems that name the field. Bodies are never logged (SEC-09).

use axum::extract::{FromRequest, FromRequestParts, Path, Request};
use axum::response::{IntoResponse as _, Response};
use http::header::{CONTENT_TYPE, IF_MATCH};
use http::request::Parts;
use http::{HeaderMap, StatusCode};
use runtime::text::is_forbidden;
use serde::de::DeserializeOwned;
use serde_json::Value;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::dto::checks::{Checks, UNREADABLE};
use crate::problem::Problem;

/// A JSON body.
#[derive(Debug)]
pub struct Body<T>(pub T);

/// A JSON body that may be absent, then without a content type.
#[derive(Debug)]
pub struct OptionalBody<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Body<T> {
    type Rejection = Response;

    async fn from_request(request: Request, state: &S) -> Result<Self, Response> {
        let is_json = is_json(request.headers());
        let bytes = read(request, state).await?;
        if !is_json {
            let problem = Problem::new(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "unsupported_media_type",
                "the body must have the content type application/json",
            );
            return Err(problem.into_response());
        }
        parse(&bytes).map(Self).map_err(Problem::into_response)
    }
}

impl<T: DeserializeOwned + Default, S: Send + Sync> FromRequest<S> for OptionalBody<T> {
    type Rejection = Response;

    async fn from_request(request: Request, state: &S) -> Result<Self, Response> {
        let (parts, body) = request.into_parts();
        let headers = parts.headers.clone();
        let bytes = read(Request::from_parts(parts, body), state).await?;
        if bytes.iter().all(u8::is_ascii_whitespace) {
            return Ok(Self(T::default()));
        }
        let mut request = Request::new(axum::body::Body::from(bytes));
        *request.headers_mut() = headers;
        Body::from_request(request, state).await.map(|Body(value)| Self(value))
    }
}

/// A body as it came, of any type: what a hook sends is kept and not read.
#[derive(Debug)]
pub struct Raw(pub axum::body::Bytes);

impl<S: Send + Sync> FromRequest<S> for Raw {
    type Rejection = Response;

    async fn from_request(request: Request, state: &S) -> Result<Self, Response> {
        read(request, state).await.map(Self)
    }
}

fn is_json(headers: &HeaderMap) -> bool {
    headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split(';').next())
        .is_some_and(|essence| essence.trim().eq_ignore_ascii_case("application/json"))
}

async fn read<S: Send + Sync>(request: Request, state: &S) -> Result<axum::body::Bytes, Response> {
    axum::body::Bytes::from_request(request, state).await.map_err(|rejection| {
        let problem = if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE {
            too_large()
        } else {
            Problem::new(StatusCode::BAD_REQUEST, "bad_request", "the body could not be read")
        };
        problem.into_response()
    })
}

/// The body is above the limit.
pub fn too_large() -> Problem {
    Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "payload_too_large", "the body is too large")
}

/// JSON into `T`; the problem names the field and never repeats a value.
fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    // serde would take an array as the fields in their order.
    let first = bytes.iter().find(|byte| !byte.is_ascii_whitespace());
    if first.is_some_and(|first| *first != b'{') {
        serde_json::from_slice::<serde::de::IgnoredAny>(bytes).map_err(|error| malformed(&error))?;
        return Err(Problem::field("body", "must be an object"));
    }
    check_texts(bytes)?;
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(&mut reader).map_err(|error| {
        let path = error.path().to_string();
        refuse(&path, error.inner())
    })?;
    reader.end().map_err(|error| malformed(&error))?;
    Ok(value)
}

/// Refuses characters that no text may have, in every text of the body (names of fields included).
fn check_texts(bytes: &[u8]) -> Result<(), Problem> {
    // Such a character is an escape, DEL, or the start of a longer one; nearly no body has any of them, and needs no second look.
    let suspicious = |byte: &u8| matches!(byte, b'\\' | 0x7f | 0xc2 | 0xe2);
    if !bytes.iter().any(suspicious) {
        return Ok(());
    }
    // What is no JSON is told with its place by the reading that follows.
    let Ok(body) = serde_json::from_slice::<Value>(bytes) else { return Ok(()) };
    let mut checks = Checks::default();
    collect(&body, "", &mut checks);
    checks.done()
}

fn collect(value: &Value, path: &str, checks: &mut Checks) {
    match value {
        Value::String(text) => *checks = std::mem::take(checks).readable(path, text),
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                collect(item, &format!("{path}[{index}]"), checks);
            }
        }
        Value::Object(fields) => {
            for (name, field) in fields {
                let shown: String = name.chars().filter(|c| !is_forbidden(*c)).collect();
                let path = if path.is_empty() { shown } else { format!("{path}.{shown}") };
                *checks = std::mem::take(checks).readable(&path, name);
                collect(field, &path, checks);
            }
        }
        _ => {}
    }
}

fn malformed(error: &serde_json::Error) -> Problem {
    let detail = if error.is_eof() && (error.line(), error.column()) <= (1, 0) {
        "the body is empty: send a JSON object".to_owned()
    } else if error.is_eof() {
        "the body is not valid JSON: it ends too early".to_owned()
    } else {
        format!("the body is not valid JSON: see line {}, column {}", error.line(), error.column())
    };
    Problem::new(StatusCode::BAD_REQUEST, "malformed_json", detail)
}

fn refuse(path: &str, error: &serde_json::Error) -> Problem {
    let text = error.to_string();
    if !error.is_data() {
        let field = if path == "." || path.is_empty() { "body" } else { path };
        // Half of a pair of escapes (`\ud800`) is JSON, but no text.
        let half = text.contains("surrogate") || text.contains("unexpected end of hex escape");
        return if half { Problem::field(field, UNREADABLE) } else { malformed(error) };
    }
    let text = text.rsplit_once(" at line ").map_or(text.as_str(), |(text, _)| text);
    let quoted = || text.split('`').nth(1).unwrap_or_default();
    let parent = |name: &str| match path.rsplit_once('.') {
        Some((parent, last)) if last == name => format!("{parent}.{name}"),
        _ if path == "." || path.is_empty() || path == name => name.to_owned(),
        _ => format!("{path}.{name}"),
    };
    if text.starts_with("unknown field") {
        return Problem::field(parent(quoted()), unknown_field(text));
    }
    if text.starts_with("missing field") {
        return Problem::field(parent(quoted()), "is required");
    }
    if text.starts_with("duplicate field") {
        return Problem::field(parent(quoted()), "is given twice");
    }
    let field = if path == "." || path.is_empty() { "body" } else { path };
    // serde's own texts begin with the value that was sent; only what was expected is repeated.
    if text.starts_with("invalid ") || text.starts_with("unknown variant") {
        let expected = text.split_once("expected ").map_or("another value", |(_, expected)| expected);
        let expected = if expected.starts_with("struct ") { "an object" } else { expected };
        return Problem::field(field, format!("must be {}", expected.replace('`', "")));
    }
    // The parser of ids repeats characters of the text.
    Problem::field(field, if text.starts_with("UUID") { "must be a UUID" } else { text })
}

/// What an unknown field is answered: the fields that there are, first of all one that looks like it.
fn unknown_field(text: &str) -> String {
    let mut names = text.split('`').skip(1).step_by(2);
    let wrong = names.next().unwrap_or_default();
    let known: Vec<&str> = names.collect();
    if known.is_empty() {
        return "is not a field of this request, which takes none".to_owned();
    }
    let close = known.iter().find(|name| name.contains(wrong) || wrong.contains(**name));
    let close = close.filter(|_| wrong.len() > 2).map(|name| format!("; did you mean {name}?"));
    format!("is not a field of this request, which takes {}{}", known.join(", "), close.unwrap_or_default())
}

/// A path id; text that is no id names nothing, so it is a 404 like any unknown id (INS-15).
#[derive(Debug, Clone, Copy)]
pub struct Id(pub Uuid);

/// Two path ids.
#[derive(Debug, Clone, Copy)]
pub struct Ids(pub Uuid, pub Uuid);

impl<S: Send + Sync> FromRequestParts<S> for Id {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let path = Path::<Uuid>::from_request_parts(parts, state).await;
        path.map(|Path(id)| Self(id)).map_err(|_| Problem::not_found("object"))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Ids {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let path = Path::<(Uuid, Uuid)>::from_request_parts(parts, state).await;
        path.map(|Path((first, second))| Self(first, second)).map_err(|_| Problem::not_found("object"))
    }
}

/// A checked page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Page {
    /// From 1.
    pub number: u32,
    /// From 1 to 100.
    pub size: u32,
}

/// The query, with typed reads. Names that the route does not take are refused before ([`crate::inputs`]).
#[derive(Debug)]
pub struct Query {
    path: String,
    pairs: Vec<(String, String)>,
}

impl<S: Send + Sync> FromRequestParts<S> for Query {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let pairs = serde_urlencoded::from_str(parts.uri.query().unwrap_or_default())
            .map_err(|_| Problem::field("query", "is not URL-encoded"))?;
        Ok(Self { path: parts.uri.path().to_owned(), pairs })
    }
}

impl Query {
    /// All values of a name.
    pub fn all(&self, name: &str) -> Vec<String> {
        let values = self.pairs.iter().filter(|(key, value)| key == name && !value.is_empty());
        values.map(|(_, value)| value.clone()).collect()
    }

    /// The last value of a name.
    pub fn text(&self, name: &str) -> Option<String> {
        self.all(name).pop()
    }

    /// A text of at most 200 characters; empty when absent.
    pub fn filter(&self, name: &str) -> Result<String, Problem> {
        let text = self.text(name).unwrap_or_default();
        if text.chars().count() > 200 {
            return Err(Problem::field(name, "must have at most 200 characters"));
        }
        Ok(text)
    }

    /// A whole number in a range.
    pub fn number(
        &self,
        name: &str,
        default: u32,
        range: std::ops::RangeInclusive<u32>,
    ) -> Result<u32, Problem> {
        let Some(text) = self.text(name) else { return Ok(default) };
        text.parse().ok().filter(|number| range.contains(number)).ok_or_else(|| {
            let (least, most) = (range.start(), range.end());
            if *most == u32::MAX {
                Problem::field(name, format!("must be a whole number from {least}"))
            } else {
                Problem::field(name, format!("must be a whole number from {least} to {most}"))
            }
        })
    }

    /// `true` or `false`; false when absent.
    pub fn flag(&self, name: &str) -> Result<bool, Problem> {
        match self.text(name).as_deref() {
            None | Some("false" | "0") => Ok(false),
            Some("true" | "1") => Ok(true),
            Some(_) => Err(Problem::field(name, "must be true or false")),
        }
    }

    /// An RFC 3339 time.
    pub fn time(&self, name: &str) -> Result<Option<prost_types::Timestamp>, Problem> {
        let Some(text) = self.text(name) else { return Ok(None) };
        OffsetDateTime::parse(&text, &time::format_description::well_known::Rfc3339)
            .map(|at| Some(contracts::scalars::timestamp(at)))
            .map_err(|_| Problem::field(name, "must be a time such as 2026-11-23T04:00:00Z"))
    }

    /// `page` and `page_size` (GTW-14).
    pub fn page(&self) -> Result<Page, Problem> {
        let number = self.number("page", 1, 1..=u32::MAX)?;
        let size = self.number("page_size", 20, 1..=100)?;
        Ok(Page { number, size })
    }

    /// The same address with another page.
    pub fn address_of(&self, page: u64, size: u32) -> String {
        let kept = self.pairs.iter().filter(|(key, _)| key != "page" && key != "page_size");
        let numbers = [("page".to_owned(), page.to_string()), ("page_size".to_owned(), size.to_string())];
        let pairs: Vec<(String, String)> = kept.cloned().chain(numbers).collect();
        format!("{}?{}", self.path, serde_urlencoded::to_string(pairs).unwrap_or_default())
    }
}

/// `Idempotency-Key`, at most 200 characters; empty when absent (GTW-13).
pub fn idempotency_key(headers: &HeaderMap) -> Result<String, Problem> {
    let Some(value) = headers.get("idempotency-key") else { return Ok(String::new()) };
    let key = value.to_str().unwrap_or_default().trim();
    if key.is_empty() || key.len() > 200 {
        return Err(Problem::field("Idempotency-Key", "must have 1 to 200 visible characters"));
    }
    Ok(key.to_owned())
}

/// The version in `If-Match`; `*` and absence accept any. A tag that is none of ours matches nothing.
pub fn expected_version(headers: &HeaderMap) -> Result<Option<i64>, Problem> {
    let Some(value) = headers.get(IF_MATCH) else { return Ok(None) };
    let tag = value.to_str().unwrap_or_default().trim();
    if tag == "*" {
        return Ok(None);
    }
    let tag = tag.strip_prefix("W/").unwrap_or(tag).trim_matches('"');
    tag.parse().map(Some).map_err(|_| {
        Problem::new(
            StatusCode::PRECONDITION_FAILED,
            "version_mismatch",
            "If-Match is not the present version",
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    #[derive(Debug, Deserialize, PartialEq)]
    #[serde(deny_unknown_fields)]
    struct Inner {
        ok: bool,
    }

    #[derive(Debug, Deserialize, PartialEq)]
    #[serde(deny_unknown_fields)]
    struct Outer {
        name: String,
        inner: Option<Inner>,
    }

    fn problem(json: &str) -> serde_json::Value {
        let problem = parse::<Outer>(json.as_bytes()).unwrap_err();
        let text = format!("{problem:?}");
        serde_json::json!({"status": problem.status().as_u16(), "text": text})
    }

    /// SEC-09, section 0 of the API: the field is named, its value is not repeated.
    #[test]
    fn a_refused_field_is_named_without_its_value() {
        for (json, status, words) in [
            (r#"{"name":"a","card_number":"4111"}"#, 422, "card_number"),
            (r#"{"name":"a","inner":{"ok":true,"extra":1}}"#, 422, "inner.extra"),
            (r#"{"inner":null}"#, 422, "\"name\""),
            (r#"{"name":4111}"#, 422, "must be a string"),
            (r#"{"name":"a","inner":{"ok":"4111"}}"#, 422, "inner.ok"),
            (r#"{"name":"a""#, 400, "malformed_json"),
            (r#"{"name":"a"} x"#, 400, "malformed_json"),
            (r#"{"name":"a", x}"#, 400, "line 1, column 14"),
            (r#"{"name":"\u0000"}"#, 422, "name must not contain control"),
            (r#"{"name":"a\u202eb"}"#, 422, "name must not contain control"),
            ("{\"name\":\"a\u{7f}\"}", 422, "name must not contain control"),
            (r#"{"name":"\ud800"}"#, 422, "name must not contain control"),
            (r#"{"name":"\ud800x"}"#, 422, "name must not contain control"),
            (r#"{"name":"a","nam":1}"#, 422, "did you mean name?"),
            ("", 400, "malformed_json"),
            ("[\"4111\", null]", 422, "must be an object"),
            ("x", 400, "malformed_json"),
            (r#"{"name":"a","inner":4111}"#, 422, "must be an object"),
        ] {
            let got = problem(json);
            assert_eq!(got["status"], status, "{json}: {got}");
            assert!(got["text"].as_str().unwrap().contains(words), "{json}: {got}");
            assert!(!got["text"].as_str().unwrap().contains("4111"), "{json}: {got}");
        }
    }

    #[test]
    fn if_match_takes_our_tags() {
        let version = |text: &'static str| {
            let headers = HeaderMap::from_iter([(IF_MATCH, http::HeaderValue::from_static(text))]);
            expected_version(&headers).map_err(|problem| problem.status().as_u16())
        };
        assert_eq!(version("\"7\""), Ok(Some(7)));
        assert_eq!(version("W/\"7\""), Ok(Some(7)));
        assert_eq!(version("*"), Ok(None));
        assert_eq!(version("\"abc\""), Err(412));
    }
}
