//! Hooks as they came (BIL-30).

use sha2::{Digest as _, Sha256};
use sqlx::PgPool;
use uuid::Uuid;

/// Stores a hook in one insert; an equal one that still waits is counted there. Gives the id of the row.
pub async fn store(pool: &PgPool, provider: &str, body: &[u8], content_type: &str) -> sqlx::Result<Uuid> {
    let digest: [u8; 32] = Sha256::digest(body).into();
    sqlx::query_scalar(
        "INSERT INTO webhook_inbox (id, provider, body, content_type, digest) VALUES ($1, $2, $3, $4, $5)
         ON CONFLICT (provider, digest) WHERE state = 'new' DO UPDATE SET deliveries = webhook_inbox.deliveries + 1
         RETURNING id",
    )
    .bind(Uuid::now_v7())
    .bind(provider)
    .bind(body)
    .bind(content_type)
    .bind(digest.as_slice())
    .fetch_one(pool)
    .await
}
