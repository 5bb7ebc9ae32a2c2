//! What operators see of the queue and its history.

use runtime::page::Page;
use sqlx::PgPool;
use time::OffsetDateTime;
use uuid::Uuid;

use super::error::Error;
use crate::store;

pub use crate::store::{Detail, Filter, Summary};

/// A page of the history, newest first, and the number of all rows.
pub async fn list(pool: &PgPool, filter: &Filter, page: Page) -> Result<(Vec<Summary>, i64), Error> {
    Ok(store::list(pool, filter, page).await?)
}

/// One mail with what happened to it, never its secret variables.
pub async fn detail(pool: &PgPool, id: Uuid) -> Result<Detail, Error> {
    store::detail(pool, id).await?.ok_or(Error::NotFound)
}

/// How the queue is.
#[derive(Debug, Clone, Copy)]
pub struct Health {
    /// Mails that wait or are on their way.
    pub depth: i64,
    /// When the newest sent mail was sent.
    pub last_sent: Option<OffsetDateTime>,
}

/// How the queue is now.
pub async fn health(pool: &PgPool) -> Result<Health, Error> {
    let (depth, last_sent) = tokio::join!(store::depth(pool), store::last_sent(pool));
    Ok(Health { depth: depth?, last_sent: last_sent? })
}
