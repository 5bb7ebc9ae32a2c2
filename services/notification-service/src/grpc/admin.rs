//! `NotificationAdminService`: history, templates, tests (NTF-14). Nothing here takes a recipient, a sender
//! or markup (NTF-11).

use std::time::Instant;

use contracts::notification::v1 as proto;
use contracts::notification::v1::notification_admin_service_server::NotificationAdminService;
use contracts::scalars::{datetime, timestamp};
use runtime::grpc::Refusal;
use runtime::identity::Caller;
use runtime::page::Page;
use serde_json::Value;
use tonic::{Request, Response, Status};
use uuid::Uuid;

use super::Api;
use super::send::object;
use crate::app::{self, Error, Filter, Order, Summary};
use crate::domain::{REDACTED, redact};
use crate::templates::{self, Entry, Recipient};

type Answer<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl NotificationAdminService for Api {
    async fn list_emails(
        &self,
        request: Request<proto::ListEmailsRequest>,
    ) -> Answer<proto::ListEmailsResponse> {
        let request = request.into_inner();
        let page = Page::try_new(request.page, request.page_size)?;
        let filter = filter(&request)?;
        let (rows, total) = app::list(&self.pool, &filter, page).await?;
        Ok(Response::new(proto::ListEmailsResponse {
            emails: rows.into_iter().map(summary).collect(),
            total: u64::try_from(total).unwrap_or(0),
        }))
    }

    async fn get_email(&self, request: Request<proto::GetEmailRequest>) -> Answer<proto::GetEmailResponse> {
        let id = email_id(&request.into_inner().email_id)?;
        let mail = app::detail(&self.pool, id).await?;
        let events = mail.events.into_iter().map(|event| proto::EmailEvent {
            at: Some(timestamp(event.at)),
            kind: event.kind,
            detail: event.detail,
        });
        Ok(Response::new(proto::GetEmailResponse {
            variables_json: shown(&mail.summary.template_name, &mail.variables).to_string(),
            message_id: mail.message_id,
            last_error: mail.last_error.unwrap_or_default(),
            events: events.collect(),
            email: Some(summary(mail.summary)),
        }))
    }

    async fn resend_email(
        &self,
        request: Request<proto::ResendEmailRequest>,
    ) -> Answer<proto::ResendEmailResponse> {
        let actor = Caller::of(&request)?.actor();
        let request = request.into_inner();
        app::resend(&self.pool, email_id(&request.email_id)?, &actor, request.reason.trim()).await?;
        Ok(Response::new(proto::ResendEmailResponse {}))
    }

    async fn test_connection(
        &self,
        _: Request<proto::TestConnectionRequest>,
    ) -> Answer<proto::TestConnectionResponse> {
        let start = Instant::now();
        if let Err(error) = self.mailer.probe().await {
            tracing::warn!(error = format!("{error:#}"), "connection test of the mail server failed");
            return Err(Error::MailServer.into());
        }
        let latency_ms = u32::try_from(start.elapsed().as_millis()).unwrap_or(u32::MAX);
        Ok(Response::new(proto::TestConnectionResponse { ok: true, latency_ms }))
    }

    async fn send_test_email(
        &self,
        request: Request<proto::SendTestEmailRequest>,
    ) -> Answer<proto::SendTestEmailResponse> {
        let caller = Caller::of(&request)?;
        let customer_id = caller.require_user()?.id;
        let entry = template(&request.get_ref().template_name)?;
        let order = Order {
            dedupe_key: format!("test:{}", Uuid::now_v7()),
            customer_id,
            template_name: entry.name.to_owned(),
            variables: entry.sample(),
            unless: None,
            test: true,
        };
        let mut tx = self.pool.begin().await.map_err(Error::from)?;
        let id = self.queue.order(&mut tx, order).await?.ok_or(Error::NotFound)?;
        tx.commit().await.map_err(Error::from)?;
        Ok(Response::new(proto::SendTestEmailResponse { email_id: id.to_string() }))
    }

    async fn list_templates(
        &self,
        _: Request<proto::ListTemplatesRequest>,
    ) -> Answer<proto::ListTemplatesResponse> {
        let templates = templates::TEMPLATES.iter().map(|entry| self.describe(entry)).collect();
        Ok(Response::new(proto::ListTemplatesResponse { templates }))
    }

    async fn get_template(
        &self,
        request: Request<proto::GetTemplateRequest>,
    ) -> Answer<proto::GetTemplateResponse> {
        let entry = template(&request.get_ref().name)?;
        Ok(Response::new(proto::GetTemplateResponse { template: Some(self.describe(entry)) }))
    }

    async fn preview_template(
        &self,
        request: Request<proto::PreviewTemplateRequest>,
    ) -> Answer<proto::PreviewTemplateResponse> {
        let request = request.into_inner();
        let entry = template(&request.name)?;
        let Value::Object(given) = object(&request.variables_json)? else {
            return Err(Refusal::internal().into());
        };
        let page = &self.queue.page;
        let variables = entry.sample_with(given, page).map_err(|bad| Error::Variables(bad.0))?;
        let to = Recipient { first_name: "Ada".into() };
        let shown = entry.render(variables, &to, page).map_err(Error::from)?;
        Ok(Response::new(proto::PreviewTemplateResponse {
            subject: shown.subject,
            html: shown.html,
            text: shown.text,
        }))
    }

    async fn get_detailed_health(
        &self,
        _: Request<proto::GetDetailedHealthRequest>,
    ) -> Answer<proto::GetDetailedHealthResponse> {
        let (probe, queue) = tokio::join!(self.mailer.probe(), app::health(&self.pool));
        let queue = queue?;
        if let Err(error) = &probe {
            tracing::warn!(error = format!("{error:#}"), "the mail server cannot be used");
        }
        Ok(Response::new(proto::GetDetailedHealthResponse {
            smtp_connected: probe.is_ok(),
            queue_depth: u64::try_from(queue.depth).unwrap_or(0),
            last_sent_at: queue.last_sent.map(timestamp),
        }))
    }
}

