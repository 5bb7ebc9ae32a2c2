//! Use cases, one a file. Each is one transaction: load, decide, save, announce.
//!
//! Nothing here knows gRPC. Time is read once at the start of a use case and handed on.

pub mod admin;
pub mod audit;
pub mod closure;
pub mod create_admin;
pub mod directory;
pub mod login;
pub mod mails;
pub mod password;
pub mod preferences;
pub mod profile;
pub mod refresh;
pub mod register;
pub mod sessions;
pub mod verify;

use std::net::IpAddr;
use std::sync::Arc;

use contracts::events::CustomerFact;
use runtime::identity::{Role, User as TokenUser};
use sqlx::{PgConnection, PgPool};
use time::OffsetDateTime;
use tokio::sync::Notify;
use uuid::Uuid;

use crate::clients::Clients;
use crate::config::Rules;
use crate::error::Error;
use crate::guard::LoginGuard;
use crate::metrics::UserMetrics;
use crate::passwords::Passwords;
use crate::store;
use crate::tokens::AccessSigner;

/// Everything that the use cases need.
#[derive(Debug, Clone)]
pub struct App {
    /// Database `auth`.
    pub pool: PgPool,
    /// Hashing.
    pub passwords: Passwords,
    /// Failed log-ins.
    pub guard: LoginGuard,
    /// Access tokens.
    pub signer: AccessSigner,
    /// Other services.
    pub clients: Clients,
    /// Settings.
    pub rules: Arc<Rules>,
    /// Metrics.
    pub metrics: UserMetrics,
    /// Background work.
    pub wake: Arc<Wake>,
}

/// Wakes background work at once; a timer stands behind each.
#[derive(Debug, Default)]
pub struct Wake {
    /// A mail waits.
    pub mails: Notify,
    /// An account was closed.
    pub closures: Notify,
}

/// Where a request comes from, for audit rows and counters.
#[derive(Debug, Clone, Default)]
pub struct Client {
    /// Request id.
    pub request_id: String,
    /// Address of the user as the gateway saw it.
    pub ip: Option<IpAddr>,
}

impl Client {
    /// The address as text; empty when unknown.
    pub fn ip_text(&self) -> String {
        self.ip.map(|ip| ip.to_canonical().to_string()).unwrap_or_default()
    }
}

/// A user whose session is live now, with the role of now.
#[derive(Debug, Clone)]
pub struct Caller {
    /// Account.
    pub id: Uuid,
    /// Session.
    pub session: Uuid,
    /// Role now; the token's may be older.
    pub role: Role,
    /// Where the request comes from.
    pub client: Client,
}

impl App {
    /// Proves that the session of a verified access token is live, and reads the role of now.
    pub async fn signed_in(&self, user: &TokenUser, client: Client) -> Result<Caller, Error> {
        let mut connection = self.pool.acquire().await?;
        let found = store::sessions::find(&mut connection, user.session).await?.ok_or(Error::SessionEnded)?;
        if found.user_id != user.id || !found.state.is_live(runtime::clock::now(), self.rules.idle_limit()) {
            return Err(Error::SessionEnded);
        }
        Ok(Caller { id: user.id, session: user.session, role: found.role, client })
    }

    /// The same, for a user who must have at least this role now (USR-22).
    pub async fn signed_in_as(
        &self,
        user: &TokenUser,
        minimum: Role,
        client: Client,
    ) -> Result<Caller, Error> {
        let caller = self.signed_in(user, client).await?;
        if caller.role < minimum {
            return Err(Error::Forbidden("the role does not suffice any more"));
        }
        Ok(caller)
    }
}

/// Writes what a person did to their own account.
async fn audit_own(
    connection: &mut PgConnection,
    customer: Uuid,
    action: &str,
    client: &Client,
    now: OffsetDateTime,
) -> sqlx::Result<()> {
    let id = customer.to_string();
    let entry = store::audit::Entry {
        actor: &id,
        action,
        target: &id,
        customer: Some(customer),
        request_id: &client.request_id,
        ip: &client.ip_text(),
        reason: "",
    };
    store::audit::insert(connection, &entry, now).await
}

/// Announces a fact on an account.
async fn announce(
    connection: &mut PgConnection,
    topic: &str,
    customer: Uuid,
    detail: Option<String>,
    now: OffsetDateTime,
) -> sqlx::Result<()> {
    let fact = CustomerFact { customer_id: customer, occurred_at: now, detail };
    messaging::outbox::enqueue(connection, topic, customer, &fact).await.map(drop)
}
