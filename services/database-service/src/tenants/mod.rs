//! The tenants' servers: bounded connections as administrator, and all SQL that runs there. Never touches the
//! service's own database.

mod connections;
mod copy;
mod drops;
mod extensions;
mod held;
mod logins;
mod marks;
mod owner;
mod privacy;
mod probe;
mod provision;
mod reaper;
mod refill;
mod roles;
mod rotate;
mod rows;
mod served;
mod statement;
mod target;
mod template;
mod trace;
mod usage;

pub use connections::Tenants;
pub use copy::Content;
pub use logins::RoleLogin;
pub use probe::ProbeResult;
pub use reaper::{Guard, MemoryLimits, SessionLimits, SharedLimits};
pub use refill::Copy;
pub use roles::Tenant;
pub use served::Served;
pub use target::{As, Target, TenantError, is_disk_full};
pub use usage::Usage;
