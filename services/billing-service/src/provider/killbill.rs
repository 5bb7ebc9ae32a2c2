//! Kill Bill, the 0.22 and the 0.24 line, as a provider (BIL-05). It keeps accounts, subscriptions, invoices
//! and payments; the ladder stays ours. Every operation can be told again: what is there is looked at, by
//! keys that are our ids.
//!
//! No database of ours is changed here. What Kill Bill holds is pulled ([`KillBill::snapshot`]); its hooks
//! are hints.

mod accounts;
mod adapter;
mod catalog;
mod client;
mod corrections;
mod fault;
mod model;
mod money;
mod setup;
pub mod snapshot;
pub mod subscriptions;
mod values;

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};

pub use client::Access;
pub use fault::Fault;
use reqwest::Method;
use secrecy::SecretString;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use sqlx::PgPool;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::sync::Mutex;

use self::client::{Body, CLOCK_TIMEOUT, Client};
use self::values::Moment;
use super::ProviderError;

/// The provider `killbill`.
pub struct KillBill {
    client: Client,
    pool: PgPool,
    callback: Option<SecretString>,
    hook_tokens: Vec<SecretString>,
    ready: AtomicBool,
    preparing: Mutex<()>,
}

impl fmt::Debug for KillBill {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KillBill").field("client", &self.client).finish_non_exhaustive()
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ServerClock {
    current_utc_time: Moment,
}

impl KillBill {
    /// Nothing is sent before the first use. `callback`: where hooks shall go, with the secret token in its
    /// path.
    pub fn try_new(access: Access, pool: &PgPool, callback: Option<SecretString>) -> anyhow::Result<Self> {
        Ok(Self {
            client: Client::try_new(access)?,
            pool: pool.clone(),
            callback,
            hook_tokens: Vec::new(),
            ready: AtomicBool::new(false),
            preparing: Mutex::new(()),
        })
    }

    /// Takes hooks that come with one of these; there are two while one replaces the other.
    pub fn with_hook_tokens(mut self, tokens: impl IntoIterator<Item = SecretString>) -> Self {
        self.hook_tokens = tokens.into_iter().collect();
        self
    }

    /// Sets it up unless that was done; until then nothing else is asked of it, so that a missing catalogue
    /// refuses no order.
    pub async fn ensure_ready(&self) -> Result<(), ProviderError> {
        if self.ready.load(Ordering::Acquire) {
            return Ok(());
        }
        let _one_at_a_time = self.preparing.lock().await;
        if !self.ready.load(Ordering::Acquire) {
            self.set_up().await?;
            self.ready.store(true, Ordering::Release);
        }
        Ok(())
    }

    async fn get<T: DeserializeOwned>(&self, path: &str, query: &[(&str, &str)]) -> Result<T, Fault> {
        self.client.call(Method::GET, path, query, Body::Empty).await?.read()
    }

    /// A look by key: `missing` is the code that says that there is none.
    async fn find<T: DeserializeOwned>(
        &self,
        path: &str,
        query: &[(&str, &str)],
        missing: i64,
    ) -> Result<Option<T>, Fault> {
        match self.get(path, query).await {
            Ok(found) => Ok(Some(found)),
            Err(fault) if fault.is(missing) => Ok(None),
            Err(fault) => Err(fault),
        }
    }

    /// The server's clock; in test mode only.
    pub async fn clock(&self) -> Result<OffsetDateTime, Fault> {
        let clock: ServerClock = self.get("/test/clock", &[]).await?;
        Ok(clock.current_utc_time.0)
    }

    /// Moves the server's clock, day by day, so that everything due happens in its order; a long way in a
    /// dozen steps, each of which it works through before it answers. In test mode only.
    pub async fn move_clock(&self, to: OffsetDateTime) -> Result<(), ProviderError> {
        let way: time::Duration = to - self.clock().await?;
        let step = (way / 12_i32).max(time::Duration::days(1));
        loop {
            let now = self.clock().await?;
            if now >= to {
                return Ok(());
            }
            let next = (now + step).min(to);
            let text =
                next.replace_nanosecond(0).ok().and_then(|at| at.format(&Rfc3339).ok()).unwrap_or_default();
            if (to - now).whole_seconds() < 1 {
                return Ok(());
            }
            let query = [("requestedDate", text.as_str()), ("timeoutSec", "60")];
            self.client.call_within(CLOCK_TIMEOUT, Method::POST, "/test/clock", &query, Body::Empty).await?;
        }
    }
}
