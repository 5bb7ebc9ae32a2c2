//! Reading `db_servers`.

use sqlx::PgConnection;
use time::OffsetDateTime;
use uuid::Uuid;

use super::row::Row;
use crate::domain::pool::{PoolStatus, ServerType};
use crate::domain::server::Server;
use crate::store::readable;

/// One server.
pub async fn find(connection: &mut PgConnection, id: Uuid) -> sqlx::Result<Option<Server>> {
    let row =
        sqlx::query_as!(Row, "SELECT * FROM db_servers WHERE id = $1", id).fetch_optional(connection).await?;
    row.map(Server::try_from).transpose()
}

/// One server by its name.
pub async fn find_by_name(connection: &mut PgConnection, name: &str) -> sqlx::Result<Option<Server>> {
    let row = sqlx::query_as!(Row, "SELECT * FROM db_servers WHERE name = $1", name)
        .fetch_optional(connection)
        .await?;
    row.map(Server::try_from).transpose()
}

/// One server, locked until the end of the transaction.
pub async fn lock(connection: &mut PgConnection, id: Uuid) -> sqlx::Result<Option<Server>> {
    let row = sqlx::query_as!(Row, "SELECT * FROM db_servers WHERE id = $1 FOR UPDATE", id)
        .fetch_optional(connection)
        .await?;
    row.map(Server::try_from).transpose()
}

/// Servers whose objects the worker looks after: all but the platform's own and those that are gone.
pub async fn managed(connection: &mut PgConnection) -> sqlx::Result<Vec<Server>> {
    let rows = sqlx::query_as!(
        Row,
        "SELECT * FROM db_servers WHERE server_type <> 'platform' AND status <> 'deprovisioned' ORDER BY created_at, id"
    )
    .fetch_all(connection)
    .await?;
    Ok(readable("a server", rows, |row| row.id))
}

/// A page of the operators' list; an absent filter takes all. Newest first.
pub async fn list(
    connection: &mut PgConnection,
    status: Option<PoolStatus>,
    server_type: Option<ServerType>,
    limit: i64,
    offset: i64,
) -> sqlx::Result<(Vec<Server>, i64)> {
    let (status, server_type) = (status.map(PoolStatus::as_str), server_type.map(ServerType::as_str));
    let rows = sqlx::query_as!(
        Row,
        "SELECT * FROM db_servers WHERE ($1::text IS NULL OR status = $1) AND ($2::text IS NULL OR server_type = $2)
         ORDER BY created_at DESC, id DESC LIMIT $3 OFFSET $4",
        status,
        server_type,
        limit,
        offset
    )
    .fetch_all(&mut *connection)
    .await?;
    let total = sqlx::query_scalar!(
        r#"SELECT count(*) AS "count!" FROM db_servers WHERE ($1::text IS NULL OR status = $1) AND ($2::text IS NULL OR server_type = $2)"#,
        status,
        server_type
    )
    .fetch_one(connection)
    .await?;
    let servers: sqlx::Result<Vec<Server>> = rows.into_iter().map(Server::try_from).collect();
    Ok((servers?, total))
}

/// Removed servers whose volumes were kept until now.
pub async fn with_old_volumes(
    connection: &mut PgConnection,
    removed_before: OffsetDateTime,
) -> sqlx::Result<Vec<Server>> {
    let rows = sqlx::query_as!(
        Row,
        "SELECT * FROM db_servers WHERE status = 'deprovisioned' AND volume_removed_at IS NULL AND status_since < $1 AND server_type <> 'platform'
         ORDER BY status_since LIMIT 50",
        removed_before
    )
    .fetch_all(connection)
    .await?;
    Ok(readable("a server", rows, |row| row.id))
}
