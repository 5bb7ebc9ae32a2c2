//! Conversions between protobuf scalars and ours: times, identifiers, the digits of currencies. Nothing else
//! belongs here.

use prost_types::Timestamp;
use time::OffsetDateTime;

/// A time as protobuf carries it.
pub fn timestamp(at: OffsetDateTime) -> Timestamp {
    Timestamp { seconds: at.unix_timestamp(), nanos: i32::try_from(at.nanosecond()).unwrap_or(0) }
}

/// Currencies of ISO 4217 (list one) in which people pay, by the decimal digits of their minor unit. Funds,
/// metals and test codes are none.
const CURRENCIES: [(u32, &str); 4] = [
    (0, "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF"),
    (
        2,
        "AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BGN BMD BND BOB BRL BSD BTN BWP BYN BZD CAD CDF CHF \
         CNY COP CRC CUP CVE CZK DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GTQ GYD HKD HNL HTG \
         HUF IDR ILS INR IRR JMD KES KGS KHR KPW KYD KZT LAK LBP LKR LRD LSL MAD MDL MGA MKD MMK MNT MOP MRU \
         MUR MVR MWK MXN MYR MZN NAD NGN NIO NOK NPR NZD PAB PEN PGK PHP PKR PLN QAR RON RSD RUB SAR SBD SCR \
         SDG SEK SGD SHP SLE SOS SRD SSP STN SVC SYP SZL THB TJS TMT TOP TRY TTD TWD TZS UAH USD UYU UZS VED \
         VES WST XCD XCG YER ZAR ZMW ZWG",
    ),
    (3, "BHD IQD JOD KWD LYD OMR TND"),
    (4, "CLF UYW"),
];

/// Decimal digits of the minor unit of a currency (ISO 4217); `None`: there is no such currency.
pub fn currency_digits(currency: &str) -> Option<u32> {
    let known = |codes: &str| codes.split(' ').any(|code| code == currency);
    CURRENCIES.into_iter().find(|(_, codes)| known(codes)).map(|(digits, _)| digits)
}

/// The same for display; two for a code of an old row that nobody knows.
pub fn minor_digits(currency: &str) -> u32 {
    currency_digits(currency).unwrap_or(2)
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

#[cfg(test)]
mod tests {
    /// BIL-06: digits as ISO 4217 has them; what is no currency has none.
    #[test]
    fn currencies_have_the_digits_of_the_standard() {
        for (code, digits) in
            [("USD", 2), ("ISK", 0), ("PYG", 0), ("XPF", 0), ("IQD", 3), ("LYD", 3), ("CLF", 4)]
        {
            assert_eq!(super::currency_digits(code), Some(digits), "{code}");
        }
        for unknown in ["ZZZ", "XXX", "XAU", "usd", "US", "", "USD EUR", " "] {
            assert_eq!(super::currency_digits(unknown), None, "{unknown:?}");
        }
        assert_eq!(super::money_text(900, "ISK"), "ISK 900");
    }
}
