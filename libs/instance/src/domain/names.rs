//! Names that customers choose: display name, host name, address, labels (INS-03, INS-05, INS-07, INS-08).

use std::collections::{BTreeMap, HashSet};

/// What is wrong with a value; the text completes "the field …".
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Invalid(pub &'static str);

/// A display name: 1 to 100 characters of any script, trimmed, without control characters. Never part of an object's name or label.
pub fn display_name(text: &str) -> Result<String, Invalid> {
    let name = text.trim();
    if name.is_empty() || name.chars().count() > 100 {
        return Err(Invalid("must have 1 to 100 characters"));
    }
    if name.chars().any(char::is_control) {
        return Err(Invalid("must not contain control characters"));
    }
    Ok(name.to_owned())
}

/// A description: at most 500 characters.
pub fn description(text: &str) -> Result<String, Invalid> {
    let text = text.trim();
    if text.chars().count() > 500 {
        return Err(Invalid("must have at most 500 characters"));
    }
    Ok(text.to_owned())
}

/// The client's label for its database (INS-11): 1 to 50 of `[a-z0-9_-]`.
pub fn database_label(text: &str) -> Result<String, Invalid> {
    let good = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'_' | b'-');
    if (1..=50).contains(&text.len()) && text.bytes().all(good) {
        Ok(text.to_owned())
    } else {
        Err(Invalid("must have 1 to 50 characters of a-z, 0-9, _ and -"))
    }
}

/// An e-mail address that a mail server would take: one `@`, no spaces, a domain with labels.
pub fn email(text: &str) -> Result<String, Invalid> {
    let invalid = Invalid("must be a valid e-mail address");
    let text = text.trim();
    let Some((local, domain)) = text.rsplit_once('@') else { return Err(invalid) };
    let local_byte = |byte: u8| byte.is_ascii_alphanumeric() || b".!#$%&'*+/=?^_`{|}~-".contains(&byte);
    let local_good = (1..=64).contains(&local.len())
        && local.bytes().all(local_byte)
        && !local.starts_with('.')
        && !local.ends_with('.')
        && !local.contains("..");
    let label_good = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let domain_good = domain.contains('.') && domain.split('.').all(label_good);
    if text.len() <= 254 && local_good && domain_good { Ok(text.to_owned()) } else { Err(invalid) }
}

/// Labels of the customer: at most 20, keys and values at most 63 characters.
pub fn labels(labels: BTreeMap<String, String>) -> Result<BTreeMap<String, String>, Invalid> {
    let fits = |text: &str| text.chars().count() <= 63 && !text.chars().any(char::is_control);
    if labels.len() > 20 {
        return Err(Invalid("must have at most 20 entries"));
    }
    if !labels.iter().all(|(key, value)| !key.is_empty() && fits(key) && fits(value)) {
        return Err(Invalid("keys must have 1 to 63 characters, values at most 63"));
    }
    Ok(labels)
}

/// Hosts that are the platform's (INS-08).
const RESERVED: &[&str] = &[
    "api",
    "app",
    "www",
    "admin",
    "auth",
    "billing",
    "billing-admin",
    "mail",
    "smtp",
    "imap",
    "ftp",
    "ns1",
    "ns2",
    "registry",
    "traefik",
    "notification",
    "rabbitmq",
    "pgadmin",
    "grafana",
    "prometheus",
    "status",
    "support",
    "help",
    "docs",
    "static",
    "cdn",
    "dev",
    "test",
    "staging",
    "root",
    "postgres",
    "redis",
    "kubernetes",
    "instance",
    "database",
    "user",
    "gateway",
    "localhost",
    "saasodoo",
];

/// Why a host name cannot be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SubdomainFault {
    /// Against the rules of a host name.
    #[error(
        "must have 3 to 50 characters of a-z, 0-9 and -, begin and end with a letter or digit, and have no -- as third and fourth"
    )]
    Invalid,
    /// The platform's own.
    #[error("is reserved")]
    Reserved,
}

/// A host name that obeys INS-07; whether it is free only the database knows.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Subdomain(String);

