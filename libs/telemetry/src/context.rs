//! W3C trace context between processes: HTTP → gRPC → outbox row → RabbitMQ (MON-10).
//!
//! A call continues the trace of its caller; a consumer *links* to the trace that caused its message, because
//! it runs later and may run again.

use std::collections::BTreeMap;

use opentelemetry::propagation::{Extractor, Injector};
use opentelemetry::trace::TraceContextExt as _;
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

/// Text headers (`traceparent`, `tracestate`) as they are stored with an outbox row.
pub type Headers = BTreeMap<String, String>;

struct Text<'a>(&'a mut Headers);

impl Injector for Text<'_> {
    fn set(&mut self, key: &str, value: String) {
        self.0.insert(key.to_owned(), value);
    }
}

struct Stored<'a>(&'a Headers);

impl Extractor for Stored<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(String::as_str)
    }
    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(String::as_str).collect()
    }
}

struct Http<'a>(&'a http::HeaderMap);

impl Extractor for Http<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).and_then(|value| value.to_str().ok())
    }
    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(http::HeaderName::as_str).collect()
    }
}

/// The trace of the present span, as headers.
pub fn headers() -> Headers {
    let mut headers = Headers::new();
    let context = Span::current().context();
    opentelemetry::global::get_text_map_propagator(|propagator| {
        propagator.inject_context(&context, &mut Text(&mut headers));
    });
    headers
}

/// Makes `span` a child of the trace in HTTP or gRPC headers and records its trace id in the field
/// `trace.id`, when the span declares it.
pub fn continue_from(span: &Span, incoming: &http::HeaderMap) {
    let parent =
        opentelemetry::global::get_text_map_propagator(|propagator| propagator.extract(&Http(incoming)));
    // Without a subscriber there is nothing to join; that is no failure of the call.
    let _ = span.set_parent(parent);
    record_trace_id(span);
}

/// Links `span` to the trace in stored headers and records its own trace id.
pub fn link_to(span: &Span, stored: &Headers) {
    let cause =
        opentelemetry::global::get_text_map_propagator(|propagator| propagator.extract(&Stored(stored)));
    let cause = cause.span().span_context().clone();
    if cause.is_valid() {
        span.record("cause.trace.id", cause.trace_id().to_string());
        span.add_link(cause);
    }
    record_trace_id(span);
}

/// Writes the trace id of `span` into its field `trace.id`.
pub fn record_trace_id(span: &Span) {
    let context = span.context();
    let id = context.span().span_context().trace_id();
    if id != opentelemetry::trace::TraceId::INVALID {
        span.record("trace.id", id.to_string());
    }
}
