//! Bodies of requests and answers, one module a resource. They check shape only (types, lengths); rules are the services'.

#![expect(clippy::struct_field_names, reason = "the names are those of the API's JSON")]

pub mod action;
pub mod audit;
pub mod billing;
pub mod checks;
pub mod customer;
pub mod database;
pub mod database_admin;
pub mod findings;
pub mod insight;
pub mod instance;
pub mod money;
pub mod moves;
pub mod notification;
pub mod operation;
pub mod orders;
pub mod paging;
pub mod paying;
pub mod pricing;
pub mod profile;
pub mod rotations;
pub mod scalars;
pub mod user;
pub mod webhooks;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::problem::Problem;
use checks::Checks;

/// A plain yes.
#[derive(Debug, Serialize, ToSchema)]
pub struct Done {
    /// Always true; a no is a problem document.
    pub success: bool,
    /// For people.
    #[schema(example = "done")]
    pub message: &'static str,
}

impl Done {
    /// A yes with a text.
    pub fn new(message: &'static str) -> Self {
        Self { success: true, message }
    }
}

/// Why an operator or admin does this; it goes into the audit log.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Reason {
    #[schema(min_length = 5, max_length = 500, example = "asked for in ticket 4711")]
    pub reason: String,
}

impl Reason {
    /// The text, when it has 5 to 500 characters.
    pub fn checked(self) -> Result<String, Problem> {
        Checks::default().text("reason", &self.reason, 5..=500).done()?;
        Ok(self.reason)
    }
}

/// Why, when there is something to say.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct OptionalReason {
    #[schema(max_length = 500, example = "maintenance window")]
    pub reason: Option<String>,
}

impl OptionalReason {
    /// The text, when it has at most 500 characters.
    pub fn checked(self) -> Result<Option<String>, Problem> {
        Checks::default().optional("reason", self.reason.as_deref(), 0..=500).done()?;
        Ok(self.reason)
    }
}

/// No fields: an empty body or `{}`.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Nothing {}

/// The id of a path as the services take it.
pub fn wire(id: Uuid) -> String {
    id.to_string()
}
