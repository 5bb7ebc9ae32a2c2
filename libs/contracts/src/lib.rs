//! Generated protobuf types, event payloads and the names that services share.
//!
//! Owns: the wire. Must not: hold logic, or depend on another crate of this workspace.

/// Accounts, sessions, roles (`user-service`).
pub mod user {
    /// Version 1.
    #[allow(clippy::all, clippy::pedantic, missing_docs)]
    pub mod v1 {
        tonic::include_proto!("saasodoo.user.v1");
    }
}
/// Plans, subscriptions, trials (`billing-service`).
pub mod billing {
    /// Version 1.
    #[allow(clippy::all, clippy::pedantic, missing_docs)]
    pub mod v1 {
        tonic::include_proto!("saasodoo.billing.v1");
    }
}
/// Instances, operations, events (`instance-service`).
pub mod instance {
    /// Version 1.
    #[allow(clippy::all, clippy::pedantic, missing_docs)]
    pub mod v1 {
        tonic::include_proto!("saasodoo.instance.v1");
    }
}
/// Pools, allocations (`database-service`).
pub mod database {
    /// Version 1.
    #[allow(clippy::all, clippy::pedantic, missing_docs)]
    pub mod v1 {
        tonic::include_proto!("saasodoo.database.v1");
    }
}
/// Mail history and templates (`notification-service`).
pub mod notification {
    /// Version 1.
    #[allow(clippy::all, clippy::pedantic, missing_docs)]
    pub mod v1 {
        tonic::include_proto!("saasodoo.notification.v1");
    }
}
/// Questions to the holder of the Kubernetes client (`instance-worker`).
pub mod worker {
    /// Version 1.
    #[allow(clippy::all, clippy::pedantic, missing_docs)]
    pub mod v1 {
        tonic::include_proto!("saasodoo.worker.v1");
    }
}

pub mod events;
pub mod scalars;
pub mod services;

/// The compiled descriptors of every proto file: for gRPC reflection and for tests that walk all methods.
pub const DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
