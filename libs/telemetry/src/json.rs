//! One JSON object a line on standard output: time, level, service, message, the event's fields, and those of
//! the spans around it (`request.id`, `trace.id` and the like).

use std::fmt;
use std::io::Write as _;

use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;

pub(crate) struct JsonLines {
    service: &'static str,
}

impl JsonLines {
    pub(crate) fn new(service: &'static str) -> Self {
        Self { service }
    }
}

/// The fields of one span, kept in its extensions.
struct SpanFields(Map<String, Value>);

impl<S> Layer<S> for JsonLines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        if let Some(span) = context.span(id) {
            span.extensions_mut().insert(SpanFields(fields.0));
        }
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        if let Some(span) = context.span(id) {
            let mut fields = Fields::default();
            values.record(&mut fields);
            if let Some(SpanFields(kept)) = span.extensions_mut().get_mut::<SpanFields>() {
                kept.extend(fields.0);
            }
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut line = Map::new();
        line.insert("time".into(), Value::String(now()));
        line.insert("level".into(), Value::String(event.metadata().level().to_string()));
        line.insert("service".into(), Value::String(self.service.into()));
        let mut fields = Fields::default();
        event.record(&mut fields);
        line.insert("message".into(), fields.0.remove("message").unwrap_or_default());
        line.insert("target".into(), Value::String(event.metadata().target().into()));
        for span in context.event_scope(event).into_iter().flatten() {
            if let Some(SpanFields(kept)) = span.extensions().get::<SpanFields>() {
                for (name, value) in kept {
                    line.entry(name.clone()).or_insert_with(|| value.clone());
                }
            }
        }
        line.extend(fields.0);
        let mut text = Value::Object(line).to_string();
        text.push('\n');
        // Nothing useful can be done when standard output is gone; the process must not die of it.
        let _ = std::io::stdout().lock().write_all(text.as_bytes());
    }
}

#[expect(clippy::disallowed_methods, reason = "a log line carries the wall clock")]
fn now() -> String {
    time::OffsetDateTime::now_utc().format(&time::format_description::well_known::Rfc3339).unwrap_or_default()
}

#[derive(Default)]
struct Fields(Map<String, Value>);

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0.insert(field.name().into(), Value::String(format!("{value:?}")));
    }
    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name().into(), Value::String(value.into()));
    }
    fn record_i64(&mut self, field: &Field, value: i64) {
        self.0.insert(field.name().into(), value.into());
    }
    fn record_u64(&mut self, field: &Field, value: u64) {
        self.0.insert(field.name().into(), value.into());
    }
    fn record_bool(&mut self, field: &Field, value: bool) {
        self.0.insert(field.name().into(), value.into());
    }
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.0.insert(field.name().into(), value.into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tracing_subscriber::layer::SubscriberExt as _;

    /// MON-09: a line is built from the event and its spans without losing a field; the inner value wins.
    #[test]
    fn fields_of_spans_are_kept_in_their_extensions() {
        let subscriber = tracing_subscriber::registry().with(JsonLines::new("test"));
        tracing::subscriber::with_default(subscriber, || {
            let span = tracing::info_span!("call", request.id = "r-1", trace.id = tracing::field::Empty);
            span.record("trace.id", "t-1");
            let kept = span.with_subscriber(|(id, dispatch)| {
                let registry = dispatch.downcast_ref::<tracing_subscriber::layer::Layered<JsonLines, tracing_subscriber::Registry>>();
                registry.is_some_and(|registry| {
                    let data = registry.span(id);
                    data.is_some_and(|data| {
                        data.extensions().get::<SpanFields>().is_some_and(|f| f.0["request.id"] == "r-1" && f.0["trace.id"] == "t-1")
                    })
                })
            });
            assert_eq!(kept, Some(true));
        });
    }
}
