//! Payments as people see them.

use runtime::identity::{Role, User};
use runtime::page::Page;
use uuid::Uuid;

use crate::app::App;
use crate::domain::payment::{Payment, PaymentFilter};
use crate::error::Error;
use crate::store::payments;

/// A page of payments, and how many there are.
pub async fn list(app: &App, filter: &PaymentFilter, page: Page) -> Result<(Vec<Payment>, i64), Error> {
    Ok(payments::list(&app.pool, filter, page).await?)
}

/// One of them, whoever made it.
pub async fn find(app: &App, id: Uuid) -> Result<Payment, Error> {
    payments::find(&app.pool, id).await?.ok_or(Error::NotFound("payment"))
}

/// A payment of the user; operators see all. Another customer's looks like one that does not exist.
pub async fn visible(app: &App, user: &User, id: Uuid) -> Result<Payment, Error> {
    let found = find(app, id).await?;
    let is_visible = found.customer_id == user.id || user.role >= Role::Operator;
    Some(found).filter(|_| is_visible).ok_or(Error::NotFound("payment"))
}
