//! Table `users`.

use runtime::identity::Role;
use runtime::page::Page;
use sqlx::PgConnection;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::domain::{EmailAddress, Preferences, ProfileChange, Registration};

/// An account.
#[derive(Debug, Clone)]
#[expect(missing_docs, reason = "the fields are those of the table, where they are explained")]
pub struct User {
    pub id: Uuid,
    pub email: String,
    pub password_hash: String,
    pub password_reset_needed: bool,
    pub first_name: String,
    pub last_name: String,
    pub phone: String,
    pub company: String,
    pub country: String,
    pub timezone: String,
    pub language: String,
    pub avatar_url: String,
    pub role: Role,
    pub is_active: bool,
    pub verified_at: Option<OffsetDateTime>,
    pub theme: String,
    pub switches: Switches,
    pub max_instances: Option<i32>,
    pub seen_instance_count: i32,
    pub seen_plan: Option<String>,
    pub seen_standing: String,
    pub version: i64,
    pub created_at: OffsetDateTime,
    pub last_login_at: Option<OffsetDateTime>,
    pub closed_at: Option<OffsetDateTime>,
}

/// Which kinds of mails a person wants (USR-19).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Switches {
    /// On instances.
    pub instance: bool,
    /// On backups.
    pub backup: bool,
    /// On the product.
    pub product: bool,
}

#[expect(clippy::struct_excessive_bools, reason = "one field a column")]
struct Row {
    id: Uuid,
    email: String,
    password_hash: String,
    password_reset_needed: bool,
    first_name: String,
    last_name: String,
    phone: String,
    company: String,
    country: String,
    timezone: String,
    language: String,
    avatar_url: String,
    role: String,
    is_active: bool,
    verified_at: Option<OffsetDateTime>,
    theme: String,
    notify_instance: bool,
    notify_backup: bool,
    notify_product: bool,
    max_instances: Option<i32>,
    seen_instance_count: i32,
    seen_plan: Option<String>,
    seen_standing: String,
    version: i64,
    created_at: OffsetDateTime,
    last_login_at: Option<OffsetDateTime>,
    closed_at: Option<OffsetDateTime>,
}

impl TryFrom<Row> for User {
    type Error = sqlx::Error;
    fn try_from(row: Row) -> sqlx::Result<Self> {
        let role = parse_role(&row.role)?;
        Ok(Self {
            id: row.id,
            email: row.email,
            password_hash: row.password_hash,
            password_reset_needed: row.password_reset_needed,
            first_name: row.first_name,
            last_name: row.last_name,
            phone: row.phone,
            company: row.company,
            country: row.country,
            timezone: row.timezone,
            language: row.language,
            avatar_url: row.avatar_url,
            role,
            is_active: row.is_active,
            verified_at: row.verified_at,
            theme: row.theme,
            switches: Switches {
                instance: row.notify_instance,
                backup: row.notify_backup,
                product: row.notify_product,
            },
            max_instances: row.max_instances,
            seen_instance_count: row.seen_instance_count,
            seen_plan: row.seen_plan,
            seen_standing: row.seen_standing,
            version: row.version,
            created_at: row.created_at,
            last_login_at: row.last_login_at,
            closed_at: row.closed_at,
        })
    }
}

/// A role word of a row. The CHECK of the table knows the same words.
pub(super) fn parse_role(word: &str) -> sqlx::Result<Role> {
    word.parse().map_err(|_| sqlx::Error::Decode(format!("unknown role {word:?} in table users").into()))
}

/// One statement for all that read whole accounts.
macro_rules! select_users {
    ($tail:literal $(, $argument:expr)*) => {
        sqlx::query_as!(
            Row,
            "SELECT id, email, password_hash, password_reset_needed, first_name, last_name, phone, company, country, timezone, language,
                    avatar_url, role, is_active, verified_at, theme, notify_instance, notify_backup, notify_product, max_instances,
                    seen_instance_count, seen_plan, seen_standing, version, created_at, last_login_at, closed_at
             FROM users " + $tail
            $(, $argument)*
        )
    };
}

