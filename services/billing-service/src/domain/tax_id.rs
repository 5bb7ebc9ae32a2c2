//! Tax numbers of businesses: their form by country, with check digits where there are any. Only a register
//! knows whether a number is somebody's.

/// Has this text the form of a tax number of the country (ISO 3166-1 alpha-2)? Spaces, dots and dashes in it
/// say nothing, nor does the prefix of the country where it is written with one. Without a known form of the
/// country: letters and digits, four digits at least.
pub fn has_form(country: &str, text: &str) -> bool {
    let written: String = text
        .chars()
        .filter(|c| !matches!(c, ' ' | '.' | '-' | '/'))
        .map(|c| c.to_ascii_uppercase())
        .collect();
    if written.len() > 20 || !written.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return false;
    }
    let prefix = if country == "GR" { "EL" } else { country };
    let bare = written.strip_prefix(prefix).filter(|_| !prefix.is_empty()).unwrap_or(&written);
    let digits: Vec<u32> = bare.chars().filter_map(|c| c.to_digit(10)).collect();
    let only = |count: usize| digits.len() == count && bare.len() == count;
    match country {
        "AT" => bare.starts_with('U') && bare.len() == 9 && digits.len() == 8 && austria(&digits),
        "BE" => only(10) && digits[0] <= 1 && 97 - value(&digits[..8]) % 97 == value(&digits[8..]),
        "BG" => only(9) || only(10),
        "CH" => bare.starts_with('E') && switzerland(bare),
        "CY" => bare.len() == 9 && digits.len() == 8 && bare.ends_with(|c: char| c.is_ascii_uppercase()),
        "CZ" => only(8) || only(9) || only(10),
        "DE" => only(9) && digits[0] != 0 && mod_11_10(&digits),
        "DK" => only(8) && weighted(&digits, &[2, 7, 6, 5, 4, 3, 2, 1]).is_multiple_of(11),
        "EE" => only(9) && weighted(&digits, &[3, 7, 1, 3, 7, 1, 3, 7, 1]).is_multiple_of(10),
        "ES" => bare.len() == 9 && digits.len() >= 7 && bare[1..8].bytes().all(|byte| byte.is_ascii_digit()),
        "FI" => only(8) && weighted(&digits, &[7, 9, 10, 5, 8, 4, 2, 1]).is_multiple_of(11),
        "FR" => bare.len() == 11 && bare[2..].bytes().all(|byte| byte.is_ascii_digit()) && france(bare),
        "GB" => (only(9) || only(12)) && britain(&digits[..9]),
        "GR" => only(9) && greece(&digits),
        "HR" => only(11) && mod_11_10(&digits),
        "HU" => only(8) && weighted(&digits, &[9, 7, 3, 1, 9, 7, 3, 1]).is_multiple_of(10),
        "IE" => {
            (8..=9).contains(&bare.len())
                && digits.len() >= 6
                && bare.starts_with(|c: char| c.is_ascii_digit())
        }
        "IT" => only(11) && luhn(&digits),
        "LT" => only(9) || only(12),
        "LU" => only(8) && value(&digits[..6]) % 89 == value(&digits[6..]),
        "LV" => only(11),
        "MT" => only(8) && weighted(&digits, &[3, 4, 6, 7, 8, 9, 10, 1]).is_multiple_of(37),
        "NL" => bare.len() == 12 && digits.len() == 11 && bare.as_bytes()[9] == b'B',
        "NO" => norway(bare.trim_end_matches("MVA")),
        "PL" => only(10) && weighted(&digits[..9], &[6, 5, 7, 2, 3, 4, 5, 6, 7]) % 11 == digits[9],
        "PT" => only(9) && portugal(&digits),
        "RO" => (2..=10).contains(&digits.len()) && digits.len() == bare.len(),
        "SE" => only(12) && luhn(&digits[..10]),
        "SI" => only(8) && slovenia(&digits),
        "SK" => only(10) && value(&digits).is_multiple_of(11),
        _ => (4..=20).contains(&bare.len()) && digits.len() >= 4 && !digits.iter().all(|digit| *digit == 0),
    }
}

fn value(digits: &[u32]) -> u64 {
    digits.iter().fold(0, |sum, digit| sum * 10 + u64::from(*digit))
}

fn weighted(digits: &[u32], weights: &[u32]) -> u32 {
    digits.iter().zip(weights).map(|(digit, weight)| digit * weight).sum()
}

/// ISO 7064, MOD 11,10: the last digit checks the others.
fn mod_11_10(digits: &[u32]) -> bool {
    let mut product = 10;
    for digit in &digits[..digits.len() - 1] {
        let sum = (digit + product) % 10;
        product = 2 * if sum == 0 { 10 } else { sum } % 11;
    }
    (11 - product) % 10 == digits[digits.len() - 1]
}

