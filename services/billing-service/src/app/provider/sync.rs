//! Brings our rows to the state of a provider that keeps the books: pull all about a customer, compare, write
//! the difference with the same facts as the ledger announces, all in one transaction (BIL-33, BIL-34). Told
//! twice it changes nothing; what is only missing there ends nothing here.
//!
//! The pull holds no lock. A number at the customer rises with every snapshot that is applied and every call
//! that is answered, so that a snapshot which is older than either is pulled again instead of taking a newer
//! state back.

pub mod compare;
mod credit_notes;
mod invoices;
mod subscriptions;

use sqlx::PgConnection;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::app::App;
use crate::domain::account::Account;
use crate::error::Error;
use crate::provider::{ProviderError, Snapshot};
use crate::store::mirror;
use crate::store::provider_calls::{self, Call};

/// Pulls before a customer whose state moves all the time is left to the next round.
const TRIES: usize = 5;
/// Customers in one round.
const BATCH: i64 = 100;

/// Batches in the first round after an outage.
const AFTER_OUTAGE: usize = 50;

/// Why a customer is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// A hook, or a call of ours: a difference is what was expected.
    Hook,
    /// A round: a difference is something that a hook lost, and is counted.
    Round,
}

/// What a look came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Synced {
    /// Differences that were written.
    pub changes: usize,
    /// `false`: an order is on its way, another look is needed.
    pub whole: bool,
}

/// What one look works with.
struct Look<'a> {
    app: &'a App,
    customer: Uuid,
    snapshot: &'a Snapshot,
    /// Calls that wait for their answer.
    calls: Vec<Call>,
    now: OffsetDateTime,
    changes: Vec<&'static str>,
    whole: bool,
}

/// Brings the rows of one customer to the provider's state. Only for a provider that keeps the books.
pub async fn customer(app: &App, customer: Uuid, cause: Cause) -> Result<Synced, Error> {
    for _ in 0..TRIES {
        let Some((before, began_at)) = mirror::sequence(&app.pool, customer).await? else {
            return Err(Error::NotFound("customer"));
        };
        let snapshot = match app.provider.snapshot(customer).await {
            Ok(snapshot) => snapshot,
            Err(error) => return Err(unread(app, customer, &error).await),
        };
        let now = app.now().await;
        let mut tx = app.pool.begin().await?;
        if mirror::lock(&mut tx, customer).await? != Some(before) {
            continue;
        }
        let calls = provider_calls::waiting(&mut *tx, customer).await?;
        let mut look =
            Look { app, customer, snapshot: &snapshot, calls, now, changes: Vec::new(), whole: true };
        look.apply(&mut tx).await?;
        let account = snapshot.account_id.as_deref();
        mirror::synced(&mut tx, customer, account, snapshot.credit, look.whole, began_at).await?;
        tx.commit().await?;
        for kind in &look.changes {
            if cause == Cause::Round {
                app.metrics.repaired(kind);
            }
            tracing::info!(customer.id = %customer, kind, ?cause, "brought to the provider's state");
        }
        return Ok(Synced { changes: look.changes.len(), whole: look.whole });
    }
    Err(Error::Conflict)
}

/// Our rows stay as they are, and say since when.
async fn unread(app: &App, customer: Uuid, error: &ProviderError) -> Error {
    tracing::warn!(customer.id = %customer, error = format!("{error:#}"), "the provider cannot be read");
    if let Err(error) = mirror::stale(&app.pool, customer).await {
        return error.into();
    }
    Error::ProviderUnavailable
}

impl Look<'_> {
    async fn apply(&mut self, connection: &mut PgConnection) -> Result<(), Error> {
        // Locks in the order that everybody keeps: subscriptions, invoices, payments.
        let ours = mirror::lock_subscriptions(connection, self.customer).await?;
        self.unknown(connection, &ours).await?;
        for id in &ours {
            self.subscription(connection, *id).await?;
        }
        self.invoices(connection).await?;
        self.payments(connection).await?;
        self.balances(connection).await?;
        for id in &ours {
            self.end(connection, *id).await?;
        }
        self.close_wishes(connection).await
    }

    fn changed(&mut self, kind: &'static str) {
        self.changes.push(kind);
    }
}

/// One round over the customers that are due (BIL-33). How many differences were written.
pub async fn round(app: &App, billing_now: OffsetDateTime) -> Result<usize, Error> {
    let mut changes = 0;
    if app.provider.is_books_local() {
        return Ok(0);
    }
    let health = app.provider.health().await;
    if let Err(error) = health {
        mirror::set_away(&app.pool).await?;
        tracing::warn!(error = format!("{error:#}"), "the provider does not work, the rounds wait");
        return Ok(0);
    }
    // After an outage as many as can be, before anything is done on rows from before it.
    let batches = if mirror::set_back(&app.pool).await? { AFTER_OUTAGE } else { 1 };
    for _ in 0..batches {
        let mut all_read = true;
        let due = mirror::due(&app.pool, billing_now, BATCH).await?;
        let full = i64::try_from(due.len()).is_ok_and(|count| count == BATCH);
        for id in due {
            match customer(app, id, Cause::Round).await {
                Ok(synced) => changes += synced.changes,
                Err(error) => {
                    all_read = false;
                    tracing::warn!(customer.id = %id, error = format!("{error:#}"), "a customer could not be compared");
                }
            }
        }
        // Who could not be read stays due: the next batch would begin with them, and each may take as long as
        // a call may.
        if !full || !all_read {
            break;
        }
    }
    Ok(changes)
}

/// After a jump of the test clock everybody is compared; what does not fit into one round comes with the next
/// ones.
pub async fn after_jump(app: &App, billing_now: OffsetDateTime) -> Result<(), Error> {
    if !app.provider.is_books_local() {
        mirror::make_due(&app.pool, None).await?;
        round(app, billing_now).await?;
    }
    Ok(())
}

/// Does a provider that keeps the books not answer now?
pub async fn is_away(app: &App) -> Result<bool, Error> {
    Ok(!app.provider.is_books_local() && mirror::away_since(&app.pool).await?.is_some())
}

/// Since when what we show about a customer may be old (BIL-34).
pub async fn stale_since(app: &App, account: &Account) -> Result<Option<OffsetDateTime>, Error> {
    if app.provider.is_books_local() {
        return Ok(None);
    }
    let away = mirror::away_since(&app.pool).await?;
    Ok([account.stale_since, away].into_iter().flatten().min())
}
