//! What changes of a billing account: the customer's details, and the facts that open and close it.

use runtime::identity::User;
use sqlx::PgConnection;
use time::OffsetDateTime;
use uuid::Uuid;

use super::overview::account;
use crate::app::App;
use crate::domain::details::AccountChange;
use crate::error::Error;
use crate::store::customers;

/// Changes what is given. The account is the customer's own: nobody else changes it.
pub async fn update_account(
    app: &App,
    user: &User,
    customer: Uuid,
    change: AccountChange,
) -> Result<(), Error> {
    if customer != user.id {
        return Err(Error::NotFound("account"));
    }
    let before = account(app, customer).await?;
    let change =
        change.try_new(&before.country).map_err(|(field, message)| Error::Field { field, message })?;
    Ok(customers::update_account(&app.pool, customer, &change).await?)
}

/// A customer has registered. Who they are the first order asks: nothing is asked of others while a
/// connection is held.
pub async fn open_account(connection: &mut PgConnection, customer: Uuid) -> Result<(), Error> {
    Ok(customers::open(connection, customer, None).await?)
}

/// A customer has closed their account.
pub async fn close_account(
    connection: &mut PgConnection,
    customer: Uuid,
    at: OffsetDateTime,
) -> Result<(), Error> {
    Ok(customers::close(connection, customer, at).await?)
}