impl Api {
    fn describe(&self, entry: &Entry) -> proto::Template {
        proto::Template {
            name: entry.name.to_owned(),
            category: entry.category.as_str().to_owned(),
            subject: entry.sample_subject(&self.queue.page),
            variables: entry.variables.iter().map(|name| (*name).to_owned()).collect(),
        }
    }
}

fn template(name: &str) -> Result<&'static Entry, Status> {
    templates::find(name).ok_or_else(|| Refusal::not_found("template").into())
}

fn email_id(text: &str) -> Result<Uuid, Error> {
    Uuid::parse_str(text).map_err(|_| Error::NotFound)
}

/// The variables with `***` for every secret that the template has, whether it is still stored or not
/// (NTF-10).
fn shown(template_name: &str, stored: &Value) -> Value {
    let mut shown = redact(stored);
    if let (Value::Object(fields), Some(entry)) = (&mut shown, templates::find(template_name)) {
        fields.extend(entry.secrets().map(|name| (name.to_owned(), Value::from(REDACTED))));
    }
    shown
}

fn filter(request: &proto::ListEmailsRequest) -> Result<Filter, Status> {
    let text = |value: &String| (!value.is_empty()).then(|| value.clone());
    let status = text(&request.status);
    if let Some(word) = &status
        && !["queued", "sending", "sent", "failed", "cancelled"].contains(&word.as_str())
    {
        return Err(Refusal::invalid("status", "must be queued, sending, sent, failed or cancelled").into());
    }
    let customer_id = text(&request.customer_id)
        .map(|id| Uuid::parse_str(&id).map_err(|_| Refusal::invalid("customer_id", "must be a UUID")))
        .transpose()?;
    let time = |field: &'static str, at: &Option<prost_types::Timestamp>| {
        at.as_ref()
            .map(|at| datetime(at).ok_or_else(|| Refusal::invalid(field, "is out of range")))
            .transpose()
    };
    Ok(Filter {
        status,
        template_name: text(&request.template_name),
        customer_id,
        from: time("from_date", &request.from_date)?,
        to: time("to_date", &request.to_date)?,
    })
}

fn summary(row: Summary) -> proto::EmailSummary {
    proto::EmailSummary {
        id: row.id.to_string(),
        to: row.recipient,
        template_name: row.template_name,
        subject: row.subject,
        status: row.status,
        attempts: u32::try_from(row.attempts).unwrap_or(0),
        sent_at: row.sent_at.map(timestamp),
        created_at: Some(timestamp(row.created_at)),
    }
}
