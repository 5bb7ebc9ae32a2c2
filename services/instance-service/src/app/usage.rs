//! How much of its volume an instance uses (BIL-22): measured in its pod, so one that is off has no answer.

use instance::store::{self, Scope, instances};
use time::OffsetDateTime;
use uuid::Uuid;

use super::App;
use crate::error::Error;

/// An answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// What is on the volume.
    pub used_bytes: u64,
    /// What it may hold.
    pub limit_bytes: u64,
    /// When it was measured.
    pub at: OffsetDateTime,
}

/// For billing, before a downgrade.
pub async fn storage(app: &App, id: Uuid) -> Result<Usage, Error> {
    let mut connection = app.pool.acquire().await?;
    let found = instances::find(&mut connection, id, Scope::All).await?.ok_or(Error::NotFound("instance"))?;
    let at = store::now(&mut connection).await?;
    drop(connection);
    let measured = app.worker.storage(id).await?;
    Ok(Usage {
        used_bytes: measured.used_bytes,
        limit_bytes: found.instance.limits.storage_mib.saturating_mul(1024 * 1024),
        at,
    })
}
