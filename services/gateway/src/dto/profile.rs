//! Profile and preferences.

use contracts::user::v1 as pb;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::checks::Checks;
use super::scalars::{Time, text, time};
use crate::problem::Problem;

#[derive(Debug, Serialize, ToSchema)]
pub struct Profile {
    #[schema(format = Uuid)]
    pub id: String,
    #[schema(format = Email)]
    pub email: String,
    #[schema(example = "Ada")]
    pub first_name: String,
    #[schema(example = "Lovelace")]
    pub last_name: String,
    #[schema(example = "+263771234567")]
    pub phone: Option<String>,
    #[schema(example = "Analytical Engines")]
    pub company: Option<String>,
    #[schema(example = "ZW")]
    pub country: Option<String>,
    #[schema(example = "Africa/Harare")]
    pub timezone: Option<String>,
    #[schema(example = "en")]
    pub language: Option<String>,
    #[schema(format = "uri")]
    pub avatar_url: Option<String>,
    #[schema(example = "customer")]
    pub role: String,
    pub is_active: bool,
    pub is_verified: bool,
    pub created_at: Option<Time>,
    pub last_login_at: Option<Time>,
    pub instance_count: u32,
    /// Name of the highest live plan.
    #[schema(example = "basic-monthly")]
    pub subscription_plan: Option<String>,
    /// none, trialing, active, past_due, suspended
    #[schema(example = "trialing")]
    pub subscription_status: String,
}

impl From<pb::Profile> for Profile {
    fn from(profile: pb::Profile) -> Self {
        Self {
            created_at: time(profile.created_at.as_ref()),
            last_login_at: time(profile.last_login_at.as_ref()),
            id: profile.id,
            email: profile.email,
            first_name: profile.first_name,
            last_name: profile.last_name,
            phone: text(profile.phone),
            company: text(profile.company),
            country: text(profile.country),
            timezone: text(profile.timezone),
            language: text(profile.language),
            avatar_url: text(profile.avatar_url),
            role: profile.role,
            is_active: profile.is_active,
            is_verified: profile.is_verified,
            instance_count: profile.instance_count,
            subscription_plan: profile.subscription_plan,
            subscription_status: profile.subscription_status,
        }
    }
}

/// Fields that are absent stay as they are.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UpdateProfile {
    #[schema(min_length = 1, max_length = 50, example = "Ada")]
    pub first_name: Option<String>,
    #[schema(min_length = 1, max_length = 50, example = "King")]
    pub last_name: Option<String>,
    #[schema(example = "+263771234567")]
    pub phone: Option<String>,
    #[schema(max_length = 100, example = "Analytical Engines")]
    pub company: Option<String>,
    /// ISO 3166 alpha-2.
    #[schema(min_length = 2, max_length = 2, example = "ZW")]
    pub country: Option<String>,
    /// IANA name.
    #[schema(max_length = 50, example = "Africa/Harare")]
    pub timezone: Option<String>,
    #[schema(max_length = 10, example = "en")]
    pub language: Option<String>,
    #[schema(format = "uri", max_length = 500, example = "https://example.com/ada.png")]
    pub avatar_url: Option<String>,
}

impl UpdateProfile {
    pub fn checked(self, expected_version: Option<i64>) -> Result<pb::UpdateProfileRequest, Problem> {
        Checks::default()
            .optional("first_name", self.first_name.as_deref(), 1..=50)
            .optional("last_name", self.last_name.as_deref(), 1..=50)
            .optional("company", self.company.as_deref(), 0..=100)
            .optional("country", self.country.as_deref(), 0..=2)
            .optional("timezone", self.timezone.as_deref(), 0..=50)
            .optional("language", self.language.as_deref(), 0..=10)
            .optional("avatar_url", self.avatar_url.as_deref(), 0..=500)
            .done()?;
        Ok(pb::UpdateProfileRequest {
            first_name: self.first_name,
            last_name: self.last_name,
            phone: self.phone,
            company: self.company,
            country: self.country,
            timezone: self.timezone,
            language: self.language,
            avatar_url: self.avatar_url,
            expected_version,
        })
    }
}

#[derive(Debug, Serialize, ToSchema)]
pub struct Preferences {
    #[schema(example = "en")]
    pub language: Option<String>,
    /// light, dark, system
    #[schema(example = "system")]
    pub theme: Option<String>,
    pub notifications: Switches,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct Switches {
    pub instance: bool,
    pub backup: bool,
    pub product: bool,
}

impl From<pb::Preferences> for Preferences {
    fn from(preferences: pb::Preferences) -> Self {
        let switches = preferences.notifications.unwrap_or_default();
        Self {
            language: text(preferences.language),
            theme: text(preferences.theme),
            notifications: Switches {
                instance: switches.instance,
                backup: switches.backup,
                product: switches.product,
            },
        }
    }
}

#[derive(Debug, Clone, Copy, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Theme {
    Light,
    Dark,
    System,
}

/// Fields that are absent stay as they are.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UpdatePreferences {
    #[schema(max_length = 10, example = "en")]
    pub language: Option<String>,
    pub theme: Option<Theme>,
    pub notifications: Option<UpdateSwitches>,
}

#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UpdateSwitches {
    pub instance: Option<bool>,
    pub backup: Option<bool>,
    pub product: Option<bool>,
}

impl UpdatePreferences {
    /// The present preferences with the given fields in them.
    pub fn over(self, mut present: pb::Preferences) -> Result<pb::Preferences, Problem> {
        Checks::default().optional("language", self.language.as_deref(), 0..=10).done()?;
        if let Some(language) = self.language {
            present.language = language;
        }
        if let Some(theme) = self.theme {
            let word = match theme {
                Theme::Light => "light",
                Theme::Dark => "dark",
                Theme::System => "system",
            };
            word.clone_into(&mut present.theme);
        }
        let given = self.notifications.unwrap_or_default();
        let switches = present.notifications.get_or_insert_default();
        switches.instance = given.instance.unwrap_or(switches.instance);
        switches.backup = given.backup.unwrap_or(switches.backup);
        switches.product = given.product.unwrap_or(switches.product);
        Ok(present)
    }
}
