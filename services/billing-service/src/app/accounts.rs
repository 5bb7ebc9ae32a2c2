//! The billing accounts of customers.

pub mod change;
pub mod overview;
