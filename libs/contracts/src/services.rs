//! Names of the services, as they stand in service tokens and allow lists (SEC-02).

/// The public HTTP API.
pub const GATEWAY: &str = "gateway";
/// Accounts and sessions.
pub const USER: &str = "user-service";
/// Plans and subscriptions.
pub const BILLING: &str = "billing-service";
/// Instances and operations.
pub const INSTANCE: &str = "instance-service";
/// The part that talks to Kubernetes.
pub const WORKER: &str = "instance-worker";
/// Pools and allocations.
pub const DATABASE: &str = "database-service";
/// Mail.
pub const NOTIFICATION: &str = "notification-service";

/// Operators' scripts: no process of the platform, but a name with a key of its own. It calls over HTTP only,
/// through the gateway.
pub const AUTOMATION: &str = "automation";

/// Every service, in start order.
pub const ALL: [&str; 7] = [USER, BILLING, DATABASE, NOTIFICATION, INSTANCE, WORKER, GATEWAY];
