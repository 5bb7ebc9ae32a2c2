//! The process' metrics registry and its text form (MON-07). Each module registers its metrics in one struct;
//! there are no globals.

use std::sync::{Arc, Mutex, PoisonError};

use prometheus_client::registry::Registry;

/// A registry that modules add to at start and that `/metrics` reads.
#[derive(Clone, Default)]
pub struct Metrics {
    registry: Arc<Mutex<Registry>>,
}

impl std::fmt::Debug for Metrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Metrics")
    }
}

impl Metrics {
    /// An empty registry.
    pub fn new() -> Self {
        Self::default()
    }

    /// Lets a module register its metrics.
    pub fn register<T>(&self, registration: impl FnOnce(&mut Registry) -> T) -> T {
        registration(&mut self.registry.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// OpenMetrics text of all that is registered.
    pub fn encode(&self) -> Result<String, std::fmt::Error> {
        let registry = self.registry.lock().unwrap_or_else(PoisonError::into_inner);
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry)?;
        Ok(text)
    }
}
