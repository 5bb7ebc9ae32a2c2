//! Money that comes and money that goes back.

pub mod credit;
pub mod pay;
pub mod poll;
pub mod read;
pub mod record_manual;
pub mod refund;
pub mod report;
pub mod settle;
