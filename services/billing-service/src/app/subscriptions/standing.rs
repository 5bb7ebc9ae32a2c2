//! Plan and status of a customer, for profiles.

use uuid::Uuid;

use crate::app::App;
use crate::domain::subscription::combined;
use crate::error::Error;
use crate::store::subscriptions;

/// What a profile shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// Plan of the highest tier that is live.
    pub highest_plan: Option<String>,
    /// none, trialing, active, past_due, suspended.
    pub status: &'static str,
}

/// Of a customer who may have no account yet.
pub async fn standing(app: &App, customer: Uuid) -> Result<Standing, Error> {
    let live = subscriptions::live_of_customer(&app.pool, customer).await?;
    let status = combined(live.iter().map(|(status, _, _)| *status));
    let highest = live.into_iter().max_by_key(|(_, tier, _)| *tier);
    Ok(Standing { highest_plan: highest.map(|(_, _, name)| name), status })
}
