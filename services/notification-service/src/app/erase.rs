//! Erases persons: what their mails said, and where they went (USR-20). That there was a mail, of which kind
//! and when, stays until its retention ends.

use sqlx::PgConnection;
use uuid::Uuid;

use super::error::Error;
use crate::store;

/// Erases what is kept of these accounts, and takes back what was not sent yet. Doing it again changes
/// nothing.
pub async fn erase(connection: &mut PgConnection, customers: &[Uuid]) -> Result<u64, Error> {
    let erased = store::erase(connection, customers).await?;
    if erased > 0 {
        tracing::info!(
            mails = erased,
            customers = customers.len(),
            "mails of erased persons hold nothing of them now"
        );
    }
    Ok(erased)
}
