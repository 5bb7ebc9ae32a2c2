//! Sums, forecast, and what tenants use (DBS-06 and the operator's view).

use std::collections::{BTreeMap, HashMap};

use time::Duration;

use super::App;
use crate::domain::allocation::Allocation;
use crate::domain::forecast;
use crate::domain::server::Server;
use crate::error::Error;
use crate::store::stats;
use crate::tenants::Usage;

/// Sums over all servers.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Stats {
    /// Servers that are not gone.
    pub total_pools: i64,
    /// In state active or full.
    pub active_pools: i64,
    /// Slots of servers that serve or will.
    pub capacity: i64,
    /// Slots taken.
    pub used: i64,
    /// Per cent.
    pub utilization: f64,
    /// Number by word.
    pub by_status: BTreeMap<String, i64>,
    /// Number by word.
    pub by_type: BTreeMap<String, i64>,
    /// Number by word.
    pub by_health: BTreeMap<String, i64>,
    /// Requests without a database.
    pub pending: i64,
    /// Slots taken a day.
    pub growth_per_day: f64,
    /// Until the free slots are gone.
    pub days_left: Option<f64>,
    /// Bytes.
    pub storage_used: i64,
}

/// What one tenant uses, and which allocation explains it.
#[derive(Debug, Clone)]
pub struct TenantUsage {
    /// As the server says.
    pub usage: Usage,
    /// Absent for a database that we know nothing of.
    pub allocation: Option<Allocation>,
}

impl App {
    /// DBS-06
    pub async fn stats(&self) -> Result<Stats, Error> {
        let now = runtime::clock::now();
        let mut connection = self.pool.acquire().await?;
        let mut stats = Stats { pending: stats::pending(&mut connection).await?, ..Stats::default() };
        for group in stats::groups(&mut connection).await? {
            stats.total_pools += group.servers;
            if matches!(group.status.as_str(), "active" | "full") {
                stats.active_pools += group.servers;
            }
            stats.capacity += group.capacity;
            stats.used += group.used;
            stats.storage_used += group.storage_used;
            *stats.by_status.entry(group.status).or_default() += group.servers;
            *stats.by_type.entry(group.server_type).or_default() += group.servers;
            *stats.by_health.entry(group.health).or_default() += group.servers;
        }
        stats.utilization = forecast::utilization(stats.used, stats.capacity);
        let window = Duration::seconds_f64(forecast::WINDOW_DAYS * 86_400.0);
        let moved = stats::movement(&mut connection, now - window).await?;
        let age = moved.oldest.map_or(0.0, |oldest| (now - oldest).as_seconds_f64() / 86_400.0);
        stats.growth_per_day = forecast::growth_per_day(moved.taken, moved.given_back, age);
        stats.days_left = forecast::days_left(moved.free, stats.growth_per_day);
        Ok(stats)
    }

    /// What the tenants of a server use, slowest first.
    pub async fn tenants_of(&self, id_or_name: &str) -> Result<(Server, Vec<TenantUsage>), Error> {
        let (server, held) = self.pool(id_or_name).await?;
        let target = self.target(&server).await?;
        let usage = self
            .tenants
            .usage(&target)
            .await
            .map_err(|error| super::server_error(&server.name, error.into()))?;
        let mut by_name: HashMap<String, Allocation> =
            held.into_iter().map(|allocation| (allocation.db_name.clone(), allocation)).collect();
        let tenants = usage.into_iter().map(|usage| {
            let allocation = by_name.remove(&usage.db_name);
            TenantUsage { usage, allocation }
        });
        Ok((server, tenants.collect()))
    }
}
