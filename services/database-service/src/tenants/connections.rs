//! Connections of the administrator to all servers.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use runtime::failpoint::FailPoint;
use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;
use uuid::Uuid;

use super::target::{Fingerprint, Target};

/// Connections to one server at most; its `superuser_reserved_connections` is larger.
const CONNECTIONS: u32 = 6;

type Cached = (Fingerprint, PgPool);

/// Connections to all servers, kept for a minute of idleness.
#[derive(Debug)]
pub struct Tenants {
    pools: Mutex<HashMap<Uuid, Cached>>,
    pub(crate) fail: FailPoint,
}

impl Default for Tenants {
    fn default() -> Self {
        Self::new()
    }
}

impl Tenants {
    /// No connection yet.
    pub fn new() -> Self {
        Self::dying_at(crate::failpoint::NONE)
    }

    /// The same, dying at a place.
    pub fn dying_at(fail: FailPoint) -> Self {
        Self { pools: Mutex::default(), fail }
    }

    /// Connections of the administrator to database `postgres` of a server. Connects when first used.
    pub(crate) fn admin(&self, target: &Target) -> PgPool {
        let mut pools = self.pools.lock().unwrap_or_else(PoisonError::into_inner);
        let fingerprint = target.fingerprint();
        if let Some((known, pool)) = pools.get(&target.id)
            && *known == fingerprint
        {
            return pool.clone();
        }
        let pool = PgPoolOptions::new()
            .max_connections(CONNECTIONS)
            // Callers are bounded before they come here: a long wait only means that the server is away.
            .acquire_timeout(Duration::from_secs(4))
            .idle_timeout(Duration::from_mins(1))
            .max_lifetime(Duration::from_mins(30))
            .connect_lazy_with(target.options("postgres"));
        pools.insert(target.id, (fingerprint, pool.clone()));
        pool
    }

    /// Drops the connections to a server that is gone.
    pub fn forget(&self, server: Uuid) {
        self.pools.lock().unwrap_or_else(PoisonError::into_inner).remove(&server);
    }
}
