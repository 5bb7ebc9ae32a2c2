//! Log-in (USR-09, USR-10, USR-16). A hash is computed for unknown addresses too; the guard is asked first
//! and closes when Redis is away.

use contracts::events::topics::CUSTOMER_LOGIN_BLOCKED;
use runtime::identity::Role;
use time::OffsetDateTime;
use uuid::Uuid;

use super::{App, Client, announce, audit_own};
use crate::domain::EmailAddress;
use crate::domain::sessions::refresh_life;
use crate::domain::users::User;
use crate::error::Error;
use crate::guard::Entry;
use crate::passwords::Verdict;
use crate::store::sessions::{self, NewSession};
use crate::store::users;
use crate::tokens::RandomToken;

/// Longest text of a user agent that is kept.
const USER_AGENT_MAX: usize = 300;

/// What a client sends to sign in.
#[derive(Debug)]
pub struct Credentials<'a> {
    /// Address as typed.
    pub email: &'a str,
    /// Password as typed.
    pub password: &'a str,
    /// Stay signed in.
    pub remember_me: bool,
    /// Program of the client.
    pub user_agent: &'a str,
}

/// Tokens of a session.
#[derive(Debug)]
pub struct SessionTokens {
    /// Access token.
    pub access: String,
    /// Its end.
    pub access_expires_at: OffsetDateTime,
    /// Refresh token.
    pub refresh: RandomToken,
    /// Its end.
    pub refresh_expires_at: OffsetDateTime,
}

impl App {
    /// Signs in.
    pub async fn login(
        &self,
        credentials: &Credentials<'_>,
        client: &Client,
    ) -> Result<(User, SessionTokens), Error> {
        let outcome = self.try_login(credentials, client).await;
        self.metrics.login(outcome.as_ref().map_or_else(Error::reason, |_| "ok"));
        outcome
    }

    async fn try_login(
        &self,
        credentials: &Credentials<'_>,
        client: &Client,
    ) -> Result<(User, SessionTokens), Error> {
        if !(1..=128).contains(&credentials.password.chars().count()) {
            return Err(Error::invalid("password", "must have from 1 to 128 characters"));
        }
        let attempt = self.guard.attempt(credentials.email, client.ip);
        if let Entry::Blocked(wait) = self.guard.begin(&attempt).await? {
            return Err(Error::RateLimited(wait));
        }
        let compared = self.compare(credentials).await;
        let (user, outdated) = match compared {
            Ok((Some(user), Verdict::Right { outdated })) => (user, outdated),
            Ok((known, _)) => {
                let closed_now = self.guard.failed(&attempt).await?;
                if let Some(user) = known.filter(|user| closed_now && user.is_active) {
                    self.tell_owner(&user, client).await?;
                }
                return Err(Error::InvalidCredentials);
            }
            Err(error) => {
                self.guard.abandoned(&attempt).await;
                return Err(error);
            }
        };
        self.guard.succeeded(&attempt).await;
        if !user.is_active {
            return Err(Error::AccountDisabled);
        }
        if user.verified_at.is_none() {
            return Err(Error::EmailNotVerified);
        }
        let rehashed = if outdated { Some(self.passwords.hash(credentials.password).await?) } else { None };
        self.open_session(user, rehashed.as_deref(), credentials, client).await
    }

    /// The account, if there is one, and whether the password is its own. The same work is done without an
    /// account.
    async fn compare(&self, credentials: &Credentials<'_>) -> Result<(Option<User>, Verdict), Error> {
        let user = match EmailAddress::try_new(credentials.email) {
            Ok(email) => users::find_by_email(&mut *self.pool.acquire().await?, &email).await?,
            Err(_) => None,
        };
        let usable = user.as_ref().filter(|user| !user.password_reset_needed);
        let verdict = self
            .passwords
            .verify(usable.map(|user| user.password_hash.as_str()), credentials.password)
            .await?;
        Ok((user, verdict))
    }

    /// One mail when the guard closes an account.
    async fn tell_owner(&self, user: &User, client: &Client) -> Result<(), Error> {
        let now = runtime::clock::now();
        let mut tx = self.pool.begin().await?;
        announce(&mut tx, CUSTOMER_LOGIN_BLOCKED, user.id, client.ip.map(|_| client.ip_text()), now).await?;
        audit_own(&mut tx, user.id, "session.blocked", client, now).await?;
        tx.commit().await?;
        Ok(())
    }

    async fn open_session(
        &self,
        user: User,
        rehashed: Option<&str>,
        credentials: &Credentials<'_>,
        client: &Client,
    ) -> Result<(User, SessionTokens), Error> {
        let now = runtime::clock::now();
        let refresh_expires_at = now + refresh_life(credentials.remember_me);
        let id = Uuid::now_v7();
        let user_agent: String = credentials.user_agent.chars().take(USER_AGENT_MAX).collect();
        let session = NewSession {
            id,
            user_id: user.id,
            expires_at: refresh_expires_at,
            remembered: credentials.remember_me,
            ip: &client.ip_text(),
            user_agent: &user_agent,
        };
        let tokens = self.make_tokens(user.id, id, user.role, refresh_expires_at, now)?;
        let mut tx = self.pool.begin().await?;
        if !users::note_login(&mut tx, &user, rehashed, now).await? {
            // Password or state changed while we compared.
            return Err(Error::InvalidCredentials);
        }
        sessions::insert(&mut tx, &session, now).await?;
        sessions::insert_refresh(&mut tx, id, &tokens.refresh.hash(), refresh_expires_at, now).await?;
        sessions::trim(&mut tx, user.id, self.rules.max_sessions_per_user, now).await?;
        audit_own(&mut tx, user.id, "session.started", client, now).await?;
        tx.commit().await?;
        Ok((User { last_login_at: Some(now), ..user }, tokens))
    }

    /// Access token and fresh refresh token of a session that lives until `session_end`.
    pub(super) fn make_tokens(
        &self,
        user: Uuid,
        session: Uuid,
        role: Role,
        session_end: OffsetDateTime,
        now: OffsetDateTime,
    ) -> Result<SessionTokens, Error> {
        let (access, access_expires_at) = self.signer.sign(user, session, role, now, Some(session_end))?;
        Ok(SessionTokens {
            access,
            access_expires_at,
            refresh: RandomToken::try_new()?,
            refresh_expires_at: session_end,
        })
    }
}
