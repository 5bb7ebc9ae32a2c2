//! Rules of billing, pure: money, periods, plans, subscriptions, the trial. No clock, no SQL, no provider.

pub mod account;
pub mod audit;
pub mod catalogue;
pub mod coupon;
pub mod delivery;
pub mod details;
pub mod document;
pub mod dunning;
pub mod invoice;
pub mod journal;
pub mod money;
pub mod payment;
pub mod people;
pub mod period;
pub mod plan;
pub mod proration;
pub mod report;
pub mod schedule;
pub mod subscription;
pub mod tax;
pub mod tax_id;
pub mod transitions;
pub mod trial;
pub mod webhook;
