//! gRPC between services: a server that denies by default, clients with deadlines and identity, refusals with
//! `google.rpc` details.

mod channel;
mod client;
mod health;
mod metrics;
mod policy;
mod refusal;
mod server;
mod tls;

pub use client::{
    Authenticated, Dialer, NoDeadline, on_behalf_of, relayed_for, retry_unavailable, within_request,
};
pub use policy::{Allow, MethodPolicy, Needs, undeclared_methods};
pub use refusal::{FieldViolation, Refusal};
pub use server::Server;

/// Metadata key of the service token.
pub const SERVICE_TOKEN: &str = "x-service-token";
/// Metadata key of the token with which a service called the gateway, which passes it on beside its own.
pub const ORIGIN_TOKEN: &str = "x-origin-token";
/// Metadata key of the request id (GTW-12).
pub const REQUEST_ID: &str = "x-request-id";
/// Metadata key of the user's address as the gateway saw it.
pub const CLIENT_IP: &str = "x-client-ip";
