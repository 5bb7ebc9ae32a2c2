//! Registration (USR-01, USR-02, USR-05, USR-06). The answer is the same whether the address is known or not,
//! and so is the work.

use contracts::events::topics::CUSTOMER_REGISTERED;
use runtime::identity::Role;
use sqlx::Connection as _;
use uuid::Uuid;

use super::{App, Client, announce, audit_own};
use crate::domain::people::TERMS_VERSION;
use crate::domain::{EmailAddress, Registration};
use crate::error::Error;
use crate::passwords::Verdict;
use crate::store::{mails, users};

impl App {
    /// Opens an account, or tells the owner of the address that somebody tried; the id is then a random one.
    ///
    /// Until an address is proved, nobody knows who registered it. What the newest registration says
    /// (password, person, consents) replaces what earlier ones said, and their links are void.
    ///
    /// Registrations of one address with different passwords are of different people, perhaps, and whoever opens
    /// the mail need not be the one whose password stands last. Then no password opens the account until its
    /// owner has chosen one by a link to the address.
    pub async fn register(&self, registration: &Registration, client: &Client) -> Result<Uuid, Error> {
        let password_hash = self.passwords.hash(registration.password.expose()).await?;
        let contested = self.is_contested(registration).await?;
        let now = runtime::clock::now();
        let id = Uuid::now_v7();
        let mut tx = self.pool.begin().await?;
        let user = users::NewUser {
            id,
            registration,
            password_hash: &password_hash,
            role: Role::Customer,
            verified_at: None,
            terms_version: TERMS_VERSION,
        };
        if users::insert(&mut tx, &user, now).await? {
            mails::request(&mut tx, id, mails::Kind::Verification, false, now).await?;
            announce(&mut tx, CUSTOMER_REGISTERED, id, None, now).await?;
            audit_own(&mut tx, id, "account.registered", client, now).await?;
        } else {
            let replaced = replace_unproven(&mut tx, &user, contested, client, now).await?;
            if !replaced {
                remind_owner(&mut tx, &registration.email, now).await?;
            }
        }
        tx.commit().await?;
        self.wake.mails.notify_one();
        Ok(id)
    }

    /// Whether the address was registered with another password. The same work is done for one that was not.
    async fn is_contested(&self, registration: &Registration) -> Result<bool, Error> {
        let found = users::find_by_email(&mut *self.pool.acquire().await?, &registration.email).await?;
        let stored = found.as_ref().map(|user| user.password_hash.as_str());
        let verdict = self.passwords.verify(stored, registration.password.expose()).await?;
        Ok(found.is_some() && verdict == Verdict::Wrong)
    }
}

/// Puts a registration in the place of an earlier one of the same, unproven address. False: the address is
/// proved, or its owner was mailed too often within an hour; then nothing of the earlier registration
/// changes, and its links stay good.
async fn replace_unproven(
    tx: &mut sqlx::PgConnection,
    newest: &users::NewUser<'_>,
    contested: bool,
    client: &Client,
    now: time::OffsetDateTime,
) -> Result<bool, Error> {
    let Some(found) = users::find_by_email(tx, &newest.registration.email).await? else { return Ok(false) };
    let Some(owner) = users::lock(tx, found.id).await? else { return Ok(false) };
    if owner.verified_at.is_some() || !owner.is_active {
        return Ok(false);
    }
    if contested {
        // Also when nothing else is changed: the links that are out confirm somebody's password.
        users::require_reset(tx, owner.id, now).await?;
    }
    let mut change = tx.begin().await?;
    mails::void(&mut change, owner.id, mails::Kind::Verification).await?;
    if !mails::request(&mut change, owner.id, mails::Kind::Verification, false, now).await? {
        change.rollback().await?;
        return Ok(false);
    }
    users::replace_registration(&mut change, owner.id, newest, now).await?;
    audit_own(&mut change, owner.id, "account.registered_again", client, now).await?;
    change.commit().await?;
    Ok(true)
}

/// Whoever owns the address gets the mail that helps: the link to prove it, or the link to a new password.
async fn remind_owner(
    tx: &mut sqlx::PgConnection,
    email: &EmailAddress,
    now: time::OffsetDateTime,
) -> Result<(), Error> {
    let Some(owner) = users::find_by_email(tx, email).await?.filter(|owner| owner.is_active) else {
        return Ok(());
    };
    let kind =
        if owner.verified_at.is_some() { mails::Kind::PasswordReset } else { mails::Kind::Verification };
    mails::request(tx, owner.id, kind, false, now).await?;
    Ok(())
}
