//! The daily clean-up of servers that failed (DBS-20). The rule is `domain::cleanup`; here its facts are
//! gathered, and looked at again under the row's lock before anything happens.

use serde_json::{Value, json};

use super::App;
use super::pools::order_removal;
use super::remote::bounded;
use crate::domain::caller::Caller;
use crate::domain::cleanup::{Facts, Found, Verdict, verdict};
use crate::domain::pool::PoolStatus;
use crate::domain::server::Server;
use crate::error::Error;
use crate::store::servers;
use crate::store::{allocations, audit};

/// One server in error, and what becomes of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Candidate {
    /// The row.
    pub server: Server,
    /// What the rule says.
    pub verdict: Verdict,
}

impl App {
    /// What the clean-up would do now. Changes nothing.
    pub async fn cleanup_candidates(&self) -> Result<Vec<Candidate>, Error> {
        let mut connection = self.pool.acquire().await?;
        let servers = servers::managed(&mut connection).await?;
        drop(connection);
        let mut candidates = Vec::new();
        for server in servers.into_iter().filter(|server| server.status == PoolStatus::Error) {
            let verdict = self.judge(&server).await?;
            candidates.push(Candidate { server, verdict });
        }
        Ok(candidates)
    }

    /// Removes what the rule allows to remove.
    pub async fn cleanup(&self, requested_by: &str) -> Result<Value, Error> {
        let candidates = self.cleanup_candidates().await?;
        let (mut removed, mut kept) = (Vec::new(), Vec::new());
        for Candidate { server, verdict } in candidates {
            let verdict = match verdict {
                Verdict::Remove => self.remove_if_still_empty(&server, requested_by).await?,
                keep @ Verdict::Keep(_) => keep,
            };
            match verdict {
                Verdict::Remove => removed.push(json!({"pool_id": server.id, "name": server.name})),
                Verdict::Keep(why) => {
                    kept.push(json!({"pool_id": server.id, "name": server.name, "why": why}));
                }
            }
        }
        Ok(json!({"removed": removed, "kept": kept}))
    }

    async fn judge(&self, server: &Server) -> Result<Verdict, Error> {
        let now = runtime::clock::now();
        let mut connection = self.pool.acquire().await?;
        let held = allocations::on_server(&mut connection, server.id).await?.len();
        let mut facts = Facts {
            server_type: server.server_type,
            status: server.status,
            since: server.status_since,
            allocations: i64::try_from(held).unwrap_or(i64::MAX).max(server.fill.current.into()),
            found: Found::NeverServed,
        };
        // Only a server that would go otherwise is asked: one that is away costs time.
        if server.provisioned_at.is_none() || matches!(verdict(facts, now), Verdict::Keep(_)) {
            return Ok(verdict(facts, now));
        }
        drop(connection);
        facts.found = match self.target(server).await {
            Ok(target) => {
                let count = async { Ok(self.tenants.count_databases(&target).await) };
                bounded(count).await?.map_or(Found::Unknown, Found::Databases)
            }
            Err(Error::Server { .. }) => Found::Unknown,
            Err(error) => return Err(error),
        };
        Ok(verdict(facts, now))
    }

    /// Under the lock nobody takes a slot; a server in error takes none anyway.
    async fn remove_if_still_empty(&self, seen: &Server, requested_by: &str) -> Result<Verdict, Error> {
        let mut tx = self.pool.begin().await?;
        let Some(server) = servers::lock(&mut tx, seen.id).await? else {
            return Ok(Verdict::Keep("it is gone"));
        };
        if server.version != seen.version || !allocations::on_server(&mut tx, server.id).await?.is_empty() {
            return Ok(Verdict::Keep("it changed meanwhile"));
        }
        let server = order_removal(&mut tx, server, runtime::clock::now()).await?;
        let caller = Caller {
            actor: requested_by.to_owned(),
            role: "service".into(),
            request_id: String::new(),
            client_ip: String::new(),
        };
        audit::add(&mut tx, &caller, "pool.cleanup", &server.name, Verdict::Remove.why()).await?;
        tx.commit().await?;
        tracing::warn!(server.name = server.name, "failed server is removed by the clean-up");
        Ok(Verdict::Remove)
    }
}
