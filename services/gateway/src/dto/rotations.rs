//! Changes of passwords.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Rotate {
    #[schema(min_length = 5, max_length = 500, example = "somebody left the company")]
    pub reason: String,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct RotationStarted {
    /// Look at it under `…/admin/tasks/{task_id}`.
    #[schema(format = Uuid)]
    pub task_id: String,
    /// The instance's operation; absent when the id is no instance's.
    #[schema(format = Uuid)]
    pub operation_id: Option<String>,
}
