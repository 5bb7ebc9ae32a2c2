//! Finds in SQL what a crash, a lost message or a provider's outage left open, and finishes it (REL-04,
//! BIL-08).

use std::time::{Duration, Instant};

use time::OffsetDateTime;
use tokio_util::sync::CancellationToken;

use crate::app::App;
use crate::app::orders::complete::{Failed, complete};
use crate::app::orders::reverse::{cancel_order, reverse_order, tell_provider};
use crate::app::provider::{reconcile, sync};
use crate::app::subscriptions::engine;
use crate::error::Error;
use crate::provider::ProviderError;
use crate::store::orders::{self, Order, OrderState};
use crate::store::{customers, plans};

/// Rows in one round.
const BATCH: i64 = 100;
/// How long a claimed order is ours.
const HOLD: time::Duration = time::Duration::seconds(60);

/// Sweeps each `pause` until `stop`.
pub async fn run(app: App, pause: Duration, stop: CancellationToken) -> anyhow::Result<()> {
    loop {
        let now = app.now().await;
        if let Err(error) = sweep(&app, now).await {
            tracing::warn!(error = format!("{error:#}"), "sweep failed, trying again");
        }
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            () = tokio::time::sleep(pause) => {}
        }
    }
}

/// One round over everything that is due at `now`.
pub async fn sweep(app: &App, now: OffsetDateTime) -> Result<(), Error> {
    let begun = Instant::now();
    for order in orders::claim_open(&app.pool, now, HOLD, BATCH).await? {
        if let Err(error) = repair(app, &order, now).await {
            tracing::warn!(order.id = %order.id, error = format!("{error:#}"), "order is not finished yet");
        }
    }
    // Before what is due by itself: a payment that only the provider knows of ends a ladder.
    sync::round(app, now).await?;
    // While it cannot be read, it may have a payment that we do not know of: nobody is suspended or ended on
    // old rows (BIL-35). Steps are made up for afterwards, each once and in order.
    if !sync::is_away(app).await? {
        engine::run_due(app, now).await?;
    }
    if let Err(error) = reconcile::run_tasks(app, now).await {
        tracing::warn!(error = format!("{error:#}"), "tasks wait");
    }
    for id in customers::without_provider_account(&app.pool, BATCH).await? {
        match app.provider.create_account(id).await {
            Ok(account) => {
                customers::set_provider_account(&app.pool, id, &account).await?;
                app.metrics.repaired("account");
            }
            Err(error) => {
                tracing::warn!(error = format!("{error:#}"), "accounts cannot be made at the provider now");
                break;
            }
        }
    }
    app.metrics.swept(now, begun.elapsed());
    Ok(())
}

async fn repair(app: &App, order: &Order, now: OffsetDateTime) -> anyhow::Result<()> {
    if order.provider_cancel_due {
        tell_provider(app, order, now).await;
        app.metrics.repaired("told_provider");
        return Ok(());
    }
    match order.state {
        OrderState::Placed => {
            let plan = plans::find(&app.pool, &order.plan_name, Some(order.entitlement_version)).await?;
            let plan = plan.ok_or_else(|| anyhow::anyhow!("plan {} is gone", order.plan_name))?;
            match complete(app, order, &plan, now).await {
                Ok(_) => app.metrics.repaired("resumed"),
                Err(Failed::Provider(ProviderError::Refused(reason))) => {
                    tracing::error!(order.id = %order.id, reason, "the provider will never take this order");
                    let mut tx = app.pool.begin().await?;
                    reverse_order(&mut tx, app, order, "provider_refused", now).await?;
                    tx.commit().await?;
                    app.metrics.repaired("taken_back");
                }
                Err(Failed::Provider(error)) => return Err(error.into()),
                Err(Failed::Error(error)) => return Err(error.into()),
            }
        }
        OrderState::Subscribed if order.confirmed_at.is_none() => ask_for_instance(app, order, now).await?,
        OrderState::Subscribed | OrderState::Cancelled => {}
    }
    Ok(())
}

/// The announcement of the instance never came: is there an instance?
async fn ask_for_instance(app: &App, order: &Order, now: OffsetDateTime) -> anyhow::Result<()> {
    if app.clients.instance_exists(order.subscription_id).await? {
        orders::confirm(&app.pool, order.instance_id, now).await?;
        app.metrics.repaired("confirmed");
        return Ok(());
    }
    match cancel_order(app, order.instance_id, "instance_missing", now).await {
        // Confirmed in this very moment.
        Ok(()) | Err(Error::Confirmed) => {}
        Err(error) => return Err(error.into()),
    }
    app.metrics.repaired("taken_back");
    Ok(())
}
