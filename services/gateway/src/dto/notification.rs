//! Mail history and templates.

use contracts::notification::v1 as pb;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::scalars::{Time, text, time};

#[derive(Debug, Serialize, ToSchema)]
pub struct DetailedHealth {
    #[schema(example = "healthy")]
    pub status: &'static str,
    pub smtp: Smtp,
    pub queue_depth: u64,
    pub last_sent_at: Option<Time>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct Smtp {
    pub connected: bool,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct Email {
    #[schema(format = Uuid)]
    pub id: String,
    #[schema(format = Email)]
    pub to: String,
    #[schema(example = "instance_ready")]
    pub template_name: String,
    #[schema(example = "Your instance is ready")]
    pub subject: String,
    /// queued, sending, sent, failed
    #[schema(example = "sent")]
    pub status: String,
    pub attempts: u32,
    pub sent_at: Option<Time>,
    pub created_at: Option<Time>,
}

impl From<pb::EmailSummary> for Email {
    fn from(email: pb::EmailSummary) -> Self {
        Self {
            sent_at: time(email.sent_at.as_ref()),
            created_at: time(email.created_at.as_ref()),
            id: email.id,
            to: email.to,
            template_name: email.template_name,
            subject: email.subject,
            status: email.status,
            attempts: email.attempts,
        }
    }
}

#[derive(Debug, Serialize, ToSchema)]
pub struct EmailList {
    pub emails: Vec<Email>,
    pub total: u64,
    pub page: u32,
    pub page_size: u32,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct EmailEvent {
    pub at: Option<Time>,
    #[schema(example = "sent")]
    pub kind: String,
    pub detail: Option<String>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct EmailDetail {
    #[serde(flatten)]
    pub email: Email,
    /// Redacted.
    #[schema(value_type = Object)]
    pub variables: Value,
    pub message_id: Option<String>,
    pub last_error: Option<String>,
    pub events: Vec<EmailEvent>,
}

impl EmailDetail {
    pub fn new(email: pb::EmailSummary, answer: pb::GetEmailResponse) -> Self {
        Self {
            email: Email::from(email),
            variables: serde_json::from_str(&answer.variables_json).unwrap_or(Value::Null),
            message_id: text(answer.message_id),
            last_error: text(answer.last_error),
            events: answer
                .events
                .into_iter()
                .map(|event| EmailEvent {
                    at: time(event.at.as_ref()),
                    kind: event.kind,
                    detail: text(event.detail),
                })
                .collect(),
        }
    }
}

#[derive(Debug, Serialize, ToSchema)]
pub struct Connection {
    pub ok: bool,
    #[schema(example = 4)]
    pub latency_ms: u32,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SendTest {
    #[schema(max_length = 100, example = "welcome")]
    pub template_name: String,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct Queued {
    pub success: bool,
    #[schema(format = Uuid)]
    pub email_id: String,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct Template {
    #[schema(example = "welcome")]
    pub name: String,
    #[schema(example = "account")]
    pub category: String,
    #[schema(example = "Welcome to SaaSOdoo")]
    pub subject: String,
    #[schema(example = json!(["first_name"]))]
    pub variables: Vec<String>,
}

impl From<pb::Template> for Template {
    fn from(template: pb::Template) -> Self {
        Self {
            name: template.name,
            category: template.category,
            subject: template.subject,
            variables: template.variables,
        }
    }
}

#[derive(Debug, Serialize, ToSchema)]
pub struct TemplateList {
    pub templates: Vec<Template>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct TemplateVariables {
    #[schema(example = "welcome")]
    pub name: String,
    #[schema(example = json!(["first_name"]))]
    pub variables: Vec<String>,
}

#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Preview {
    /// The sample value is used for what is missing.
    #[serde(default)]
    #[schema(value_type = Object, example = json!({"first_name": "Ada"}))]
    pub variables: Map<String, Value>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct Previewed {
    #[schema(example = "Welcome to SaaSOdoo")]
    pub subject: String,
    #[schema(example = "<p>Hello Ada</p>")]
    pub html: String,
    #[schema(example = "Hello Ada")]
    pub text: String,
}
