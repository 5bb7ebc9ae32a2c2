//! What an account, a password, a profile and a session are: pure rules, no clock, no randomness, no I/O.
//!
//! Texts are parsed here once; whoever holds a proven type need not check again. Field names are those of the
//! HTTP API.

pub mod address;
pub mod password;
pub mod people;
pub mod places;
pub mod sessions;

pub use address::EmailAddress;
pub use password::NewPassword;
pub use people::{Preferences, ProfileChange, Registration, Theme};
use runtime::grpc::FieldViolation;

/// Collects what is wrong with several fields, so that a person sees all of it at once.
#[derive(Debug, Default)]
pub struct Violations(Vec<FieldViolation>);

impl Violations {
    /// The value, or a violation of `field` and nothing.
    pub fn take<T>(&mut self, field: &str, parsed: Result<T, String>) -> Option<T> {
        match parsed {
            Ok(value) => Some(value),
            Err(message) => {
                self.add(field, message);
                None
            }
        }
    }

    /// Adds one.
    pub fn add(&mut self, field: &str, message: impl Into<String>) {
        self.0.push(FieldViolation { field: field.to_owned(), message: message.into() });
    }

    /// All of them; empty when all is well.
    pub fn into_vec(self) -> Vec<FieldViolation> {
        self.0
    }
}

/// The reason that an administrator gives (SEC-17): 5 to 500 characters.
pub fn parse_reason(text: &str) -> Result<String, String> {
    let text = text.trim();
    match text.chars().count() {
        5..=500 => Ok(text.to_owned()),
        _ => Err("must be from 5 to 500 characters".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// SEC-17
    #[test]
    fn a_reason_has_five_to_five_hundred_characters() {
        assert!(parse_reason("spam").is_err());
        assert!(parse_reason("    a    ").is_err());
        assert_eq!(parse_reason(" abuse report 12 ").unwrap(), "abuse report 12");
        assert!(parse_reason(&"x".repeat(501)).is_err());
    }
}
