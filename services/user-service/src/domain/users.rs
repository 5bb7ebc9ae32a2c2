//! An account as it is kept, and which of them a list shows.

use runtime::identity::Role;
use time::OffsetDateTime;
use uuid::Uuid;

/// An account.
#[derive(Debug, Clone)]
#[expect(missing_docs, reason = "the fields are those of table `users`, where they are explained")]
pub struct User {
    pub id: Uuid,
    pub email: String,
    pub password_hash: String,
    pub password_reset_needed: bool,
    pub first_name: String,
    pub last_name: String,
    pub phone: String,
    pub company: String,
    pub country: String,
    pub timezone: String,
    pub language: String,
    pub avatar_url: String,
    pub role: Role,
    pub is_active: bool,
    pub verified_at: Option<OffsetDateTime>,
    pub theme: String,
    pub switches: Switches,
    pub max_instances: Option<i32>,
    pub seen_instance_count: i32,
    pub seen_plan: Option<String>,
    pub seen_standing: String,
    pub version: i64,
    pub created_at: OffsetDateTime,
    pub last_login_at: Option<OffsetDateTime>,
    pub closed_at: Option<OffsetDateTime>,
}

/// Which kinds of mails a person wants (USR-19).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Switches {
    /// On instances.
    pub instance: bool,
    /// On backups.
    pub backup: bool,
    /// On the product.
    pub product: bool,
}

/// Which accounts a list shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Filter {
    /// All that are not erased.
    All,
    /// Usable ones.
    Active,
    /// Turned off or closed.
    Inactive,
    /// Never verified.
    Unverified,
}

impl Filter {
    /// From the word; empty: all.
    pub fn parse(word: &str) -> Result<Self, String> {
        [Self::All, Self::Active, Self::Inactive, Self::Unverified]
            .into_iter()
            .find(|filter| filter.as_str() == word)
            .ok_or_else(|| "must be active, inactive or unverified".to_owned())
    }

    /// The word that a query asks with; empty: all.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::All => "",
            Self::Active => "active",
            Self::Inactive => "inactive",
            Self::Unverified => "unverified",
        }
    }
}
