//! The name of this worker. Whoever holds it is the only one of that name, and may free what its former life
//! left behind; the others of the name, should there be some by mistake, work beside it and wait until leases
//! end by themselves.

use std::sync::Arc;
use std::time::Duration;

use instance::store::lives;
use sqlx::{PgConnection, PgPool};
use tokio::time::Instant;
use uuid::Uuid;

/// Between two tries: a process that was killed is gone after a moment.
const AGAIN: Duration = Duration::from_secs(1);

/// A name that is held, or shall be.
#[derive(Debug)]
pub(super) struct Name {
    owner: Arc<str>,
    /// Holds the name as long as it is open.
    held: Option<PgConnection>,
    tried_at: Option<Instant>,
}

impl Name {
    pub(super) fn new(owner: Arc<str>) -> Self {
        Self { owner, held: None, tried_at: None }
    }

    /// Takes the name, once, and frees the leases of a former life. `living` are those of this one.
    pub(super) async fn take(&mut self, database: &PgPool, living: &[Uuid]) {
        if self.held.is_some() || self.tried_at.is_some_and(|at| at.elapsed() < AGAIN) {
            return;
        }
        self.tried_at = Some(Instant::now());
        match self.attempt(database, living).await {
            Ok(Some(0) | None) => {}
            Ok(Some(leases)) => {
                tracing::info!(leases, "leases of a former life of this worker are free again");
            }
            Err(error) => tracing::warn!(error = %error, "leases of a former life end by themselves"),
        }
    }

    async fn attempt(&mut self, database: &PgPool, living: &[Uuid]) -> sqlx::Result<Option<u64>> {
        let mut connection = database.acquire().await?.detach();
        if !lives::hold_name(&mut connection, &self.owner).await? {
            return Ok(None);
        }
        let freed = lives::free_former(&mut connection, &self.owner, living).await?;
        self.held = Some(connection);
        Ok(Some(freed))
    }
}
