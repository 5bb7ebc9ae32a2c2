//! All SQL of database `instance`. Functions take a connection, so that a use case is one transaction; none of them commits.

pub mod lease;
pub mod monitoring;
pub mod observe;
