//! Which tenant has its database where (DBS-08).

use time::OffsetDateTime;
use uuid::Uuid;

use super::AllocationState;
use super::placement::PlanTier;

/// A tenant's place.
#[derive(Debug, Clone, PartialEq)]
pub struct Allocation {
    /// Id; also marks role and secret.
    pub id: Uuid,
    /// Whose database.
    pub instance_id: String,
    /// Whose instance.
    pub customer_id: String,
    /// Where.
    pub db_server_id: Uuid,
    /// Database.
    pub db_name: String,
    /// Role that owns it.
    pub db_user: String,
    /// Tier.
    pub plan_tier: PlanTier,
    /// State.
    pub state: AllocationState,
    /// Dropping has begun.
    pub purging: bool,
    /// Role and database were made.
    pub allocated_at: Option<OffsetDateTime>,
    /// End of the retention.
    pub purge_after: Option<OffsetDateTime>,
    /// When the slot was taken.
    pub created_at: OffsetDateTime,
}
