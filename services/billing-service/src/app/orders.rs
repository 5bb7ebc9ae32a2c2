//! Orders: placed, completed, confirmed, reversed.

pub mod complete;
pub mod place;
pub mod reactivate;
pub mod reverse;
pub mod trial;
