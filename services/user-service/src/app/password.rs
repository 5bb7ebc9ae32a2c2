//! Changing a password (USR-13) and setting a new one by mail (USR-14). The rule is the one of registration
//! (USR-03).

use contracts::events::topics::{CUSTOMER_PASSWORD_CHANGED, CUSTOMER_VERIFIED};
use runtime::grpc::FieldViolation;

use super::verify::token_owner;
use super::{App, Caller, Client, announce, audit_own};
use crate::domain::users::User;
use crate::domain::{EmailAddress, NewPassword, Violations};
use crate::error::Error;
use crate::guard::Entry;
use crate::passwords::Verdict;
use crate::store::mails::{self, Kind};
use crate::store::sessions::{self, End};
use crate::store::users;
use crate::tokens::hash_of;

/// A new password as typed, twice.
#[derive(Debug)]
pub struct Wanted<'a> {
    /// `new_password`
    pub new: &'a str,
    /// `confirm_password`
    pub confirm: &'a str,
}

impl Wanted<'_> {
    /// A violation of the rule is named `password`, as on all routes, and also after the field of this body.
    fn check(&self, email: Option<&EmailAddress>) -> Result<NewPassword, Vec<FieldViolation>> {
        let mut wrong = Violations::default();
        let password = NewPassword::try_new(self.new, email);
        if let Err(message) = &password {
            wrong.add("password", message.clone());
            wrong.add("new_password", message.clone());
        }
        if self.new != self.confirm {
            wrong.add("confirm_password", "must be equal to new_password");
        }
        let wrong = wrong.into_vec();
        match password {
            Ok(password) if wrong.is_empty() => Ok(password),
            _ => Err(wrong),
        }
    }
}

impl App {
    /// Replaces the password of a signed-in user and ends all other sessions.
    pub async fn change_password(
        &self,
        caller: &Caller,
        current: &str,
        wanted: &Wanted<'_>,
    ) -> Result<(), Error> {
        let user = self.own_account(caller).await?;
        let password = wanted.check(EmailAddress::try_new(&user.email).ok().as_ref())?;
        self.prove_password(&user, current, &caller.client).await?;
        let hash = self.passwords.hash(password.expose()).await?;
        let now = runtime::clock::now();
        let mut tx = self.pool.begin().await?;
        let locked = users::lock(&mut tx, user.id).await?.ok_or(Error::NotFound("account"))?;
        if locked.password_hash != user.password_hash {
            return Err(Error::WrongPassword);
        }
        users::set_password(&mut tx, user.id, &hash, now).await?;
        sessions::end_all(&mut tx, user.id, Some(caller.session), End::Password, now).await?;
        mails::use_up(&mut tx, user.id, Kind::PasswordReset, now).await?;
        announce(&mut tx, CUSTOMER_PASSWORD_CHANGED, user.id, None, now).await?;
        audit_own(&mut tx, user.id, "password.changed", &caller.client, now).await?;
        tx.commit().await?;
        Ok(())
    }

    /// Sets a new password by a token from a mail and ends all sessions.
    pub async fn complete_password_reset(
        &self,
        token: &str,
        wanted: &Wanted<'_>,
        client: &Client,
    ) -> Result<(), Error> {
        wanted.check(None)?;
        let hash_of_token = hash_of(token);
        let email = {
            let mut tx = self.pool.begin().await?;
            let user = resettable(&mut tx, &hash_of_token).await?;
            EmailAddress::try_new(&user.email).ok()
        };
        let password = wanted.check(email.as_ref())?;
        // Hashing takes long: not inside of a transaction. The token is proved again afterwards.
        let password_hash = self.passwords.hash(password.expose()).await?;
        let now = runtime::clock::now();
        let mut tx = self.pool.begin().await?;
        let user = resettable(&mut tx, &hash_of_token).await?;
        users::set_password(&mut tx, user.id, &password_hash, now).await?;
        mails::use_up(&mut tx, user.id, Kind::PasswordReset, now).await?;
        sessions::end_all(&mut tx, user.id, None, End::Password, now).await?;
        // The link came by mail: whoever has it owns the address.
        if users::verify(&mut tx, user.id, now).await? {
            mails::use_up(&mut tx, user.id, Kind::Verification, now).await?;
            announce(&mut tx, CUSTOMER_VERIFIED, user.id, None, now).await?;
        }
        announce(&mut tx, CUSTOMER_PASSWORD_CHANGED, user.id, None, now).await?;
        audit_own(&mut tx, user.id, "password.reset", client, now).await?;
        tx.commit().await?;
        self.guard.lift(&user.email).await;
        Ok(())
    }

    /// The row of a signed-in user.
    pub(super) async fn own_account(&self, caller: &Caller) -> Result<User, Error> {
        let mut connection = self.pool.acquire().await?;
        users::find(&mut connection, caller.id).await?.ok_or(Error::NotFound("account"))
    }

    /// Asks for the present password once more. Guessing is slowed down as at log-in; while Redis is away
    /// only log-in is closed.
    pub(super) async fn prove_password(
        &self,
        user: &User,
        password: &str,
        client: &Client,
    ) -> Result<(), Error> {
        if !(1..=128).contains(&password.chars().count()) {
            return Err(Error::WrongPassword);
        }
        let attempt = self.guard.attempt(&user.email, client.ip);
        let guarded = match self.guard.begin(&attempt).await {
            Ok(Entry::Blocked(wait)) => return Err(Error::RateLimited(wait)),
            Ok(Entry::Open) => true,
            Err(_) => false,
        };
        match self.passwords.verify(Some(&user.password_hash), password).await? {
            Verdict::Right { .. } => {
                if guarded {
                    self.guard.succeeded(&attempt).await;
                }
                Ok(())
            }
            Verdict::Wrong => {
                if guarded {
                    self.guard.failed(&attempt).await?;
                }
                Err(Error::WrongPassword)
            }
        }
    }
}

/// The account of a reset token that is good now: of the newest request, unused, not expired.
async fn resettable(tx: &mut sqlx::PgConnection, token: &crate::tokens::TokenHash) -> Result<User, Error> {
    let (found, user) = token_owner(tx, Kind::PasswordReset, token).await?;
    if found.used || !found.newest || !user.is_active || runtime::clock::now() >= found.expires_at {
        return Err(Error::InvalidToken);
    }
    Ok(user)
}
