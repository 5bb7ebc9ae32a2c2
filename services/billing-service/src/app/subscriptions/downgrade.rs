//! To a smaller plan, or another rhythm of the same tier, when the period ends (BIL-22); refused when the
//! data does not fit.

use time::OffsetDateTime;
use uuid::Uuid;

use super::change::{changeable, own, plan_for_sale};
use crate::app::App;
use crate::app::facts::save_and_announce;
use crate::app::provider::provider_commands::{Wish, carry_out};
use crate::clients::Measured;
use crate::domain::plan::Plan;
use crate::domain::subscription::Subscription;
use crate::error::Error;
use crate::store::plans;
use crate::store::subscriptions::{self};

/// What a downgrade does.
#[derive(Debug, Clone)]
pub struct Downgrade {
    /// Plan now.
    pub current: Plan,
    /// Plan then.
    pub target: Plan,
    /// As it stands.
    pub subscription: Subscription,
    /// When it is made.
    pub effective_at: Option<OffsetDateTime>,
    /// What the volume holds, if that was asked and could be measured.
    pub used_bytes: Option<u64>,
    /// Why it cannot be made; only in a preview, else it is an error.
    pub refusal: Option<(&'static str, &'static str)>,
}

/// Why the data keeps a plan from being taken. What cannot be measured is taken for too much: nothing is ever
/// cut off.
fn unfit(target: &Plan, measured: Option<Measured>) -> Option<(&'static str, &'static str)> {
    match measured? {
        Measured::Bytes(used) if used <= target.storage_mib.saturating_mul(1024 * 1024) => None,
        Measured::Bytes(_) => {
            Some(("storage_exceeds_plan", "the instance's data does not fit the smaller plan"))
        }
        Measured::NoPod => Some(("usage_unknown", "the instance must run, so that its data can be measured")),
    }
}

/// What the volume holds, when the plan gives less than the present one. Asked before anything is locked: it
/// takes seconds.
async fn measure(app: &App, row: &Subscription, target: &Plan) -> Result<Option<Measured>, Error> {
    let current = plans::find(&app.pool, &row.plan_name, Some(row.entitlement_version))
        .await?
        .ok_or(Error::NotFound("plan"))?;
    if target.storage_mib >= current.storage_mib {
        return Ok(None);
    }
    app.clients.storage(row.instance_id).await.map(Some).map_err(|status| {
        tracing::warn!(code = ?status.code(), "the data of an instance cannot be measured now");
        Error::PeerAway("instance-service")
    })
}

/// Makes it, or with `preview` only tells what would be. Asked again while it waits: the same answer.
pub async fn downgrade(
    app: &App,
    customer: Option<Uuid>,
    id: Uuid,
    target: &str,
    preview: bool,
    now: OffsetDateTime,
) -> Result<Downgrade, Error> {
    let mut connection = app.pool.acquire().await?;
    let row = subscriptions::find(&mut *connection, id)
        .await?
        .filter(|row| customer.is_none_or(|customer| row.customer_id == customer))
        .ok_or(Error::NotFound("subscription"))?;
    let wanted = plan_for_sale(&mut connection, target).await?;
    drop(connection);
    let measured = measure(app, &row, &wanted).await?;

    let mut tx = app.pool.begin().await?;
    let mut row = own(&mut tx, customer, id).await?;
    let current = plans::find(&mut *tx, &row.plan_name, Some(row.entitlement_version))
        .await?
        .ok_or(Error::NotFound("plan"))?;
    let used_bytes = match measured {
        Some(Measured::Bytes(used)) => Some(used),
        Some(Measured::NoPod) | None => None,
    };
    let outcome = |row: Subscription, refusal| Downgrade {
        current: current.clone(),
        target: wanted.clone(),
        effective_at: row.pending.as_ref().map_or(row.current_period_end, |pending| pending.effective_at),
        subscription: row,
        used_bytes,
        refusal,
    };
    if row.pending.as_ref().is_some_and(|pending| pending.plan_name == wanted.name) {
        return Ok(outcome(row, None));
    }
    if wanted.tier > current.tier || wanted.name == current.name {
        return Err(Error::Refused("not_a_downgrade", "the plan is not a smaller one"));
    }
    changeable(&mut tx, &row).await?;
    if row.pending.is_some() {
        return Err(Error::Refused("change_blocked", "another change waits already"));
    }
    match unfit(&wanted, measured) {
        refusal if preview => return Ok(outcome(row, refusal)),
        Some((reason, text)) => return Err(Error::Refused(reason, text)),
        None => {}
    }
    if !app.provider.is_books_local() {
        let wish = Wish::Change { plan: &wanted, at_period_end: true };
        let row = carry_out(app, tx, &row, wish).await?;
        return Ok(outcome(row, None));
    }
    let at = row.current_period_end;
    let fact = row.wait_for_downgrade(&wanted, at);
    let row = save_and_announce(&mut tx, row, fact, now).await?;
    app.fail.at("downgrade.before_commit");
    tx.commit().await?;
    app.fail.at("downgrade.ended");
    Ok(outcome(row, None))
}

/// Takes a waiting downgrade back.
pub async fn undo_downgrade(
    app: &App,
    customer: Option<Uuid>,
    id: Uuid,
    now: OffsetDateTime,
) -> Result<Subscription, Error> {
    let mut tx = app.pool.begin().await?;
    let mut row = own(&mut tx, customer, id).await?;
    if row.pending.as_ref().is_none_or(|pending| pending.invoice_id.is_some()) {
        return Err(Error::Refused("nothing_to_undo", "no downgrade waits"));
    }
    if !app.provider.is_books_local() {
        return carry_out(app, tx, &row, Wish::UndoChange).await;
    }
    let fact = row.undo_downgrade();
    let row = save_and_announce(&mut tx, row, fact, now).await?;
    tx.commit().await?;
    Ok(row)
}
