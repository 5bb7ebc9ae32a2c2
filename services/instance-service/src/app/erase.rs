//! Persons whose accounts were erased are erased here too (USR-20). A fact tells of each; a round over
//! user-service's whole list makes up for facts that were lost, and finds what was written after them.

use instance::store::erasure;
use uuid::Uuid;

use super::App;
use crate::error::Error;

/// Goes through the whole list; how many rows changed. One person that fails holds up no other.
pub async fn round(app: &App) -> Result<u64, Error> {
    let (mut after, mut changed, mut failure) = (None, 0, None);
    loop {
        let page = app.customers.erased(after).await?;
        let Some(last) = page.last() else { break };
        after = Some(*last);
        for customer in page {
            match one(app, customer).await {
                Ok(rows) => changed += rows,
                Err(error) => {
                    let text = format!("{error:#}");
                    tracing::error!(customer.id = %customer, error = text, "a person was not erased");
                    failure.get_or_insert(error);
                }
            }
        }
    }
    failure.map_or(Ok(changed), Err)
}

async fn one(app: &App, customer: Uuid) -> Result<u64, Error> {
    let mut tx = app.pool.begin().await?;
    let changed = erasure::erase(&mut tx, customer).await?;
    tx.commit().await?;
    if changed > 0 {
        tracing::info!(customer.id = %customer, rows = changed, "erased");
    }
    Ok(changed)
}
