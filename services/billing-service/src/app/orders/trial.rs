//! May a customer have a trial (BIL-10)?

use sqlx::PgPool;
use uuid::Uuid;

use crate::app::App;
use crate::domain::trial::{Eligibility, EmailHash, eligibility};
use crate::error::Error;
use crate::store::{customers, subscriptions};

/// What the portal shows before an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TrialAnswer {
    /// The rule's answer.
    pub eligibility: Eligibility,
    /// Subscriptions that are live.
    pub live: usize,
}

/// An answer always; what cannot be found out denies.
pub async fn trial_eligibility(app: &App, customer: Uuid) -> Result<TrialAnswer, Error> {
    let live = subscriptions::live_of_customer(&app.pool, customer).await?.len();
    let facts = match hash(app, &app.pool, customer).await {
        Some(hash) => Some(customers::trial_facts(&app.pool, customer, hash).await?),
        None => None,
    };
    Ok(TrialAnswer { eligibility: eligibility(facts), live })
}

async fn hash(app: &App, pool: &PgPool, customer: Uuid) -> Option<EmailHash> {
    match customers::email_hash(pool, customer).await {
        Ok(Some(hash)) => return Some(hash),
        Ok(None) => {}
        Err(error) => {
            tracing::warn!(error = %error, "no stored hash of the address");
            return None;
        }
    }
    match app.clients.email_hash(customer).await {
        Ok(hash) => Some(hash),
        Err(status) => {
            tracing::warn!(code = ?status.code(), "no address for the trial rule");
            None
        }
    }
}
