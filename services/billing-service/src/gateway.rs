//! Payment gateways: who brings money from customers to us (BIL-26, BIL-27). A bank payment has no gateway
//! that could be asked: an admin's word is its report (`record_manual.rs`), and it shares everything after that.
//!
//! A gateway begins payments and tells how they stand; it books nothing. Card data never comes to us: cards
//! are typed in on the gateway's page.

pub mod paynow;
pub mod test_gateway;

use std::fmt;
use std::sync::Arc;

use time::Duration;
use uuid::Uuid;

use crate::domain::money::{Currency, Money};
use crate::domain::payment::Method;
use crate::domain::report::Report;

/// Why a gateway did not do it.
#[derive(Debug, thiserror::Error)]
pub enum GatewayError {
    /// No answer, or one that is not to be believed: it may have been done or not. Ask.
    #[error("the payment gateway is not available: {0:#}")]
    Unavailable(#[source] anyhow::Error),
    /// It understood and will not; a text for the customer.
    #[error("the payment gateway refused: {0}")]
    Refused(String),
}

/// A payment to be begun.
#[derive(Debug, Clone)]
pub struct Charge<'a> {
    /// Our id, by which the gateway can be asked when its answer is lost.
    pub payment: Uuid,
    /// Ours towards the gateway, once each.
    pub reference: &'a str,
    /// How much.
    pub amount: Money,
    /// How.
    pub method: Method,
    /// Whose phone is asked, for mobile money.
    pub phone: &'a str,
    /// What for, for the customer to read.
    pub about: &'a str,
}

/// A payment that was begun.
#[derive(Debug, Clone, Default)]
pub struct Begun {
    /// Where the gateway is asked.
    pub poll_url: String,
    /// Where the customer goes; empty: nowhere, the phone asks.
    pub redirect_url: String,
    /// The gateway's own name of it.
    pub gateway_reference: String,
    /// What the gateway says of it at once, when it does.
    pub report: Option<Report>,
}

/// A payment that the gateway is asked about.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// Our id.
    pub payment: Uuid,
    /// Ours towards the gateway.
    pub reference: &'a str,
    /// How much it is.
    pub amount: Money,
    /// Where the gateway said that it can be asked; empty when its first answer was lost.
    pub poll_url: &'a str,
}

/// A gateway.
#[tonic::async_trait]
pub trait PaymentGateway: fmt::Debug + Send + Sync {
    /// The word in rows and answers.
    fn name(&self) -> &'static str;

    /// The only currency that it takes; none: all.
    fn currency(&self) -> Option<Currency>;

    /// How long a customer may take.
    fn patience(&self) -> Duration;

    /// Begins a payment.
    async fn begin(&self, charge: &Charge<'_>) -> Result<Begun, GatewayError>;

    /// How does it stand? `None`: the gateway does not know it.
    async fn look_up(&self, asked: &Asked<'_>) -> Result<Option<Report>, GatewayError>;

    /// The reference of the payment that a hook is about, when the gateway itself sent it. Its other content
    /// is not used: it is a hint.
    fn webhook_reference(&self, _body: &[u8]) -> Option<String> {
        None
    }
}

/// The gateways that are switched on.
#[derive(Debug, Clone, Default)]
pub struct Gateways(Vec<Arc<dyn PaymentGateway>>);

impl Gateways {
    /// One more.
    pub fn with(mut self, gateway: impl PaymentGateway + 'static) -> Self {
        self.0.push(Arc::new(gateway));
        self
    }

    /// By its name.
    pub fn get(&self, name: &str) -> Option<Arc<dyn PaymentGateway>> {
        self.0.iter().find(|gateway| gateway.name() == name).cloned()
    }

    /// Names of all.
    pub fn names(&self) -> Vec<String> {
        self.0.iter().map(|gateway| gateway.name().to_owned()).collect()
    }
}
