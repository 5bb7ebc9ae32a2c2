//! Names that customers choose: display name, host name, address, labels (INS-03, INS-05, INS-07, INS-08).

use std::collections::{BTreeMap, HashSet};

/// What is wrong with a value; the text completes "the field …".
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Invalid(pub &'static str);

/// A display name: 1 to 100 characters of any script, trimmed, at least one of which can be seen, without
/// control and format characters. Never part of an object's name or label.
pub fn display_name(text: &str) -> Result<String, Invalid> {
    let name = text.trim();
    if name.is_empty() || name.chars().count() > 100 {
        return Err(Invalid("must have 1 to 100 characters"));
    }
    if name.chars().any(char::is_control) {
        return Err(Invalid("must not contain control characters"));
    }
    if has_format(name) {
        return Err(Invalid("must not contain characters that cannot be seen or that turn the text around"));
    }
    if !name.chars().any(is_visible) {
        return Err(Invalid("must have a character that can be seen"));
    }
    Ok(name.to_owned())
}

/// A description: at most 500 characters.
pub fn description(description: &str) -> Result<String, Invalid> {
    let description = description.trim();
    if description.chars().count() > 500 {
        return Err(Invalid("must have at most 500 characters"));
    }
    text(description)?;
    Ok(description.to_owned())
}

/// Text of people in several lines: no control characters but the ends of lines and tabs, and none that turn
/// the text around.
pub fn text(text: &str) -> Result<(), Invalid> {
    if text.chars().any(|character| character.is_control() && !matches!(character, '\n' | '\r' | '\t')) {
        return Err(Invalid("must not contain control characters"));
    }
    // Marks of direction and joiners are part of how Hebrew, Arabic and Persian are written.
    let written = |character| matches!(character, '\u{200c}'..='\u{200f}' | '\u{61c}');
    if text.chars().any(|character| is_format(character) && !written(character)) {
        return Err(Invalid("must not contain characters that cannot be seen or that turn the text around"));
    }
    Ok(())
}

/// Characters of Unicode's category Cf: nobody sees them, and some change how the others are shown. The two
/// joiners are letters' own in many scripts, and so in the middle of a word only.
fn has_format(text: &str) -> bool {
    let joined = |index: usize| {
        let around = (text[..index].chars().next_back(), text[index..].chars().nth(1));
        matches!(around, (Some(before), Some(after)) if !before.is_ascii() && !after.is_ascii())
    };
    text.char_indices().any(|(index, character)| match character {
        '\u{200c}' | '\u{200d}' => !joined(index),
        other => is_format(other),
    })
}

const fn is_format(character: char) -> bool {
    matches!(character,
        '\u{ad}' | '\u{600}'..='\u{605}' | '\u{61c}' | '\u{6dd}' | '\u{70f}' | '\u{890}' | '\u{891}' | '\u{8e2}' | '\u{180e}'
        | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}'
        | '\u{110bd}' | '\u{110cd}' | '\u{13430}'..='\u{1343f}' | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}'
        | '\u{e0000}'..='\u{e007f}')
}

/// Ink on the screen: no space, and none of the letters that are blank by design.
fn is_visible(character: char) -> bool {
    let blank = matches!(character, '\u{34f}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{2800}' | '\u{3164}'
        | '\u{fe00}'..='\u{fe0f}' | '\u{ffa0}' | '\u{e0100}'..='\u{e01ef}' | '\u{200c}' | '\u{200d}');
    !(character.is_whitespace() || character.is_control() || is_format(character) || blank)
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
    let fits =
        |text: &str| text.chars().count() <= 63 && !text.chars().any(char::is_control) && !has_format(text);
    if labels.len() > 20 {
        return Err(Invalid("must have at most 20 entries"));
    }
    if !labels.iter().all(|(key, value)| !key.is_empty() && fits(key) && fits(value)) {
        return Err(Invalid("keys must have 1 to 63 characters, values at most 63"));
    }
    Ok(labels)
}

/// Hosts that are the platform's (INS-08).
const RESERVED: &str = include_str!("reserved.txt");

