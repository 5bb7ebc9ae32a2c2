//! Lives of subscriptions that nobody thought of: random orders, changes, payments, refunds, ends and jumps
//! of the clock, under both policies. After each step the books are right, nothing is given for nothing, and
//! nobody gets back more than was paid.

use billing_service::app;
use billing_service::app::App;
use billing_service::app::caller::Caller;
use billing_service::app::orders::place::Wish;
use billing_service::app::payments::credit;
use billing_service::app::payments::record_manual;
use billing_service::app::payments::refund;
use billing_service::app::subscriptions::change;
use billing_service::app::subscriptions::downgrade;
use billing_service::app::subscriptions::engine;
use billing_service::domain::dunning::DunningState;
use billing_service::domain::invoice::Invoice;
use billing_service::domain::invoice::{InvoiceKind, InvoiceStatus};
use billing_service::domain::money::{Currency, Money};
use billing_service::domain::subscription::Subscription;
use billing_service::domain::subscription::{ProvisionPolicy, Status};
use billing_service::store::invoices::{self};
use billing_service::store::payments::{self, NewPayment};
use billing_service::store::subscriptions::{self};
use billing_service::store::{audits, credits, plans};
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;
use runtime::clock;
use runtime::page::Page;
use sqlx::PgPool;
use time::{Duration, OffsetDateTime};
use uuid::Uuid;

use crate::world::World;

const PLANS: [&str; 5] =
    ["basic-monthly", "standard-monthly", "standard-annual", "premium-monthly", "basic-annual"];

#[derive(Debug, Clone)]
enum Act {
    Upgrade(usize),
    Downgrade(usize),
    UndoDowngrade,
    Cancel(bool),
    UndoCancel,
    /// All or half of an invoice, whatever became of it.
    Pay(usize, bool),
    Refund(usize, i64),
    Credit(i64),
    WriteOff,
    Terminate,
    Undelete,
    Wait(i64),
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        4 => (0..PLANS.len()).prop_map(Act::Upgrade),
        2 => (0..PLANS.len()).prop_map(Act::Downgrade),
        1 => Just(Act::UndoDowngrade),
        2 => any::<bool>().prop_map(Act::Cancel),
        2 => Just(Act::UndoCancel),
        8 => (0..4_usize, any::<bool>()).prop_map(|(back, half)| Act::Pay(back, half)),
        1 => (0..3_usize, 1..2000_i64).prop_map(|(back, minor)| Act::Refund(back, minor)),
        1 => (1..2000_i64).prop_map(Act::Credit),
        1 => Just(Act::WriteOff),
        1 => Just(Act::Terminate),
        1 => Just(Act::Undelete),
        7 => (1..26_i64).prop_map(Act::Wait),
    ]
}

/// One subscription with a clock of its own.
struct Life<'a> {
    pool: &'a PgPool,
    app: App,
    customer: Uuid,
    id: Uuid,
    now: OffsetDateTime,
    /// Time given at the prices of the plans in force, in minor units.
    given: f64,
    /// Something was forgiven, given back, skipped or ended: what was charged is not the time any more.
    uneven: bool,
    steps: u32,
    /// Prices of the plans that were asked for, and how many upgrades were.
    asked: Vec<i64>,
    upgrades: usize,
}

