//! Tables `authorities` and `server_certificates`: certificates in the clear, their keys encrypted.

use sqlx::PgConnection;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::certificates::{Authority, Issued};
use crate::secrets::Sealed;

/// An authority as it stands here.
#[derive(Debug, Clone)]
pub struct Stored {
    /// Its id, for which its key is encrypted.
    pub id: Uuid,
    /// PEM.
    pub certificate: String,
    /// Its key.
    pub sealed: Sealed,
    /// Valid from.
    pub not_before: OffsetDateTime,
    /// Valid until.
    pub not_after: OffsetDateTime,
}

/// What connections to a server are checked against.
#[derive(Debug, Clone, Default)]
pub struct Trust {
    /// All authorities that are valid, in PEM, one after the other.
    pub authorities: String,
    /// Shall connections insist?
    pub enforced: bool,
}

/// A server and what is wanted of its certificate.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// The server.
    pub server: Uuid,
    /// The certificate that it shall serve.
    pub fingerprint: String,
    /// That which it was last seen to serve; empty: none.
    pub served: String,
    /// Its end.
    pub not_after: OffsetDateTime,
}

/// One at a time makes an authority; until the end of the transaction.
pub async fn lock_authorities(connection: &mut PgConnection) -> sqlx::Result<()> {
    sqlx::query!("SELECT pg_advisory_xact_lock(hashtextextended('database-service.authorities', 0))::text")
        .fetch_one(connection)
        .await?;
    Ok(())
}

/// The authority that signs: the youngest.
pub async fn youngest_authority(connection: &mut PgConnection) -> sqlx::Result<Option<Stored>> {
    let row = sqlx::query!(
        "SELECT id, certificate, key_id, sealed, not_before, not_after FROM authorities ORDER BY not_after DESC, id DESC LIMIT 1"
    )
    .fetch_optional(connection)
    .await?;
    Ok(row.map(|row| Stored {
        id: row.id,
        certificate: row.certificate,
        sealed: Sealed { key_id: row.key_id, bytes: row.sealed },
        not_before: row.not_before,
        not_after: row.not_after,
    }))
}