impl Subdomain {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for Subdomain {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// The rules of host names, with the words that this installation reserves besides the built-in ones.
#[derive(Debug, Clone)]
pub struct SubdomainRules {
    reserved: HashSet<String>,
}

/// Longest slug, so that a suffix fits.
const SLUG_MAX: usize = 45;

impl SubdomainRules {
    /// `extra`: the words of `RESERVED_SUBDOMAINS`.
    pub fn new<'a>(extra: impl IntoIterator<Item = &'a str>) -> Self {
        let words = RESERVED.iter().copied().chain(extra);
        Self {
            reserved: words
                .map(|word| word.trim().to_ascii_lowercase())
                .filter(|word| !word.is_empty())
                .collect(),
        }
    }

    /// A host name that the customer chose.
    pub fn check(&self, text: &str) -> Result<Subdomain, SubdomainFault> {
        let bytes = text.as_bytes();
        let good = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        let edge = |byte: Option<&u8>| byte.is_some_and(|byte| *byte != b'-');
        if !(3..=50).contains(&bytes.len())
            || !bytes.iter().copied().all(good)
            || !edge(bytes.first())
            || !edge(bytes.last())
            || bytes.get(2..4) == Some(b"--")
        {
            return Err(SubdomainFault::Invalid);
        }
        if self.reserved.contains(text) {
            return Err(SubdomainFault::Reserved);
        }
        Ok(Subdomain(text.to_owned()))
    }

    /// The host name made from a display name: its slug when that can be had, else `None`: take one with a suffix.
    pub fn from_name(&self, name: &str) -> Option<Subdomain> {
        self.check(&slug(name)).ok()
    }

