//! Who a customer is, as the account at user-service says it.

use super::trial::EmailHash;

/// What billing needs of an account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Profile {
    /// For the trial rule.
    pub email_hash: EmailHash,
    /// First and last name; may be empty.
    pub person: String,
    /// ISO 3166-1 alpha-2, or empty.
    pub country: String,
}

/// Longest name that is kept.
const LONGEST: usize = 200;

/// A name as an invoice prints it.
pub fn person(first: &str, last: &str) -> String {
    [first.trim(), last.trim()].join(" ").trim().chars().take(LONGEST).collect()
}

/// The code of a country; accounts may hold its name in any language, of which nobody can tell a tax.
pub fn country(text: &str) -> String {
    let code = text.trim();
    let is_code = code.len() == 2 && code.bytes().all(|byte| byte.is_ascii_uppercase());
    if is_code { code.to_owned() } else { String::new() }
}

#[cfg(test)]
mod tests {
    #[test]
    fn names_and_countries_are_kept_as_far_as_they_say_something() {
        assert_eq!(super::person(" Nina ", "Söhne"), "Nina Söhne");
        assert_eq!(super::person("", "Prince"), "Prince");
        assert_eq!((super::country("LV").as_str(), super::country("Latvia").as_str()), ("LV", ""));
    }
}
