//! What an account, a password, a profile and a session are: pure rules, no clock, no randomness, no I/O.
//!
//! Texts are parsed here once; whoever holds a proven type need not check again. Field names are those of the
//! HTTP API.

pub mod address;
pub mod audit;
pub mod password;
pub mod people;
pub mod places;
pub mod sessions;
pub mod users;
pub mod violations;

pub use address::EmailAddress;
pub use audit::parse_reason;
pub use password::NewPassword;
pub use people::{Preferences, ProfileChange, Registration, Theme};
pub use violations::Violations;
