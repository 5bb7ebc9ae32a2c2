//! Profiles (USR-17, USR-18). Instances and plans are asked for; while their owners are away the last known
//! answer is shown.

use uuid::Uuid;

use super::{App, Caller, audit_own};
use crate::domain::ProfileChange;
use crate::domain::users::User;
use crate::error::Error;
use crate::store::users;

/// An account with what other services know of it.
#[derive(Debug, Clone)]
pub struct Profile {
    /// The account.
    pub user: User,
    /// Live instances.
    pub instance_count: u32,
    /// Highest live plan.
    pub plan: Option<String>,
    /// none, trialing, active, past_due, suspended.
    pub standing: String,
}

impl App {
    /// The own profile.
    pub async fn profile(&self, caller: &Caller) -> Result<Profile, Error> {
        let user = self.own_account(caller).await?;
        self.with_standing(user).await
    }

    /// Changes the own profile.
    pub async fn update_profile(
        &self,
        caller: &Caller,
        change: &ProfileChange,
        expected_version: Option<i64>,
    ) -> Result<Profile, Error> {
        let now = runtime::clock::now();
        let mut tx = self.pool.begin().await?;
        if !users::change_profile(&mut tx, caller.id, change, expected_version, now).await? {
            return Err(match users::find(&mut tx, caller.id).await? {
                Some(user) if user.closed_at.is_none() => Error::VersionMismatch,
                _ => Error::NotFound("account"),
            });
        }
        audit_own(&mut tx, caller.id, "profile.changed", &caller.client, now).await?;
        let user = users::find(&mut tx, caller.id).await?.ok_or(Error::NotFound("account"))?;
        tx.commit().await?;
        self.with_standing(user).await
    }

    /// Adds what the other services know; their last answer when they are away.
    pub(super) async fn with_standing(&self, user: User) -> Result<Profile, Error> {
        let (counts, standing) = tokio::join!(
            self.clients.count_instances(std::slice::from_ref(&user.id)),
            self.clients.standing(user.id)
        );
        let seen_count = u32::try_from(user.seen_instance_count).unwrap_or(0);
        let instance_count = match counts {
            Ok(counts) => counts.get(&user.id).copied().unwrap_or(0),
            Err(status) => {
                tracing::warn!(code = ?status.code(), "instance-service does not answer: last known count is shown");
                seen_count
            }
        };
        let (plan, standing) = match standing {
            Ok(standing) => (standing.plan, standing.status),
            Err(status) => {
                tracing::warn!(code = ?status.code(), "billing-service does not answer: last known plan is shown");
                (user.seen_plan.clone(), user.seen_standing.clone())
            }
        };
        if instance_count != seen_count || plan != user.seen_plan || standing != user.seen_standing {
            self.remember(user.id, instance_count, plan.as_deref(), &standing).await?;
        }
        Ok(Profile { user, instance_count, plan, standing })
    }

    async fn remember(&self, id: Uuid, count: u32, plan: Option<&str>, standing: &str) -> Result<(), Error> {
        let mut connection = self.pool.acquire().await?;
        let count = i32::try_from(count).unwrap_or(i32::MAX);
        Ok(users::remember_standing(&mut connection, id, count, plan, standing).await?)
    }
}