impl Life<'_> {
    async fn row(&self) -> Subscription {
        subscriptions::find(self.pool, self.id).await.unwrap().unwrap()
    }

    async fn invoices(&self) -> Vec<Invoice> {
        let filter = billing_service::domain::invoice::InvoiceFilter {
            customer_id: Some(self.customer),
            ..billing_service::domain::invoice::InvoiceFilter::default()
        };
        invoices::list(self.pool, &filter, Page::try_new(1, 100).unwrap()).await.unwrap().0
    }

    async fn sum(&self, query: &'static str) -> i64 {
        sqlx::query_scalar(query).bind(self.customer).fetch_one(self.pool).await.unwrap()
    }

    fn by() -> Caller {
        Caller { actor: "admin".into(), role: "admin", reason: "a test".into(), request_id: String::new() }
    }

    async fn wait(&mut self, days: i64) {
        let until = self.now + Duration::days(days);
        while self.now < until {
            let row = self.row().await;
            let mut next = (self.now + Duration::days(1)).min(until);
            if let Some((start, end)) = row.period().filter(|_| !row.in_trial()) {
                next = if end > self.now { next.min(end) } else { next };
                let part = (next.min(end) - self.now).max(Duration::ZERO).as_seconds_f64();
                self.given += price(&row) * part / (end - start).as_seconds_f64();
            } else if let Some(end) = row.current_period_end.filter(|end| *end > self.now) {
                next = next.min(end);
            }
            self.now = next;
            self.look().await;
        }
    }

    async fn look(&mut self) {
        credit::spend_all(&self.app, self.now).await.unwrap();
        engine::run_one(&self.app, self.id, self.now).await.unwrap();
        self.uneven |= matches!(self.row().await.status, Status::Suspended | Status::Ended);
    }

    /// Money comes for an invoice, as from a gateway: it cannot be refused.
    async fn pay(&self, invoice: &Invoice, minor: i64) {
        let reference = Uuid::now_v7().to_string();
        let new = NewPayment {
            id: Uuid::now_v7(),
            customer_id: invoice.customer_id,
            invoice_id: invoice.id,
            amount: Money::new(minor, Currency::USD),
            method: "bank",
            gateway: "external",
            reference: &reference,
            reason: "a test",
            actor: "test",
            received_at: Some(self.now),
            created_at: self.now,
        };
        let mut tx = self.pool.begin().await.unwrap();
        payments::insert(&mut tx, &new).await.unwrap();
        app::payments::settle::settle(&mut tx, &self.app, invoice.id, new.id, self.now).await.unwrap();
        tx.commit().await.unwrap();
    }

    /// Refusals are answers: whatever is possible in a state, it must leave the money right.
    async fn take(&mut self, act: &Act) {
        self.now += Duration::seconds(1);
        self.steps += 1;
        let (id, now) = (self.id, self.now);
        match act {
            Act::Upgrade(plan) => {
                if let Ok(quote) = change::upgrade(&self.app, None, id, PLANS[*plan], false, now).await {
                    self.upgrades += 1;
                    self.asked.push(quote.target.price.minor());
                }
            }
            Act::Downgrade(plan) => {
                if downgrade::downgrade(&self.app, None, id, PLANS[*plan], false, now).await.is_ok() {
                    self.asked.push(price_of(self.pool, PLANS[*plan]).await);
                }
            }
            Act::UndoDowngrade => drop(downgrade::undo_downgrade(&self.app, None, id, now).await),
            Act::Cancel(at_once) => {
                drop(change::cancel(&self.app, None, id, "", *at_once, now).await);
            }
            Act::UndoCancel => drop(change::undo_cancel(&self.app, None, id, now).await),
            Act::Pay(back, half) => {
                let all = self.invoices().await;
                if let Some(invoice) = all.get(*back).filter(|invoice| invoice.total.minor() > 1) {
                    let left = invoice.balance.minor().max(2);
                    self.pay(invoice, if *half { left / 2 } else { left }).await;
                }
            }
            Act::Refund(back, minor) => self.refund(*back, *minor).await,
            Act::Credit(minor) => {
                let (amount, key) = (Money::new(*minor, Currency::USD), self.steps.to_string());
                let by = Self::by();
                record_manual::give_credit(&self.app, &by, self.customer, amount, &key, now).await.unwrap();
            }
            Act::WriteOff => {
                for invoice in self.invoices().await {
                    let (by, status) = (Self::by(), InvoiceStatus::WrittenOff);
                    let done = record_manual::close_invoice(&self.app, &by, invoice.id, status, now).await;
                    self.uneven |= done.is_ok();
                }
            }
            Act::Terminate | Act::Undelete => {
                let mut tx = self.pool.begin().await.unwrap();
                if matches!(act, Act::Terminate) {
                    app::subscriptions::end::end_subscription(&mut tx, &self.app, id, "terminated", now)
                        .await
                        .unwrap();
                } else {
                    app::subscriptions::revive::undelete(&mut tx, id, now).await.unwrap();
                }
                tx.commit().await.unwrap();
            }
            Act::Wait(days) => self.wait(*days).await,
        }
        self.look().await;
    }

    async fn refund(&mut self, back: usize, minor: i64) {
        let filter = billing_service::domain::payment::PaymentFilter {
            customer_id: Some(self.customer),
            ..billing_service::domain::payment::PaymentFilter::default()
        };
        let (paid, _) = payments::list(self.pool, &filter, Page::try_new(1, 100).unwrap()).await.unwrap();
        let Some(payment) = paid.get(back) else { return };
        let (by, key) = (Self::by(), self.steps.to_string());
        let amount = Money::new(minor, Currency::USD);
        let done = refund::refund(&self.app, &by, payment.id, amount, &key, self.now).await;
        self.uneven |= done.is_ok();
    }

    async fn check(&self) {
        let row = self.row().await;
        self.check_ladder(&row).await;
        self.check_offers(&row).await;
        self.check_wishes().await;
        let came = self
            .sum(
                "SELECT coalesce(sum(amount_minor - refunded_minor), 0)::bigint FROM payments
                  WHERE customer_id = $1 AND settled_at IS NOT NULL",
            )
            .await;
        let gifts = self
            .sum(
                "SELECT coalesce(sum(amount_minor), 0)::bigint FROM credits
                  WHERE customer_id = $1 AND key LIKE 'admin:%'",
            )
            .await;
        let left = credits::left(self.pool, self.customer, "USD").await.unwrap();
        assert!((0..=came + gifts).contains(&left), "credit {left} of {came} paid and {gifts} given");
        if !self.uneven && self.app.policy == ProvisionPolicy::OnInvoice {
            self.check_time(&row).await;
        }
    }

    /// What is owed moves the ladder, and nothing else does.
    async fn check_ladder(&self, row: &Subscription) {
        if matches!(row.status, Status::Ended | Status::Pending) {
            return;
        }
        let due = invoices::oldest_due(self.pool, self.id).await.unwrap();
        let Some(due) = due else {
            assert_eq!(row.dunning, DunningState::None, "nothing is owed");
            assert!(!matches!(row.status, Status::PastDue | Status::Suspended), "nothing is owed");
            return;
        };
        let late = self.now - due;
        assert!(late < Duration::days(1) || row.status != Status::Active, "{late} late and active");
        assert!(late < Duration::days(10) || row.dunning >= DunningState::Warning, "{late} late, not warned");
        assert!(
            late < Duration::days(14) || row.status == Status::Suspended,
            "{late} late and not suspended"
        );
    }

    /// Each open offer can still be taken, and each upgrade that waits has one.
    async fn check_offers(&self, row: &Subscription) {
        let open: Vec<Uuid> = sqlx::query_scalar(
            "SELECT id FROM invoices WHERE customer_id = $1 AND status = 'open' AND claim = 'offer'",
        )
        .bind(self.customer)
        .fetch_all(self.pool)
        .await
        .unwrap();
        let waits = row.pending.as_ref().and_then(|pending| pending.invoice_id);
        if row.status != Status::Pending {
            assert_eq!(open, waits.into_iter().collect::<Vec<_>>(), "offers and what waits for them");
        }
        assert!(waits.is_none() || row.cancel_at.is_none(), "who leaves is offered nothing");
        assert!(waits.is_none() || row.status != Status::Ended, "what has ended is offered nothing");
    }

    /// Nobody is charged for what they did not ask for: a period costs what a plan costs that was asked for,
    /// and there is an upgrade's invoice for each upgrade at most.
    async fn check_wishes(&self) {
        let mut upgrades = 0;
        for invoice in self.invoices().await {
            match invoice.kind {
                InvoiceKind::First | InvoiceKind::Recurring => {
                    let minor = invoice.subtotal.minor();
                    assert!(self.asked.contains(&minor), "{minor} is no price of {:?}", self.asked);
                }
                InvoiceKind::Upgrade => upgrades += 1,
                InvoiceKind::Manual | InvoiceKind::CreditNote => {}
            }
        }
        assert!(upgrades <= self.upgrades, "{upgrades} invoices of {} upgrades", self.upgrades);
    }

    /// What was charged is the time that was given and what is left of the period.
    async fn check_time(&self, row: &Subscription) {
        let charged = self
            .sum(
                "SELECT coalesce(sum(subtotal_minor), 0)::bigint FROM invoices
                  WHERE customer_id = $1 AND status NOT IN ('draft', 'void')",
            )
            .await;
        let left = match row.period().filter(|_| !row.in_trial()) {
            Some((start, end)) => {
                price(row) * (end - self.now).as_seconds_f64() / (end - start).as_seconds_f64()
            }
            None => 0.0,
        };
        #[expect(clippy::cast_precision_loss, reason = "amounts of a test are small")]
        let differs = (charged as f64 - self.given - left).abs();
        // A cent of rounding for each charge, and the seconds that the steps themselves took.
        let most = 2.0 + f64::from(self.steps);
        assert!(differs <= most, "charged {charged}, given {:.1}, left {left:.1}", self.given);
    }
}

