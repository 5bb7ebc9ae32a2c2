//! Subscriptions: what customers change, what happens by itself, how they end and come back.

pub mod change;
pub mod downgrade;
pub mod end;
pub mod engine;
pub mod entitlement;
pub mod instances;
pub mod read;
pub mod revive;
pub mod standing;
