//! Closing an account (USR-20): at once for its owner, then in the background until instances are terminated
//! and the person is erased.

use contracts::events::topics::{CUSTOMER_CLOSED, CUSTOMER_ERASED};
use runtime::identity::Role;
use time::{Duration, OffsetDateTime};
use uuid::Uuid;

use super::{App, Caller, announce, audit_own};
use crate::domain::sessions::retry_delay;
use crate::error::Error;
use crate::store::sessions::{self, End};
use crate::store::{audit, closures, mails, outbox, users};

/// Longest work on one claimed closure; another replica takes it over afterwards.
const LEASE: Duration = Duration::seconds(30);

impl App {
    /// Closes the own account; when it will be erased.
    pub async fn close_account(
        &self,
        caller: &Caller,
        password: &str,
        force_terminate: bool,
    ) -> Result<OffsetDateTime, Error> {
        let user = self.own_account(caller).await?;
        self.prove_password(&user, password, &caller.client).await?;
        if !force_terminate {
            self.nothing_left(user.id).await?;
        }
        let now = runtime::clock::now();
        let erase_after = now + Duration::days(i64::from(self.rules.account_erasure_days));
        let mut tx = self.pool.begin().await?;
        let user = users::lock(&mut tx, user.id).await?.filter(|user| user.closed_at.is_none());
        let user = user.ok_or(Error::NotFound("account"))?;
        if user.role == Role::SuperAdmin && users::other_super_admins(&mut tx, user.id).await? == 0 {
            return Err(Error::LastSuperAdmin);
        }
        users::close(&mut tx, user.id, now).await?;
        sessions::end_all(&mut tx, user.id, None, End::Closed, now).await?;
        closures::insert(&mut tx, user.id, erase_after, now).await?;
        announce(&mut tx, CUSTOMER_CLOSED, user.id, None, now).await?;
        audit_own(&mut tx, user.id, "account.closed", &caller.client, now).await?;
        tx.commit().await?;
        self.wake.closures.notify_one();
        Ok(erase_after)
    }

    /// Refuses while something is open. Whoever cannot be asked might have something: then the account is not
    /// closed.
    async fn nothing_left(&self, id: Uuid) -> Result<(), Error> {
        let (standing, counts) =
            tokio::join!(self.clients.standing(id), self.clients.count_instances(std::slice::from_ref(&id)));
        let standing = standing.map_err(|status| away("billing-service", &status))?;
        if standing.unpaid_invoices > 0 {
            return Err(Error::UnpaidInvoices);
        }
        let counts = counts.map_err(|status| away("instance-service", &status))?;
        if counts.get(&id).copied().unwrap_or(0) > 0 {
            return Err(Error::LiveInstances);
        }
        Ok(())
    }

    /// Has the instances of closed accounts terminated; how many closures were worked on. Repeating is
    /// harmless.
    pub async fn work_closures(&self) -> Result<usize, Error> {
        let now = runtime::clock::now();
        let due = closures::claim(&mut *self.pool.acquire().await?, 10, LEASE, now).await?;
        for closure in &due {
            match self.clients.terminate_all(closure.user_id, "the account was closed").await {
                Ok(count) => {
                    tracing::info!(customer.id = %closure.user_id, count, "instances of a closed account are terminated");
                    let mut connection = self.pool.acquire().await?;
                    closures::mark_terminated(&mut connection, closure.user_id, runtime::clock::now())
                        .await?;
                }
                Err(status) => {
                    tracing::warn!(customer.id = %closure.user_id, code = ?status.code(), error = status.message(),
                        "instances of a closed account are not terminated yet");
                    let next_try = runtime::clock::now() + retry_delay(closure.attempts);
                    closures::retry_at(&mut *self.pool.acquire().await?, closure.user_id, next_try).await?;
                }
            }
        }
        self.metrics.set_closures_pending(closures::pending(&mut *self.pool.acquire().await?).await?);
        Ok(due.len())
    }

    /// Erases one person whose time has come; false when there is nobody. Nothing of theirs may run on
    /// without an owner, so that instance-service is asked once more.
    /// `failed` has those for whom it failed in this round, and gets more of them.
    pub async fn erase_next(&self, failed: &mut Vec<Uuid>) -> Result<bool, Error> {
        let now = runtime::clock::now();
        let found = closures::find_erasable(&mut *self.pool.acquire().await?, now, failed).await?;
        let Some(id) = found else { return Ok(false) };
        let left = match self.clients.terminate_all(id, "the account was closed").await {
            Ok(left) => left,
            Err(status) => {
                // The others have their turn; this one is tried again in the next round.
                let error = away("instance-service", &status);
                tracing::warn!(customer.id = %id, error = %error, "a closed account is not erased yet");
                failed.push(id);
                return Ok(true);
            }
        };
        if left > 0 {
            tracing::warn!(customer.id = %id, left, "instances of a closed account had come up since");
        }
        let mut tx = self.pool.begin().await?;
        if !closures::lock_erasable(&mut tx, id).await? {
            // Another replica has them in hand.
            failed.push(id);
            return Ok(true);
        }
        users::erase(&mut tx, id, now).await?;
        sessions::remove_all(&mut tx, id).await?;
        mails::remove_all(&mut tx, id).await?;
        audit::erase(&mut tx, id).await?;
        outbox::erase(&mut tx, id).await?;
        closures::mark_erased(&mut tx, id, now).await?;
        announce(&mut tx, CUSTOMER_ERASED, id, None, now).await?;
        let target = id.to_string();
        let entry = audit::Entry {
            actor: contracts::services::USER,
            action: "account.erased",
            target: &target,
            customer: Some(id),
            request_id: "",
            ip: "",
            reason: "",
        };
        audit::insert(&mut tx, &entry, now).await?;
        tx.commit().await?;
        tracing::info!(customer.id = %id, "a closed account was pseudonymised");
        Ok(true)
    }
}

fn away(service: &'static str, status: &tonic::Status) -> Error {
    tracing::warn!(service, code = ?status.code(), error = status.message(), "cannot ask whether an account may be closed");
    Error::Unavailable(service)
}
