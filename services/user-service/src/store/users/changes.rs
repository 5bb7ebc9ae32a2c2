//! Table `users`: changes. Each names the state that it expects, where that matters.

use runtime::identity::Role;
use sqlx::PgConnection;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::domain::users::User;
use crate::domain::{Preferences, ProfileChange, Registration, Theme};

/// A new account.
#[derive(Debug)]
pub struct NewUser<'a> {
    /// Its id.
    pub id: Uuid,
    /// What the person told.
    pub registration: &'a Registration,
    /// Hash of the password.
    pub password_hash: &'a str,
    /// Role.
    pub role: Role,
    /// Verified at once (first administrator only).
    pub verified_at: Option<OffsetDateTime>,
    /// Version of the accepted terms.
    pub terms_version: &'a str,
}

/// Adds an account; false when the address has an open one already.
pub async fn insert(
    connection: &mut PgConnection,
    user: &NewUser<'_>,
    now: OffsetDateTime,
) -> sqlx::Result<bool> {
    let told = user.registration;
    let done = sqlx::query!(
        "INSERT INTO users (id, email, password_hash, first_name, last_name, phone, company, country, timezone, language, role, verified_at,
                            terms_version, terms_accepted_at, marketing_consent, created_at, updated_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $14, $14)
         ON CONFLICT (email) WHERE closed_at IS NULL DO NOTHING",
        user.id,
        told.email.as_str(),
        user.password_hash,
        told.first_name,
        told.last_name,
        told.phone,
        told.company,
        told.country,
        told.timezone,
        told.language,
        user.role.as_str(),
        user.verified_at,
        user.terms_version,
        now,
        told.marketing_consent
    )
    .execute(connection)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// What a newer registration of the same address says takes the place of what an earlier one said.
