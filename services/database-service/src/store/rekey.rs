//! Encrypted values of all tables, for a change of the data key (SEC-12).

use sqlx::PgConnection;
use uuid::Uuid;

use crate::secrets::Sealed;

/// Where encrypted values are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// Administrators' passwords.
    Servers,
    /// Those that servers get next.
    NextServers,
    /// Tenants' passwords.
    Allocations,
    /// Passwords of copies.
    Moves,
    /// Passwords that tenants get next.
    Rotations,
    /// Keys of certificate authorities.
    Authorities,
    /// Keys of servers' certificates.
    Certificates,
}

impl Place {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Servers,
        Self::NextServers,
        Self::Allocations,
        Self::Moves,
        Self::Rotations,
        Self::Authorities,
        Self::Certificates,
    ];

    /// For people.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Servers => "server_secrets",
            Self::NextServers => "server_secrets (next)",
            Self::Allocations => "allocation_secrets",
            Self::Moves => "moves",
            Self::Rotations => "rotations",
            Self::Authorities => "authorities",
            Self::Certificates => "server_certificates",
        }
    }
}

/// One value.
#[derive(Debug, Clone)]
pub struct Value {
    /// Its row.
    pub row: Uuid,
    /// What it is encrypted for.
    pub bound_to: Uuid,
    /// The value.
    pub sealed: Sealed,
}

struct Found {
    row: Uuid,
    bound_to: Uuid,
    key_id: String,
    sealed: Vec<u8>,
}

/// Values that another key than `key_id` encrypted, locked until the end of the transaction.
pub async fn of_other_keys(
    conn: &mut PgConnection,
    place: Place,
    key_id: &str,
    limit: i64,
) -> sqlx::Result<Vec<Value>> {
    let rows = match place {
        Place::Servers => {
            sqlx::query_as!(
                Found,
                r#"SELECT db_server_id AS row, db_server_id AS bound_to, key_id, sealed FROM server_secrets
                   WHERE key_id <> $1 ORDER BY db_server_id LIMIT $2 FOR UPDATE"#,
                key_id,
                limit
            )
            .fetch_all(conn)
            .await?
        }
        Place::NextServers => {
            sqlx::query_as!(
                Found,
                r#"SELECT db_server_id AS row, db_server_id AS bound_to, next_key_id AS "key_id!", next_sealed AS "sealed!" FROM server_secrets
                   WHERE next_key_id <> $1 ORDER BY db_server_id LIMIT $2 FOR UPDATE"#,
                key_id,
                limit
            )
            .fetch_all(conn)
            .await?
        }
        Place::Allocations => {
            sqlx::query_as!(
                Found,
                r#"SELECT allocation_id AS row, allocation_id AS bound_to, key_id, sealed FROM allocation_secrets
                   WHERE key_id <> $1 ORDER BY allocation_id LIMIT $2 FOR UPDATE"#,
                key_id,
                limit
            )
            .fetch_all(conn)
            .await?
        }
        Place::Moves => {
            sqlx::query_as!(
                Found,
                r#"SELECT id AS row, id AS bound_to, key_id AS "key_id!", sealed AS "sealed!" FROM moves
                   WHERE key_id <> $1 ORDER BY id LIMIT $2 FOR UPDATE"#,
                key_id,
                limit
            )
            .fetch_all(conn)
            .await?
        }
        Place::Rotations => {
            sqlx::query_as!(
                Found,
                r#"SELECT id AS row, allocation_id AS bound_to, key_id AS "key_id!", sealed AS "sealed!" FROM rotations
                   WHERE key_id <> $1 ORDER BY id LIMIT $2 FOR UPDATE"#,
                key_id,
                limit
            )
            .fetch_all(conn)
            .await?
        }
        Place::Authorities => {
            sqlx::query_as!(
                Found,
                r#"SELECT id AS row, id AS bound_to, key_id, sealed FROM authorities
                   WHERE key_id <> $1 ORDER BY id LIMIT $2 FOR UPDATE"#,
                key_id,
                limit
            )
            .fetch_all(conn)
            .await?
        }
        Place::Certificates => {
            sqlx::query_as!(
                Found,
                r#"SELECT db_server_id AS row, db_server_id AS bound_to, key_id, sealed FROM server_certificates
                   WHERE key_id <> $1 ORDER BY db_server_id LIMIT $2 FOR UPDATE"#,
                key_id,
                limit
            )
            .fetch_all(conn)
            .await?
        }
    };
    Ok(rows
        .into_iter()
        .map(|row| Value {
            row: row.row,
            bound_to: row.bound_to,
            sealed: Sealed { key_id: row.key_id, bytes: row.sealed },
        })
        .collect())
}

/// Writes a value anew. The caller holds its lock.
pub async fn put(conn: &mut PgConnection, place: Place, row: Uuid, sealed: &Sealed) -> sqlx::Result<()> {
    let (key, bytes) = (&sealed.key_id, &sealed.bytes);
    match place {
        Place::Servers => {
            sqlx::query!(
                "UPDATE server_secrets SET key_id = $2, sealed = $3 WHERE db_server_id = $1",
                row,
                key,
                bytes
            )
        }
        Place::NextServers => {
            sqlx::query!(
                "UPDATE server_secrets SET next_key_id = $2, next_sealed = $3 WHERE db_server_id = $1",
                row,
                key,
                bytes
            )
        }
        Place::Allocations => {
            sqlx::query!(
                "UPDATE allocation_secrets SET key_id = $2, sealed = $3 WHERE allocation_id = $1",
                row,
                key,
                bytes
            )
        }
        Place::Moves => {
            sqlx::query!("UPDATE moves SET key_id = $2, sealed = $3 WHERE id = $1", row, key, bytes)
        }
        Place::Rotations => {
            sqlx::query!("UPDATE rotations SET key_id = $2, sealed = $3 WHERE id = $1", row, key, bytes)
        }
        Place::Authorities => {
            sqlx::query!("UPDATE authorities SET key_id = $2, sealed = $3 WHERE id = $1", row, key, bytes)
        }
        Place::Certificates => {
            sqlx::query!(
                "UPDATE server_certificates SET key_id = $2, sealed = $3 WHERE db_server_id = $1",
                row,
                key,
                bytes
            )
        }
    }
    .execute(conn)
    .await?;
    Ok(())
}
