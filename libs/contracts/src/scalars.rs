//! Conversions between protobuf scalars and ours: times and identifiers. Nothing else belongs here.

use prost_types::Timestamp;
use time::OffsetDateTime;

/// A time as protobuf carries it.
pub fn timestamp(at: OffsetDateTime) -> Timestamp {
    Timestamp { seconds: at.unix_timestamp(), nanos: i32::try_from(at.nanosecond()).unwrap_or(0) }
}

/// A protobuf time as ours; `None` when it is outside of the range of years that we can hold.
pub fn datetime(at: &Timestamp) -> Option<OffsetDateTime> {
    let whole = OffsetDateTime::from_unix_timestamp(at.seconds).ok()?;
    whole.checked_add(time::Duration::nanoseconds(i64::from(at.nanos)))
}
