//! Moves of databases.

use contracts::instance::v1 as pb;
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
    /// Only tell how long it would take.
    pub dry_run: Option<bool>,
    #[schema(min_length = 5, max_length = 500, example = "asked for in ticket 4711")]
    pub reason: String,
}

/// What a move takes.
#[derive(Debug, Serialize, ToSchema)]
pub struct MoveEstimate {
    #[schema(example = "postgres-pool-1")]
    pub source_pool: String,
    #[schema(example = "postgres-pool-2")]
    pub target_pool: Option<String>,
    #[schema(example = 31_457_280)]
    pub size_bytes: u64,
    /// How long the instance will be off, about.
    #[schema(example = 33)]
    pub estimated_downtime_seconds: u32,
    /// Number of earlier moves that the estimate rests on; 0: assumed.
    #[schema(example = 12)]
    pub estimated_from_moves: u32,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct MoveStarted {
    #[schema(format = Uuid)]
    pub operation_id: String,
    #[serde(flatten)]
    pub estimate: MoveEstimate,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Drain {
    /// Moves at a time; 5 when absent.
    #[serde(alias = "limit")]
    #[schema(minimum = 1, maximum = 50, example = 5)]
    pub parallel: Option<u32>,
    #[schema(min_length = 5, max_length = 500, example = "a new version of PostgreSQL")]
    pub reason: String,
}

/// How far the draining of a pool is.
#[derive(Debug, Serialize, ToSchema)]
pub struct Draining {
    #[schema(format = Uuid)]
    pub drain_id: String,
    #[schema(format = Uuid)]
    pub pool_id: String,
    /// open, done, stopped
    #[schema(example = "open")]
    pub state: String,
    /// Moves at a time.
    #[schema(example = 5)]
    pub parallel: u32,
    #[schema(example = 7)]
    pub moved: u32,
    #[schema(example = 5)]
    pub moving: u32,
    /// Tenants that still have to move, those that move now among them.
    #[schema(example = 31)]
    pub remaining: u32,
    /// Terminated instances whose databases are kept there for their retention.
    #[schema(example = 0)]
    pub kept: u32,
    /// Tenants whose last try failed; they are tried again.
    pub not_moved: Vec<NotMoved>,
    /// Operations that go on.
    pub operation_ids: Vec<String>,
}

impl From<pb::Drain> for Draining {
    fn from(drain: pb::Drain) -> Self {
        let not_moved = drain.not_moved.into_iter();
        Self {
            drain_id: drain.id,
            pool_id: drain.pool_id,
            state: drain.state,
            parallel: drain.parallel,
            moved: drain.moved,
            moving: drain.moving,
            remaining: drain.remaining,
            kept: drain.kept,
            not_moved: not_moved
                .map(|left| NotMoved { instance_id: left.instance_id, reason: left.reason })
                .collect(),
            operation_ids: drain.operation_ids,
        }
    }
}

#[derive(Debug, Serialize, ToSchema)]
pub struct NotMoved {
    #[schema(format = Uuid)]
    pub instance_id: String,
    #[schema(example = "copy_failed")]
    pub reason: String,
}