/// Stores an authority.
pub async fn put_authority(
    connection: &mut PgConnection,
    made: &Authority,
    sealed: &Sealed,
) -> sqlx::Result<()> {
    sqlx::query!(
        "INSERT INTO authorities (id, certificate, key_id, sealed, not_before, not_after) VALUES ($1, $2, $3, $4, $5, $6)",
        made.id,
        made.certificate,
        sealed.key_id,
        sealed.bytes,
        made.not_before,
        made.not_after
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Stores what a server shall serve. `enforced` holds for a first certificate; a later one keeps what was
/// there.
pub async fn put_server(
    connection: &mut PgConnection,
    server: Uuid,
    authority: Uuid,
    made: &Issued,
    sealed: &Sealed,
    enforced: bool,
) -> sqlx::Result<()> {
    sqlx::query!(
        "INSERT INTO server_certificates (db_server_id, authority_id, certificate, key_id, sealed, fingerprint, not_after, enforced)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
         ON CONFLICT (db_server_id) DO UPDATE SET authority_id = $2, certificate = $3, key_id = $4, sealed = $5, fingerprint = $6,
             not_after = $7, updated_at = now()",
        server,
        authority,
        made.certificate,
        sealed.key_id,
        sealed.bytes,
        made.fingerprint,
        made.not_after,
        enforced
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// What a server shall serve.
#[derive(Debug, Clone)]
pub struct Kept {
    /// PEM.
    pub certificate: String,
    /// Its key.
    pub sealed: Sealed,
    /// SHA-256 of the certificate in hexadecimal.
    pub fingerprint: String,
}

/// What a server shall serve.
pub async fn of_server(connection: &mut PgConnection, server: Uuid) -> sqlx::Result<Option<Kept>> {
    let row = sqlx::query!(
        "SELECT certificate, key_id, sealed, fingerprint FROM server_certificates WHERE db_server_id = $1",
        server
    )
    .fetch_optional(connection)
    .await?;
    Ok(row.map(|row| Kept {
        certificate: row.certificate,
        sealed: Sealed { key_id: row.key_id, bytes: row.sealed },
        fingerprint: row.fingerprint,
    }))
}

/// Fingerprints of what all servers shall serve.
pub async fn fingerprints(
    connection: &mut PgConnection,
) -> sqlx::Result<std::collections::HashMap<Uuid, String>> {
    let rows = sqlx::query!("SELECT db_server_id, fingerprint FROM server_certificates")
        .fetch_all(connection)
        .await?;
    Ok(rows.into_iter().map(|row| (row.db_server_id, row.fingerprint)).collect())
}

/// What connections to a server are checked against. A server without a certificate is not insisted on.
pub async fn trust(connection: &mut PgConnection, server: Uuid, now: OffsetDateTime) -> sqlx::Result<Trust> {
    let row = sqlx::query!(
        r#"SELECT enforced, coalesce((SELECT string_agg(certificate, '' ORDER BY id) FROM authorities WHERE not_after > $2), '') AS "authorities!"
           FROM server_certificates WHERE db_server_id = $1"#,
        server,
        now
    )
    .fetch_optional(connection)
    .await?;
    Ok(row.map(|row| Trust { authorities: row.authorities, enforced: row.enforced }).unwrap_or_default())
}

/// Servers with objects that have no certificate, or one that ends before `due`.
pub async fn due(connection: &mut PgConnection, due: OffsetDateTime) -> sqlx::Result<Vec<Uuid>> {
    sqlx::query_scalar!(
        "SELECT s.id FROM db_servers s LEFT JOIN server_certificates c ON c.db_server_id = s.id
         WHERE s.server_type <> 'platform' AND s.status NOT IN ('deprovisioning', 'deprovisioned') AND (c.not_after IS NULL OR c.not_after < $1)
         ORDER BY s.id",
        due
    )
    .fetch_all(connection)
    .await
}

/// All certificates of servers that are reached.
pub async fn wanted(connection: &mut PgConnection) -> sqlx::Result<Vec<Wanted>> {
    sqlx::query_as!(
        Wanted,
        "SELECT c.db_server_id AS server, c.fingerprint, c.served, c.not_after
         FROM server_certificates c JOIN db_servers s ON s.id = c.db_server_id
         WHERE s.provisioned_at IS NOT NULL AND s.status NOT IN ('deprovisioning', 'deprovisioned') ORDER BY c.db_server_id"
    )
    .fetch_all(connection)
    .await
}

/// Servers to look at: those that do not serve what they shall, and those that nobody looked at since
/// `since`.
pub async fn to_look_at(connection: &mut PgConnection, since: OffsetDateTime) -> sqlx::Result<Vec<Uuid>> {
    sqlx::query_scalar!(
        "SELECT c.db_server_id FROM server_certificates c JOIN db_servers s ON s.id = c.db_server_id
         WHERE s.provisioned_at IS NOT NULL AND s.status NOT IN ('deprovisioning', 'deprovisioned') AND s.observed = 'ready'
           AND (c.served <> c.fingerprint OR c.seen_at IS NULL OR c.seen_at < $1)
         ORDER BY c.db_server_id",
        since
    )
    .fetch_all(connection)
    .await
}

/// Notes what a server serves; empty: nothing that is good. One that serves a good certificate is insisted on
/// from here on.
pub async fn saw(
    connection: &mut PgConnection,
    server: Uuid,
    served: &str,
    now: OffsetDateTime,
) -> sqlx::Result<()> {
    sqlx::query!(
        "UPDATE server_certificates SET served = $2, seen_at = $3, enforced = enforced OR $2 <> '' WHERE db_server_id = $1",
        server,
        served,
        now
    )
    .execute(connection)
    .await?;
    Ok(())
}
