//! Checking, listing and ending sessions (USR-11, USR-15).

use runtime::identity::Role;
use time::Duration;
use uuid::Uuid;

use super::{App, Caller, audit_own};
use crate::error::Error;
use crate::store::sessions::{self, End, Listed};

/// A use is noted at most this often.
const TOUCH: Duration = Duration::minutes(1);

impl App {
    /// Whose session it is and the role of now, when it is live; one indexed read, and a write at most once a
    /// minute.
    pub async fn check_session(&self, id: Uuid) -> Result<Option<(Uuid, Role)>, Error> {
        let now = runtime::clock::now();
        let mut connection = self.pool.acquire().await?;
        let Some(found) = sessions::find(&mut connection, id).await? else { return Ok(None) };
        if !found.state.is_live(now, self.rules.idle_limit()) {
            return Ok(None);
        }
        if now - found.state.last_used_at >= TOUCH {
            sessions::touch(&mut connection, id, now).await?;
        }
        Ok(Some((found.user_id, found.role)))
    }

    /// Ends the present session.
    pub async fn logout(&self, caller: &Caller) -> Result<(), Error> {
        let now = runtime::clock::now();
        let mut tx = self.pool.begin().await?;
        sessions::end(&mut tx, caller.id, caller.session, End::Logout, now).await?;
        audit_own(&mut tx, caller.id, "session.ended", &caller.client, now).await?;
        tx.commit().await?;
        Ok(())
    }

    /// Own live sessions.
    pub async fn list_sessions(&self, caller: &Caller) -> Result<Vec<Listed>, Error> {
        let mut connection = self.pool.acquire().await?;
        Ok(sessions::list(&mut connection, caller.id, runtime::clock::now(), self.rules.idle_limit()).await?)
    }

    /// Ends one own session.
    pub async fn revoke_session(&self, caller: &Caller, id: Uuid) -> Result<(), Error> {
        let now = runtime::clock::now();
        let mut tx = self.pool.begin().await?;
        if !sessions::end(&mut tx, caller.id, id, End::Revoked, now).await? {
            return Err(Error::NotFound("session"));
        }
        audit_own(&mut tx, caller.id, "session.revoked", &caller.client, now).await?;
        tx.commit().await?;
        Ok(())
    }

    /// Ends all own sessions but the present one.
    pub async fn revoke_other_sessions(&self, caller: &Caller) -> Result<(), Error> {
        let now = runtime::clock::now();
        let mut tx = self.pool.begin().await?;
        sessions::end_all(&mut tx, caller.id, Some(caller.session), End::Revoked, now).await?;
        audit_own(&mut tx, caller.id, "session.others_revoked", &caller.client, now).await?;
        tx.commit().await?;
        Ok(())
    }
}