    /// The host name made from a display name with a suffix of 4 characters: for a slug that is taken, reserved, too short or empty.
    pub fn from_name_with_suffix(&self, name: &str, suffix: &str) -> Result<Subdomain, SubdomainFault> {
        let slug = slug(name);
        let base = if slug.is_empty() { "odoo" } else { &slug };
        let joined = self.check(&format!("{base}-{suffix}"));
        // `ab` + `-` + suffix is fine; `ab-` never ends a slug. What is left is a name that hits the xn-- rule or a reserved word.
        joined.or_else(|_| self.check(&format!("odoo-{suffix}")))
    }
}

/// Lower-case ASCII letters and digits with single dashes between; letters with marks of the Latin script lose them.
fn slug(name: &str) -> String {
    let mut slug = String::with_capacity(name.len());
    for character in name.chars().flat_map(char::to_lowercase) {
        match plain(character) {
            Some(text) => slug.push_str(text.encode()),
            None if !slug.is_empty() && !slug.ends_with('-') => slug.push('-'),
            None => {}
        }
    }
    slug.truncate(SLUG_MAX);
    slug.trim_end_matches('-').to_owned()
}

/// One or two plain letters.
struct Plain([u8; 2], usize);

impl Plain {
    fn encode(&self) -> &str {
        // Only ASCII is put in.
        std::str::from_utf8(&self.0[..self.1]).unwrap_or_default()
    }
}

fn plain(character: char) -> Option<Plain> {
    let one = |byte: u8| Some(Plain([byte, 0], 1));
    let two = |bytes: &[u8; 2]| Some(Plain(*bytes, 2));
    match character {
        'a'..='z' | '0'..='9' => one(u8::try_from(character).ok()?),
        'à'..='å' | 'ā' | 'ă' | 'ą' => one(b'a'),
        'æ' => two(b"ae"),
        'ç' | 'ć' | 'č' => one(b'c'),
        'ď' | 'đ' => one(b'd'),
        'è'..='ë' | 'ē' | 'ė' | 'ę' | 'ě' => one(b'e'),
        'ğ' => one(b'g'),
        'ì'..='ï' | 'ī' | 'į' | 'ı' => one(b'i'),
        'ł' => one(b'l'),
        'ñ' | 'ń' | 'ň' => one(b'n'),
        'ò'..='ö' | 'ø' | 'ō' | 'ő' => one(b'o'),
        'œ' => two(b"oe"),
        'ř' => one(b'r'),
        'ś' | 'š' | 'ş' | 'ș' => one(b's'),
        'ß' => two(b"ss"),
        'ť' | 'ț' => one(b't'),
        'ù'..='ü' | 'ū' | 'ů' | 'ű' => one(b'u'),
        'ý' | 'ÿ' => one(b'y'),
        'ź' | 'ż' | 'ž' => one(b'z'),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn rules() -> SubdomainRules {
        SubdomainRules::new(["shop", " Intern "])
    }

    /// INS-03
    #[test]
    fn a_display_name_may_be_of_any_script_and_is_trimmed() {
        assert_eq!(display_name("  Ünïcode / test ").unwrap(), "Ünïcode / test");
        assert_eq!(display_name("日本").unwrap(), "日本");
        assert!(display_name(&"é".repeat(100)).is_ok());
        for bad in ["", "   ", "a\nb", &"x".repeat(101)] {
            assert!(display_name(bad).is_err(), "{bad:?}");
        }
    }

    /// INS-07
    #[test]
    fn a_chosen_host_name_obeys_the_rules() {
        for good in ["abc", "a-b", "a1b2", "123", "my-shop-2", &"a".repeat(50)] {
            assert_eq!(rules().check(good).unwrap().as_str(), good);
        }
        for bad in ["", "ab", &"a".repeat(51), "-abc", "abc-", "xn--abc", "ab--c", "Abc", "a_b", "a.b", "äbc"]
        {
            assert_eq!(rules().check(bad), Err(SubdomainFault::Invalid), "{bad:?}");
        }
    }

    /// INS-08
    #[test]
    fn each_reserved_word_is_refused_also_those_of_the_installation() {
        for word in RESERVED.iter().chain(&["shop", "intern"]) {
            assert_eq!(rules().check(word), Err(SubdomainFault::Reserved), "{word}");
            assert_eq!(rules().from_name(word), None);
            assert_eq!(rules().from_name_with_suffix(word, "k3f9").unwrap().as_str(), format!("{word}-k3f9"));
        }
    }

    /// INS-07
    #[test]
    fn a_host_name_is_made_from_the_display_name() {
        let made = |name: &str| rules().from_name(name).map(|subdomain| subdomain.to_string());
        assert_eq!(made("Acme & Söhne GmbH").as_deref(), Some("acme-sohne-gmbh"));
        assert_eq!(made("--Straße 7--").as_deref(), Some("strasse-7"));
        assert_eq!(made("日本"), None);
        assert_eq!(made("ab"), None);
        let suffixed = |name: &str| rules().from_name_with_suffix(name, "k3f9").unwrap().to_string();
        assert_eq!(suffixed("日本"), "odoo-k3f9");
        assert_eq!(suffixed("ab"), "ab-k3f9");
    }

    /// INS-05
    #[test]
    fn an_address_must_look_like_one() {
        for good in ["a@b.cd", "admin@test.com", "first.last+tag@sub.example.org"] {
            assert!(email(good).is_ok(), "{good}");
        }
        for bad in [
            "x",
            "@b.cd",
            "a@",
            "a@b",
            "a b@c.de",
            "a@b..cd",
            "a@-b.cd",
            ".a@b.cd",
            "a..b@c.de",
            "a@b.cd\r\nBcc: x@y.z",
        ] {
            assert!(email(bad).is_err(), "{bad:?}");
        }
    }

    /// INS-11
    #[test]
    fn a_database_label_is_short_and_plain() {
        assert!(database_label("my_db-1").is_ok());
        assert!(database_label("").is_err());
        assert!(database_label("Robert'); DROP TABLE").is_err());
    }

    proptest! {
        /// INS-07: whatever the name, a host name can be made, and it obeys the rules.
        #[test]
        fn every_display_name_gives_a_host_name(name in "\\PC{1,100}", suffix in "[a-z0-9]{4}") {
            let rules = rules();
            let made = rules.from_name_with_suffix(&name, &suffix).unwrap();
            prop_assert!(rules.check(made.as_str()).is_ok());
            if let Some(plain) = rules.from_name(&name) {
                prop_assert!(rules.check(plain.as_str()).is_ok());
            }
        }
    }
}
