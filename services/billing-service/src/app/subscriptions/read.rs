//! Subscriptions as people see them.

use runtime::identity::{Role, User};
use runtime::page::Page;
use time::OffsetDateTime;
use uuid::Uuid;

use super::engine;
use crate::app::App;
use crate::domain::subscription::{Subscription, SubscriptionFilter};
use crate::error::Error;
use crate::store::{invoices, subscriptions};

/// A subscription, and when its dunning goes on: nobody can forget that date.
#[derive(Debug, Clone)]
pub struct View {
    /// The subscription.
    pub subscription: Subscription,
    /// When the next step of dunning is taken; `None`: nothing is owed.
    pub next_step_at: Option<OffsetDateTime>,
}

/// A subscription with the date of its next step.
pub async fn view(app: &App, row: Subscription) -> Result<View, Error> {
    let due = invoices::oldest_due(&app.pool, row.id).await?;
    Ok(View { next_step_at: engine::next_dunning_step(app, &row, due), subscription: row })
}

/// Many of them, with one read of their debts.
pub async fn views(app: &App, rows: Vec<Subscription>) -> Result<Vec<View>, Error> {
    let ids: Vec<Uuid> = rows.iter().map(|row| row.id).collect();
    let due = invoices::oldest_dues(&app.pool, &ids).await?;
    let view = |row: Subscription| View {
        next_step_at: engine::next_dunning_step(app, &row, due.get(&row.id).copied()),
        subscription: row,
    };
    Ok(rows.into_iter().map(view).collect())
}

/// A page of a customer's subscriptions, and how many there are.
pub async fn of_customer(app: &App, customer: Uuid, page: Page) -> Result<(Vec<View>, i64), Error> {
    let (rows, total) = subscriptions::of_customer(&app.pool, customer, page).await?;
    Ok((views(app, rows).await?, total))
}

/// A page of all subscriptions, for operators.
pub async fn list(app: &App, filter: &SubscriptionFilter, page: Page) -> Result<(Vec<View>, i64), Error> {
    let (rows, total) = subscriptions::list(&app.pool, filter, page).await?;
    Ok((views(app, rows).await?, total))
}

/// A subscription of the user; operators see all. Another customer's looks like one that does not exist.
pub async fn visible(app: &App, user: &User, id: Uuid) -> Result<Subscription, Error> {
    subscriptions::find(&app.pool, id)
        .await?
        .filter(|found| found.customer_id == user.id || user.role >= Role::Operator)
        .ok_or(Error::NotFound("subscription"))
}
