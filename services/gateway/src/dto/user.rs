//! Accounts, sessions, audit.

use contracts::user::v1 as pb;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::checks::Checks;
use super::scalars::{Time, text, time};
use crate::problem::Problem;

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Register {
    #[schema(format = Email, max_length = 254, example = "ada@example.com")]
    pub email: String,
    /// Upper and lower case, a digit and a symbol; not the e-mail, not a common one.
    #[schema(min_length = 8, max_length = 128, example = "Correct-Horse-7")]
    pub password: String,
    #[schema(min_length = 1, max_length = 50, example = "Ada")]
    pub first_name: String,
    #[schema(min_length = 1, max_length = 50, example = "Lovelace")]
    pub last_name: String,
    /// Must be true.
    #[serde(default)]
    pub accept_terms: bool,
    #[serde(default)]
    pub marketing_consent: bool,
    #[schema(pattern = r"^\+?[1-9]\d{1,14}$", example = "+263771234567")]
    pub phone: Option<String>,
    #[schema(max_length = 100, example = "Analytical Engines")]
    pub company: Option<String>,
    #[schema(max_length = 50, example = "ZW")]
    pub country: Option<String>,
    #[schema(max_length = 50, example = "Africa/Harare")]
    pub timezone: Option<String>,
    #[schema(max_length = 10, example = "en")]
    pub language: Option<String>,
}

impl Register {
    pub fn checked(self) -> Result<pb::RegisterRequest, Problem> {
        Checks::default()
            .text("email", &self.email, 3..=254)
            .that(self.password.chars().count() <= 128, "password", "must have 8 to 128 characters")
            .text("first_name", &self.first_name, 1..=50)
            .text("last_name", &self.last_name, 1..=50)
            .that(self.accept_terms, "accept_terms", "must be true")
            .optional("company", self.company.as_deref(), 0..=100)
            .optional("country", self.country.as_deref(), 0..=50)
            .optional("timezone", self.timezone.as_deref(), 0..=50)
            .optional("language", self.language.as_deref(), 0..=10)
            .done()?;
        Ok(pb::RegisterRequest {
            email: self.email,
            password: self.password,
            first_name: self.first_name,
            last_name: self.last_name,
            accept_terms: self.accept_terms,
            marketing_consent: self.marketing_consent,
            phone: self.phone,
            company: self.company,
            country: self.country,
            timezone: self.timezone,
            language: self.language,
        })
    }
}

