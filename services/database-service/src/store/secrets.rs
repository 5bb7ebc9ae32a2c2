//! Tables `server_secrets` and `allocation_secrets`: encrypted values only.

use sqlx::PgConnection;
use uuid::Uuid;

use crate::secrets::Sealed;

/// Stores the administrator's password of a server.
pub async fn put_server(
    connection: &mut PgConnection,
    server: Uuid,
    sealed: &Sealed,
    hash: &str,
) -> sqlx::Result<()> {
    sqlx::query!(
        "INSERT INTO server_secrets (db_server_id, key_id, sealed, secret_hash) VALUES ($1, $2, $3, $4)
         ON CONFLICT (db_server_id) DO UPDATE SET key_id = $2, sealed = $3, secret_hash = $4, updated_at = now()",
        server,
        sealed.key_id,
        sealed.bytes,
        hash
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// The administrator's password of a server, and its hash.
pub async fn server(connection: &mut PgConnection, server: Uuid) -> sqlx::Result<Option<(Sealed, String)>> {
    let row = sqlx::query!(
        "SELECT key_id, sealed, secret_hash FROM server_secrets WHERE db_server_id = $1",
        server
    )
    .fetch_optional(connection)
    .await?;
    Ok(row.map(|row| (Sealed { key_id: row.key_id, bytes: row.sealed }, row.secret_hash)))
}

/// The password that a server gets next, and its hash.
pub async fn next_server(
    connection: &mut PgConnection,
    server: Uuid,
) -> sqlx::Result<Option<(Sealed, String)>> {
    let row = sqlx::query!(
        "SELECT next_key_id, next_sealed, next_hash FROM server_secrets WHERE db_server_id = $1",
        server
    )
    .fetch_optional(connection)
    .await?;
    Ok(row.and_then(|row| {
        let sealed = Sealed { key_id: row.next_key_id?, bytes: row.next_sealed? };
        Some((sealed, row.next_hash?))
    }))
}

/// Writes down what a server gets next. False when there is such a password already.
pub async fn put_next_server(
    connection: &mut PgConnection,
    server: Uuid,
    sealed: &Sealed,
    hash: &str,
) -> sqlx::Result<bool> {
    let done = sqlx::query!(
        "UPDATE server_secrets SET next_key_id = $2, next_sealed = $3, next_hash = $4, updated_at = now()
         WHERE db_server_id = $1 AND next_hash IS NULL",
        server,
        sealed.key_id,
        sealed.bytes,
        hash
    )
    .execute(connection)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// The server has its next password: it is the one now.
pub async fn promote_server(connection: &mut PgConnection, server: Uuid, hash: &str) -> sqlx::Result<bool> {
    let done = sqlx::query!(
        "UPDATE server_secrets SET key_id = next_key_id, sealed = next_sealed, secret_hash = next_hash,
             next_key_id = NULL, next_sealed = NULL, next_hash = NULL, updated_at = now()
         WHERE db_server_id = $1 AND next_hash = $2",
        server,
        hash
    )
    .execute(connection)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Hashes of all servers' passwords.
pub async fn server_hashes(
    connection: &mut PgConnection,
) -> sqlx::Result<std::collections::HashMap<Uuid, String>> {
    let rows =
        sqlx::query!("SELECT db_server_id, secret_hash FROM server_secrets").fetch_all(connection).await?;
    Ok(rows.into_iter().map(|row| (row.db_server_id, row.secret_hash)).collect())
}

/// Stores a tenant's password.
pub async fn put_allocation(
    connection: &mut PgConnection,
    allocation: Uuid,
    sealed: &Sealed,
) -> sqlx::Result<()> {
    sqlx::query!(
        "INSERT INTO allocation_secrets (allocation_id, key_id, sealed) VALUES ($1, $2, $3)
         ON CONFLICT (allocation_id) DO UPDATE SET key_id = $2, sealed = $3, updated_at = now()",
        allocation,
        sealed.key_id,
        sealed.bytes
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// A tenant's password.
pub async fn allocation(connection: &mut PgConnection, allocation: Uuid) -> sqlx::Result<Option<Sealed>> {
    let row =
        sqlx::query!("SELECT key_id, sealed FROM allocation_secrets WHERE allocation_id = $1", allocation)
            .fetch_optional(connection)
            .await?;
    Ok(row.map(|row| Sealed { key_id: row.key_id, bytes: row.sealed }))
}

/// A tenant that may connect, and its password.
#[derive(Debug)]
pub struct Login {
    /// Its allocation, for which the password is encrypted.
    pub allocation: Uuid,
    /// Its role.
    pub user: String,
    /// The password.
    pub sealed: Sealed,
}

/// All tenants of a server that may connect.
pub async fn logins(connection: &mut PgConnection, server: Uuid) -> sqlx::Result<Vec<Login>> {
    let rows = sqlx::query!(
        "SELECT a.id, a.db_user, s.key_id, s.sealed FROM allocations a
         JOIN allocation_secrets s ON s.allocation_id = a.id
         WHERE a.db_server_id = $1 AND a.state = 'allocated' ORDER BY a.id",
        server
    )
    .fetch_all(connection)
    .await?;
    let login = rows.into_iter().map(|row| Login {
        allocation: row.id,
        user: row.db_user,
        sealed: Sealed { key_id: row.key_id, bytes: row.sealed },
    });
    Ok(login.collect())
}

/// Forgets a tenant's password.
pub async fn delete_allocation(connection: &mut PgConnection, allocation: Uuid) -> sqlx::Result<()> {
    sqlx::query!("DELETE FROM allocation_secrets WHERE allocation_id = $1", allocation)
        .execute(connection)
        .await?;
    Ok(())
}