/// The words of the list, each with whether it is reserved with a number behind it too.
fn reserved() -> impl Iterator<Item = (&'static str, bool)> {
    RESERVED
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(|line| line.strip_suffix('*').map_or((line, false), |word| (word, true)))
}

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
    /// With a number behind them too.
    numbered: HashSet<&'static str>,
}

/// Longest slug, so that a suffix fits.
const SLUG_MAX: usize = 45;

impl SubdomainRules {
    /// `extra`: the words of `RESERVED_SUBDOMAINS`.
    pub fn new<'a>(extra: impl IntoIterator<Item = &'a str>) -> Self {
        let words = reserved().map(|(word, _)| word).chain(extra);
        Self {
            reserved: words
                .map(|word| word.trim().to_ascii_lowercase())
                .filter(|word| !word.is_empty())
                .collect(),
            numbered: reserved().filter(|(_, numbered)| *numbered).map(|(word, _)| word).collect(),
        }
    }

    fn is_reserved(&self, text: &str) -> bool {
        let plain = text.trim_end_matches(|character: char| character.is_ascii_digit());
        let plain = plain.strip_suffix('-').filter(|_| plain.len() < text.len()).unwrap_or(plain);
        self.reserved.contains(text) || plain.len() < text.len() && self.numbered.contains(plain)
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
        if self.is_reserved(text) {
            return Err(SubdomainFault::Reserved);
        }
        Ok(Subdomain(text.to_owned()))
    }

    /// The host name made from a display name: its slug when that can be had, else `None`: take one with a
    /// suffix.
    pub fn from_name(&self, name: &str) -> Option<Subdomain> {
        self.check(&slug(name)).ok()
    }

    /// The host name made from a display name with a suffix of 4 characters: for a slug that is taken,
    /// reserved, too short or empty.
    pub fn from_name_with_suffix(&self, name: &str, suffix: &str) -> Result<Subdomain, SubdomainFault> {
        let slug = slug(name);
        let base = if slug.is_empty() { "odoo" } else { &slug };
        let joined = self.check(&format!("{base}-{suffix}"));
        // `ab` + `-` + suffix is fine; `ab-` never ends a slug. What is left is a name that hits the xn--
        // rule or a reserved word.
        joined.or_else(|_| self.check(&format!("odoo-{suffix}")))
    }
}

/// Lower-case ASCII letters and digits with single dashes between; letters with marks of the Latin script
/// lose them.
pub fn slug(name: &str) -> String {
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
        // A Persian word with its joiner, and a family of emoji.
        assert!(display_name("می\u{200c}خواهم").is_ok());
        assert!(display_name("👨\u{200d}👩").is_ok());
        let hidden =
            ["\u{200b}\u{200b}\u{200b}", "abc\u{202e}def", "abc\u{200d}", "\u{feff}a", "\u{3164}", "a\0b"];
        for bad in ["", "   ", "a\nb", &"x".repeat(101)].into_iter().chain(hidden) {
            assert!(display_name(bad).is_err(), "{bad:?}");
        }
    }

    /// What SQL cannot hold is refused where it is typed.
    #[test]
    fn texts_hold_no_control_characters() {
        assert_eq!(description(" two\nlines\t ").unwrap(), "two\nlines");
        for bad in ["a\0b", "\u{1b}[2J", "abc\u{202e}def"] {
            assert!(description(bad).is_err() && text(bad).is_err(), "{bad:?}");
        }
        assert!(labels([("k".to_owned(), "\u{202e}v".to_owned())].into()).is_err());
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
        for word in reserved().map(|(word, _)| word).chain(["shop", "intern"]).filter(|word| word.len() > 2) {
            assert_eq!(rules().check(word), Err(SubdomainFault::Reserved), "{word}");
            assert_eq!(rules().from_name(word), None);
            assert_eq!(rules().from_name_with_suffix(word, "k3f9").unwrap().as_str(), format!("{word}-k3f9"));
        }
        for word in ["smtp2", "ns1", "mail-3", "api2", "www10", "mx1"] {
            assert_eq!(rules().check(word), Err(SubdomainFault::Reserved), "{word}");
        }
        for word in ["shop2", "mailbox", "ns1a", "help-4"] {
            assert!(rules().check(word).is_ok(), "{word}");
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
