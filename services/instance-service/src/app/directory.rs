//! Look-ups and commands of other services.

use std::collections::HashMap;

use instance::domain::{Action, ActorKind, Instance, Status};
use instance::store::{Scope, closed, instances};
use time::OffsetDateTime;
use uuid::Uuid;

use super::App;
use super::act::{self, ActionRequest};
use super::caller::Caller;
use crate::error::Error;

/// Live instances by customer; every customer that was asked for is in the answer.
pub async fn count(app: &App, customers: &[Uuid]) -> Result<HashMap<Uuid, u32>, Error> {
    let mut connection = app.pool.acquire().await?;
    let counted = instances::count_live(&mut connection, customers).await?;
    let mut counts: HashMap<Uuid, u32> = customers.iter().map(|customer| (*customer, 0)).collect();
    counts.extend(
        counted.into_iter().map(|(customer, count)| (customer, u32::try_from(count).unwrap_or(u32::MAX))),
    );
    Ok(counts)
}

/// Terminates every live instance of a closed account (USR-20); again is no error. How many began now.
pub async fn terminate_all(
    app: &App,
    caller: &str,
    request_id: &str,
    customer: Uuid,
    reason: &str,
) -> Result<u32, Error> {
    // After this a create that asked for the account before it was closed is refused; one before is among the
    // live ones.
    let mut tx = app.pool.begin().await?;
    instances::lock_customer(&mut tx, customer).await?;
    closed::note(&mut tx, customer).await?;
    tx.commit().await?;
    let mut connection = app.pool.acquire().await?;
    let live = instances::live_of(&mut connection, customer).await?;
    drop(connection);
    let caller = Caller::service(caller, ActorKind::Accounts, request_id);
    let reason = if reason.is_empty() { "the account was closed" } else { reason };
    let request =
        ActionRequest { reason: Some(reason.chars().take(500).collect()), ..ActionRequest::default() };
    let (mut count, mut failure) = (0, None);
    for id in live {
        // One that fails holds up no other; whoever closes the account asks again.
        match act::act(app, &caller, id, Action::Terminate, &request).await {
            Ok(acted) => count += u32::from(acted.changed),
            Err(error) => {
                tracing::warn!(instance.id = %id, reason = error.reason(), "not terminated with its account");
                failure.get_or_insert(error);
            }
        }
    }
    failure.map_or(Ok(count), Err)
}

/// The instance of a subscription, for billing.
pub async fn find_by_subscription(app: &App, subscription: Uuid) -> Result<Option<Instance>, Error> {
    let mut connection = app.pool.acquire().await?;
    let found = instances::find_by_subscription(&mut connection, subscription, Scope::All).await?;
    Ok(found.map(|found| found.instance))
}

/// Since when it has failed, so that billing can tell a try that may be repeated from one that was given up.
pub fn error_since(instance: &Instance) -> Option<OffsetDateTime> {
    let failure = instance.error.as_ref().filter(|_| instance.status == Status::Error)?;
    failure.at
}

/// Live instances after an id, for billing's audit (BIL-37).
pub async fn live(app: &App, after: Uuid, limit: i64) -> Result<Vec<instances::Live>, Error> {
    let mut connection = app.pool.acquire().await?;
    Ok(instances::live_page(&mut connection, after, limit).await?)
}
