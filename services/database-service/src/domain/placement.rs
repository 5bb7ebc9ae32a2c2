//! Which kind of server a plan gets (DBS-34), and what limits its role gets (DBS-29).

use super::pool::ServerType;
use super::words;

words! {
    /// Tier of a plan.
    PlanTier {
        /// Shared pool.
        Starter = "starter",
        /// Shared pool.
        Standard = "standard",
        /// Own server.
        Premium = "premium",
        /// Own server.
        Enterprise = "enterprise",
    }
}

/// The tier has no server of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("plan tier {0} has no dedicated server")]
pub struct NotDedicated(pub PlanTier);

impl PlanTier {
    /// Where a tenant of this tier lives. Asking for a dedicated server does not give one to a tier that has
    /// none.
    pub fn placement(self, require_dedicated: bool) -> Result<ServerType, NotDedicated> {
        match self {
            Self::Starter | Self::Standard if require_dedicated => Err(NotDedicated(self)),
            Self::Starter | Self::Standard => Ok(ServerType::Shared),
            Self::Premium | Self::Enterprise => Ok(ServerType::Dedicated),
        }
    }

    /// Limits of the tenant's role.
    pub fn role_limits(self) -> RoleLimits {
        let temp_file_limit = match self {
            Self::Starter => "512MB",
            Self::Standard => "2GB",
            Self::Premium => "8GB",
            Self::Enterprise => "32GB",
        };
        RoleLimits {
            connections: "20",
            temp_file_limit,
            statement_timeout: "15min",
            idle_in_transaction_session_timeout: "30min",
        }
    }
}

/// Limits of a role, as PostgreSQL writes them.
///
/// The connection limit and `temp_file_limit` bind the tenant; the two timeouts are defaults that it may
/// lift. There is no limit for idle sessions: the notification channel of Odoo is idle by nature.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RoleLimits {
    /// `CONNECTION LIMIT`.
    pub connections: &'static str,
    /// `temp_file_limit`.
    pub temp_file_limit: &'static str,
    /// `statement_timeout`.
    pub statement_timeout: &'static str,
    /// `idle_in_transaction_session_timeout`.
    pub idle_in_transaction_session_timeout: &'static str,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// DBS-34
    #[test]
    fn the_tier_decides_the_placement() {
        assert_eq!(PlanTier::Starter.placement(false), Ok(ServerType::Shared));
        assert_eq!(PlanTier::Standard.placement(false), Ok(ServerType::Shared));
        assert_eq!(PlanTier::Premium.placement(false), Ok(ServerType::Dedicated));
        assert_eq!(PlanTier::Enterprise.placement(true), Ok(ServerType::Dedicated));
        assert_eq!(PlanTier::Starter.placement(true), Err(NotDedicated(PlanTier::Starter)));
        assert!("gold".parse::<PlanTier>().is_err());
    }
}
