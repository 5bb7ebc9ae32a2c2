//! Rows that this version cannot read, such as those with a word that a newer one wrote. Such a row stops what
//! is about itself and nothing else: lists leave it out, and it is counted and told.

use std::sync::LazyLock;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;

/// Of which table.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Table {
    table: &'static str,
}

/// Reads that met an unreadable row, by table; one for the process, because any query may meet one.
static UNREADABLE: LazyLock<Family<Table, Counter>> = LazyLock::new(Family::default);

/// The counter, for the registry.
pub fn counter() -> Family<Table, Counter> {
    UNREADABLE.clone()
}

/// What was read, or `None` where the row itself cannot be read. Other errors are those of the whole query.
pub(crate) fn read_or_none<T>(table: &'static str, row: sqlx::Result<T>) -> sqlx::Result<Option<T>> {
    match row {
        Ok(read) => Ok(Some(read)),
        Err(error @ (sqlx::Error::Decode(_) | sqlx::Error::ColumnDecode { .. })) => {
            UNREADABLE.get_or_create(&Table { table }).inc();
            tracing::error!(table, error = %error, "a row cannot be read and is left out");
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// The rows of a list that can be read.
pub(crate) fn readable<T, R>(table: &'static str, rows: Vec<R>) -> sqlx::Result<Vec<T>>
where
    T: TryFrom<R, Error = sqlx::Error>,
{
    rows.into_iter().filter_map(|row| read_or_none(table, T::try_from(row)).transpose()).collect()
}
