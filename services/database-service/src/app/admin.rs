//! Operators' reads (DBS-01, DBS-04, DBS-14).

use time::{Duration, OffsetDateTime};
use uuid::Uuid;

use super::App;
use crate::domain::pool::{PoolStatus, ServerType};
use crate::error::Error;
use crate::store;
use crate::store::allocations::{self, Allocation};
use crate::store::servers::{self, Server};

/// A contact older than this counts as none.
const CONTACT_LIFE: Duration = Duration::seconds(120);

impl App {
    /// A page of servers and the number of all.
    pub async fn list_pools(
        &self,
        status: Option<PoolStatus>,
        server_type: Option<ServerType>,
        limit: i64,
        offset: i64,
    ) -> Result<(Vec<Server>, i64), Error> {
        let mut conn = self.pool.acquire().await?;
        Ok(servers::list(&mut conn, status, server_type, limit, offset).await?)
    }

    /// A server by id or name, and what it holds.
    pub async fn pool(&self, id_or_name: &str) -> Result<(Server, Vec<Allocation>), Error> {
        let mut conn = self.pool.acquire().await?;
        let server = match Uuid::parse_str(id_or_name) {
            Ok(id) => servers::find(&mut conn, id).await?,
            Err(_) => servers::find_by_name(&mut conn, id_or_name).await?,
        };
        let server = server.ok_or(Error::NotFound("pool"))?;
        let held = allocations::on_server(&mut conn, server.id).await?;
        Ok((server, held))
    }

    /// When the worker last reached the cluster, and whether that is recent.
    pub async fn last_contact(&self) -> Result<(Option<OffsetDateTime>, bool), Error> {
        let mut conn = self.pool.acquire().await?;
        let last = store::contact::last(&mut conn).await?;
        Ok((last, last.is_some_and(|at| runtime::clock::now() - at <= CONTACT_LIFE)))
    }
}