fn one(row: Option<Row>) -> sqlx::Result<Option<User>> {
    row.map(User::try_from).transpose()
}

/// The open account of an address.
pub async fn find_by_email(db: &mut PgConnection, email: &EmailAddress) -> sqlx::Result<Option<User>> {
    one(select_users!("WHERE email = $1 AND closed_at IS NULL", email.as_str()).fetch_optional(db).await?)
}

/// An account that is not erased.
pub async fn find(db: &mut PgConnection, id: Uuid) -> sqlx::Result<Option<User>> {
    one(select_users!("WHERE id = $1 AND erased_at IS NULL", id).fetch_optional(db).await?)
}

/// The same, locked until the transaction ends.
pub async fn lock(db: &mut PgConnection, id: Uuid) -> sqlx::Result<Option<User>> {
    one(select_users!("WHERE id = $1 AND erased_at IS NULL FOR UPDATE", id).fetch_optional(db).await?)
}

/// Accounts that are not erased, of these ids.
pub async fn find_many(db: &mut PgConnection, ids: &[Uuid]) -> sqlx::Result<Vec<User>> {
    let rows =
        select_users!("WHERE id = ANY($1) AND erased_at IS NULL ORDER BY id", ids).fetch_all(db).await?;
    rows.into_iter().map(User::try_from).collect()
}

/// Which accounts a list shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Filter {
    /// All that are not erased.
    All,
    /// Usable ones.
    Active,
    /// Turned off or closed.
    Inactive,
    /// Never verified.
    Unverified,
}

impl Filter {
    fn word(self) -> &'static str {
        match self {
            Self::All => "",
            Self::Active => "active",
            Self::Inactive => "inactive",
            Self::Unverified => "unverified",
        }
    }
}

