//! Encrypted values of all tables, for a change of the data key (SEC-12).

use sqlx::{AssertSqlSafe, PgConnection};
use uuid::Uuid;

use crate::secrets::Sealed;

/// Where encrypted values are: a table and its columns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// For people.
    pub name: &'static str,
    table: &'static str,
    /// Names the row.
    row: &'static str,
    /// What its value is encrypted for.
    bound_to: &'static str,
    key_id: &'static str,
    sealed: &'static str,
}

/// All of them. A test compares them with the columns of the database.
pub const PLACES: [Place; 7] = [
    // Administrators' passwords, and those that servers get next.
    of_servers("server_secrets"),
    Place {
        name: "server_secrets (next)",
        key_id: "next_key_id",
        sealed: "next_sealed",
        ..of_servers("server_secrets")
    },
    // Tenants' passwords.
    Place { row: "allocation_id", bound_to: "allocation_id", ..of_rows("allocation_secrets") },
    // Passwords of copies, and those that tenants get next.
    of_rows("moves"),
    Place { bound_to: "allocation_id", ..of_rows("rotations") },
    // Keys of certificate authorities and of servers' certificates.
    of_rows("authorities"),
    of_servers("server_certificates"),
];

const fn of_rows(table: &'static str) -> Place {
    Place { name: table, table, row: "id", bound_to: "id", key_id: "key_id", sealed: "sealed" }
}

const fn of_servers(table: &'static str) -> Place {
    Place { row: "db_server_id", bound_to: "db_server_id", ..of_rows(table) }
}

impl Place {
    /// Table and column of the value.
    pub fn column(&self) -> (&'static str, &'static str) {
        (self.table, self.sealed)
    }

    /// Values of another key, locked.
    fn select(&self) -> String {
        let Self { table, row, bound_to, key_id, sealed, .. } = self;
        format!(
            "SELECT {row} AS row, {bound_to} AS bound_to, {key_id} AS key_id, {sealed} AS sealed
             FROM {table} WHERE {key_id} <> $1 ORDER BY {row} LIMIT $2 FOR UPDATE"
        )
    }

    fn update(&self) -> String {
        let Self { table, row, key_id, sealed, .. } = self;
        format!("UPDATE {table} SET {key_id} = $2, {sealed} = $3 WHERE {row} = $1")
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

#[derive(sqlx::FromRow)]
struct Found {
    row: Uuid,
    bound_to: Uuid,
    key_id: String,
    sealed: Vec<u8>,
}

/// Values that another key than `key_id` encrypted, locked until the end of the transaction.
pub async fn of_other_keys(
    connection: &mut PgConnection,
    place: Place,
    key_id: &str,
    limit: i64,
) -> sqlx::Result<Vec<Value>> {
    let rows: Vec<Found> =
        sqlx::query_as(AssertSqlSafe(place.select())).bind(key_id).bind(limit).fetch_all(connection).await?;
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
pub async fn put(
    connection: &mut PgConnection,
    place: Place,
    row: Uuid,
    sealed: &Sealed,
) -> sqlx::Result<()> {
    sqlx::query(AssertSqlSafe(place.update()))
        .bind(row)
        .bind(&sealed.key_id)
        .bind(&sealed.bytes)
        .execute(connection)
        .await?;
    Ok(())
}
