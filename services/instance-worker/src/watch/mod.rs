//! Follows the cluster: who leads, what is there, what it means for the rows.

pub mod facts;
