#![doc = include_str!("../README.md")]

pub mod context;
mod json;
pub mod metrics;

use anyhow::Context as _;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_otlp::WithExportConfig as _;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _};

/// What `init` needs to know.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Stands in each line and in each span.
    pub service: &'static str,
    /// `LOG_LEVEL`: a level or a filter such as `info,sqlx=warn`.
    pub level: String,
    /// `OTEL_EXPORTER_OTLP_ENDPOINT`; spans stay in the process without it.
    pub otlp_endpoint: Option<String>,
}

/// Keeps the exporter alive; [`Guard::shutdown`] flushes what is left.
#[derive(Debug)]
pub struct Guard {
    provider: SdkTracerProvider,
}

impl Guard {
    /// Sends the remaining spans and stops the exporter.
    pub fn shutdown(self) {
        if let Err(error) = self.provider.shutdown() {
            tracing::warn!(error = %error, "could not flush the last spans");
        }
    }
}

/// Installs the global subscriber, the propagator and the exporter. Call it once.
pub fn init(settings: &Settings) -> anyhow::Result<Guard> {
    let filter = EnvFilter::try_new(with_quiet_libraries(&settings.level))
        .with_context(|| format!("LOG_LEVEL {:?} is no log filter", settings.level))?;
    opentelemetry::global::set_text_map_propagator(TraceContextPropagator::new());
    let mut builder = SdkTracerProvider::builder()
        .with_resource(Resource::builder().with_service_name(settings.service).build());
    if let Some(endpoint) = &settings.otlp_endpoint {
        let exporter = opentelemetry_otlp::SpanExporter::builder()
            .with_tonic()
            .with_endpoint(endpoint.clone())
            .build()
            .with_context(|| format!("cannot export spans to {endpoint}"))?;
        builder = builder.with_batch_exporter(exporter);
    }
    let provider = builder.build();
    let tracer = provider.tracer(settings.service);
    tracing_subscriber::registry()
        .with(filter)
        .with(tracing_opentelemetry::layer().with_tracer(tracer).with_filter(EnvFilter::new("info")))
        .with(json::JsonLines::new(settings.service))
        .try_init()
        .context("logging was set up twice")?;
    Ok(Guard { provider })
}

/// Libraries that speak on every poll are held at `warn` unless the filter names them itself.
fn with_quiet_libraries(level: &str) -> String {
    let mut filter = level.to_owned();
    for library in ["h2", "hyper", "lapin", "sqlx", "tower", "kube_client", "rustls", "opentelemetry"] {
        if !level.contains(library) {
            filter.extend([",", library, "=warn"]);
        }
    }
    filter
}