async fn price_of(pool: &PgPool, plan: &str) -> i64 {
    plans::find(pool, plan, None).await.unwrap().unwrap().price.minor()
}

fn price(row: &Subscription) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "prices are small")]
    let minor = row.price.minor() as f64;
    minor
}

/// BIL-06, BIL-12 to BIL-16, BIL-21 to BIL-23, BIL-29.
#[sqlx::test(migrator = "billing_service::MIGRATIONS")]
async fn any_life_leaves_the_money_right(pool: PgPool) {
    let world = World::ledger(&pool, ProvisionPolicy::OnInvoice).await;
    world.instances.set_used(Some(1));
    let mut runner = TestRunner::deterministic();
    let strategy = (any::<bool>(), any::<bool>(), 0..PLANS.len(), prop::collection::vec(act(), 8..22));
    for number in 0..24 {
        let (paid_first, trial, plan, acts) = strategy.new_tree(&mut runner).unwrap().current();
        let policy = if paid_first { ProvisionPolicy::OnPayment } else { ProvisionPolicy::OnInvoice };
        let app = App { policy, ..world.app.clone() };
        let (customer, now) = (world.directory.add(&format!("c{number}@example.com")), clock::now());
        let wish = Wish {
            instance_id: Uuid::now_v7(),
            customer_id: customer,
            plan_name: PLANS[plan].into(),
            trial: (!trial).then_some(false),
            settings: serde_json::json!({}),
            coupon: None,
        };
        let id = app::orders::place::place_order(&app, wish, now).await.unwrap().subscription.id;
        let (given, uneven, steps, upgrades) = (0.0, false, 0, 0);
        let asked = vec![price_of(&pool, PLANS[plan]).await];
        let mut life = Life { pool: &pool, app, customer, id, now, given, uneven, steps, asked, upgrades };
        for (at, act) in acts.iter().enumerate() {
            life.take(act).await;
            let story =
                format!("life {number} ({policy:?}, {}, trial {trial}): {:?}", PLANS[plan], &acts[..=at]);
            tracing::debug!(story);
            let checked = futures::FutureExt::catch_unwind(std::panic::AssertUnwindSafe(life.check())).await;
            assert!(checked.is_ok(), "{story}");
        }
    }
    assert_eq!(audits::books(&pool).await.unwrap(), []);
}
