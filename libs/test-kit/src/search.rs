//! Looks for a text in a whole database.

use sqlx::{AssertSqlSafe, PgPool};

/// Columns that can hold a text, as `table.column` with the SQL that reads them as text.
const COLUMNS: &str = "
    SELECT c.oid::regclass || '.' || quote_ident(a.attname),
           format('SELECT EXISTS (SELECT FROM %s WHERE strpos(lower(%s), lower($1)) > 0)', c.oid::regclass,
                  format(CASE t.typname WHEN 'bytea' THEN 'encode(%I, ''escape'')' ELSE '%I::text' END,
                         a.attname))
    FROM pg_attribute a
    JOIN pg_class c ON c.oid = a.attrelid
    JOIN pg_namespace n ON n.oid = c.relnamespace
    JOIN pg_type t ON t.oid = a.atttypid
    LEFT JOIN pg_type e ON e.oid = t.typelem AND t.typcategory = 'A'
    WHERE c.relkind IN ('r', 'p', 'm') AND NOT c.relispartition AND a.attnum > 0 AND NOT a.attisdropped
      AND n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname NOT LIKE 'pg_toast%'
      AND c.relname <> '_sqlx_migrations'
      AND (coalesce(e.typcategory, t.typcategory) IN ('S', 'I')
           OR coalesce(e.typname, t.typname) IN ('json', 'jsonb', 'xml', 'citext', 'bytea', 'hstore'))
    ORDER BY 1";

/// Which columns of any table hold `needle` in some row, as `table.column`; case does not count. Texts, JSON,
/// network addresses, bytes that are such a text, and arrays of these are searched.
///
/// # Panics
/// The database cannot be read: a search that did not look found nothing.
pub async fn rows_with(pool: &PgPool, needle: &str) -> Vec<String> {
    assert!(!needle.is_empty(), "an empty text is in every row");
    let columns: Vec<(String, String)> = sqlx::query_as(COLUMNS)
        .fetch_all(pool)
        .await
        .unwrap_or_else(|error| panic!("cannot list the columns: {error}"));
    let mut found = Vec::new();
    for (column, statement) in columns {
        let hit: bool = sqlx::query_scalar(AssertSqlSafe(statement))
            .bind(needle)
            .fetch_one(pool)
            .await
            .unwrap_or_else(|error| panic!("cannot search {column}: {error}"));
        if hit {
            found.push(column);
        }
    }
    found
}
