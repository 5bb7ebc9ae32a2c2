//! Rotation of refresh tokens (USR-12). A used one that comes again is stolen: its whole session ends.

use super::login::SessionTokens;
use super::{App, Client, audit_own};
use crate::domain::sessions::refresh_life;
use crate::error::Error;
use crate::store::sessions::{self, End};
use crate::tokens::hash_of;

impl App {
    /// New tokens for a refresh token.
    pub async fn refresh(&self, token: &str, client: &Client) -> Result<SessionTokens, Error> {
        let now = runtime::clock::now();
        let hash = hash_of(token);
        let mut tx = self.pool.begin().await?;
        let found = sessions::lock_refresh(&mut tx, &hash).await?.ok_or(Error::InvalidRefreshToken)?;
        let live = found.state.is_live(now, self.rules.idle_limit());
        if found.used {
            if live {
                tracing::warn!(session.id = %found.session_id, "a used refresh token came again: the session ends");
                sessions::end(&mut tx, found.user_id, found.session_id, End::Reuse, now).await?;
                audit_own(&mut tx, found.user_id, "session.ended_by_reuse", client, now).await?;
                tx.commit().await?;
            }
            return Err(Error::InvalidRefreshToken);
        }
        if !live || now >= found.expires_at {
            return Err(Error::InvalidRefreshToken);
        }
        let expires_at = now + refresh_life(found.remembered);
        let tokens = self.make_tokens(found.user_id, found.session_id, found.role, expires_at, now)?;
        sessions::rotate(&mut tx, &hash, found.session_id, expires_at, now).await?;
        sessions::insert_refresh(&mut tx, found.session_id, &tokens.refresh.hash(), expires_at, now).await?;
        tx.commit().await?;
        Ok(tokens)
    }
}
