//! Invoices and credit notes, and the prices that they are made of.

pub mod charges;
pub mod close;
pub mod coupons;
pub mod credit_note;
pub mod document;
pub mod issue;
pub mod new;
pub mod read;
pub mod taxes;
