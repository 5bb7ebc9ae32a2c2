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
