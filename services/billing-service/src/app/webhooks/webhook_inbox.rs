//! The inbox of hooks (BIL-30). A hook is stored and answered; what it hints at is looked at here, soon
//! after, once for all hints about the same customer. Nothing of its content is believed. What is lost
//! between is found by the next round: rows are the queue, the bell is a hint too.

use std::collections::HashMap;
use std::time::Duration as Pause;

use time::{Duration, OffsetDateTime};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::handle_webhook::{Outcome, handle_webhook};
use crate::app::App;
use crate::app::caller::Caller;
use crate::app::provider::{provider_commands, sync};
use crate::domain::webhook::{Webhook, WebhookState};
use crate::error::Error;
use crate::provider::Name;
use crate::store::mirror;
use crate::store::webhooks::{self};

/// Hooks in one round.
const BATCH: i64 = 100;
/// How long a claimed hook is ours.
const HOLD: Duration = Duration::seconds(60);
/// First pause after a failure; it doubles.
const FIRST_PAUSE: Duration = Duration::seconds(1);
/// Longest pause after a failure.
const LONGEST_PAUSE: Duration = Duration::minutes(10);
/// Looks before a hook is given up: about a day. The reconciliation finds what it was about.
const MOST_LOOKS: i32 = 160;
/// Rounds without a bell.
const IDLE: Pause = Pause::from_secs(5);

/// What a hook comes to.
#[derive(Debug)]
pub enum Taken {
    /// The look is over: for the table a state, whom it was about, and a safe text.
    Over(WebhookState, Option<Uuid>, &'static str),
    /// It hints at this customer: all that the provider holds about him is pulled, once for all hooks of the
    /// round.
    Pull(Uuid),
}

/// Looks at one hook. Every sender has its arm; each may be told the same again at any time.
async fn take(app: &App, hook: &Webhook) -> Result<Taken, Error> {
    if hook.provider == Name::Killbill.as_str() {
        if app.provider.name() != Name::Killbill {
            return Ok(Taken::Over(WebhookState::Ignored, None, "Kill Bill is not the provider"));
        }
        let found = app.provider.customer_of_hook(&hook.body).await.map_err(|error| {
            tracing::warn!(error = format!("{error:#}"), "a hook waits for the provider");
            Error::ProviderUnavailable
        })?;
        return Ok(match found {
            Some(customer) => Taken::Pull(customer),
            None => Taken::Over(WebhookState::Ignored, None, "about no account of ours"),
        });
    }
    // What a payment gateway says is asked for at the gateway.
    Ok(match handle_webhook(app, &hook.provider, &hook.body).await? {
        Outcome::Asked(customer, state) => Taken::Over(WebhookState::Done, Some(customer), state),
        Outcome::Ignored(why) => Taken::Over(WebhookState::Ignored, None, why),
    })
}

/// Works until `stop`: at once when the bell rings, else every few seconds.
pub async fn run(app: App, stop: CancellationToken) -> anyhow::Result<()> {
    loop {
        if let Err(error) = work(&app).await {
            tracing::warn!(error = format!("{error:#}"), "the inbox cannot be worked through, trying again");
        }
        if let Err(error) = provider_commands::work(&app).await {
            tracing::warn!(error = format!("{error:#}"), "the provider cannot be told, trying again");
        }
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            () = app.wakeup.notified() => {}
            () = tokio::time::sleep(IDLE) => {}
        }
    }
}

/// Looks at all hooks that wait. How many were looked at.
pub async fn work(app: &App) -> Result<usize, Error> {
    let mut looked = 0;
    loop {
        // Retries and retention are real time: a moved clock of billing makes no hook older.
        let now = app.real_now().await;
        let hooks = webhooks::claim(&app.pool, now, HOLD, BATCH).await?;
        if hooks.is_empty() {
            return Ok(looked);
        }
        looked += hooks.len();
        round(app, &hooks).await?;
    }
}

