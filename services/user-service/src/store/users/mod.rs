//! Table `users`: reading. Changes are in [`changes`].

mod changes;

use runtime::identity::Role;
use runtime::page::Page;
use sqlx::PgConnection;
use time::OffsetDateTime;
use uuid::Uuid;

pub use changes::*;

use crate::domain::EmailAddress;
use crate::domain::users::{Filter, Switches, User};

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
pub(in crate::store) fn parse_role(word: &str) -> sqlx::Result<Role> {
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
pub async fn find_by_email(
    connection: &mut PgConnection,
    email: &EmailAddress,
) -> sqlx::Result<Option<User>> {
    one(select_users!("WHERE email = $1 AND closed_at IS NULL", email.as_str())
        .fetch_optional(connection)
        .await?)
}

/// An account that is not erased.
pub async fn find(connection: &mut PgConnection, id: Uuid) -> sqlx::Result<Option<User>> {
    one(select_users!("WHERE id = $1 AND erased_at IS NULL", id).fetch_optional(connection).await?)
}

/// The same, locked until the transaction ends.
pub async fn lock(connection: &mut PgConnection, id: Uuid) -> sqlx::Result<Option<User>> {
    one(select_users!("WHERE id = $1 AND erased_at IS NULL FOR UPDATE", id)
        .fetch_optional(connection)
        .await?)
}

/// Accounts that are not erased, of these ids.
pub async fn find_many(connection: &mut PgConnection, ids: &[Uuid]) -> sqlx::Result<Vec<User>> {
    let rows = select_users!("WHERE id = ANY($1) AND erased_at IS NULL ORDER BY id", ids)
        .fetch_all(connection)
        .await?;
    rows.into_iter().map(User::try_from).collect()
}

/// Erased accounts after this id, with the time of the erasure.
pub async fn list_erased(
    connection: &mut PgConnection,
    after: Uuid,
    limit: u16,
) -> sqlx::Result<Vec<(Uuid, OffsetDateTime)>> {
    let rows = sqlx::query!(
        r#"SELECT id, erased_at AS "erased_at!" FROM users
           WHERE erased_at IS NOT NULL AND id > $1 ORDER BY id LIMIT $2"#,
        after,
        i64::from(limit)
    )
    .fetch_all(connection)
    .await?;
    Ok(rows.into_iter().map(|row| (row.id, row.erased_at)).collect())
}

/// Newest first; `query` is found in address and names.
pub async fn list(
    connection: &mut PgConnection,
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
        filter.as_str(),
        page.limit(),
        page.offset()
    )
    .fetch_all(&mut *connection)
    .await?;
    let total = sqlx::query_scalar!(
        r"SELECT count(*) FROM users WHERE erased_at IS NULL
            AND ($1 = '%%' OR email ILIKE $1 OR first_name || ' ' || last_name ILIKE $1 OR company ILIKE $1)
            AND CASE $2::text WHEN 'active' THEN is_active WHEN 'inactive' THEN NOT is_active
                WHEN 'unverified' THEN verified_at IS NULL ELSE true END",
        pattern,
        filter.as_str()
    )
    .fetch_one(connection)
    .await?;
    Ok((rows.into_iter().map(User::try_from).collect::<sqlx::Result<_>>()?, super::unsigned(total)))
}
