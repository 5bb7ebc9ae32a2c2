//! Tables `server_secrets` and `allocation_secrets`: encrypted values only.

use sqlx::PgConnection;
use uuid::Uuid;

use crate::secrets::Sealed;

/// Stores the administrator's password of a server.
pub async fn put_server(
    conn: &mut PgConnection,
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
    .execute(conn)
    .await?;
    Ok(())
}

/// The administrator's password of a server, and its hash.
pub async fn server(conn: &mut PgConnection, server: Uuid) -> sqlx::Result<Option<(Sealed, String)>> {
    let row = sqlx::query!(
        "SELECT key_id, sealed, secret_hash FROM server_secrets WHERE db_server_id = $1",
        server
    )
    .fetch_optional(conn)
    .await?;
    Ok(row.map(|row| (Sealed { key_id: row.key_id, bytes: row.sealed }, row.secret_hash)))
}

/// The password that a server gets next, and its hash.
pub async fn next_server(conn: &mut PgConnection, server: Uuid) -> sqlx::Result<Option<(Sealed, String)>> {
    let row = sqlx::query!(
        "SELECT next_key_id, next_sealed, next_hash FROM server_secrets WHERE db_server_id = $1",
        server
    )
    .fetch_optional(conn)
    .await?;
    Ok(row.and_then(|row| {
        let sealed = Sealed { key_id: row.next_key_id?, bytes: row.next_sealed? };
        Some((sealed, row.next_hash?))
    }))
}

/// Writes down what a server gets next. False when there is such a password already.
pub async fn put_next_server(
    conn: &mut PgConnection,
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
    .execute(conn)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// The server has its next password: it is the one now.
pub async fn promote_server(conn: &mut PgConnection, server: Uuid, hash: &str) -> sqlx::Result<bool> {
    let done = sqlx::query!(
        "UPDATE server_secrets SET key_id = next_key_id, sealed = next_sealed, secret_hash = next_hash,
             next_key_id = NULL, next_sealed = NULL, next_hash = NULL, updated_at = now()
         WHERE db_server_id = $1 AND next_hash = $2",
        server,
        hash
    )
    .execute(conn)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Hashes of all servers' passwords.
pub async fn server_hashes(conn: &mut PgConnection) -> sqlx::Result<std::collections::HashMap<Uuid, String>> {
    let rows = sqlx::query!("SELECT db_server_id, secret_hash FROM server_secrets").fetch_all(conn).await?;
    Ok(rows.into_iter().map(|row| (row.db_server_id, row.secret_hash)).collect())
}

/// Stores a tenant's password.
pub async fn put_allocation(conn: &mut PgConnection, allocation: Uuid, sealed: &Sealed) -> sqlx::Result<()> {
    sqlx::query!(
        "INSERT INTO allocation_secrets (allocation_id, key_id, sealed) VALUES ($1, $2, $3)
         ON CONFLICT (allocation_id) DO UPDATE SET key_id = $2, sealed = $3, updated_at = now()",
        allocation,
        sealed.key_id,
        sealed.bytes
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// A tenant's password.
pub async fn allocation(conn: &mut PgConnection, allocation: Uuid) -> sqlx::Result<Option<Sealed>> {
    let row =
        sqlx::query!("SELECT key_id, sealed FROM allocation_secrets WHERE allocation_id = $1", allocation)
            .fetch_optional(conn)
            .await?;
    Ok(row.map(|row| Sealed { key_id: row.key_id, bytes: row.sealed }))
}

/// Forgets a tenant's password.
pub async fn delete_allocation(conn: &mut PgConnection, allocation: Uuid) -> sqlx::Result<()> {
    sqlx::query!("DELETE FROM allocation_secrets WHERE allocation_id = $1", allocation).execute(conn).await?;
    Ok(())
}
