//! What a stack shall be made of.

use std::collections::BTreeMap;

use crate::given::Given;
use crate::layout::Layout;

/// How much of a stack is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Extent {
    /// PostgreSQL alone.
    Postgres,
    /// PostgreSQL, Redis, RabbitMQ and the mail sink.
    Servers,
    /// And the cluster with its node.
    Deps,
    /// And the services.
    All,
}

/// What to start.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Where.
    pub layout: Layout,
    /// Data survives a crash of the machine; tests do without.
    pub durable: bool,
    /// How much.
    pub extent: Extent,
    /// A service that does not get ready is reported, and the others are started all the same.
    pub keep_going: bool,
    /// What is there already.
    pub given: Given,
    /// Kill Bill is started, or the given one used, and billing-service has it for its provider.
    pub killbill: bool,
    /// More variables for single services (or `*`).
    pub extra: BTreeMap<String, BTreeMap<String, String>>,
}
