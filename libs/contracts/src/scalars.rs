//! Conversions between protobuf scalars and ours: times, identifiers, the digits of currencies. Nothing else belongs here.

use prost_types::Timestamp;
use time::OffsetDateTime;

/// A time as protobuf carries it.
pub fn timestamp(at: OffsetDateTime) -> Timestamp {
    Timestamp { seconds: at.unix_timestamp(), nanos: i32::try_from(at.nanosecond()).unwrap_or(0) }
}

/// Decimal digits of the minor unit of a currency (ISO 4217); two for a code that is not in the list of exceptions.
pub fn minor_digits(currency: &str) -> u32 {
    match currency {
        "BIF" | "CLP" | "DJF" | "GNF" | "ISK" | "JPY" | "KMF" | "KRW" | "PYG" | "RWF" | "UGX" | "VND"
        | "VUV" | "XAF" | "XOF" | "XPF" => 0,
        "BHD" | "IQD" | "JOD" | "KWD" | "LYD" | "OMR" | "TND" => 3,
        _ => 2,
    }
}

/// An amount as people read it: `USD 9.00`.
pub fn money_text(minor: i64, currency: &str) -> String {
    let digits = minor_digits(currency);
    let unit = 10_u64.pow(digits);
    let amount = minor.unsigned_abs();
    let sign = if minor < 0 { "-" } else { "" };
    let (whole, part) = (amount / unit, amount % unit);
    if digits == 0 {
        format!("{currency} {sign}{whole}")
    } else {
        format!("{currency} {sign}{whole}.{part:0width$}", width = digits as usize)
    }
}

/// A protobuf time as ours; `None` when it is outside of the range of years that we can hold.
pub fn datetime(at: &Timestamp) -> Option<OffsetDateTime> {
    let whole = OffsetDateTime::from_unix_timestamp(at.seconds).ok()?;
    whole.checked_add(time::Duration::nanoseconds(i64::from(at.nanos)))
}