#[derive(Debug, Serialize, ToSchema)]
pub struct Registered {
    pub success: bool,
    #[schema(example = "a mail with a link to verify the address is on its way")]
    pub message: &'static str,
    pub customer: NewCustomer,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct NewCustomer {
    #[schema(format = Uuid)]
    pub id: String,
    #[schema(format = Email)]
    pub email: String,
    #[schema(example = "Ada")]
    pub first_name: String,
    #[schema(example = "Lovelace")]
    pub last_name: String,
    pub requires_verification: bool,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Login {
    #[schema(format = Email, example = "ada@example.com")]
    pub email: String,
    #[schema(min_length = 1, max_length = 128, example = "Correct-Horse-7")]
    pub password: String,
    /// The refresh token then lives 30 days instead of 7.
    #[serde(default)]
    pub remember_me: bool,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct LoggedIn {
    pub success: bool,
    #[schema(example = "signed in")]
    pub message: &'static str,
    pub customer: Account,
    pub tokens: Tokens,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct Account {
    #[schema(format = Uuid)]
    pub id: String,
    #[schema(format = Email)]
    pub email: String,
    #[schema(example = "Ada")]
    pub first_name: String,
    #[schema(example = "Lovelace")]
    pub last_name: String,
    pub is_verified: bool,
    /// customer, operator, admin, super_admin
    #[schema(example = "customer")]
    pub role: String,
}

impl From<pb::Customer> for Account {
    fn from(customer: pb::Customer) -> Self {
        Self {
            id: customer.id,
            email: customer.email,
            first_name: customer.first_name,
            last_name: customer.last_name,
            is_verified: customer.is_verified,
            role: customer.role,
        }
    }
}

#[derive(Debug, Serialize, ToSchema)]
pub struct Tokens {
    #[schema(example = "eyJhbGciOi…")]
    pub access_token: String,
    pub expires_at: Option<Time>,
    #[schema(example = "bearer")]
    pub token_type: &'static str,
    /// Good once; each use gives a new one.
    #[schema(example = "b7e1c0a94f2d4e55…")]
    pub refresh_token: String,
    pub refresh_expires_at: Option<Time>,
}

impl From<pb::Tokens> for Tokens {
    fn from(tokens: pb::Tokens) -> Self {
        Self {
            expires_at: time(tokens.expires_at.as_ref()),
            refresh_expires_at: time(tokens.refresh_expires_at.as_ref()),
            access_token: tokens.access_token,
            token_type: "bearer",
            refresh_token: tokens.refresh_token,
        }
    }
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Refresh {
    #[schema(max_length = 500, example = "b7e1c0a94f2d4e55…")]
    pub refresh_token: String,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct Refreshed {
    pub success: bool,
    pub tokens: Tokens,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct MailToken {
    /// From the link in the mail.
    #[schema(max_length = 500, example = "0d6f5a…")]
    pub token: String,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct Verified {
    pub success: bool,
    #[schema(example = "the address is verified")]
    pub message: &'static str,
    pub customer: Account,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Address {
    #[schema(format = Email, max_length = 254, example = "ada@example.com")]
    pub email: String,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CompleteReset {
    #[schema(max_length = 500, example = "0d6f5a…")]
    pub token: String,
    #[schema(min_length = 8, max_length = 128, example = "Correct-Horse-8")]
    pub new_password: String,
    #[schema(example = "Correct-Horse-8")]
    pub confirm_password: String,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ChangePassword {
    #[schema(max_length = 128, example = "Correct-Horse-7")]
    pub current_password: String,
    #[schema(min_length = 8, max_length = 128, example = "Correct-Horse-8")]
    pub new_password: String,
    #[schema(example = "Correct-Horse-8")]
    pub confirm_password: String,
}

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

#[derive(Debug, Serialize, ToSchema)]
pub struct SessionList {
    pub sessions: Vec<Session>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct Session {
    #[schema(format = Uuid)]
    pub id: String,
    pub created_at: Option<Time>,
    pub last_used_at: Option<Time>,
    #[schema(example = "203.0.113.9")]
    pub ip: Option<String>,
    #[schema(example = "Mozilla/5.0")]
    pub user_agent: Option<String>,
    /// This request's own session.
    pub current: bool,
}

impl From<pb::Session> for Session {
    fn from(session: pb::Session) -> Self {
        Self {
            created_at: time(session.created_at.as_ref()),
            last_used_at: time(session.last_used_at.as_ref()),
            id: session.id,
            ip: text(session.ip),
            user_agent: text(session.user_agent),
            current: session.current,
        }
    }
}

/// A row of the caller's own audit log.
#[derive(Debug, Serialize, ToSchema)]
pub struct OwnAuditEntry {
    pub at: Option<Time>,
    #[schema(example = "0196f0c0-5a1e-7c3a-9f58-2b1f6f1f0a11")]
    pub actor: String,
    #[schema(example = "login")]
    pub action: String,
    #[schema(example = "session")]
    pub target: String,
    #[schema(example = "203.0.113.9")]
    pub ip: Option<String>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct OwnAudit {
    pub entries: Vec<OwnAuditEntry>,
    pub total: u64,
    pub page: u32,
    pub page_size: u32,
}

impl From<pb::AuditEntry> for OwnAuditEntry {
    fn from(entry: pb::AuditEntry) -> Self {
        Self {
            at: time(entry.at.as_ref()),
            actor: entry.actor,
            action: entry.action,
            target: entry.target,
            ip: text(entry.ip),
        }
    }
}

#[derive(Debug, Serialize, ToSchema)]
pub struct AuditEntry {
    pub at: Option<Time>,
    #[schema(example = "0196f0c0-5a1e-7c3a-9f58-2b1f6f1f0a11")]
    pub actor: String,
    #[schema(example = "customer.deactivate")]
    pub action: String,
    #[schema(example = "customer")]
    pub target: String,
    #[schema(format = Uuid)]
    pub customer_id: Option<String>,
    #[schema(format = Uuid)]
    pub request_id: Option<String>,
    #[schema(example = "203.0.113.9")]
    pub ip: Option<String>,
    #[schema(example = "asked for in ticket 4711")]
    pub reason: Option<String>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct AuditList {
    pub entries: Vec<AuditEntry>,
    pub total: u64,
    pub page: u32,
    pub page_size: u32,
}

impl From<pb::AuditEntry> for AuditEntry {
    fn from(entry: pb::AuditEntry) -> Self {
        Self {
            at: time(entry.at.as_ref()),
            actor: entry.actor,
            action: entry.action,
            target: entry.target,
            customer_id: text(entry.customer_id),
            request_id: text(entry.request_id),
            ip: text(entry.ip),
            reason: text(entry.reason),
        }
    }
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CloseAccount {
    #[schema(max_length = 128, example = "Correct-Horse-7")]
    pub password: String,
    /// The word DELETE.
    #[schema(example = "DELETE")]
    pub confirmation: String,
    /// Terminate live instances, too.
    #[serde(default)]
    pub force_terminate: bool,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct Closed {
    pub success: bool,
    /// Personal data is erased after this time.
    pub erase_after: Option<Time>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct CustomerList {
    pub customers: Vec<CustomerRow>,
    pub total: u64,
    pub page: u32,
    pub page_size: u32,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct CustomerRow {
    #[schema(format = Uuid)]
    pub id: String,
    #[schema(format = Email)]
    pub email: String,
    #[schema(example = "Ada")]
    pub first_name: String,
    #[schema(example = "Lovelace")]
    pub last_name: String,
    pub is_active: bool,
    pub is_verified: bool,
    #[schema(example = "customer")]
    pub role: String,
    pub created_at: Option<Time>,
    pub instance_count: u32,
}

impl From<pb::CustomerSummary> for CustomerRow {
    fn from(summary: pb::CustomerSummary) -> Self {
        let customer = summary.customer.unwrap_or_default();
        Self {
            created_at: time(customer.created_at.as_ref()),
            id: customer.id,
            email: customer.email,
            first_name: customer.first_name,
            last_name: customer.last_name,
            is_active: customer.is_active,
            is_verified: customer.is_verified,
            role: customer.role,
            instance_count: summary.instance_count,
        }
    }
}

#[derive(Debug, Serialize, ToSchema)]
pub struct CustomerDetail {
    #[serde(flatten)]
    pub profile: Profile,
    /// Live sessions.
    pub sessions: u32,
}

/// The word that a role has in tokens and bodies.
#[derive(Debug, Clone, Copy, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum RoleWord {
    Customer,
    Operator,
    Admin,
    SuperAdmin,
}

impl RoleWord {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Customer => "customer",
            Self::Operator => "operator",
            Self::Admin => "admin",
            Self::SuperAdmin => "super_admin",
        }
    }
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SetRole {
    pub role: RoleWord,
    #[schema(min_length = 5, max_length = 500, example = "joins the support team")]
    pub reason: String,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SetQuota {
    #[schema(minimum = 0, maximum = 10000, example = 50)]
    pub max_instances: u32,
    #[schema(min_length = 5, max_length = 500, example = "contract of November")]
    pub reason: String,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct Success {
    pub success: bool,
}

/// The id of a path as the services take it.
pub fn wire(id: Uuid) -> String {
    id.to_string()
}
