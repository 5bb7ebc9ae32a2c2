//! Moves of databases.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Move {
    /// Id or name of a pool; absent: chosen.
    #[schema(min_length = 1, max_length = 63, example = "postgres-pool-2")]
    pub target_pool_id: Option<String>,
    /// Onto a server of its own, made when there is none.
    pub dedicated: Option<bool>,
    #[schema(min_length = 5, max_length = 500, example = "asked for in ticket 4711")]
    pub reason: String,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct MoveStarted {
    #[schema(format = Uuid)]
    pub operation_id: String,
    #[schema(example = "postgres-pool-1")]
    pub source_pool: String,
    #[schema(example = "postgres-pool-2")]
    pub target_pool: Option<String>,
    #[schema(example = 31_457_280)]
    pub size_bytes: u64,
    /// How long the instance will be off, about.
    #[schema(example = 33)]
    pub estimated_downtime_seconds: u32,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Drain {
    /// Moves to begin at most; 5 when absent.
    #[schema(minimum = 1, maximum = 20, example = 5)]
    pub limit: Option<u32>,
    #[schema(min_length = 5, max_length = 500, example = "a new version of PostgreSQL")]
    pub reason: String,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct DrainStarted {
    pub operation_ids: Vec<String>,
    /// Tenants that cannot move now, and why.
    pub not_moved: Vec<NotMoved>,
    /// Tenants in use on the pool, those that begin to move among them.
    #[schema(example = 12)]
    pub remaining: usize,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct NotMoved {
    pub instance_id: String,
    #[schema(example = "operation_in_progress")]
    pub reason: String,
}
