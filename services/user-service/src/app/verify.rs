//! Proving an address (USR-07) and asking for mails with links (USR-08).

use std::time::Duration;

use contracts::events::topics::CUSTOMER_VERIFIED;
use sqlx::PgConnection;

use super::{App, Client, announce, audit_own};
use crate::domain::EmailAddress;
use crate::domain::users::User;
use crate::error::Error;
use crate::store::mails::{self, Kind, Returned};
use crate::store::users;
use crate::tokens::{TokenHash, hash_of};

/// Every answer of a public mail route takes at least this long, so that its time says nothing about the
/// address.
const FLOOR: Duration = Duration::from_millis(60);

impl App {
    /// Marks an account as verified, once.
    pub async fn verify_email(&self, token: &str, client: &Client) -> Result<User, Error> {
        let now = runtime::clock::now();
        let mut tx = self.pool.begin().await?;
        let (found, user) = token_owner(&mut tx, Kind::Verification, &hash_of(token)).await?;
        if user.closed_at.is_some() {
            return Err(Error::InvalidToken);
        }
        if found.used || user.verified_at.is_some() {
            return Err(Error::TokenUsed);
        }
        if now >= found.expires_at {
            return Err(Error::TokenExpired);
        }
        users::verify(&mut tx, user.id, now).await?;
        mails::use_up(&mut tx, user.id, Kind::Verification, now).await?;
        if user.password_reset_needed {
            // Registered with several passwords: the owner chooses theirs by the next mail.
            mails::request(&mut tx, user.id, Kind::PasswordReset, false, now).await?;
        }
        announce(&mut tx, CUSTOMER_VERIFIED, user.id, None, now).await?;
        audit_own(&mut tx, user.id, "account.verified", client, now).await?;
        tx.commit().await?;
        self.wake.mails.notify_one();
        Ok(User { verified_at: Some(now), ..user })
    }

    /// Mails the verification link again, if there is an account that needs it. Never tells.
    pub async fn resend_verification(&self, email: &str) -> Result<(), Error> {
        self.mail_link(email, Kind::Verification).await
    }

    /// Mails a link to a new password, if there is an account. Never tells.
    pub async fn request_password_reset(&self, email: &str) -> Result<(), Error> {
        self.mail_link(email, Kind::PasswordReset).await
    }

    async fn mail_link(&self, email: &str, kind: Kind) -> Result<(), Error> {
        let floor = tokio::time::Instant::now() + FLOOR;
        let email = EmailAddress::try_new(email).map_err(|message| Error::invalid("email", message))?;
        let now = runtime::clock::now();
        let mut tx = self.pool.begin().await?;
        let user = users::find_by_email(&mut tx, &email)
            .await?
            .filter(|user| user.is_active && (kind == Kind::PasswordReset || user.verified_at.is_none()));
        if let Some(user) = user {
            mails::request(&mut tx, user.id, kind, false, now).await?;
        }
        tx.commit().await?;
        self.wake.mails.notify_one();
        tokio::time::sleep_until(floor).await;
        Ok(())
    }
}

/// A token of a mail and its account, which is locked until the transaction ends: of two uses at once, the
/// second sees the first.
pub(super) async fn token_owner(
    tx: &mut PgConnection,
    kind: Kind,
    hash: &TokenHash,
) -> Result<(Returned, User), Error> {
    let found = mails::find_token(tx, kind, hash).await?.ok_or(Error::InvalidToken)?;
    let user = users::lock(tx, found.user_id).await?.ok_or(Error::InvalidToken)?;
    let found = mails::find_token(tx, kind, hash).await?.ok_or(Error::InvalidToken)?;
    Ok((found, user))
}
