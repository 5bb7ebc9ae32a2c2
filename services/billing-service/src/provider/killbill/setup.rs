//! Makes Kill Bill ready for us (BIL-32): tenant, catalogue, callback. Every step looks first, so that it can
//! be done at each start; a lock in our database keeps two replicas apart.

use reqwest::Method;
use secrecy::ExposeSecret as _;
use serde::Deserialize;
use serde_json::json;
use sqlx::Connection as _;
use time::OffsetDateTime;
use time::macros::datetime;

use super::KillBill;
use super::catalog;
use super::client::Body;
use super::fault::{Fault, code};
use super::model::CatalogVersion;
use crate::domain::plan::Plan;
use crate::provider::ProviderError;
use crate::store::plans;

/// Advisory lock of the set-up ("killbill").
const LOCK: i64 = 0x6b69_6c6c_6269_6c6c;
/// The first catalogue holds since ever.
const FIRST: OffsetDateTime = datetime!(2020-01-01 0:00 UTC);

#[derive(Deserialize)]
struct Registered {
    #[serde(default)]
    values: Vec<String>,
}

impl KillBill {
    /// All of it, under the lock.
    pub(super) async fn set_up(&self) -> Result<(), ProviderError> {
        // A connection of its own: the lock goes with it, whatever happens.
        let mut connection = self.pool.acquire().await.map_err(away)?.detach();
        sqlx::query("SELECT pg_advisory_lock($1)").bind(LOCK).execute(&mut connection).await.map_err(away)?;
        let outcome = self.set_up_locked().await;
        drop(connection.close().await);
        outcome
    }

    async fn set_up_locked(&self) -> Result<(), ProviderError> {
        self.ensure_tenant().await?;
        let plans = plans::list(&self.pool, true).await.map_err(away)?;
        self.ensure_catalog(&plans).await?;
        self.ensure_callback().await?;
        Ok(())
    }

    /// Asking for an unknown tenant is a 500 there, so it is made, and "exists" is an answer. One with
    /// another secret shows at the next call.
    async fn ensure_tenant(&self) -> Result<(), Fault> {
        let body =
            json!({"apiKey": self.client.api_key(), "apiSecret": self.client.api_secret().expose_secret()});
        match self.client.call(Method::POST, "/tenants", &[], Body::Json(body.to_string())).await {
            Ok(_) => tracing::info!("tenant made in Kill Bill"),
            Err(fault) if fault.is(code::TENANT_EXISTS) => {}
            Err(fault) => return Err(fault),
        }
        Ok(())
    }

    async fn ensure_catalog(&self, plans: &[Plan]) -> Result<(), ProviderError> {
        let versions: Vec<CatalogVersion> = self.get("/catalog", &[]).await?;
        if catalog::matches(&versions, plans) {
            return Ok(());
        }
        // Two versions cannot begin at the same time.
        let from = if versions.is_empty() { FIRST } else { self.server_time().await? };
        let text = catalog::xml(plans, from)?;
        self.client.call(Method::POST, "/catalog/xml", &[], Body::Xml(text)).await?;
        tracing::info!(plans = plans.len(), "catalogue uploaded to Kill Bill");
        Ok(())
    }

    /// Exactly one callback, ours. A POST replaces what is there.
    async fn ensure_callback(&self) -> Result<(), Fault> {
        const PATH: &str = "/tenants/registerNotificationCallback";
        let Some(wanted) = self.callback.as_ref().map(secrecy::ExposeSecret::expose_secret) else {
            return Ok(());
        };
        let registered: Registered = self.get(PATH, &[]).await?;
        if registered.values == [wanted] {
            return Ok(());
        }
        self.client.call(Method::POST, PATH, &[("cb", wanted)], Body::Empty).await?;
        tracing::info!("callback registered with Kill Bill");
        Ok(())
    }

    /// Kill Bill's own time, which tests move; ours where it has none to show.
    pub(super) async fn server_time(&self) -> Result<OffsetDateTime, Fault> {
        match self.clock().await {
            Ok(now) => Ok(now),
            // Not in test mode: real time there too.
            Err(fault) if fault.status().is_some() => Ok(runtime::clock::now()),
            Err(fault) => Err(fault),
        }
    }
}

fn away(error: sqlx::Error) -> ProviderError {
    ProviderError::Unavailable(error.into())
}
