//! Money: invoices, accounts, changes of plans, payments, and what operators do about them.

mod account;
mod admin;
mod change;
mod invoice;
mod payment;

pub use account::{BillingAccount, ChangeAccount, Overview, OverviewAnswer};
pub use admin::{Advance, ClockAnswer, ExtendTrial, Reconcile, TaskStarted};
pub use change::{Cancel, CancelAnswer, ChangeAnswer, ChangePlan, DowngradeAnswer, UpgradeAnswer};
pub use invoice::{Invoice, InvoiceList, OneInvoice};
pub use payment::{Amount, CreditAnswer, GiveCredit, OnePayment, Payment, PaymentList, RecordPayment};
