//! Shape checks that collect all bad fields of a body before they refuse it.

use std::ops::RangeInclusive;

use runtime::text::is_forbidden;

use crate::problem::{FieldError, Problem};

/// What is said of a text that [`Checks::readable`] refuses.
pub const UNREADABLE: &str =
    "must not contain control characters or ones that turn the direction of the text";

/// Bad fields so far.
#[derive(Debug, Default)]
pub struct Checks(Vec<FieldError>);

impl Checks {
    /// A rule of any kind.
    pub fn that(mut self, holds: bool, field: &str, message: impl Into<String>) -> Self {
        if !holds {
            self.0.push(FieldError { field: field.to_owned(), message: message.into() });
        }
        self
    }

    /// A text with so many characters, blanks at its ends not counted.
    pub fn text(self, field: &str, value: &str, length: RangeInclusive<usize>) -> Self {
        let (least, most) = (*length.start(), *length.end());
        let message = if least == 0 {
            format!("must have at most {most} characters")
        } else {
            format!("must have {least} to {most} characters")
        };
        self.that(length.contains(&value.trim().chars().count()), field, message)
    }

    /// A text that may be absent.
    pub fn optional(self, field: &str, value: Option<&str>, length: RangeInclusive<usize>) -> Self {
        match value {
            Some(value) => self.text(field, value, length),
            None => self,
        }
    }

    /// A text without characters that no text may have ([`is_forbidden`]).
    pub fn readable(self, field: &str, value: &str) -> Self {
        self.that(!value.chars().any(is_forbidden), field, UNREADABLE)
    }

    /// Refuses when a rule was broken.
    pub fn done(self) -> Result<(), Problem> {
        if self.0.is_empty() { Ok(()) } else { Err(Problem::fields(self.0)) }
    }
}
