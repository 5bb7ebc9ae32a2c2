//! The first super_admin (USR-23): made once by a command, never by a seed row.

use anyhow::{Context as _, bail};
use contracts::events::topics::CUSTOMER_REGISTERED;
use runtime::identity::Role;
use secrecy::ExposeSecret as _;
use sqlx::PgPool;
use uuid::Uuid;

use super::announce;
use crate::config::{AdminSettings, admin_password};
use crate::domain::Registration;
use crate::domain::people::RawRegistration;
use crate::passwords::{Cost, Passwords};
use crate::store::{audit, users};

/// Reads the password and creates the account.
pub async fn run(pool: &PgPool, settings: &AdminSettings) -> anyhow::Result<Uuid> {
    let password = admin_password()?;
    let raw = RawRegistration {
        email: &settings.email,
        password: password.expose_secret(),
        first_name: &settings.first_name,
        last_name: &settings.last_name,
        accept_terms: true,
        ..RawRegistration::default()
    };
    let registration = match Registration::try_new(&raw) {
        Ok(registration) => registration,
        Err(wrong) => {
            let texts: Vec<String> = wrong
                .into_iter()
                .map(|violation| format!("{} {}", violation.field, violation.message))
                .collect();
            bail!("{}", texts.join("; "));
        }
    };
    create(pool, &registration, &Passwords::try_new(Cost::STANDARD)?).await
}

/// Creates the account, verified and active; refuses when there is a super_admin or an account of the
/// address.
pub async fn create(
    pool: &PgPool,
    registration: &Registration,
    passwords: &Passwords,
) -> anyhow::Result<Uuid> {
    let hash = passwords.hash(registration.password.expose()).await?;
    let now = runtime::clock::now();
    let id = Uuid::now_v7();
    let mut tx = pool.begin().await.context("cannot reach the database")?;
    if users::other_super_admins(&mut tx, Uuid::nil()).await? > 0 {
        bail!("there is a super_admin already: roles are given by PUT /user/admin/customers/{{id}}/role");
    }
    let user = users::NewUser {
        id,
        registration,
        password_hash: &hash,
        role: Role::SuperAdmin,
        verified_at: Some(now),
        terms_version: crate::domain::people::TERMS_VERSION,
    };
    if !users::insert(&mut tx, &user, now).await? {
        bail!("there is an account of this address already");
    }
    announce(&mut tx, CUSTOMER_REGISTERED, id, None, now).await?;
    let entry = audit::Entry {
        actor: "user-service admin create",
        action: "account.first_super_admin_created",
        target: &id.to_string(),
        customer: Some(id),
        request_id: "",
        ip: "",
        reason: "",
    };
    audit::insert(&mut tx, &entry, now).await?;
    tx.commit().await?;
    Ok(id)
}
