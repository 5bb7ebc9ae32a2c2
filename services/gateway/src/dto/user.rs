//! Registration, signing in, verification, passwords.

use contracts::user::v1 as pb;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::checks::Checks;
use super::scalars::{Time, time};
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
