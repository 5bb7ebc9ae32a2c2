//! Orders a mail: the variables become their type, the secret ones are kept apart, one row is written.

use serde_json::Value;
use sqlx::PgConnection;
use uuid::Uuid;

use super::error::Error;
use crate::store::{self, NewEmail};
use crate::templates::{self, Page};

/// Takes orders of mails.
#[derive(Debug, Clone)]
pub struct MailQueue {
    /// Brand and links.
    pub page: Page,
    /// Right side of `Message-ID`.
    pub mail_domain: String,
}

/// One mail that somebody orders.
#[derive(Debug, Clone)]
pub struct Order {
    /// Event id, or the caller's key: the same order twice is one mail (NTF-09).
    pub dedupe_key: String,
    /// Whose account.
    pub customer_id: Uuid,
    /// Registry name.
    pub template_name: String,
    /// JSON object.
    pub variables: Value,
    /// No mail, if one with this key was ordered within a day.
    pub unless: Option<String>,
    /// A sample for an operator.
    pub test: bool,
}

impl MailQueue {
    /// Writes the row in the caller's transaction; the id of the mail, also when it was ordered before.
    /// `None`: another mail tells the same.
    pub async fn order(&self, connection: &mut PgConnection, order: Order) -> Result<Option<Uuid>, Error> {
        let entry = templates::find(&order.template_name)
            .ok_or_else(|| Error::UnknownTemplate(order.template_name.clone()))?;
        let (subject, variables) =
            entry.check(order.variables, &self.page).map_err(|bad| Error::Variables(bad.0))?;
        let (variables, secret_variables) = entry.split(variables);
        if let Some(key) = &order.unless
            && store::was_told(connection, order.customer_id, key).await?
        {
            return Ok(None);
        }
        let id = Uuid::now_v7();
        let mail = NewEmail {
            id,
            dedupe_key: order.dedupe_key,
            template_name: entry.name,
            customer_id: order.customer_id,
            subject,
            variables,
            secret_variables,
            switchable: entry.category.switchable(),
            test: order.test,
            priority: entry.category.priority(),
            message_id: format!("<{id}@{}>", self.mail_domain),
        };
        Ok(Some(store::enqueue(connection, &mail).await?))
    }
}
