//! Sending mails with links. The token is made here and leaves by one encrypted or local call; the bus never
//! sees it (SEC-04).

use serde_json::json;
use time::Duration;

use super::App;
use crate::domain::sessions::retry_delay;
use crate::error::Error;
use crate::store::mails::{self, Due, Kind};
use crate::tokens::RandomToken;

/// Longest work on one claimed mail; another replica takes it over afterwards.
const LEASE: Duration = Duration::seconds(30);
/// Mails claimed at once.
const BATCH: i64 = 10;

impl App {
    /// Sends what is due; how many were worked on.
    pub async fn send_due_mails(&self) -> Result<usize, Error> {
        let due = {
            let mut connection = self.pool.acquire().await?;
            mails::claim(&mut connection, BATCH, LEASE, runtime::clock::now()).await?
        };
        let outcomes = futures::future::join_all(due.iter().map(|mail| self.send(mail))).await;
        outcomes.into_iter().collect::<Result<Vec<()>, _>>()?;
        self.metrics.set_mails_pending(mails::pending(&mut *self.pool.acquire().await?).await?);
        Ok(due.len())
    }

    async fn send(&self, mail: &Due) -> Result<(), Error> {
        let now = runtime::clock::now();
        let expired = now >= mail.expires_at;
        if expired || !mail.of_use {
            if expired {
                tracing::warn!(mail.id = %mail.id, attempts = mail.attempts, "a mail could not be sent in time");
            }
            return Ok(mails::give_up(&mut *self.pool.acquire().await?, mail.id, expired).await?);
        }
        let token = RandomToken::try_new()?;
        {
            let mut connection = self.pool.acquire().await?;
            if !mails::add_token(&mut connection, mail.id, &token.hash(), now + mail.kind.life(), now).await?
            {
                return Ok(());
            }
        }
        let template = match mail.kind {
            Kind::Verification => "email_verification",
            Kind::PasswordReset => "password_reset",
        };
        // notification-service makes the link (SEC-15) and knows the salutation.
        let variables = json!({ "token": token.expose(), "valid_hours": mail.kind.life().whole_hours() });
        let sent = self.clients.send_template(mail.id, mail.user_id, template, &variables).await;
        let mut connection = self.pool.acquire().await?;
        match sent {
            Ok(()) => mails::mark_sent(&mut connection, mail.id, runtime::clock::now()).await?,
            Err(status) => {
                tracing::warn!(mail.id = %mail.id, template, attempts = mail.attempts, code = ?status.code(), error = status.message(),
                    "notification-service did not take a mail, trying again");
                mails::retry_at(&mut connection, mail.id, runtime::clock::now() + retry_delay(mail.attempts))
                    .await?;
            }
        }
        Ok(())
    }
}
