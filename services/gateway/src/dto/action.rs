//! Actions on instances and their answer.

use contracts::instance::v1 as pb;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::scalars::{Time, time};

/// The instance's subdomain, typed by its owner to confirm.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Confirm {
    #[schema(max_length = 100, example = "test-instance")]
    pub confirm: Option<String>,
    /// As with `terminate`.
    #[schema(example = false)]
    pub final_backup: Option<bool>,
}

#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Terminate {
    /// The subdomain; owners must give it.
    #[schema(max_length = 100, example = "test-instance")]
    pub confirm: Option<String>,
    #[schema(max_length = 500, example = "moved elsewhere")]
    pub reason: Option<String>,
    /// Whether a backup is made first. There are none yet: `true` is answered by 501. `false` says that the data
    /// may be removed after the retention without one; without that word it is kept until you or an
    /// administrator say so, also later by the same call again.
    #[schema(example = false)]
    pub final_backup: Option<bool>,
}

#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Unsuspend {
    #[schema(max_length = 500, example = "paid by bank transfer")]
    pub reason: Option<String>,
    /// Also while billing still blocks.
    pub force: Option<bool>,
}

/// An action by name; `parameters` are those of the action's own route.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NamedAction {
    /// start, stop, restart, suspend, unsuspend, unpause, terminate, upgrade, update, backup, restore
    #[schema(example = "stop")]
    pub action: String,
    #[serde(default)]
    pub parameters: ActionParameters,
}

#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ActionParameters {
    #[schema(max_length = 500, example = "maintenance window")]
    pub reason: Option<String>,
    #[schema(max_length = 100, example = "test-instance")]
    pub confirm: Option<String>,
    #[schema(example = false)]
    pub final_backup: Option<bool>,
    pub force: Option<bool>,
    #[schema(example = "17.0.20261101")]
    pub version: Option<String>,
    #[schema(max_length = 100, example = "before the update")]
    pub name: Option<String>,
    pub backup_id: Option<Uuid>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct ActionAnswer {
    #[schema(format = Uuid)]
    pub instance_id: String,
    #[schema(example = "stop")]
    pub action: String,
    #[schema(format = Uuid)]
    pub operation_id: Option<String>,
    /// The same as `operation_id`.
    #[schema(format = Uuid)]
    pub job_id: Option<String>,
    /// The instance's status now.
    #[schema(example = "stopping")]
    pub status: String,
    /// False when the state was reached already.
    pub changed: bool,
    #[schema(example = "the instance is being stopped")]
    pub message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub purge_after: Option<Time>,
    pub timestamp: Option<Time>,
}

impl From<pb::ActOnInstanceResponse> for ActionAnswer {
    fn from(answer: pb::ActOnInstanceResponse) -> Self {
        Self {
            purge_after: time(answer.purge_after.as_ref()),
            timestamp: time(answer.timestamp.as_ref()).or_else(|| Some(super::scalars::now())),
            instance_id: answer.instance_id,
            action: answer.action,
            job_id: answer.operation_id.clone(),
            operation_id: answer.operation_id,
            status: answer.status,
            changed: answer.changed,
            message: answer.message,
        }
    }
}
