//! The password rule (USR-03): one rule for registration, change and reset.

use secrecy::{ExposeSecret as _, SecretString};

use super::address::EmailAddress;

/// Words that are guessed first; a password that is one of them with decoration is refused.
static COMMON: &str = include_str!("../../data/common_passwords.txt");

/// A password that satisfies the rule.
#[derive(Debug, Clone)]
pub struct NewPassword(SecretString);

impl NewPassword {
    /// Checks the rule. `email` is the owner's address.
    pub fn try_new(text: &str, email: Option<&EmailAddress>) -> Result<Self, String> {
        let length = text.chars().count();
        if !(8..=128).contains(&length) {
            return Err("must have from 8 to 128 characters".to_owned());
        }
        if text.chars().any(char::is_control) {
            return Err("must not contain control characters".to_owned());
        }
        let has = |kind: fn(char) -> bool| text.chars().any(kind);
        if !(has(char::is_uppercase)
            && has(char::is_lowercase)
            && has(char::is_numeric)
            && has(|c| !c.is_alphanumeric()))
        {
            return Err(
                "must contain an upper-case letter, a lower-case letter, a digit and a symbol".to_owned()
            );
        }
        if email.is_some_and(|email| text.trim().eq_ignore_ascii_case(email.as_str())) {
            return Err("must not be the e-mail address".to_owned());
        }
        if is_common(text) {
            return Err("is too common".to_owned());
        }
        Ok(Self(SecretString::from(text)))
    }

    /// The text, for hashing.
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }
}

/// Is the password a common word after usual decoration (digits and symbols around it, look-alike characters
/// in it) is taken off?
fn is_common(text: &str) -> bool {
    let plain = text.to_lowercase();
    let letters_of = |form: &str| -> String { form.chars().filter(|c| c.is_alphabetic()).collect() };
    let core: String = plain.trim_matches(|c: char| !c.is_alphabetic()).chars().map(look_alike).collect();
    [letters_of(&plain), letters_of(&core), core].iter().any(|word| contains(word))
}

fn contains(word: &str) -> bool {
    // Nothing is left of a password of digits and symbols around one or two letters: as easy to guess as the
    // words.
    word.chars().count() < 3 || COMMON.lines().any(|line| line == word)
}

fn look_alike(c: char) -> char {
    match c {
        '@' | '4' => 'a',
        '3' | '€' => 'e',
        '0' => 'o',
        '$' | '5' => 's',
        '1' | '!' => 'i',
        '7' => 't',
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// USR-03
    #[test]
    fn a_password_needs_length_and_four_kinds_of_characters() {
        for weak in ["Aa1-567", "alllower-7", "ALLUPPER-7", "NoDigits-x", "NoSymbol7x", "Aa-7\u{0}nullbyte"] {
            assert!(NewPassword::try_new(weak, None).is_err(), "{weak:?}");
        }
        assert!(NewPassword::try_new(&format!("Aa-7{}", "x".repeat(125)), None).is_err());
        for good in ["Correct-Horse-7", "Aa7-5f1c9e2b7a3d", "Ünïcode-Größe-9", "tr0ub4dor&Three"] {
            assert!(NewPassword::try_new(good, None).is_ok(), "{good:?}");
        }
    }

    /// USR-03
    #[test]
    fn common_words_are_refused_whatever_their_decoration() {
        for common in [
            "Password1!",
            "P@ssw0rd",
            "Welcome2026!",
            "Qwerty-123",
            "!!Summer99",
            "Adm1n!234",
            "Pass-word-1",
            "A1!a2345",
        ] {
            assert!(NewPassword::try_new(common, None).is_err(), "{common:?}");
        }
    }

    /// USR-03
    #[test]
    fn the_address_is_no_password() {
        let email = EmailAddress::try_new("Ada-7@example.com").unwrap();
        assert!(NewPassword::try_new("Ada-7@Example.com", Some(&email)).is_err());
        assert!(NewPassword::try_new("Ada-7@Example.org", Some(&email)).is_ok());
    }

    #[test]
    fn a_password_is_not_printed() {
        assert!(!format!("{:?}", NewPassword::try_new("Correct-Horse-7", None).unwrap()).contains("Horse"));
    }

    proptest! {
        #[test]
        fn the_rule_never_accepts_a_password_that_lacks_a_kind(text in "[a-z0-9 -/]{8,40}") {
            prop_assert!(NewPassword::try_new(&text, None).is_err());
        }
    }
}