fn luhn(digits: &[u32]) -> bool {
    let doubled = |digit: u32| if digit > 4 { 2 * digit - 9 } else { 2 * digit };
    let places = digits.iter().rev().enumerate();
    let sum: u32 = places.map(|(at, digit)| if at % 2 == 1 { doubled(*digit) } else { *digit }).sum();
    sum > 0 && sum.is_multiple_of(10)
}

fn austria(digits: &[u32]) -> bool {
    let cross = |digit: u32| digit / 5 + digit * 2 % 10;
    let odd: u32 = [1, 3, 5].iter().map(|at| cross(digits[*at])).sum();
    let even: u32 = [0, 2, 4, 6].iter().map(|at| digits[*at]).sum();
    (10 - (odd + even + 4) % 10) % 10 == digits[7]
}

fn switzerland(bare: &str) -> bool {
    let rest = ["MWST", "TVA", "IVA", "VAT"].iter().find_map(|end| bare.strip_suffix(end)).unwrap_or(bare);
    let digits: Vec<u32> = rest.chars().filter_map(|c| c.to_digit(10)).collect();
    if digits.len() != 9 || rest.len() != 10 {
        return false;
    }
    let check = (11 - weighted(&digits[..8], &[5, 4, 3, 2, 7, 6, 5, 4]) % 11) % 11;
    check == digits[8]
}

/// Old numbers have two digits as their key; new ones may have letters there, of which only the form is
/// known.
fn france(bare: &str) -> bool {
    let siren: Vec<u32> = bare[2..].chars().filter_map(|c| c.to_digit(10)).collect();
    let key = bare[..2].parse::<u64>();
    luhn(&siren) && key.map_or(true, |key| (12 + 3 * (value(&siren) % 97)) % 97 == key)
}

fn britain(digits: &[u32]) -> bool {
    let sum = weighted(&digits[..7], &[8, 7, 6, 5, 4, 3, 2]) + digits[7] * 10 + digits[8];
    sum > 0 && (sum.is_multiple_of(97) || (sum + 55).is_multiple_of(97))
}

fn greece(digits: &[u32]) -> bool {
    let sum = weighted(&digits[..8], &[256, 128, 64, 32, 16, 8, 4, 2]);
    sum > 0 && sum % 11 % 10 == digits[8]
}

fn norway(bare: &str) -> bool {
    let digits: Vec<u32> = bare.chars().filter_map(|c| c.to_digit(10)).collect();
    digits.len() == 9
        && bare.len() == 9
        && weighted(&digits, &[3, 2, 7, 6, 5, 4, 3, 2, 1]).is_multiple_of(11)
        && digits[0] >= 8
}

fn portugal(digits: &[u32]) -> bool {
    let check = 11 - weighted(&digits[..8], &[9, 8, 7, 6, 5, 4, 3, 2]) % 11;
    digits[0] != 0 && digits[8] == if check > 9 { 0 } else { check }
}

fn slovenia(digits: &[u32]) -> bool {
    let check = 11 - weighted(&digits[..7], &[8, 7, 6, 5, 4, 3, 2]) % 11;
    digits[0] != 0 && check != 11 && digits[7] == check % 10
}

#[cfg(test)]
mod tests {
    use super::has_form;

    /// BIL-36: numbers of well-known companies and authorities, as they print them.
    #[test]
    fn real_numbers_have_the_form_of_their_country() {
        for (country, number) in [
            ("AT", "ATU13585627"),
            ("BE", "BE0428759497"),
            ("CH", "CHE-116.281.710 MWST"),
            ("DE", "DE 136 695 976"),
            ("DK", "DK13585628"),
            ("EE", "EE100931558"),
            ("ES", "ESA28015865"),
            ("FI", "FI20774740"),
            ("FR", "FR40303265045"),
            ("GB", "GB980780684"),
            ("GR", "EL094259216"),
            ("HR", "HR33392005961"),
            ("HU", "HU12892312"),
            ("IE", "IE6388047V"),
            ("IT", "IT00743110157"),
            ("LU", "LU15027442"),
            ("MT", "MT11679112"),
            ("NL", "NL004495445B01"),
            ("NO", "NO 995 525 828 MVA"),
            ("PL", "PL8567346215"),
            ("PT", "PT501964843"),
            ("SE", "SE123456789701"),
            ("SI", "SI50223054"),
            ("SK", "SK2022749619"),
            ("ZW", "2000123456"),
        ] {
            assert!(has_form(country, number), "{country} {number}");
        }
    }

    /// BIL-36: a text is not a number of a business because it stands in the field.
    #[test]
    fn other_texts_have_not() {
        for text in
            ["x", "0", "DE", "12345", "DE136695977", "DE13669597", "136695976x", "<b>", "ÄÖÜ123456", ""]
        {
            assert!(!has_form("DE", text), "{text:?}");
        }
        for (country, text) in
            [("LV", "1"), ("FR", "FR00303265045"), ("ZA", "abc"), ("ZA", "0000000"), ("", "no")]
        {
            assert!(!has_form(country, text), "{country} {text}");
        }
    }
}
