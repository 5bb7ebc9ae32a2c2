//! Rows and sequences of a tenant's database, read as administrator without a plan. To plan a `SELECT` of a
//! table PostgreSQL evaluates what stands in its index expressions, its index predicates and its statistics,
//! which are the tenant's program. `COPY` of a table plans nothing: it runs the output functions of its
//! types, and those are PostgreSQL's own.

use futures::TryStreamExt as _;
use sha2::{Digest as _, Sha256};
use sqlx::postgres::types::Oid;
use sqlx::{Connection as _, PgConnection, Row as _};

use super::statement::Statement;

/// A sequence of a tenant.
#[derive(Debug)]
pub(crate) struct Sequence {
    /// Its name with its schema, quoted as SQL quotes it.
    pub(crate) full: String,
    /// Schema.
    pub(crate) schema: String,
    /// Name.
    pub(crate) name: String,
    /// Last value and whether it was given.
    pub(crate) value: (i64, bool),
}

/// Columns that a table stores, in the same order at both ends whatever order the table has them in.
/// Generated ones follow from the others, and `COPY` takes none of them.
pub(crate) async fn columns(
    connection: &mut PgConnection,
    schema: &str,
    name: &str,
) -> sqlx::Result<Vec<String>> {
    sqlx::query_scalar(
        "SELECT a.attname::text FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
             JOIN pg_namespace n ON n.oid = c.relnamespace
         WHERE n.nspname = $1 AND c.relname = $2 AND a.attnum > 0 AND NOT a.attisdropped
             AND a.attgenerated = '' ORDER BY a.attname",
    )
    .bind(schema)
    .bind(name)
    .fetch_all(connection)
    .await
}

/// `COPY` of these columns, up to its direction.
pub(crate) fn copy(schema: &str, name: &str, columns: &[String]) -> Statement {
    let statement = Statement::new("COPY ").identifier(schema).sql(".").identifier(name);
    let mut columns = columns.iter();
    // A table without columns has rows all the same, and no list of them.
    let Some(first) = columns.next() else { return statement };
    columns
        .fold(statement.sql(" (").identifier(first), |list, column| list.sql(", ").identifier(column))
        .sql(")")
}

/// Number of rows, and sum of their hashes: the order differs between the ends, which a sum does not see.
pub(crate) async fn rows(
    connection: &mut PgConnection,
    schema: &str,
    name: &str,
) -> sqlx::Result<(i64, String)> {
    let columns = columns(connection, schema, name).await?;
    let out = copy(schema, name, &columns).sql(" TO STDOUT").into_text();
    let mut rows = connection.copy_out_raw(&out).await?;
    let (mut count, mut sum) = (0_i64, 0_u128);
    // PostgreSQL sends each row as a message of its own.
    while let Some(row) = rows.try_next().await? {
        count += 1;
        sum = sum.wrapping_add(hash(&row));
    }
    Ok((count, format!("{sum:x}")))
}

fn hash(row: &[u8]) -> u128 {
    Sha256::digest(row).first_chunk::<16>().copied().map_or(0, u128::from_be_bytes)
}

/// All sequences of the tenant, as administrator.
pub(crate) async fn sequences(connection: &mut PgConnection) -> sqlx::Result<Vec<Sequence>> {
    let found: Vec<(Oid, String, String, String, Option<i64>)> = sqlx::query_as(
        "SELECT c.oid, format('%I.%I', n.nspname, c.relname), n.nspname::text, c.relname::text,
             pg_sequence_last_value(c.oid)
         FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
         WHERE c.relkind = 'S' AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'",
    )
    .fetch_all(&mut *connection)
    .await?;
    let mut sequences = Vec::with_capacity(found.len());
    for (id, full, schema, name, last) in found {
        let value = match last {
            Some(last) => (last, true),
            None => uncalled(connection, id).await?,
        };
        sequences.push(Sequence { full, schema, name, value });
    }
    Ok(sequences)
}

/// Of a sequence that gave no value yet, whose next one no function tells. It is read by name, so nobody may
/// put a table in its place meanwhile: the function holds the sequence itself, the lock of its schema's row
/// holds the name.
async fn uncalled(connection: &mut PgConnection, id: Oid) -> sqlx::Result<(i64, bool)> {
    let mut tx = connection.begin().await?;
    sqlx::query("SELECT pg_sequence_last_value($1)").bind(id).execute(&mut *tx).await?;
    let (schema, name): (String, String) = sqlx::query_as(
        "SELECT n.nspname::text, c.relname::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
         WHERE c.oid = $1 AND c.relkind = 'S' FOR KEY SHARE OF n",
    )
    .bind(id)
    .fetch_one(&mut *tx)
    .await?;
    let value = sequence(&mut tx, &schema, &name).await?;
    tx.commit().await?;
    Ok(value)
}

/// Last value of a sequence, and whether it was given, as the tenant: what it puts in the sequence's place
/// runs with its own rights.
pub(crate) async fn sequence(
    connection: &mut PgConnection,
    schema: &str,
    name: &str,
) -> sqlx::Result<(i64, bool)> {
    let row = Statement::new("SELECT last_value, is_called FROM ")
        .identifier(schema)
        .sql(".")
        .identifier(name)
        .fetch_one(connection)
        .await?;
    Ok((row.try_get(0)?, row.try_get(1)?))
}
