//! What the health pages said last, so that a crowd of probes asks each service once.

use std::time::Duration;

use http::StatusCode;
use moka::future::Cache;
use serde_json::Value;

/// How long a page's answer is told again.
const FRESH: Duration = Duration::from_secs(2);

/// What the pages said last. However often they are asked for, what is behind them is asked once in this time.
pub type HealthCache = Cache<String, (StatusCode, Value)>;

/// For [`HealthCache`].
pub fn health_cache() -> HealthCache {
    Cache::builder().max_capacity(64).time_to_live(FRESH).build()
}
