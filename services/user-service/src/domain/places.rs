//! Lists of facts: country codes (ISO 3166-1) and time zones (IANA).

/// All two-letter codes, in order.
static COUNTRIES: &str = "AD AE AF AG AI AL AM AO AQ AR AS AT AU AW AX AZ BA BB BD BE BF BG BH BI BJ BL BM BN BO BQ BR BS BT BV BW BY BZ \
CA CC CD CF CG CH CI CK CL CM CN CO CR CU CV CW CX CY CZ DE DJ DK DM DO DZ EC EE EG EH ER ES ET FI FJ FK FM FO FR GA GB GD GE GF GG GH GI \
GL GM GN GP GQ GR GS GT GU GW GY HK HM HN HR HT HU ID IE IL IM IN IO IQ IR IS IT JE JM JO JP KE KG KH KI KM KN KP KR KW KY KZ LA LB LC LI \
LK LR LS LT LU LV LY MA MC MD ME MF MG MH MK ML MM MN MO MP MQ MR MS MT MU MV MW MX MY MZ NA NC NE NF NG NI NL NO NP NR NU NZ OM PA PE PF \
PG PH PK PL PM PN PR PS PT PW PY QA RE RO RS RU RW SA SB SC SD SE SG SH SI SJ SK SL SM SN SO SR SS ST SV SX SY SZ TC TD TF TG TH TJ TK TL \
TM TN TO TR TT TV TW TZ UA UG UM US UY UZ VA VC VE VG VI VN VU WF WS YE YT ZA ZM ZW";

/// One name a line.
static TIMEZONES: &str = include_str!("../../data/timezones.txt");

/// An upper-case code from a code in any case.
pub fn parse_country(text: &str) -> Result<String, String> {
    let code = text.trim().to_ascii_uppercase();
    if COUNTRIES.split(' ').any(|known| known == code) {
        Ok(code)
    } else {
        Err("must be a country code of two letters (ISO 3166-1)".to_owned())
    }
}

/// A name of the time zone database, such as `Africa/Harare`.
pub fn parse_timezone(text: &str) -> Result<String, String> {
    let name = text.trim();
    if TIMEZONES.lines().any(|known| known == name) {
        Ok(name.to_owned())
    } else {
        Err("must be a time zone name such as Europe/Berlin".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn countries_and_time_zones_are_known_ones() {
        assert_eq!(COUNTRIES.split(' ').count(), 249);
        assert_eq!(parse_country(" zw ").unwrap(), "ZW");
        assert!(
            parse_country("XX").is_err() && parse_country("").is_err() && parse_country("DE AT").is_err()
        );
        assert_eq!(parse_timezone("Africa/Harare").unwrap(), "Africa/Harare");
        assert!(parse_timezone("UTC").is_ok());
        assert!(parse_timezone("Mars/Olympus").is_err() && parse_timezone("").is_err());
    }
}
