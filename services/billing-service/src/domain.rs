//! Rules of billing, pure: money, periods, plans, subscriptions, the trial. No clock, no SQL, no provider.

pub mod catalogue;
pub mod money;
pub mod period;
pub mod plan;
pub mod subscription;
pub mod trial;
