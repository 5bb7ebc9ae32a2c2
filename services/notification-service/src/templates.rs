//! The mails: one typed struct each, HTML (escaped by askama) and text (NTF-02).
//!
//! A variable that a template names and its struct lacks is a build error; one that a caller leaves out is
//! refused when the mail is ordered. Owns the words. Must not know the queue, SMTP or the bus.

mod catalogue;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::domain::{Category, is_secret_name};

pub use catalogue::{
    AccountExists, BillingReminder, ByTemplate, EmailVerification, InstanceDeleted,
    InstanceProvisioningFailed, InstanceProvisioningStarted, InstanceReady, InstanceResumed, InstanceStarted,
    InstanceStopped, InstanceSuspended, InvoiceCreated, InvoicePaid, LoginBlocked, OverduePayment,
    PasswordChanged, PasswordReset, PaymentFailure, PaymentReceived, ServiceTerminated,
    SubscriptionCancelled, SubscriptionExpired, SubscriptionReactivated, SubscriptionUpgrade, TEMPLATES,
    TrialEnding, Welcome,
};

/// What every mail shows besides its own variables.
#[derive(Debug, Clone)]
pub struct Page {
    /// Name of the platform.
    pub brand: String,
    /// Links begin with it; no slash at the end.
    pub frontend_url: String,
}

/// To whom a mail goes.
#[derive(Debug, Clone)]
pub struct Recipient {
    /// How the person is greeted; empty: without a name.
    pub first_name: String,
}

impl Recipient {
    /// The first line.
    pub fn greeting(&self) -> String {
        if self.first_name.is_empty() { "Hello,".to_owned() } else { format!("Hello {},", self.first_name) }
    }
}

/// The pages of the platform that mails may link to. The gateway serves them; until there is a portal there
/// are no others.
pub const PAGES: [&str; 3] = ["/verify-email", "/reset-password", "/reveal"];

/// A mail ready to send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rendered {
    /// Subject line.
    pub subject: String,
    /// HTML part.
    pub html: String,
    /// Text part.
    pub text: String,
}

/// Variables that do not fit their template.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct BadVariables(pub String);

/// The subject, and the variables with defaults filled in.
type Checked = Result<(String, Value), BadVariables>;

/// Variables of one template.
pub trait Mail: Serialize + DeserializeOwned {
    /// Name in SQL, RPCs and lists.
    const NAME: &'static str;
    /// Group.
    const CATEGORY: Category;
    /// Names of the variables, in order.
    const VARIABLES: &'static [&'static str];

    /// Example values for previews and test mails.
    fn sample() -> Self;
    /// Subject line; never holds a secret.
    fn subject(&self, page: &Page) -> String;
    /// HTML part.
    fn html(&self, to: &Recipient, page: &Page) -> askama::Result<String>;
    /// Text part.
    fn text(&self, to: &Recipient, page: &Page) -> askama::Result<String>;
}

/// An entry of the registry: a template without its type.
#[derive(Debug, Clone, Copy)]
pub struct Entry {
    /// Name in SQL, RPCs and lists.
    pub name: &'static str,
    /// Group.
    pub category: Category,
    /// Names of the variables, in order.
    pub variables: &'static [&'static str],
    sample: fn() -> Value,
    check: fn(Value, &Page) -> Checked,
    render: fn(Value, &Recipient, &Page) -> anyhow::Result<Rendered>,
}

impl Entry {
    /// The entry of a type.
    pub const fn of<M: Mail>() -> Self {
        Self {
            name: M::NAME,
            category: M::CATEGORY,
            variables: M::VARIABLES,
            sample: sample::<M>,
            check: check::<M>,
            render: render::<M>,
        }
    }

    /// Example values.
    pub fn sample(&self) -> Value {
        (self.sample)()
    }

    /// Example values, overridden by `given`. Unknown names and wrong types are refused.
    pub fn sample_with(&self, given: Map<String, Value>, page: &Page) -> Result<Value, BadVariables> {
        let mut values = self.sample();
        if let Value::Object(fields) = &mut values {
            fields.extend(given);
        }
        Ok((self.check)(values, page)?.1)
    }

