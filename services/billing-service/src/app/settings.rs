//! Settings that the use cases go by.

use std::sync::Arc;

use tokio::sync::Semaphore;

use crate::domain::document::Seller;
use crate::domain::dunning::DunningRules;
use crate::pdf::Fonts;

/// Documents printed at once; the rest of a small machine is for everybody else.
const PRINTED_AT_ONCE: usize = 2;

/// What invoices and the ladder go by.
#[derive(Debug, Clone)]
pub struct BillingSettings {
    /// Prefix of the numbers of invoices.
    pub issuer: String,
    /// Days from issue to due.
    pub due_days: u16,
    /// Days of the ladder.
    pub dunning: DunningRules,
    /// Days before the end of a trial.
    pub reminder_days: Vec<u16>,
    /// The clock may be moved: never in production.
    pub test_clock: bool,
    /// How long data of a terminated instance is kept, for mails.
    pub retention_days: u16,
}

impl Default for BillingSettings {
    fn default() -> Self {
        Self {
            issuer: "INV".into(),
            due_days: 0,
            dunning: DunningRules::default(),
            reminder_days: vec![7, 3, 1],
            test_clock: false,
            retention_days: 30,
        }
    }
}

/// What documents are printed with.
#[derive(Debug, Clone)]
pub struct DocumentSettings {
    /// Who sells.
    pub seller: Seller,
    /// In which letters.
    pub fonts: Fonts,
    /// How many documents are printed at once: each takes a processor while it lasts, also when its reader is
    /// gone.
    pub permits: Arc<Semaphore>,
}

impl DocumentSettings {
    /// With the permits of a process.
    pub fn new(seller: Seller, fonts: Fonts) -> Self {
        Self { seller, fonts, permits: Arc::new(Semaphore::new(PRINTED_AT_ONCE)) }
    }
}
