//! Looks at the instances of subscriptions: what a fact hinted at, and what no fact told (BIL-08, BIL-24,
//! REL-04). instance-service is asked while nothing is locked; what follows is decided on its answer and on
//! the rows as they stand then.

use std::collections::HashSet;
use std::time::Duration as Pause;

use sqlx::PgConnection;
use time::{Duration, OffsetDateTime};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::end::end_subscription;
use super::revive::undelete;
use crate::app::App;
use crate::app::audit::run as audit;
use crate::app::orders::reverse::{reverse_order, tell_provider};
use crate::domain::delivery::{Standing, Verdict, judge};
use crate::domain::subscription::Status;
use crate::error::Error;
use crate::store::checks::{self, Check};
use crate::store::orders::{self, OrderState};
use crate::store::{audits, clock, subscriptions};

/// Looks in one round.
const BATCH: i64 = 50;
/// How long a look is its replica's; also the pause after one that had no answer.
const HOLD: Duration = Duration::seconds(15);
/// Between two looks at the table.
const PAUSE: Pause = Pause::from_secs(1);
/// Name of the comparison of all of them in the schedule, and the time between two.
const SWEEP: (&str, Duration) = ("instances", Duration::minutes(5));

/// Looks until `stop`.
pub async fn run(app: App, stop: CancellationToken) -> anyhow::Result<()> {
    loop {
        // Looks are scheduled by the database's clock: a replica whose own is ahead must not put them off.
        let now = app.real_now().await;
        if let Err(error) = work(&app, now).await {
            tracing::warn!(error = format!("{error:#}"), "instances cannot be looked at now, trying again");
        }
        if let Err(error) = sweep(&app, now).await {
            tracing::warn!(error = format!("{error:#}"), "instances cannot be compared now, trying again");
        }
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            () = tokio::time::sleep(PAUSE) => {}
        }
    }
}

/// Makes all looks that are due at `now`, in real time.
pub async fn work(app: &App, now: OffsetDateTime) -> Result<(), Error> {
    loop {
        let due = checks::claim(&app.pool, now, HOLD, BATCH).await?;
        let found = due.len();
        for check in due {
            if let Err(error) = look(app, &check, now).await {
                let id = check.subscription_id;
                let error = format!("{error:#}");
                tracing::warn!(subscription.id = %id, error, "an instance is looked at again");
            }
        }
        if i64::try_from(found).unwrap_or(0) < BATCH {
            return Ok(());
        }
    }
}

/// Compares all live subscriptions with all live instances when that is due, and looks at those that do not
/// fit. A fact that was lost, with its queue or before it, is found here.
pub async fn sweep(app: &App, now: OffsetDateTime) -> Result<bool, Error> {
    let (name, every) = SWEEP;
    if !audits::claim(&app.pool, name, now, now + every).await? {
        return Ok(false);
    }
    // Instances first: a subscription is older than its instance.
    let instances = audit::instances(app).await?;
    let subscriptions = audit::subscriptions(app).await?;
    let running: HashSet<Uuid> = instances.iter().filter_map(|instance| instance.subscription_id).collect();
    let paying: HashSet<Uuid> = subscriptions.iter().map(|subscription| subscription.id).collect();
    let without = subscriptions.iter().filter(|row| row.must_have && !running.contains(&row.id));
    for subscription in without.map(|row| row.id).chain(running.difference(&paying).copied()) {
        checks::request(&app.pool, subscription, now).await?;
    }
    Ok(true)
}

async fn look(app: &App, check: &Check, now: OffsetDateTime) -> Result<(), Error> {
    let id = check.subscription_id;
    let seen = app.clients.instance_of(id).await.map_err(|status| {
        tracing::warn!(code = ?status.code(), "instance-service does not say how an instance stands");
        Error::PeerAway("instance-service")
    })?;
    let billing_now = app.now().await;
    let mut tx = app.pool.begin().await?;
    let Some(order) = orders::of_subscription(&mut tx, id).await? else {
        checks::done(&mut tx, check, None).await?;
        return Ok(tx.commit().await?);
    };
    let row = subscriptions::find(&mut *tx, id).await?;
    let ended = row.as_ref().filter(|row| row.status == Status::Ended);
    let standing = Standing {
        // The order of a subscription that came back stays cancelled: the subscription says whether it lives.
        live: match &row {
            Some(row) => row.status != Status::Ended,
            None => order.state != OrderState::Cancelled,
        },
        ended_with_instance: ended.is_some_and(|row| row.end_reason.as_deref() == Some("terminated")),
        confirmed: order.confirmed_at.is_some(),
        ordered_at: order.created_at,
    };
    let verdict = match judge(seen.as_ref(), standing, now, app.give_up_after) {
        // There is no order left to take back.
        Verdict::TakeBack if order.state == OrderState::Cancelled => Verdict::End,
        verdict => verdict,
    };
    let mut again = None;
    match verdict {
        Verdict::Nothing => {}
        Verdict::Confirm => {
            orders::confirm(&mut *tx, order.instance_id, billing_now).await?;
            // Should its create fail and nobody tell, it is seen then.
            again = Some(now + app.give_up_after);
        }
        Verdict::TakeBack => reverse_order(&mut tx, app, &order, "provisioning_failed", billing_now).await?,
        Verdict::End => end_subscription(&mut tx, app, id, "terminated", billing_now).await?,
        Verdict::Revive => undelete(&mut tx, id, billing_now).await?,
        Verdict::LookAgain(at) => again = Some(at),
    }
    checks::done(&mut tx, check, again).await?;
    tx.commit().await?;
    if verdict != Verdict::Nothing {
        tracing::info!(subscription.id = %id, ?verdict, "an instance was looked at");
    }
    if verdict == Verdict::TakeBack {
        tell_provider(app, &order, billing_now).await;
    }
    Ok(())
}

/// Asks for a check of an instance that a fact told of. A fact is a hint and may come late: what follows is
/// decided on the state that instance-service tells when it is asked.
pub async fn request_check(
    connection: &mut PgConnection,
    instance: Uuid,
    subscription: Option<Uuid>,
) -> Result<(), Error> {
    let now = clock::real(&mut *connection).await?;
    match subscription {
        Some(subscription) => checks::request(connection, subscription, now).await?,
        None => checks::request_of_instance(connection, instance, now).await?,
    }
    Ok(())
}