    /// Parses variables into the type: the subject, and the variables with defaults filled in.
    pub fn check(&self, variables: Value, page: &Page) -> Checked {
        (self.check)(variables, page)
    }

    /// Renders all parts.
    pub fn render(&self, variables: Value, to: &Recipient, page: &Page) -> anyhow::Result<Rendered> {
        (self.render)(variables, to, page)
    }

    /// Subject with sample values, for lists.
    pub fn sample_subject(&self, page: &Page) -> String {
        self.check(self.sample(), page).map(|(subject, _)| subject).unwrap_or_default()
    }

    /// Splits variables into those that history may show and those that it must not (NTF-10).
    pub fn split(&self, variables: Value) -> (Value, Option<Value>) {
        let Value::Object(fields) = variables else { return (variables, None) };
        let (secret, open): (Map<_, _>, Map<_, _>) =
            fields.into_iter().partition(|(name, _)| is_secret_name(name));
        (Value::Object(open), (!secret.is_empty()).then_some(Value::Object(secret)))
    }

    /// Names of its secret variables.
    pub fn secrets(&self) -> impl Iterator<Item = &'static str> {
        self.variables.iter().copied().filter(|name| is_secret_name(name))
    }
}

/// The template of this name.
pub fn find(name: &str) -> Option<&'static Entry> {
    TEMPLATES.iter().find(|entry| entry.name == name)
}

fn sample<M: Mail>() -> Value {
    serde_json::to_value(M::sample()).unwrap_or_default()
}

fn parse<M: Mail>(variables: Value) -> Result<M, BadVariables> {
    // The parser's words name the field and the type, never the value.
    serde_json::from_value(variables).map_err(|error| BadVariables(error.to_string()))
}

fn check<M: Mail>(variables: Value, page: &Page) -> Checked {
    let mail: M = parse(variables)?;
    let whole = serde_json::to_value(&mail).map_err(|error| BadVariables(error.to_string()))?;
    Ok((one_line(&mail.subject(page)), whole))
}

fn render<M: Mail>(variables: Value, to: &Recipient, page: &Page) -> anyhow::Result<Rendered> {
    let mail: M = parse(variables)?;
    Ok(Rendered {
        subject: one_line(&mail.subject(page)),
        html: mail.html(to, page)?,
        text: mail.text(to, page)?,
    })
}