pub async fn replace_registration(
    connection: &mut PgConnection,
    id: Uuid,
    newest: &NewUser<'_>,
    now: OffsetDateTime,
) -> sqlx::Result<()> {
    let told = newest.registration;
    sqlx::query!(
        "UPDATE users SET password_hash = $2, first_name = $3, last_name = $4,
                phone = $5, company = $6, country = $7, timezone = $8, language = $9, avatar_url = '',
                terms_version = $10, terms_accepted_at = $11, marketing_consent = $12, updated_at = $11,
                version = version + 1
         WHERE id = $1 AND verified_at IS NULL",
        id,
        newest.password_hash,
        told.first_name,
        told.last_name,
        told.phone,
        told.company,
        told.country,
        told.timezone,
        told.language,
        newest.terms_version,
        now,
        told.marketing_consent
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Marks the address as proved; false when it was already.
pub async fn verify(connection: &mut PgConnection, id: Uuid, now: OffsetDateTime) -> sqlx::Result<bool> {
    let done = sqlx::query!(
        "UPDATE users SET verified_at = $2, updated_at = $2, version = version + 1 WHERE id = $1 AND verified_at IS NULL",
        id,
        now
    )
    .execute(connection)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Notes a log-in and stores the hash anew when `rehashed` is given; false when the account or its password
/// changed since it was read.
pub async fn note_login(
    connection: &mut PgConnection,
    user: &User,
    rehashed: Option<&str>,
    now: OffsetDateTime,
) -> sqlx::Result<bool> {
    let done = sqlx::query!(
        "UPDATE users SET last_login_at = $3, password_hash = coalesce($4, password_hash)
         WHERE id = $1 AND password_hash = $2 AND is_active AND NOT password_reset_needed",
        user.id,
        user.password_hash,
        now,
        rehashed
    )
    .execute(connection)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Replaces the password.
pub async fn set_password(
    connection: &mut PgConnection,
    id: Uuid,
    hash: &str,
    now: OffsetDateTime,
) -> sqlx::Result<()> {
    sqlx::query!(
        "UPDATE users SET password_hash = $2, password_reset_needed = false, updated_at = $3 WHERE id = $1",
        id,
        hash,
        now
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// From now on the present password opens nothing.
pub async fn require_reset(connection: &mut PgConnection, id: Uuid, now: OffsetDateTime) -> sqlx::Result<()> {
    sqlx::query!("UPDATE users SET password_reset_needed = true, updated_at = $2 WHERE id = $1", id, now)
        .execute(connection)
        .await?;
    Ok(())
}

/// Changes what is given, if the version is still `expected` (or none is named).
pub async fn change_profile(
    connection: &mut PgConnection,
    id: Uuid,
    change: &ProfileChange,
    expected: Option<i64>,
    now: OffsetDateTime,
) -> sqlx::Result<bool> {
    let done = sqlx::query!(
        "UPDATE users SET first_name = coalesce($2, first_name), last_name = coalesce($3, last_name), phone = coalesce($4, phone),
                company = coalesce($5, company), country = coalesce($6, country), timezone = coalesce($7, timezone),
                language = coalesce($8, language), avatar_url = coalesce($9, avatar_url), version = version + 1, updated_at = $11
         WHERE id = $1 AND closed_at IS NULL AND version = coalesce($10, version)",
        id,
        change.first_name,
        change.last_name,
        change.phone,
        change.company,
        change.country,
        change.timezone,
        change.language,
        change.avatar_url,
        expected,
        now
    )
    .execute(connection)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Changes what is given.
pub async fn change_preferences(
    connection: &mut PgConnection,
    id: Uuid,
    wanted: &Preferences,
    now: OffsetDateTime,
) -> sqlx::Result<()> {
    let switch = |index: usize| wanted.notifications.map(|switches| switches[index]);
    sqlx::query!(
        "UPDATE users SET language = coalesce($2, language), theme = coalesce($3, theme), notify_instance = coalesce($4, notify_instance),
                notify_backup = coalesce($5, notify_backup), notify_product = coalesce($6, notify_product),
                version = version + 1, updated_at = $7
         WHERE id = $1 AND closed_at IS NULL",
        id,
        wanted.language,
        wanted.theme.map(Theme::as_str),
        switch(0),
        switch(1),
        switch(2),
        now
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Keeps the last answers of other services, so that a profile can be shown while they are away.
pub async fn remember_standing(
    connection: &mut PgConnection,
    id: Uuid,
    instance_count: i32,
    plan: Option<&str>,
    standing: &str,
) -> sqlx::Result<()> {
    sqlx::query!(
        "UPDATE users SET seen_instance_count = $2, seen_plan = $3, seen_standing = $4
         WHERE id = $1 AND (seen_instance_count, seen_plan, seen_standing) IS DISTINCT FROM ($2, $3, $4)",
        id,
        instance_count,
        plan,
        standing
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Turns an account on or off.
pub async fn set_active(
    connection: &mut PgConnection,
    id: Uuid,
    active: bool,
    now: OffsetDateTime,
) -> sqlx::Result<()> {
    sqlx::query!(
        "UPDATE users SET is_active = $2, updated_at = $3, version = version + 1 WHERE id = $1",
        id,
        active,
        now
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Gives a role.
pub async fn set_role(
    connection: &mut PgConnection,
    id: Uuid,
    role: Role,
    now: OffsetDateTime,
) -> sqlx::Result<()> {
    sqlx::query!(
        "UPDATE users SET role = $2, updated_at = $3, version = version + 1 WHERE id = $1",
        id,
        role.as_str(),
        now
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Sets the number of instances that an account may have.
pub async fn set_quota(
    connection: &mut PgConnection,
    id: Uuid,
    max: i32,
    now: OffsetDateTime,
) -> sqlx::Result<()> {
    sqlx::query!(
        "UPDATE users SET max_instances = $2, updated_at = $3, version = version + 1 WHERE id = $1",
        id,
        max,
        now
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Other super_admins who can act. Holds a lock until the transaction ends, so that two cannot remove each
/// other at once.
pub async fn other_super_admins(connection: &mut PgConnection, except: Uuid) -> sqlx::Result<u64> {
    lock_super_admins(connection).await?;
    let count = sqlx::query_scalar!(
        "SELECT count(*) FROM users WHERE role = 'super_admin' AND is_active AND id <> $1",
        except
    )
    .fetch_one(connection)
    .await?;
    Ok(crate::store::unsigned(count))
}

/// Serialises all that changes who is super_admin, until the transaction ends.
pub async fn lock_super_admins(connection: &mut PgConnection) -> sqlx::Result<()> {
    sqlx::query!("SELECT pg_advisory_xact_lock(hashtext('users.super_admin'))").execute(connection).await?;
    Ok(())
}

/// Closes an account.
pub async fn close(connection: &mut PgConnection, id: Uuid, now: OffsetDateTime) -> sqlx::Result<()> {
    sqlx::query!(
        "UPDATE users SET closed_at = $2, is_active = false, updated_at = $2, version = version + 1 WHERE id = $1",
        id,
        now
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Replaces everything that names a person (USR-20). The row stays: invoices and audit entries refer to it.
pub async fn erase(connection: &mut PgConnection, id: Uuid, now: OffsetDateTime) -> sqlx::Result<()> {
    sqlx::query!(
        "UPDATE users SET email = 'erased-' || id || '@erased.invalid', password_hash = '$argon2id$erased', first_name = 'Erased',
                last_name = 'Customer', phone = '', company = '', country = '', timezone = '', language = '', avatar_url = '',
                marketing_consent = false, last_login_at = NULL, erased_at = $2, updated_at = $2
         WHERE id = $1 AND closed_at IS NOT NULL",
        id,
        now
    )
    .execute(connection)
    .await?;
    Ok(())
}
