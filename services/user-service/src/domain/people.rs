//! What a person tells about themselves: registration, profile, preferences (USR-01, USR-05, USR-18, USR-19).

use runtime::grpc::FieldViolation;
use runtime::text::{check_line, has_address};

use super::address::EmailAddress;
use super::password::NewPassword;
use super::places::{parse_country, parse_timezone};
use super::violations::Violations;

/// Version of the terms that a registration accepts.
pub const TERMS_VERSION: &str = "2026-11";

/// A registration as it came.
#[derive(Debug, Default)]
pub struct RawRegistration<'a> {
    /// `email`
    pub email: &'a str,
    /// `password`
    pub password: &'a str,
    /// `first_name`
    pub first_name: &'a str,
    /// `last_name`
    pub last_name: &'a str,
    /// `accept_terms`
    pub accept_terms: bool,
    /// `marketing_consent`
    pub marketing_consent: bool,
    /// `phone`
    pub phone: Option<&'a str>,
    /// `company`
    pub company: Option<&'a str>,
    /// `country`
    pub country: Option<&'a str>,
    /// `timezone`
    pub timezone: Option<&'a str>,
    /// `language`
    pub language: Option<&'a str>,
}

/// A proven registration.
#[derive(Debug)]
pub struct Registration {
    /// Address of the account.
    pub email: EmailAddress,
    /// Its password.
    pub password: NewPassword,
    /// First name.
    pub first_name: String,
    /// Last name.
    pub last_name: String,
    /// May product news be mailed?
    pub marketing_consent: bool,
    /// Phone number, or empty.
    pub phone: String,
    /// Company, or empty.
    pub company: String,
    /// Country as given, or empty.
    pub country: String,
    /// Time zone, or empty.
    pub timezone: String,
    /// Language, or empty.
    pub language: String,
}

impl Registration {
    /// Checks every field and names all that are wrong.
    pub fn try_new(raw: &RawRegistration<'_>) -> Result<Self, Vec<FieldViolation>> {
        let mut wrong = Violations::default();
        let email = wrong.take("email", EmailAddress::try_new(raw.email));
        let password = wrong.take("password", NewPassword::try_new(raw.password, email.as_ref()));
        let first_name = wrong.take("first_name", parse_name(raw.first_name));
        let last_name = wrong.take("last_name", parse_name(raw.last_name));
        let phone = wrong.take("phone", optional(raw.phone, parse_phone));
        let company = wrong.take("company", optional(raw.company, |text| parse_text(text, 100)));
        // Any name of a country is kept here; the profile takes codes only.
        let country = wrong.take("country", optional(raw.country, |text| parse_text(text, 50)));
        let timezone = wrong.take("timezone", optional(raw.timezone, parse_timezone));
        let language = wrong.take("language", optional(raw.language, parse_language));
        if !raw.accept_terms {
            wrong.add("accept_terms", "must be true");
        }
        let wrong = wrong.into_vec();
        match (email, password, first_name, last_name, phone, company, country, timezone, language) {
            (
                Some(email),
                Some(password),
                Some(first_name),
                Some(last_name),
                Some(phone),
                Some(company),
                Some(country),
                Some(timezone),
                Some(language),
            ) if wrong.is_empty() => Ok(Self {
                email,
                password,
                first_name,
                last_name,
                marketing_consent: raw.marketing_consent,
                phone,
                company,
                country,
                timezone,
                language,
            }),
            _ => Err(wrong),
        }
    }
}

/// Changes of a profile; `None` leaves a field as it is, an empty text clears an optional one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ProfileChange {
    /// First name.
    pub first_name: Option<String>,
    /// Last name.
    pub last_name: Option<String>,
    /// Phone number.
    pub phone: Option<String>,
    /// Company.
    pub company: Option<String>,
    /// Country code.
    pub country: Option<String>,
    /// Time zone.
    pub timezone: Option<String>,
    /// Language.
    pub language: Option<String>,
    /// Picture.
    pub avatar_url: Option<String>,
}

