//! A terminated instance gets a new subscription (BIL-25). Its former one ends, if it has not yet:
//! instance-service says that the instance has ended, and its announcement of that may still be on the way.

use time::OffsetDateTime;
use uuid::Uuid;

use super::place::{Answer, Wish, place_order};
use crate::app::App;
use crate::app::subscriptions::end::end_subscription;
use crate::domain::subscription::{ProvisionPolicy, Status};
use crate::error::Error;
use crate::store::{invoices, orders, subscriptions};

/// Places the order of a new subscription; never a trial. While the new one lives, the same answer.
pub async fn reactivate(
    app: &App,
    mut wish: Wish,
    former: Option<Uuid>,
    now: OffsetDateTime,
) -> Result<Answer, Error> {
    wish.trial = Some(false);
    make_room(app, &wish, former, now).await?;
    place_order(app, wish, now).await
}

/// The former order makes room for the new one; the order of a subscription that lives stays, and is the
/// answer.
async fn make_room(app: &App, wish: &Wish, former: Option<Uuid>, now: OffsetDateTime) -> Result<(), Error> {
    let mut tx = app.pool.begin().await?;
    let Some(live) = orders::find_live(&mut *tx, wish.instance_id).await? else { return Ok(()) };
    let Some(order) = orders::lock(&mut tx, live.id).await? else { return Ok(()) };
    if order.customer_id != wish.customer_id {
        return Err(Error::NotFound("instance"));
    }
    let row = subscriptions::lock(&mut tx, order.subscription_id).await?;
    let ended = row.is_none_or(|row| row.status == Status::Ended);
    if !ended && former != Some(order.subscription_id) {
        return Ok(());
    }
    // Where money comes first, so do debts.
    let owes = invoices::oldest_due(&mut *tx, order.subscription_id).await?.is_some();
    if owes && app.policy == ProvisionPolicy::OnPayment {
        return Err(Error::Refused("unpaid_invoices", "pay the open invoices of the instance first"));
    }
    end_subscription(&mut tx, app, order.subscription_id, "terminated", now).await?;
    orders::cancel(&mut tx, order.id, "reactivated", now).await?;
    tx.commit().await?;
    app.fail.at("reactivate.room_made");
    Ok(())
}
