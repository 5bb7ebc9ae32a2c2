//! Sizes, cores, money and times as the API writes them.

use contracts::billing::v1::Money as PbMoney;
use prost_types::Timestamp;
use serde::de::{Error as _, Unexpected};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use utoipa::openapi::schema::{KnownFormat, SchemaFormat, Type};
use utoipa::openapi::{ObjectBuilder, RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

/// Memory or storage in MiB; `"2Gi"`, `"512Mi"`. `M` and `G` are read as `Mi` and `Gi` (INS-06).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size(pub u64);

impl Size {
    fn parse(text: &str) -> Option<Self> {
        let digits = text.find(|c: char| !c.is_ascii_digit())?;
        let (number, unit) = text.split_at_checked(digits)?;
        let factor = match unit {
            "M" | "Mi" => 1,
            "G" | "Gi" => 1024,
            _ => return None,
        };
        number.parse::<u64>().ok()?.checked_mul(factor).filter(|mib| *mib > 0).map(Self)
    }
}

impl std::fmt::Display for Size {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.0.is_multiple_of(1024) { write!(f, "{}Gi", self.0 / 1024) } else { write!(f, "{}Mi", self.0) }
    }
}

impl Serialize for Size {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text)
            .ok_or_else(|| D::Error::custom("must be a whole number with M, G, Mi or Gi, such as 2Gi"))
    }
}

impl PartialSchema for Size {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new()
            .schema_type(Type::String)
            .pattern(Some("^[0-9]+(M|G|Mi|Gi)$"))
            .description(Some("Binary size; M and G are read as Mi and Gi."))
            .examples(["2Gi"])
            .into()
    }
}
impl ToSchema for Size {}

/// Thousandths of a core; a number from 0.1 to 8 in steps of 0.1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cpu(pub u32);

impl Serialize for Cpu {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(f64::from(self.0) / 1000.0)
    }
}

impl<'de> Deserialize<'de> for Cpu {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let cores = f64::deserialize(deserializer)?;
        // Compared with each allowed value, so that no float is cut into an integer.
        let tenths = (1..=80_u32).find(|tenths| (f64::from(*tenths) - cores * 10.0).abs() < 1e-6);
        tenths.map(|tenths| Self(tenths * 100)).ok_or_else(|| {
            D::Error::invalid_value(
                Unexpected::Other("number of cores"),
                &"a number from 0.1 to 8 in steps of 0.1",
            )
        })
    }
}

impl PartialSchema for Cpu {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new()
            .schema_type(Type::Number)
            .minimum(Some(0.1))
            .maximum(Some(8.0))
            .multiple_of(Some(0.1))
            .description(Some("Cores."))
            .examples([1.0])
            .into()
    }
}
impl ToSchema for Cpu {}

/// RFC 3339 in UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Time(OffsetDateTime);

/// A time of a message, when it is set.
pub fn time(at: Option<&Timestamp>) -> Option<Time> {
    contracts::scalars::datetime(at?).map(Time)
}

/// The time now.
pub fn now() -> Time {
    Time(runtime::clock::now())
}

impl std::fmt::Display for Time {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0.format(&Rfc3339).map_err(|_| std::fmt::Error)?)
    }
}

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl PartialSchema for Time {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new()
            .schema_type(Type::String)
            .format(Some(SchemaFormat::KnownFormat(KnownFormat::DateTime)))
            .into()
    }
}
impl ToSchema for Time {}

/// An amount in minor units.
#[derive(Debug, Serialize, ToSchema)]
pub struct Money {
    #[schema(example = 900)]
    pub amount_minor: i64,
    #[schema(example = "USD")]
    pub currency: String,
    #[schema(example = "USD 9.00")]
    pub display: String,
}

impl From<PbMoney> for Money {
    fn from(money: PbMoney) -> Self {
        let display = contracts::scalars::money_text(money.amount_minor, &money.currency);
        Self { amount_minor: money.amount_minor, currency: money.currency, display }
    }
}

/// Protobuf's empty text means absent.
pub fn text(value: String) -> Option<String> {
    if value.is_empty() { None } else { Some(value) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// INS-06
    #[test]
    fn sizes_are_read_and_written_in_binary_units() {
        for (given, mib, shown) in
            [("2G", 2048, "2Gi"), ("2Gi", 2048, "2Gi"), ("512M", 512, "512Mi"), ("1536Mi", 1536, "1536Mi")]
        {
            let size: Size = serde_json::from_str(&format!("{given:?}")).unwrap();
            assert_eq!((size.0, size.to_string().as_str()), (mib, shown));
        }
        for bad in
            ["2", "Gi", "2g", "2 Gi", "-1Gi", "1.5Gi", "0Gi", "2Ti", "99999999999999999999Gi", "é2Gi", ""]
        {
            assert!(serde_json::from_str::<Size>(&format!("{bad:?}")).is_err(), "{bad}");
        }
        assert!(serde_json::from_str::<Size>("2").is_err());
    }

    /// INS-06
    #[test]
    fn cores_go_in_tenths() {
        for (given, millis) in [("0.1", 100), ("1", 1000), ("1.0", 1000), ("0.3", 300), ("8", 8000)] {
            assert_eq!(serde_json::from_str::<Cpu>(given).unwrap().0, millis);
        }
        for bad in ["0", "0.05", "8.1", "1.25", "-1", "\"1\"", "1e300"] {
            assert!(serde_json::from_str::<Cpu>(bad).is_err(), "{bad}");
        }
        assert_eq!(serde_json::to_string(&Cpu(500)).unwrap(), "0.5");
    }

    #[test]
    fn money_is_shown_with_its_own_decimals() {
        let show = |amount_minor, currency: &str| {
            Money::from(PbMoney { amount_minor, currency: currency.into() }).display
        };
        assert_eq!(show(900, "USD"), "USD 9.00");
        assert_eq!(show(-5, "USD"), "USD -0.05");
        assert_eq!(show(900, "JPY"), "JPY 900");
    }

    #[test]
    fn times_end_with_z() {
        let at = Timestamp { seconds: 1_700_000_000, nanos: 0 };
        assert_eq!(time(Some(&at)).unwrap().to_string(), "2023-11-14T22:13:20Z");
    }
}