impl ProfileChange {
    /// Checks every field and names all that are wrong.
    pub fn try_new(raw: Self) -> Result<Self, Vec<FieldViolation>> {
        let mut wrong = Violations::default();
        let mut check =
            |field: &str, value: Option<String>, parse: &dyn Fn(&str) -> Result<String, String>| {
                value.and_then(|text| wrong.take(field, parse(&text)))
            };
        let clearable = |parse: fn(&str) -> Result<String, String>| {
            move |text: &str| if text.is_empty() { Ok(String::new()) } else { parse(text) }
        };
        let change = Self {
            first_name: check("first_name", raw.first_name, &parse_name),
            last_name: check("last_name", raw.last_name, &parse_name),
            phone: check("phone", raw.phone, &clearable(parse_phone)),
            company: check("company", raw.company, &|text: &str| parse_text(text, 100)),
            country: check("country", raw.country, &clearable(parse_country)),
            timezone: check("timezone", raw.timezone, &clearable(parse_timezone)),
            language: check("language", raw.language, &clearable(parse_language)),
            avatar_url: check("avatar_url", raw.avatar_url, &clearable(parse_avatar_url)),
        };
        let wrong = wrong.into_vec();
        if wrong.is_empty() { Ok(change) } else { Err(wrong) }
    }
}

/// Look of the pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Theme {
    /// Bright.
    Light,
    /// Dark.
    Dark,
    /// As the device says.
    System,
}

impl Theme {
    /// The word in SQL and on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Light => "light",
            Self::Dark => "dark",
            Self::System => "system",
        }
    }

    /// From the word.
    pub fn parse(word: &str) -> Result<Self, String> {
        [Self::Light, Self::Dark, Self::System]
            .into_iter()
            .find(|theme| theme.as_str() == word)
            .ok_or_else(|| "must be light, dark or system".to_owned())
    }
}

/// Changes of the preferences (USR-19); `None` leaves as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Preferences {
    /// Language; the same as in the profile.
    pub language: Option<String>,
    /// Look.
    pub theme: Option<Theme>,
    /// Mails on instances, backups and the product.
    pub notifications: Option<[bool; 3]>,
}

impl Preferences {
    /// Checks both texts; an empty one leaves the preference as it is.
    pub fn try_new(
        language: &str,
        theme: &str,
        notifications: Option<[bool; 3]>,
    ) -> Result<Self, Vec<FieldViolation>> {
        let mut wrong = Violations::default();
        let given = |text: &str| if text.is_empty() { None } else { Some(text.to_owned()) };
        let language = given(language).and_then(|text| wrong.take("language", parse_language(&text)));
        let theme = given(theme).and_then(|word| wrong.take("theme", Theme::parse(&word)));
        let wrong = wrong.into_vec();
        if wrong.is_empty() { Ok(Self { language, theme, notifications }) } else { Err(wrong) }
    }
}

/// Absent and empty are the same: no value.
fn optional(text: Option<&str>, parse: impl Fn(&str) -> Result<String, String>) -> Result<String, String> {
    match text.map(str::trim) {
        None | Some("") => Ok(String::new()),
        Some(text) => parse(text),
    }
}

fn parse_name(text: &str) -> Result<String, String> {
    let text = parse_text(text, 50)?;
    if text.is_empty() {
        return Err("must have from 1 to 50 characters".to_owned());
    }
    // Names stand in our mails: they must not carry somebody else's link into them.
    if has_address(&text) {
        return Err("must not contain a web or e-mail address; write a space after a dot".to_owned());
    }
    Ok(text)
}

fn parse_text(text: &str, max: usize) -> Result<String, String> {
    let text = text.trim();
    if text.chars().count() > max {
        return Err(format!("must have at most {max} characters"));
    }
    check_line(text)?;
    Ok(text.to_owned())
}

/// An optional plus, then 2 to 15 digits of which the first is not zero.
fn parse_phone(text: &str) -> Result<String, String> {
    let digits = text.strip_prefix('+').unwrap_or(text);
    let good = (2..=15).contains(&digits.len())
        && digits.bytes().all(|byte| byte.is_ascii_digit())
        && !digits.starts_with('0');
    if good { Ok(text.to_owned()) } else { Err("must be a phone number such as +263771234567".to_owned()) }
}

fn parse_language(text: &str) -> Result<String, String> {
    let text = text.trim();
    let good = (2..=10).contains(&text.len())
        && text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_');
    if good { Ok(text.to_owned()) } else { Err("must be a language tag such as en or pt-BR".to_owned()) }
}

