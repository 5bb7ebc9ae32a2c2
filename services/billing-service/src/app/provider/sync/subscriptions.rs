//! Subscriptions brought to the provider's state.

use contracts::events::topics;
use messaging::outbox;
use sqlx::PgConnection;
use time::OffsetDateTime;
use uuid::Uuid;

use super::Look;
use super::compare::{Difference, differences};
use crate::app::facts::{announce_change, save_and_announce, subscription_fact, to_event_amount};
use crate::app::subscriptions::end::end;
use crate::domain::plan::Plan;
use crate::domain::subscription::Subscription;
use crate::domain::subscription::{ProvisionPolicy, Status};
use crate::error::Error;
use crate::provider::SnapshotSubscription;
use crate::store::provider_calls::{self, Call, CallKind};
use crate::store::subscriptions::{self};
use crate::store::{mirror, orders, plans};

impl Look<'_> {
    fn theirs(&self, id: Uuid) -> Option<&SnapshotSubscription> {
        self.snapshot.subscriptions.iter().find(|found| found.id == Some(id))
    }

    fn wish(&self, id: Uuid, kind: CallKind) -> Option<&Call> {
        self.calls.iter().find(|call| call.subscription_id == Some(id) && call.kind == kind)
    }

    /// Periods that were billed for it, oldest first.
    fn periods(&self, id: Uuid) -> Vec<(OffsetDateTime, OffsetDateTime)> {
        let invoices = self.snapshot.invoices.iter().filter(|invoice| invoice.subscription_id == Some(id));
        let lines = invoices.flat_map(|invoice| &invoice.lines).filter(|line| line.amount.minor() > 0);
        lines.filter_map(|line| line.period).collect()
    }

    fn owes(&self, id: Uuid) -> bool {
        let mut invoices = self.snapshot.invoices.iter();
        invoices.any(|invoice| invoice.subscription_id == Some(id) && invoice.balance.minor() > 0)
    }

    /// What the provider has and we do not: an order on its way, or nothing of ours.
    pub(super) async fn unknown(
        &mut self,
        connection: &mut PgConnection,
        ours: &[Uuid],
    ) -> Result<(), Error> {
        let snapshot = self.snapshot;
        let strange =
            snapshot.subscriptions.iter().filter(|found| found.id.is_none_or(|id| !ours.contains(&id)));
        for found in strange {
            let order = match found.id {
                Some(id) => mirror::order_of(&mut *connection, id, self.customer).await?,
                None => None,
            };
            match order {
                Some((_, state, _)) if state == "placed" => self.whole = false,
                // Taken back here: told until it was heard.
                Some((order, _, false)) if found.ended_at.is_none() => {
                    orders::set_provider_cancel_due(&mut *connection, order, true, self.now).await?;
                    self.changed("still_lives");
                }
                Some(_) => {}
                None => {
                    tracing::warn!(
                        provider.id = found.provider_id,
                        "the provider has a subscription that is none of ours"
                    );
                }
            }
        }
        Ok(())
    }

    /// All differences but the end.
    pub(super) async fn subscription(
        &mut self,
        connection: &mut PgConnection,
        id: Uuid,
    ) -> Result<(), Error> {
        let Some(mut row) = subscriptions::find(&mut *connection, id).await? else { return Ok(()) };
        let Some(theirs) = self.theirs(id) else {
            if row.status != Status::Ended && self.snapshot.account_id.is_some() {
                // Lost there, or another tenant: nobody's instance ends for that.
                tracing::error!(subscription.id = %id, "the provider does not know a live subscription");
            }
            return Ok(());
        };
        for difference in differences(&row, theirs, &self.periods(id), self.now) {
            row = self.write(connection, row, difference).await?;
        }
        Ok(())
    }

    async fn write(
        &mut self,
        connection: &mut PgConnection,
        mut row: Subscription,
        difference: Difference,
    ) -> Result<Subscription, Error> {
        let now = self.now;
        self.changed("subscription");
        match difference {
            Difference::StillLives => {
                orders::set_provider_cancel_due(&mut *connection, row.order_id, true, now).await?;
                Ok(row)
            }
            Difference::Cancelled(at) => self.cancelled(connection, row, at).await,
            Difference::CancelMoved(at) => {
                let fact = row.move_cancel(at);
                save_and_announce(connection, row, fact, now).await
            }
            Difference::CancelUndone => {
                let fact = row.undo_cancel();
                save_and_announce(connection, row, fact, now).await
            }
            Difference::TrialEnds(at) => {
                row.move_trial_end(at);
                subscriptions::save(connection, &row, now).await?;
                Ok(row)
            }
            Difference::Period(start, end) => self.period(connection, row, start, end).await,
            Difference::Plan(name) => self.plan(connection, row, &name).await,
            Difference::PlanWaits(name, at) => {
                let Some(plan) = known(connection, &name).await? else { return Ok(row) };
                let fact = row.wait_for_downgrade(&plan, Some(at));
                save_and_announce(connection, row, fact, now).await
            }
            Difference::PlanKept => {
                let fact = row.undo_downgrade();
                save_and_announce(connection, row, fact, now).await
            }
        }
    }

    async fn cancelled(
        &mut self,
        connection: &mut PgConnection,
        mut row: Subscription,
        at: OffsetDateTime,
    ) -> Result<Subscription, Error> {
        let wish = self.wish(row.id, CallKind::Cancel);
        let reason = wish.and_then(|wish| wish.text("reason")).map(ToOwned::to_owned);
        let cancelled = row.cancel(at, reason.as_deref(), true);
        let mut fact = subscription_fact(&row, self.now);
        fact.ends_at = row.cancel_at;
        outbox::enqueue(&mut *connection, topics::SUBSCRIPTION_CANCELLED, row.customer_id, &fact).await?;
        save_and_announce(connection, row, cancelled, self.now).await
    }

    async fn period(
        &mut self,
        connection: &mut PgConnection,
        mut row: Subscription,
        start: OffsetDateTime,
        end: OffsetDateTime,
    ) -> Result<Subscription, Error> {
        let was_trial = row.in_trial();
        let owes = self.owes(row.id);
        row.begin_period(start, end, owes);
        row.anchor_day = end.day().max(start.day());
        subscriptions::save(&mut *connection, &row, self.now).await?;
        if was_trial {
            announce_change(connection, &row, "trial_ended", self.now).await?;
        }
        Ok(row)
    }

    /// The provider has another plan: an upgrade that is paid later waits here, everything else is so now.
    async fn plan(
        &mut self,
        connection: &mut PgConnection,
        mut row: Subscription,
        name: &str,
    ) -> Result<Subscription, Error> {
        let Some(plan) = known(connection, name).await? else { return Ok(row) };
        let before = plans::find(&mut *connection, &row.plan_name, Some(row.entitlement_version)).await?;
        let is_upgrade = before.is_some_and(|before| plan.tier > before.tier);
        if is_upgrade && self.app.policy == ProvisionPolicy::OnPayment {
            let fact = row.wait_for_upgrade(&plan);
            return save_and_announce(connection, row, fact, self.now).await;
        }
        let was = row.take_plan(&plan);
        let reason = if is_upgrade { "upgraded" } else { "downgraded" };
        subscriptions::save(&mut *connection, &row, self.now).await?;
        announce_change(&mut *connection, &row, reason, self.now).await?;
        if is_upgrade {
            let mut fact = subscription_fact(&row, self.now);
            fact.previous_plan = Some(was);
            fact.amount = Some(to_event_amount(row.price));
            outbox::enqueue(connection, topics::SUBSCRIPTION_UPGRADED, row.customer_id, &fact).await?;
        }
        Ok(row)
    }

    /// The provider ended it.
    pub(super) async fn end(&mut self, connection: &mut PgConnection, id: Uuid) -> Result<(), Error> {
        let Some(row) = subscriptions::find(&mut *connection, id).await? else { return Ok(()) };
        let is_over = self.theirs(id).is_some_and(|theirs| theirs.ended_at.is_some());
        if !is_over || row.status == Status::Ended {
            return Ok(());
        }
        self.changed("subscription");
        let wish = self.wish(id, CallKind::Cancel);
        let reason =
            if wish.is_some() || row.cancel_at.is_some() { "cancelled" } else { "ended_by_provider" };
        if let Some(wish) = wish {
            let mut row = row.clone();
            row.cancel(self.now, wish.text("reason"), false);
            subscriptions::save(&mut *connection, &row, self.now).await?;
            let mut fact = subscription_fact(&row, self.now);
            fact.ends_at = row.cancel_at;
            outbox::enqueue(&mut *connection, topics::SUBSCRIPTION_CANCELLED, row.customer_id, &fact).await?;
        }
        end(connection, self.app, &row, reason, self.now).await?;
        // It has heard already.
        orders::set_provider_cancel_due(connection, row.order_id, false, self.now).await?;
        Ok(())
    }

    /// Wishes that came true wait for nothing more.
    pub(super) async fn close_wishes(&mut self, connection: &mut PgConnection) -> Result<(), Error> {
        for call in &self.calls {
            let Some(id) = call.subscription_id else { continue };
            let row = subscriptions::find(&mut *connection, id).await?;
            if row.is_none_or(|row| is_true(call, &row)) {
                provider_calls::close(&mut *connection, call.id, "done", "").await?;
            }
        }
        Ok(())
    }
}

/// Does the row show that a wish came true?
fn is_true(call: &Call, row: &Subscription) -> bool {
    let waits = row.pending.as_ref().map(|pending| pending.plan_name.as_str());
    let plan = call.text("plan");
    row.status == Status::Ended
        || match call.kind {
            CallKind::Cancel => row.cancel_at.is_some() && call.text("when") != Some("now"),
            CallKind::UndoCancel => row.cancel_at.is_none(),
            CallKind::Change => Some(row.plan_name.as_str()) == plan || (waits.is_some() && waits == plan),
            CallKind::UndoChange => row.pending.is_none(),
            CallKind::Payment | CallKind::Credit | CallKind::WriteOff | CallKind::Void | CallKind::Refund => {
                false
            }
        }
}

async fn known(connection: &mut PgConnection, name: &str) -> Result<Option<Plan>, Error> {
    let plan = plans::find(connection, name, None).await?;
    if plan.is_none() {
        tracing::error!(plan = name, "the provider has a plan that is none of ours");
    }
    Ok(plan)
}
