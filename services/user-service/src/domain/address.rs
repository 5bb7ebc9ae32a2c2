//! E-mail addresses as the platform accepts them: trimmed, lower-cased, with the domain in its ASCII form
//! (USR-02).

use std::fmt;

/// Longest address.
const MAX: usize = 254;

/// A proven address. Its text is personal data: it has no `Display`, so that it does not slip into a log
/// line.
#[derive(Clone, PartialEq, Eq)]
pub struct EmailAddress(String);

impl fmt::Debug for EmailAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EmailAddress(…)")
    }
}

impl EmailAddress {
    /// Trims, lower-cases and checks.
    pub fn try_new(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let wrong = || Err("must be a valid e-mail address".to_owned());
        let Some((local, domain)) = text.rsplit_once('@') else { return wrong() };
        let Ok(domain) = idna::domain_to_ascii_strict(domain) else { return wrong() };
        let local = local.to_ascii_lowercase();
        if local.chars().any(|c| !c.is_ascii() && c.is_alphanumeric()) {
            // Few mail servers take such mailboxes, and a log-in that nobody can be mailed at is of no use.
            return Err("must have only ASCII characters before the @".to_owned());
        }
        let text = format!("{local}@{domain}");
        if text.len() > MAX {
            return Err("must have at most 254 characters".to_owned());
        }
        if !is_local_part(&local) || !is_domain(&domain) {
            return wrong();
        }
        Ok(Self(text))
    }

    /// The address.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn is_local_part(local: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+/=?^_`{|}~-".contains(c);
    local.len() <= 64 && local.split('.').all(|atom| !atom.is_empty() && atom.chars().all(allowed))
}

fn is_domain(domain: &str) -> bool {
    let mut labels = domain.split('.').rev();
    let top = labels.next().unwrap_or_default();
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
    };
    let has_second = domain.contains('.');
    has_second && is_label(top) && top.chars().any(|c| c.is_ascii_alphabetic()) && labels.all(is_label)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// USR-02
    #[test]
    fn an_address_is_trimmed_and_lower_cased() {
        assert_eq!(EmailAddress::try_new("  Ada.L@Example.COM ").unwrap().as_str(), "ada.l@example.com");
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for bad in [
            "",
            "x",
            "@",
            "a@",
            "@b.c",
            "a@b",
            "a b@c.de",
            "a@-b.de",
            "a@b..de",
            ".a@b.de",
            "a.@b.de",
            "a..b@c.de",
            "a@b.de\r\nBcc: x@y.de",
            "a@b.12",
            "a@b_c.de",
            "ä@b.de",
            "a@b.de,c@d.de",
            "\"a\"@b.de",
        ] {
            assert!(EmailAddress::try_new(bad).is_err(), "{bad:?}");
        }
        assert!(EmailAddress::try_new(&format!("{}@example.com", "a".repeat(65))).is_err());
        assert!(EmailAddress::try_new(&format!("a@{}.com", "b".repeat(260))).is_err());
        for good in ["a@b.co", "first.last+tag@sub.example.museum", "o'brien@example.ie", "1@2.xn--p1ai"] {
            assert!(EmailAddress::try_new(good).is_ok(), "{good:?}");
        }
    }

    /// USR-02: a domain in any script is one mailbox, however it is written.
    #[test]
    fn domains_of_other_scripts_are_kept_in_their_ascii_form() {
        for (written, kept) in [
            ("user@bücher.example", "user@xn--bcher-kva.example"),
            ("user@BÜCHER.example", "user@xn--bcher-kva.example"),
            ("user@例子.中国", "user@xn--fsqu00a.xn--fiqs8s"),
            ("user@ＥＸＡＭＰＬＥ.com", "user@example.com"),
        ] {
            assert_eq!(EmailAddress::try_new(written).unwrap().as_str(), kept, "{written}");
        }
        let refused = EmailAddress::try_new("üser@exämple.de").unwrap_err();
        assert!(refused.contains("before the @"), "{refused}");
    }

    #[test]
    fn an_address_is_not_printed() {
        assert!(!format!("{:?}", EmailAddress::try_new("ada@example.com").unwrap()).contains("ada"));
    }

    proptest! {
        #[test]
        fn an_accepted_address_is_accepted_again_unchanged(text in "[ -~]{0,40}@[ -~]{0,40}") {
            if let Ok(address) = EmailAddress::try_new(&text) {
                prop_assert_eq!(EmailAddress::try_new(address.as_str()).unwrap(), address);
            }
        }

        #[test]
        fn no_text_makes_the_parser_panic(text in ".*") {
            let _ = EmailAddress::try_new(&text);
        }
    }
}