/// Newest first; `query` is found in address and names.
pub async fn list(
    db: &mut PgConnection,
    query: &str,
    filter: Filter,
    page: Page,
) -> sqlx::Result<(Vec<User>, u64)> {
    // LIKE's own signs are ordinary characters here.
    let pattern = format!("%{}%", query.replace('\\', r"\\").replace('%', r"\%").replace('_', r"\_"));
    let rows = select_users!(
        r"WHERE erased_at IS NULL
            AND ($1 = '%%' OR email ILIKE $1 OR first_name || ' ' || last_name ILIKE $1 OR company ILIKE $1)
            AND CASE $2::text WHEN 'active' THEN is_active WHEN 'inactive' THEN NOT is_active
                WHEN 'unverified' THEN verified_at IS NULL ELSE true END
          ORDER BY created_at DESC, id LIMIT $3 OFFSET $4",
        pattern,
        filter.word(),
        page.limit(),
        page.offset()
    )
    .fetch_all(&mut *db)
    .await?;
    let total = sqlx::query_scalar!(
        r"SELECT count(*) FROM users WHERE erased_at IS NULL
            AND ($1 = '%%' OR email ILIKE $1 OR first_name || ' ' || last_name ILIKE $1 OR company ILIKE $1)
            AND CASE $2::text WHEN 'active' THEN is_active WHEN 'inactive' THEN NOT is_active
                WHEN 'unverified' THEN verified_at IS NULL ELSE true END",
        pattern,
        filter.word()
    )
    .fetch_one(db)
    .await?;
    Ok((rows.into_iter().map(User::try_from).collect::<sqlx::Result<_>>()?, super::unsigned(total)))
}

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
pub async fn insert(db: &mut PgConnection, user: &NewUser<'_>, now: OffsetDateTime) -> sqlx::Result<bool> {
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
    .execute(db)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Marks the address as proved; false when it was already.
pub async fn verify(db: &mut PgConnection, id: Uuid, now: OffsetDateTime) -> sqlx::Result<bool> {
    let done = sqlx::query!(
        "UPDATE users SET verified_at = $2, updated_at = $2, version = version + 1 WHERE id = $1 AND verified_at IS NULL",
        id,
        now
    )
    .execute(db)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Notes a log-in and stores the hash anew when `rehashed` is given; false when the account or its password changed since it was read.
pub async fn note_login(
    db: &mut PgConnection,
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
    .execute(db)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Replaces the password.
pub async fn set_password(
    db: &mut PgConnection,
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
    .execute(db)
    .await?;
    Ok(())
}

/// From now on the present password opens nothing.
pub async fn require_reset(db: &mut PgConnection, id: Uuid, now: OffsetDateTime) -> sqlx::Result<()> {
    sqlx::query!("UPDATE users SET password_reset_needed = true, updated_at = $2 WHERE id = $1", id, now)
        .execute(db)
        .await?;
    Ok(())
}

/// Changes what is given, if the version is still `expected` (or none is named).
pub async fn change_profile(
    db: &mut PgConnection,
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
    .execute(db)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Changes what is given.
pub async fn change_preferences(
    db: &mut PgConnection,
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
        wanted.theme.map(crate::domain::Theme::as_str),
        switch(0),
        switch(1),
        switch(2),
        now
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Keeps the last answers of other services, so that a profile can be shown while they are away.
pub async fn remember_standing(
    db: &mut PgConnection,
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
    .execute(db)
    .await?;
    Ok(())
}

/// Turns an account on or off.
pub async fn set_active(
    db: &mut PgConnection,
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
    .execute(db)
    .await?;
    Ok(())
}

/// Gives a role.
pub async fn set_role(db: &mut PgConnection, id: Uuid, role: Role, now: OffsetDateTime) -> sqlx::Result<()> {
    sqlx::query!(
        "UPDATE users SET role = $2, updated_at = $3, version = version + 1 WHERE id = $1",
        id,
        role.as_str(),
        now
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Sets the number of instances that an account may have.
pub async fn set_quota(db: &mut PgConnection, id: Uuid, max: i32, now: OffsetDateTime) -> sqlx::Result<()> {
    sqlx::query!(
        "UPDATE users SET max_instances = $2, updated_at = $3, version = version + 1 WHERE id = $1",
        id,
        max,
        now
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Other super_admins who can act. Holds a lock until the transaction ends, so that two cannot remove each other at once.
pub async fn other_super_admins(db: &mut PgConnection, except: Uuid) -> sqlx::Result<u64> {
    lock_super_admins(db).await?;
    let count = sqlx::query_scalar!(
        "SELECT count(*) FROM users WHERE role = 'super_admin' AND is_active AND id <> $1",
        except
    )
    .fetch_one(db)
    .await?;
    Ok(super::unsigned(count))
}

/// Serialises all that changes who is super_admin, until the transaction ends.
pub async fn lock_super_admins(db: &mut PgConnection) -> sqlx::Result<()> {
    sqlx::query!("SELECT pg_advisory_xact_lock(hashtext('users.super_admin'))").execute(db).await?;
    Ok(())
}

/// Closes an account.
pub async fn close(db: &mut PgConnection, id: Uuid, now: OffsetDateTime) -> sqlx::Result<()> {
    sqlx::query!(
        "UPDATE users SET closed_at = $2, is_active = false, updated_at = $2, version = version + 1 WHERE id = $1",
        id,
        now
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Replaces everything that names a person (USR-20). The row stays: invoices and audit entries refer to it.
pub async fn erase(db: &mut PgConnection, id: Uuid, now: OffsetDateTime) -> sqlx::Result<()> {
    sqlx::query!(
        "UPDATE users SET email = 'erased-' || id || '@erased.invalid', password_hash = '$argon2id$erased', first_name = 'Erased',
                last_name = 'Customer', phone = '', company = '', country = '', timezone = '', language = '', avatar_url = '',
                marketing_consent = false, erased_at = $2, updated_at = $2
         WHERE id = $1 AND closed_at IS NOT NULL",
        id,
        now
    )
    .execute(db)
    .await?;
    Ok(())
}
