//! What operators and administrators do (USR-22, USR-24): each change has a reason and an audit row in the
//! same transaction (SEC-17).

use std::collections::HashMap;

use runtime::identity::Role;
use runtime::page::Page;
use sqlx::PgConnection;
use time::OffsetDateTime;
use uuid::Uuid;

use super::profile::Profile;
use super::{App, Caller};
use crate::domain::users::{Filter, User};
use crate::error::Error;
use crate::store::audit;
use crate::store::mails::{self, Kind};
use crate::store::sessions::{self, End};
use crate::store::users;

/// A page of accounts with their instance counts, and the number of all.
pub type Listed = (Vec<(User, u32)>, u64);

impl App {
    /// Accounts, newest first.
    pub async fn list_customers(&self, query: &str, filter: Filter, page: Page) -> Result<Listed, Error> {
        let (users, total) = {
            let mut connection = self.pool.acquire().await?;
            users::list(&mut connection, query.trim(), filter, page).await?
        };
        let ids: Vec<Uuid> = users.iter().map(|user| user.id).collect();
        let counts: Option<HashMap<Uuid, u32>> = if ids.is_empty() {
            None
        } else {
            let counts = self.clients.count_instances(&ids).await;
            counts
                .inspect_err(
                    |status| tracing::warn!(code = ?status.code(), "last known instance counts are shown"),
                )
                .ok()
        };
        let rows = users.into_iter().map(|user| {
            let count = counts.as_ref().map_or_else(
                || u32::try_from(user.seen_instance_count).unwrap_or(0),
                |counts| counts.get(&user.id).copied().unwrap_or(0),
            );
            (user, count)
        });
        Ok((rows.collect(), total))
    }

    /// A profile and the number of live sessions.
    pub async fn customer_detail(&self, id: Uuid) -> Result<(Profile, usize), Error> {
        let (user, sessions) = {
            let mut connection = self.pool.acquire().await?;
            let user = users::find(&mut connection, id).await?.ok_or(Error::NotFound("customer"))?;
            let live =
                sessions::list(&mut connection, id, runtime::clock::now(), self.rules.idle_limit()).await?;
            (user, live.len())
        };
        Ok((self.with_standing(user).await?, sessions))
    }

    /// Turns an account off (with its sessions) or on.
    pub async fn set_active(
        &self,
        caller: &Caller,
        id: Uuid,
        active: bool,
        reason: &str,
    ) -> Result<(), Error> {
        let now = runtime::clock::now();
        let mut tx = self.pool.begin().await?;
        let user = lock_target(&mut tx, caller, id).await?;
        if user.is_active == active {
            return Err(Error::InvalidState(if active {
                "the account is active"
            } else {
                "the account is not active"
            }));
        }
        if !active {
            keep_one_super_admin(&mut tx, &user).await?;
            sessions::end_all(&mut tx, id, None, End::Admin, now).await?;
        }
        users::set_active(&mut tx, id, active, now).await?;
        let action = if active { "customer.reactivated" } else { "customer.deactivated" };
        audit_change(&mut tx, caller, id, action, reason, now).await?;
        tx.commit().await?;
        Ok(())
    }

    /// Makes the present password useless, ends all sessions and mails a link to a new one.
    pub async fn force_password_reset(&self, caller: &Caller, id: Uuid, reason: &str) -> Result<(), Error> {
        let now = runtime::clock::now();
        let mut tx = self.pool.begin().await?;
        let user = lock_target(&mut tx, caller, id).await?;
        if !user.is_active {
            return Err(Error::InvalidState("the account is not active"));
        }
        users::require_reset(&mut tx, id, now).await?;
        sessions::end_all(&mut tx, id, None, End::Admin, now).await?;
        mails::request(&mut tx, id, Kind::PasswordReset, true, now).await?;
        audit_change(&mut tx, caller, id, "customer.password_reset_forced", reason, now).await?;
        tx.commit().await?;
        self.wake.mails.notify_one();
        Ok(())
    }

    /// Ends all sessions.
    pub async fn end_sessions(&self, caller: &Caller, id: Uuid, reason: &str) -> Result<(), Error> {
        let now = runtime::clock::now();
        let mut tx = self.pool.begin().await?;
        lock_target(&mut tx, caller, id).await?;
        sessions::end_all(&mut tx, id, None, End::Admin, now).await?;
        audit_change(&mut tx, caller, id, "customer.sessions_ended", reason, now).await?;
        tx.commit().await?;
        Ok(())
    }

    /// Gives a role. A token made before keeps its word, so the sessions end.
    pub async fn set_role(&self, caller: &Caller, id: Uuid, role: Role, reason: &str) -> Result<(), Error> {
        let now = runtime::clock::now();
        let mut tx = self.pool.begin().await?;
        let user = lock_target(&mut tx, caller, id).await?;
        if user.role != role {
            keep_one_super_admin(&mut tx, &user).await?;
            users::set_role(&mut tx, id, role, now).await?;
            sessions::end_all(&mut tx, id, None, End::Admin, now).await?;
        }
        let action = format!("customer.role_changed_to_{role}");
        audit_change(&mut tx, caller, id, &action, reason, now).await?;
        tx.commit().await?;
        Ok(())
    }

    /// Sets the number of instances that an account may have.
    pub async fn set_quota(&self, caller: &Caller, id: Uuid, max: u32, reason: &str) -> Result<(), Error> {
        let max = i32::try_from(max).ok().filter(|max| *max <= 10_000);
        let max = max.ok_or_else(|| Error::invalid("max_instances", "must be from 0 to 10000"))?;
        let now = runtime::clock::now();
        let mut tx = self.pool.begin().await?;
        lock_target(&mut tx, caller, id).await?;
        users::set_quota(&mut tx, id, max, now).await?;
        audit_change(&mut tx, caller, id, "customer.quota_changed", reason, now).await?;
        tx.commit().await?;
        Ok(())
    }
}

/// The account to change: open, and not of a higher rank than the one who changes it.
async fn lock_target(tx: &mut PgConnection, caller: &Caller, id: Uuid) -> Result<User, Error> {
    let user = users::lock(tx, id).await?.ok_or(Error::NotFound("customer"))?;
    if user.closed_at.is_some() {
        return Err(Error::InvalidState("the account is closed"));
    }
    if user.role > caller.role {
        return Err(Error::Forbidden("the account has a higher role"));
    }
    Ok(user)
}

async fn keep_one_super_admin(tx: &mut PgConnection, user: &User) -> Result<(), Error> {
    if user.role == Role::SuperAdmin && users::other_super_admins(tx, user.id).await? == 0 {
        return Err(Error::LastSuperAdmin);
    }
    Ok(())
}

async fn audit_change(
    tx: &mut PgConnection,
    caller: &Caller,
    id: Uuid,
    action: &str,
    reason: &str,
    now: OffsetDateTime,
) -> sqlx::Result<()> {
    let entry = audit::Entry {
        actor: &caller.id.to_string(),
        action,
        target: &id.to_string(),
        customer: Some(id),
        request_id: &caller.client.request_id,
        ip: &caller.client.ip_text(),
        reason,
    };
    audit::insert(tx, &entry, now).await
}
