//! The process dies at every place of `failpoint::LIFE`, once, in the life of four subscriptions; its client,
//! or its next sweep, does the same again (REL-01). At the end always: the books are those of a life without
//! a death, balanced, each invoice once, each payment once.

use std::fmt::Write as _;
use std::future::Future;

use billing_service::app;
use billing_service::app::App;
use billing_service::app::caller::Caller;
use billing_service::app::orders::reactivate;
use billing_service::app::payments::record_manual::record_payment;
use billing_service::app::subscriptions::change;
use billing_service::app::subscriptions::downgrade;
use billing_service::app::subscriptions::engine;
use billing_service::domain::invoice::InvoiceFilter;
use billing_service::domain::subscription::ProvisionPolicy;
use billing_service::error::Error;
use billing_service::failpoint::{self, FailPoint};
use billing_service::store::invoices::{self};
use runtime::clock;
use runtime::page::Page;
use sqlx::PgPool;
use time::{Duration, OffsetDateTime};
use uuid::Uuid;

use crate::books::proof;
use crate::world::World;

/// A process that dies once, and the one that comes after it.
struct Lives {
    world: World,
    dying: App,
    dead: bool,
    start: OffsetDateTime,
}

impl Lives {
    fn day(&self, days: i64) -> OffsetDateTime {
        self.start + Duration::days(days) + Duration::minutes(1)
    }

    /// Calls the use case; when the process dies in it, the next process does what its client or its sweep
    /// does: the same again. What then was done before is answered with one of `done`.
    async fn call<T: Send + 'static, F>(&mut self, done: &[&str], work: impl Fn(App) -> F) -> Option<T>
    where
        F: Future<Output = Result<T, Error>> + Send + 'static,
    {
        let app = if self.dead { self.world.app.clone() } else { self.dying.clone() };
        match tokio::spawn(work(app)).await {
            Ok(Ok(value)) => return Some(value),
            // The engine's steps run in tasks of their own: a death there is an internal error here.
            Ok(Err(Error::Internal(_))) | Err(_) => self.dead = true,
            Ok(Err(error)) => panic!("{error:?}"),
        }
        match tokio::spawn(work(self.world.app.clone())).await.unwrap() {
            Ok(value) => Some(value),
            Err(error) if done.contains(&error.reason()) => None,
            Err(error) => panic!("after the death: {error:?}"),
        }
    }

    async fn order(
        &mut self,
        customer: Uuid,
        instance: Uuid,
        plan: &str,
        trial: bool,
        at: OffsetDateTime,
    ) -> Uuid {
        let wish = app::orders::place::Wish {
            instance_id: instance,
            customer_id: customer,
            plan_name: plan.to_owned(),
            trial: Some(trial),
            settings: serde_json::json!({}),
            coupon: None,
        };
        let answer = self
            .call(&[], |app| {
                let wish = wish.clone();
                async move { app::orders::place::place_order(&app, wish, at).await }
            })
            .await;
        let id = answer.unwrap().subscription.id;
        self.world.instances.add(&id.to_string());
        id
    }

    async fn look(&mut self, day: i64) {
        let at = self.day(day);
        self.call(&[], |app| async move { engine::run_due(&app, at).await }).await;
    }

    /// Pays all open invoices of a subscription by the bank.
    async fn pay(&mut self, customer: Uuid, subscription: Uuid, day: i64) {
        let filter = InvoiceFilter {
            customer_id: Some(customer),
            subscription_id: Some(subscription),
            status: Some("open".to_owned()),
            ..InvoiceFilter::default()
        };
        let page = Page::try_new(1, 100).unwrap();
        let (open, _) = invoices::list(&self.world.pool, &filter, page).await.unwrap();
        assert!(!open.is_empty(), "nothing to pay on day {day}");
        let at = self.day(day);
        for invoice in open {
            let by = Caller {
                actor: "admin".into(),
                role: "admin",
                reason: "a bank payment".into(),
                request_id: String::new(),
            };
            let reference = format!("bank-{}", invoice.number);
            self.call(&["duplicate_reference"], |app| {
                let (by, reference) = (by.clone(), reference.clone());
                async move { record_payment(&app, &by, invoice.id, invoice.balance, &reference, at, at).await }
            })
            .await;
        }
    }
}

