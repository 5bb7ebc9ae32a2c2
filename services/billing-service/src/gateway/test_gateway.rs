//! The gateway `test`: no money moves, the amount decides. For development and tests; production refuses it.

use time::Duration;

use super::{Asked, Begun, Charge, GatewayError, PaymentGateway};
use crate::domain::money::{Currency, Money};
use crate::domain::report::{Report, Standing};

/// Its name.
pub const NAME: &str = "test";

/// Last two digits of an amount that is declined at once.
pub const DECLINES: i64 = 51;
/// Of one that is begun and then stopped by the customer.
pub const IS_CANCELLED: i64 = 52;
/// Of one that the customer never answers.
pub const STAYS_OPEN: i64 = 53;
/// Of one for which one minor unit less is paid.
pub const PAYS_LESS: i64 = 54;

/// Pays or declines by amount: every amount is paid at once, but those that end with the digits above.
#[derive(Debug, Clone, Copy, Default)]
pub struct TestGateway;

fn report(reference: &str, amount: Money) -> Report {
    let (standing, paid) = match amount.minor() % 100 {
        IS_CANCELLED => (Standing::Cancelled, amount),
        STAYS_OPEN => (Standing::Open, amount),
        PAYS_LESS => (Standing::Paid, Money::new(amount.minor() - 1, amount.currency())),
        _ => (Standing::Paid, amount),
    };
    Report {
        standing,
        amount: Some(paid),
        gateway_reference: format!("T-{reference}"),
        word: standing.as_str().into(),
        poll_url: String::new(),
    }
}

#[tonic::async_trait]
impl PaymentGateway for TestGateway {
    fn name(&self) -> &'static str {
        NAME
    }

    fn currency(&self) -> Option<Currency> {
        None
    }

    fn patience(&self) -> Duration {
        Duration::minutes(15)
    }

    async fn begin(&self, charge: &Charge<'_>) -> Result<Begun, GatewayError> {
        if charge.amount.minor() % 100 == DECLINES {
            return Err(GatewayError::Refused("insufficient balance".into()));
        }
        let report = report(charge.reference, charge.amount);
        Ok(Begun {
            gateway_reference: report.gateway_reference.clone(),
            report: Some(report),
            ..Begun::default()
        })
    }

    async fn look_up(&self, asked: &Asked<'_>) -> Result<Option<Report>, GatewayError> {
        let declined = asked.amount.minor() % 100 == DECLINES;
        Ok((!declined).then(|| report(asked.reference, asked.amount)))
    }
}
