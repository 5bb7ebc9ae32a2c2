//! Sends a failed mail again (NTF-14). The operator's name and reason stay in the mail's story.

use sqlx::PgPool;
use uuid::Uuid;

use super::error::Error;
use crate::{store, templates};

/// Queues it again; sent, waiting and cancelled mails are refused, and those whose token is gone.
pub async fn resend(pool: &PgPool, id: Uuid, actor: &str, reason: &str) -> Result<(), Error> {
    if !(5..=500).contains(&reason.chars().count()) {
        return Err(Error::Field { field: "reason", message: "must have 5 to 500 characters" });
    }
    let mail = store::detail(pool, id).await?.ok_or(Error::NotFound)?;
    let entry = templates::find(&mail.summary.template_name).ok_or(Error::NotResendable)?;
    let needs_secrets = entry.secrets().next().is_some();
    if !store::requeue(pool, id, needs_secrets, &format!("by {actor}: {reason}")).await? {
        return Err(Error::NotResendable);
    }
    tracing::info!(email.id = %id, actor, reason, "mail is sent again");
    Ok(())
}
