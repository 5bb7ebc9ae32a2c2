//! How a tenant's role is known again: by a comment, written in the transaction that makes it. Whatever has a
//! tenant's name without it was made by somebody else and is left alone (DBS-30).

use sqlx::PgConnection;
use uuid::Uuid;

/// Begins the comment on a tenant's role; behind it stands the id of its allocation.
pub(crate) const MARK: &str = "saasodoo allocation ";

/// The mark of a role, empty when it has none; `None` when there is no such role.
pub(crate) async fn role_mark(connection: &mut PgConnection, name: &str) -> sqlx::Result<Option<String>> {
    sqlx::query_scalar(
        "SELECT coalesce(shobj_description(oid, 'pg_authid'), '') FROM pg_roles WHERE rolname = $1",
    )
    .bind(name)
    .fetch_optional(connection)
    .await
}

/// The mark of an allocation's roles.
pub(crate) fn mark_of(allocation: Uuid) -> String {
    [MARK, &allocation.to_string()].concat()
}
