//! Quantities in the API server's canonical form: compared as text they are equal exactly when they are equal
//! by value.

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

/// Thousandths of a core: `1` for 1000, `1500m` for 1500.
pub fn cpu(millis: u32) -> Quantity {
    Quantity(if millis.is_multiple_of(1000) { (millis / 1000).to_string() } else { format!("{millis}m") })
}

/// Mebibytes with the largest binary unit that needs no fraction: `2Gi` for 2048, `512Mi` for 512.
pub fn mebibytes(mib: u64) -> Quantity {
    let units = ["Mi", "Gi", "Ti", "Pi"];
    let (mut value, mut unit) = (mib, 0);
    while value != 0 && value.is_multiple_of(1024) && unit + 1 < units.len() {
        value /= 1024;
        unit += 1;
    }
    Quantity(if value == 0 { "0".to_owned() } else { format!("{value}{}", units[unit]) })
}

/// A part of a limit, never zero.
pub fn cpu_share(millis: u32, ratio: f64) -> Quantity {
    cpu(share(u64::from(millis), ratio).try_into().unwrap_or(u32::MAX))
}

/// A part of a limit, never zero.
pub fn memory_share(mib: u64, ratio: f64) -> Quantity {
    mebibytes(share(mib, ratio))
}

/// `value × ratio` with the ratio taken in thousandths, so that equal settings always give equal text.
fn share(value: u64, ratio: f64) -> u64 {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the ratio is checked to be from 0 to 1"
    )]
    let thousandths = (ratio.clamp(0.0, 1.0) * 1000.0).round() as u64;
    (value * thousandths / 1000).max(1)
}

/// Any quantity text in canonical form, as far as plain binary units and thousandths go; other text is kept.
pub fn canonical(text: &str) -> Quantity {
    let parse = |digits: &str| digits.parse::<u64>().ok();
    for (suffix, factor) in [("Mi", 1_u64), ("Gi", 1024), ("Ti", 1024 * 1024)] {
        if let Some(value) = text.strip_suffix(suffix).and_then(parse) {
            return mebibytes(value.saturating_mul(factor));
        }
    }
    match text.strip_suffix('m').and_then(|digits| digits.parse::<u32>().ok()) {
        Some(millis) => cpu(millis),
        None => Quantity(text.to_owned()),
    }
}

/// A size in bytes; `None` for text that is no whole size.
pub fn bytes(quantity: &Quantity) -> Option<u128> {
    let text = quantity.0.as_str();
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let factor = match &text[digits.len()..] {
        "" => 1,
        "Ki" => 1 << 10,
        "Mi" => 1 << 20,
        "Gi" => 1 << 30,
        "Ti" => 1 << 40,
        "Pi" => 1 << 50,
        "k" => 1_000,
        "M" => 1_000_000,
        "G" => 1_000_000_000,
        "T" => 1_000_000_000_000,
        "P" => 1_000_000_000_000_000,
        _ => return None,
    };
    digits.parse::<u64>().ok().map(|number| u128::from(number) * factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// K8S-10
    #[test]
    fn quantities_have_the_canonical_form() {
        assert_eq!(cpu(1000).0, "1");
        assert_eq!(cpu(1500).0, "1500m");
        assert_eq!(mebibytes(512).0, "512Mi");
        assert_eq!(mebibytes(2048).0, "2Gi");
        assert_eq!(mebibytes(2560).0, "2560Mi");
        assert_eq!(mebibytes(1024 * 1024).0, "1Ti");
        assert_eq!(cpu_share(1000, 0.5).0, "500m");
        assert_eq!(cpu_share(1, 0.0).0, "1m");
        assert_eq!(memory_share(2048, 0.5).0, "1Gi");
        assert_eq!(memory_share(2048, 1.0).0, "2Gi");
        for (given, canon) in
            [("2000m", "2"), ("2048Mi", "2Gi"), ("50Gi", "50Gi"), ("500m", "500m"), ("2", "2")]
        {
            assert_eq!(canonical(given).0, canon);
        }
        let size = |text: &str| bytes(&Quantity(text.to_owned()));
        assert_eq!(
            (size("1Gi"), size("2k"), size("7"), size("1.5Gi")),
            (Some(1 << 30), Some(2000), Some(7), None)
        );
    }
}
