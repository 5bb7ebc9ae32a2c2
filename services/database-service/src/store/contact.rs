//! Table `cluster_contact`: when the worker last reached the cluster.

use sqlx::PgConnection;
use time::OffsetDateTime;

/// Notes a contact; an older one changes nothing.
pub async fn note(connection: &mut PgConnection, at: OffsetDateTime) -> sqlx::Result<()> {
    sqlx::query!(
        "INSERT INTO cluster_contact (at) VALUES ($1) ON CONFLICT (only_row) DO UPDATE SET at = greatest(cluster_contact.at, excluded.at)",
        at
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// The last contact.
pub async fn last(connection: &mut PgConnection) -> sqlx::Result<Option<OffsetDateTime>> {
    sqlx::query_scalar!("SELECT at FROM cluster_contact").fetch_optional(connection).await
}