/// A subject is one line, whatever a display name holds.
fn one_line(text: &str) -> String {
    let line: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    line.chars().take(200).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page() -> Page {
        Page { brand: "SaaSOdoo".into(), frontend_url: "https://app.example.com".into() }
    }

    fn ada() -> Recipient {
        Recipient { first_name: "Ada".into() }
    }

    /// NTF-02…06: every mail as it is read.
    #[test]
    fn every_template_looks_as_agreed() {
        for entry in TEMPLATES {
            let mail = entry.render(entry.sample(), &ada(), &page()).unwrap();
            assert!(mail.text.starts_with(&mail.subject), "{}", mail.text);
            insta::assert_snapshot!(format!("{}.text", entry.name), mail.text);
            insta::assert_snapshot!(format!("{}.html", entry.name), mail.html);
        }
    }

    /// No mail leads to a page that nobody serves: each link is to one of [`PAGES`] or to the customer's own
    /// instance, and the gateway's list of public routes has these pages.
    #[test]
    fn every_link_leads_somewhere() {
        let routes = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../gateway/tests/it/snapshots/it__access__nothing_else_is_public.snap"
        );
        let routes = std::fs::read_to_string(routes).unwrap();
        for page in PAGES {
            assert!(routes.lines().any(|line| line.ends_with(&format!(" {page}"))), "no route {page}");
        }
        for entry in TEMPLATES {
            let mail = entry.render(entry.sample(), &ada(), &page()).unwrap();
            let instance = entry.sample().get("url").and_then(Value::as_str).map(str::to_owned);
            for part in [&mail.html, &mail.text] {
                for link in links(part) {
                    let path =
                        link.strip_prefix("https://app.example.com").and_then(|rest| rest.split('?').next());
                    let known =
                        path.is_some_and(|path| PAGES.contains(&path)) || Some(&link) == instance.as_ref();
                    assert!(known, "{}: {link}", entry.name);
                }
            }
        }
    }

    /// Everything in a mail that a mail program makes a link of.
    fn links(text: &str) -> Vec<String> {
        let starts = text
            .match_indices("http")
            .map(|(at, _)| &text[at..])
            .filter(|rest| rest.starts_with("http://") || rest.starts_with("https://"));
        starts
            .map(|rest| rest.split([' ', '"', '<', '\n', ',']).next().unwrap_or_default().to_owned())
            .collect()
    }

    /// Until an address is proved, a name in a mail could be a stranger's words to its owner.
    #[test]
    fn who_is_not_known_is_greeted_without_a_name() {
        let nobody = Recipient { first_name: String::new() };
        let entry = find("email_verification").unwrap();
        let mail = entry.render(entry.sample(), &nobody, &page()).unwrap();
        assert!(mail.text.contains("\nHello,\n") && mail.html.contains("Hello,</p>"), "{}", mail.text);
    }

    /// NTF-02: a name with markup arrives as text.
    #[test]
    fn html_is_escaped_and_text_is_not() {
        let mut variables = find("instance_ready").unwrap().sample();
        variables["name"] = Value::from("<script>alert(1)</script> & Co");
        let mail = find("instance_ready").unwrap().render(variables, &ada(), &page()).unwrap();
        assert!(!mail.html.contains("<script>"));
        assert!(mail.html.contains("&#60;script&#62;"));
        assert!(mail.text.contains("<script>alert(1)</script> & Co"));
    }

    /// NTF-02
    #[test]
    fn missing_and_unknown_variables_are_refused_by_name() {
        let entry = find("email_verification").unwrap();
        let missing = entry.check(serde_json::json!({}), &page()).unwrap_err();
        assert!(missing.to_string().contains("token"), "{missing}");
        let unknown = entry.check(serde_json::json!({"token": "t", "html": "<b>"}), &page()).unwrap_err();
        assert!(unknown.to_string().contains("html"), "{unknown}");
    }

    /// NTF-05: the portal, scripts and people find the token.
    #[test]
    fn the_verification_mail_holds_a_link_with_the_token_in_both_parts() {
        let entry = find("email_verification").unwrap();
        let token = "Zx9-abc_DEF0123456789zzzzzzzzzzzzzzzzzzzzzzz";
        let mail = entry.render(serde_json::json!({ "token": token }), &ada(), &page()).unwrap();
        let link = format!("https://app.example.com/verify-email?token={token}");
        assert!(mail.text.contains(&link), "{}", mail.text);
        assert!(mail.html.contains(&link));
        assert!(mail.text.matches(token).count() >= 2, "the token also stands alone");
        assert!(!mail.subject.contains(token));
    }

    /// NTF-10
    #[test]
    fn tokens_are_kept_apart_from_what_history_shows() {
        let entry = find("password_reset").unwrap();
        let (open, secret) = entry.split(entry.sample());
        assert!(open.get("token").is_none());
        assert!(secret.unwrap().get("token").is_some());
        assert_eq!(entry.secrets().collect::<Vec<_>>(), ["token"]);
    }

    #[test]
    fn a_subject_cannot_break_out_of_its_line() {
        let mut variables = find("instance_stopped").unwrap().sample();
        variables["name"] = Value::from("x\r\nBcc: all@example.com");
        let mail = find("instance_stopped").unwrap().render(variables, &ada(), &page()).unwrap();
        assert!(!mail.subject.contains(['\r', '\n']));
    }

    #[test]
    fn names_are_unique() {
        for (index, entry) in TEMPLATES.iter().enumerate() {
            assert!(TEMPLATES[index + 1..].iter().all(|other| other.name != entry.name), "{}", entry.name);
        }
    }
}