async fn round(app: &App, hooks: &[Webhook]) -> Result<(), Error> {
    let mut pulls: HashMap<Uuid, Vec<&Webhook>> = HashMap::new();
    for hook in hooks {
        match take(app, hook).await {
            Ok(Taken::Pull(customer)) => pulls.entry(customer).or_default().push(hook),
            Ok(Taken::Over(state, customer, text)) => {
                webhooks::finish(&app.pool, hook, state, customer, text, app.real_now().await).await?;
            }
            Err(error) => later(app, hook, &error).await?,
        }
    }
    for (customer, mut hooks) in pulls {
        unseen(app, customer, &mut hooks).await?;
        if hooks.is_empty() {
            continue;
        }
        let outcome = if mirror::is_ordering(&app.pool, customer).await? {
            // It is about a subscription that has no row of ours yet: a look would have to be made again.
            Err(Error::Conflict)
        } else {
            sync::customer(app, customer, sync::Cause::Hook).await
        };
        for hook in hooks {
            match &outcome {
                // The account's key is an id, but none of ours: we write our row before we make an account.
                Err(Error::NotFound(_)) => {
                    let (state, at) = (WebhookState::Ignored, app.real_now().await);
                    webhooks::finish(&app.pool, hook, state, None, "about no account of ours", at).await?;
                }
                // The hook was faster than our own row.
                Ok(synced) if !synced.whole => later(app, hook, &Error::Conflict).await?,
                Ok(_) => {
                    let (state, at) = (WebhookState::Done, app.real_now().await);
                    webhooks::finish(&app.pool, hook, state, Some(customer), "pulled", at).await?;
                }
                Err(error) => later(app, hook, error).await?,
            }
        }
    }
    Ok(())
}

/// Hooks that had to wait, such as for an order on its way, and came before a pull that was made since: it
/// saw what they hint at.
async fn unseen(app: &App, customer: Uuid, hooks: &mut Vec<&Webhook>) -> Result<(), Error> {
    if !hooks.iter().any(|hook| hook.attempts > 1) {
        return Ok(());
    }
    let Some(pulled_at) = mirror::pulled_at(&app.pool, customer).await? else { return Ok(()) };
    // One that came again may hint at something newer.
    let is_seen = |hook: &&Webhook| hook.attempts > 1 && hook.deliveries == 1 && hook.received_at < pulled_at;
    for hook in hooks.extract_if(.., |hook| is_seen(hook)) {
        let (state, at) = (WebhookState::Done, app.real_now().await);
        webhooks::finish(&app.pool, hook, state, Some(customer), "pulled since", at).await?;
    }
    Ok(())
}

/// Another look later, with growing pauses.
async fn later(app: &App, hook: &Webhook, error: &Error) -> Result<(), Error> {
    let now = app.real_now().await;
    if hook.attempts >= MOST_LOOKS {
        tracing::error!(hook.id = %hook.id, "a hook was given up");
        return Ok(webhooks::finish(&app.pool, hook, WebhookState::Failed, None, error.reason(), now).await?);
    }
    Ok(webhooks::postpone(&app.pool, hook.id, error.reason(), now + pause(hook.attempts)).await?)
}

fn pause(attempts: i32) -> Duration {
    let doubled = u32::try_from(attempts - 1).unwrap_or(0).min(10);
    (FIRST_PAUSE * 2_i32.pow(doubled)).min(LONGEST_PAUSE)
}

/// Takes a hook again (operators). `None`: there is none.
pub async fn replay(app: &App, by: &Caller, id: Uuid, now: OffsetDateTime) -> Result<Option<Webhook>, Error> {
    let mut tx = app.pool.begin().await?;
    let Some(hook) = webhooks::replay(&mut tx, id, now).await? else { return Ok(None) };
    let details = serde_json::json!({ "provider": hook.provider, "asked_for": id });
    crate::store::audit::write(
        &mut tx,
        &by.audit_of_hook("webhook_replayed", hook.customer_id, hook.id, details),
    )
    .await?;
    tx.commit().await?;
    app.wakeup.notify();
    Ok(Some(hook))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_stay_bearable() {
        assert_eq!(pause(1), Duration::seconds(1));
        assert_eq!(pause(3), Duration::seconds(4));
        assert_eq!(pause(100), Duration::minutes(10));
        // Together longer than any outage that people sleep through.
        let all: Duration = (1..MOST_LOOKS).map(pause).sum();
        assert!(all > Duration::days(1), "{all}");
    }
}
