//! What a mail is: its type with its variables, and the entry of the registry that hides the type.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::domain::{Category, is_secret_name};

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