/// Four subscriptions of one customer, and everything that can happen to them; the customer.
async fn life(lives: &mut Lives) -> Uuid {
    let ada = lives.world.directory.add(&format!("{}@example.com", Uuid::now_v7()));
    let start = lives.day(0);
    // A trial that is cancelled with its end.
    let trial = lives.order(ada, Uuid::now_v7(), "basic-monthly", true, start).await;
    let at = lives.day(1);
    lives
        .call(&["already_cancelled"], |app| async move {
            change::cancel(&app, None, trial, "only looked", false, at).await
        })
        .await;
    // Never paid.
    lives.order(ada, Uuid::now_v7(), "standard-annual", false, start).await;
    // Paid once, then never again, to the end; and back.
    let lost_instance = Uuid::now_v7();
    let lost = lives.order(ada, lost_instance, "basic-monthly", false, start).await;
    lives.pay(ada, lost, 0).await;
    // The good customer, who was late once.
    let good = lives.order(ada, Uuid::now_v7(), "basic-monthly", false, start).await;
    lives.pay(ada, good, 0).await;
    for day in [7, 11, 13, 14, 32, 34, 42, 46] {
        lives.look(day).await;
    }
    lives.pay(ada, good, 47).await;
    let at = lives.day(48);
    lives
        .call(&[], |app| async move { change::upgrade(&app, None, good, "premium-monthly", false, at).await })
        .await;
    lives.pay(ada, good, 48).await;
    for day in [54, 62] {
        lives.look(day).await;
    }
    lives.pay(ada, good, 63).await;
    lives.world.instances.set_used(Some(1 << 20));
    let at = lives.day(64);
    lives
        .call(
            &[],
            |app| async move { downgrade::downgrade(&app, None, good, "basic-monthly", false, at).await },
        )
        .await;
    // Debts come first where money does.
    lives.pay(ada, lost, 65).await;
    let (wish, at) = (
        app::orders::place::Wish {
            instance_id: lost_instance,
            customer_id: ada,
            plan_name: "basic-monthly".into(),
            trial: None,
            settings: serde_json::json!({}),
            coupon: None,
        },
        lives.day(65),
    );
    let back = lives
        .call(&[], |app| {
            let wish = wish.clone();
            async move { reactivate::reactivate(&app, wish, Some(lost), at).await }
        })
        .await
        .unwrap()
        .subscription
        .id;
    lives.pay(ada, back, 65).await;
    lives.look(94).await;
    lives.pay(ada, good, 95).await;
    for (subscription, day) in [(good, 95), (back, 95)] {
        let at = lives.day(day);
        lives
            .call(&["already_cancelled"], |app| async move {
                change::cancel(&app, None, subscription, "enough", true, at).await
            })
            .await;
    }
    lives.look(100).await;
    ada
}

/// All that the books and the announcements say of a customer, without ids, numbers and times.
async fn summary(pool: &PgPool, customer: Uuid) -> String {
    let mut text = String::new();
    let rows: Vec<String> = sqlx::query_scalar(
        "SELECT format('subscription %s %s %s %s', plan_name, status, ladder_state, end_reason) FROM subscriptions WHERE customer_id = $1
         UNION ALL SELECT format('order %s %s', state, cancel_reason) FROM orders WHERE customer_id = $1
         UNION ALL SELECT format('invoice %s %s %s %s', kind, status, total_minor, balance_minor) FROM invoices WHERE customer_id = $1
         UNION ALL SELECT format('payment %s %s', state, amount_minor) FROM payments WHERE customer_id = $1
         UNION ALL SELECT format('entry %s %s', e.kind, string_agg(l.account || ' ' || l.amount_minor, ', ' ORDER BY l.account, l.amount_minor))
             FROM journal_entries e JOIN journal_lines l ON l.entry_id = e.id WHERE e.customer_id = $1 GROUP BY e.id, e.kind
         UNION ALL SELECT format('announced %s %s', topic, payload ->> 'reason') FROM outbox WHERE payload ->> 'customer_id' = $1::text
         ORDER BY 1",
    )
    .bind(customer)
    .fetch_all(pool)
    .await
    .unwrap();
    for row in rows {
        let _ = writeln!(text, "{row}");
    }
    text
}

async fn live_with(pool: &PgPool, place: Option<&str>) -> String {
    let world = World::ledger(pool, ProvisionPolicy::OnPayment).await;
    let mut dying = world.app.clone();
    if let Some(place) = place {
        dying.fail = FailPoint::new(place, || panic!("the process dies here"));
    }
    let mut lives = Lives { world, dying, dead: false, start: clock::now() };
    let customer = life(&mut lives).await;
    if let Some(place) = place {
        assert!(lives.dead, "nothing died at {place}");
    }
    proof(pool).await;
    summary(pool, customer).await
}

/// REL-01, BIL-08, BIL-17, BIL-26
#[sqlx::test(migrations = "./migrations")]
async fn a_death_anywhere_changes_nothing_about_the_books(pool: PgPool) {
    let undisturbed = live_with(&pool, None).await;
    for wanted in [
        "ended terminated overdue",
        "order cancelled reactivated",
        "invoice upgrade paid",
        "ended none payment_timeout",
    ] {
        assert!(undisturbed.contains(wanted), "no {wanted:?} in a life of\n{undisturbed}");
    }
    for place in failpoint::LIFE {
        assert_eq!(live_with(&pool, Some(place)).await, undisturbed, "after a death at {place}");
    }
}
