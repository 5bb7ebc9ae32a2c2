//! What is wrong with the fields of a request.

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
