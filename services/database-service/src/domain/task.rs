//! Work that an administrator or the schedule began, and what came of it (DBS-21).

use serde_json::Value;
use time::OffsetDateTime;
use uuid::Uuid;

use super::TaskState;

/// One task.
#[derive(Debug, Clone, PartialEq)]
pub struct Task {
    /// Id.
    pub id: Uuid,
    /// What it does; a word that this release may not know.
    pub kind: String,
    /// How far it is.
    pub state: TaskState,
    /// `schedule`, or who asked.
    pub requested_by: String,
    /// The server that it is about.
    pub db_server_id: Option<Uuid>,
    /// What it was asked for.
    pub input: Value,
    /// What came of it.
    pub result: Option<Value>,
    /// Why it failed; safe text.
    pub error: String,
    /// When it was asked for.
    pub created_at: OffsetDateTime,
    /// When it began.
    pub started_at: Option<OffsetDateTime>,
    /// When it ended.
    pub finished_at: Option<OffsetDateTime>,
}
