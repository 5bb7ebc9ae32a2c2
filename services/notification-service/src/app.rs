//! Use cases: order a mail, turn a fact into a mail, send again, look into the history, erase a person.

mod announce;
mod erase;
mod error;
mod history;
mod order;
mod resend;

pub use announce::{Announced, announce_billing, announce_customer, announce_instance};
pub use erase::erase;
pub use error::Error;
pub use history::{Detail, Filter, Health, Summary, detail, health, list};
pub use order::{MailQueue, Order};
pub use resend::resend;
