//! Customers as operators and admins see and change them.

use contracts::user::v1 as pb;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::profile::Profile;
use super::scalars::{Time, time};

#[derive(Debug, Serialize, ToSchema)]
pub struct CustomerList {
    pub customers: Vec<CustomerRow>,
    pub total: u64,
    pub page: u32,
    pub page_size: u32,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct CustomerRow {
    #[schema(format = Uuid)]
    pub id: String,
    #[schema(format = Email)]
    pub email: String,
    #[schema(example = "Ada")]
    pub first_name: String,
    #[schema(example = "Lovelace")]
    pub last_name: String,
    pub is_active: bool,
    pub is_verified: bool,
    #[schema(example = "customer")]
    pub role: String,
    pub created_at: Option<Time>,
    pub instance_count: u32,
}

impl From<pb::CustomerSummary> for CustomerRow {
    fn from(summary: pb::CustomerSummary) -> Self {
        let customer = summary.customer.unwrap_or_default();
        Self {
            created_at: time(customer.created_at.as_ref()),
            id: customer.id,
            email: customer.email,
            first_name: customer.first_name,
            last_name: customer.last_name,
            is_active: customer.is_active,
            is_verified: customer.is_verified,
            role: customer.role,
            instance_count: summary.instance_count,
        }
    }
}

#[derive(Debug, Serialize, ToSchema)]
pub struct CustomerDetail {
    #[serde(flatten)]
    pub profile: Profile,
    /// Live sessions.
    pub sessions: u32,
}

/// The word that a role has in tokens and bodies.
#[derive(Debug, Clone, Copy, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum RoleWord {
    Customer,
    Operator,
    Admin,
    SuperAdmin,
}

impl RoleWord {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Customer => "customer",
            Self::Operator => "operator",
            Self::Admin => "admin",
            Self::SuperAdmin => "super_admin",
        }
    }
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SetRole {
    pub role: RoleWord,
    #[schema(min_length = 5, max_length = 500, example = "joins the support team")]
    pub reason: String,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SetQuota {
    #[schema(minimum = 0, maximum = 10000, example = 50)]
    pub max_instances: u32,
    #[schema(min_length = 5, max_length = 500, example = "contract of November")]
    pub reason: String,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct Success {
    pub success: bool,
}
