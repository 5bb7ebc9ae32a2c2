//! Entries of the audit (USR-27), and the reason that a change needs (SEC-17).

use time::OffsetDateTime;
use uuid::Uuid;

/// A stored entry.
#[derive(Debug, Clone)]
#[expect(missing_docs, reason = "the fields are those of table `audit`, where they are explained")]
pub struct Stored {
    pub at: OffsetDateTime,
    pub actor: String,
    pub action: String,
    pub target: String,
    pub customer_id: Option<Uuid>,
    pub request_id: String,
    pub ip: String,
    pub reason: String,
}

/// Which entries; an empty text or absent value matches all.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Exact actor.
    pub actor: String,
    /// Exact action.
    pub action: String,
    /// Exact target.
    pub target: String,
    /// About this account only.
    pub customer: Option<Uuid>,
    /// Not before.
    pub from: Option<OffsetDateTime>,
    /// Before.
    pub to: Option<OffsetDateTime>,
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
