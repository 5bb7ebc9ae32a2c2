//! How facts become the variables of mails.

use serde_json::Value;
use time::OffsetDateTime;
use time::macros::format_description;
use uuid::Uuid;

use crate::templates::Mail;

/// The mail of a fact.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Announced {
    /// Name of the template.
    pub template: &'static str,
    /// Its variables.
    pub variables: Value,
    /// What the mail tells. Several facts may tell of one thing that happened: with the same key and template
    /// they are one mail. `None`: each fact has its own.
    pub tells: Option<String>,
    /// No mail, if one that tells this was ordered within a day.
    pub unless: Option<String>,
}

impl Announced {
    /// A mail of its own.
    pub fn new((template, variables): (&'static str, Value)) -> Self {
        Self { template, variables, tells: None, unless: None }
    }
}

/// What a mail on the end of a subscription tells. Its instance ends with it, and needs no second mail.
pub fn end_of(subscription: Uuid) -> String {
    format!("ended:{subscription}")
}

/// Template and variables of a mail.
pub fn named<M: Mail>(mail: M) -> Option<(&'static str, Value)> {
    serde_json::to_value(mail).ok().map(|variables| (M::NAME, variables))
}

/// A time as a mail shows it; it says its zone.
pub fn moment(at: OffsetDateTime) -> String {
    at.to_offset(time::UtcOffset::UTC)
        .format(format_description!("[year]-[month]-[day] [hour]:[minute] UTC"))
        .unwrap_or_default()
}