fn parse_avatar_url(text: &str) -> Result<String, String> {
    let host = text.strip_prefix("https://").and_then(|rest| rest.split(['/', '?', '#']).next());
    let good = text.len() <= 500
        && host.is_some_and(|host| !host.is_empty() && !host.contains('@'))
        && text.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'<' | b'>' | b'"' | b'\\'));
    if good {
        Ok(text.to_owned())
    } else {
        Err("must be an https address of at most 500 characters".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw() -> RawRegistration<'static> {
        RawRegistration {
            email: "ada@example.com",
            password: "Correct-Horse-7",
            first_name: " Ada ",
            last_name: "Lovelace",
            accept_terms: true,
            ..RawRegistration::default()
        }
    }

    fn fields(result: Result<Registration, Vec<FieldViolation>>) -> Vec<String> {
        result.unwrap_err().into_iter().map(|violation| violation.field).collect()
    }

    /// USR-01
    #[test]
    fn a_registration_keeps_every_field() {
        let all = RawRegistration {
            phone: Some("+263771234567"),
            company: Some("Engine Ltd"),
            country: Some("Zimbabwe"),
            timezone: Some("Africa/Harare"),
            language: Some("en"),
            ..raw()
        };
        let registration = Registration::try_new(&all).unwrap();
        assert_eq!(registration.first_name, "Ada");
        assert_eq!(registration.country, "Zimbabwe");
        assert_eq!(Registration::try_new(&raw()).unwrap().phone, "");
    }

    /// USR-01, USR-05
    #[test]
    fn every_wrong_field_is_named_at_once() {
        let wrong = RawRegistration {
            email: "x",
            password: "weak",
            first_name: "",
            last_name: "a\nb",
            accept_terms: false,
            phone: Some("0123"),
            timezone: Some("Nowhere"),
            language: Some("!"),
            ..RawRegistration::default()
        };
        assert_eq!(
            fields(Registration::try_new(&wrong)),
            ["email", "password", "first_name", "last_name", "phone", "timezone", "language", "accept_terms"]
        );
        assert_eq!(
            fields(Registration::try_new(&RawRegistration { accept_terms: false, ..raw() })),
            ["accept_terms"]
        );
    }

    /// Names stand in mails and lists: nothing in them may be a link, turn the text around, or be unseen.
    #[test]
    fn names_carry_no_links_and_no_invisible_characters() {
        for bad in [
            "Win a prize: http://evil.example/win",
            "evil.example",
            "abc\u{202e}def",
            "\u{200b}\u{200b}",
            "\0",
        ] {
            let raw = RawRegistration { first_name: bad, ..raw() };
            assert_eq!(fields(Registration::try_new(&raw)), ["first_name"], "{bad:?}");
        }
        for good in ["Doe, Jane", "Md.Rahman", "J.R.", "O'Neil", "Nguyễn", "李"] {
            assert!(Registration::try_new(&RawRegistration { first_name: good, ..raw() }).is_ok(), "{good}");
        }
    }

    #[test]
    fn phone_numbers_follow_the_international_form() {
        for good in ["+263771234567", "12", "4915112345678"] {
            assert!(parse_phone(good).is_ok(), "{good}");
        }
        for bad in ["", "+", "1", "0123", "+0123", "12 34", "1234567890123456", "++12", "12a"] {
            assert!(parse_phone(bad).is_err(), "{bad}");
        }
    }

    /// USR-18
    #[test]
    fn a_profile_change_touches_only_what_it_names() {
        let change = ProfileChange {
            phone: Some(String::new()),
            country: Some("de".into()),
            ..ProfileChange::default()
        };
        let change = ProfileChange::try_new(change).unwrap();
        assert_eq!((change.phone.as_deref(), change.country.as_deref()), (Some(""), Some("DE")));
        assert_eq!(change.first_name, None);
        let wrong = ProfileChange {
            first_name: Some(" ".into()),
            avatar_url: Some("javascript:alert(1)".into()),
            country: Some("Germany".into()),
            ..ProfileChange::default()
        };
        let fields: Vec<String> =
            ProfileChange::try_new(wrong).unwrap_err().into_iter().map(|violation| violation.field).collect();
        assert_eq!(fields, ["first_name", "country", "avatar_url"]);
    }

    #[test]
    fn a_picture_is_an_https_address() {
        assert!(parse_avatar_url("https://cdn.example.com/a.png?x=1").is_ok());
        for bad in
            ["http://a.b/c", "https://", "https:///x", "https://a@b/c", "https://a.b/<x>", "https://a b"]
        {
            assert!(parse_avatar_url(bad).is_err(), "{bad}");
        }
        assert!(parse_avatar_url(&format!("https://a.b/{}", "x".repeat(500))).is_err());
    }

    /// USR-19
    #[test]
    fn preferences_are_checked() {
        assert!(Preferences::try_new("", "", None).is_ok());
        assert!(Preferences::try_new("en", "dark", Some([true, false, true])).is_ok());
        assert_eq!(Preferences::try_new("", "pink", None).unwrap_err()[0].field, "theme");
    }
}
