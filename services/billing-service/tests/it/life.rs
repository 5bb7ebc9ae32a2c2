//! Instances that end and come back, plans that change with the data that is there, and long jumps of the
//! clock.

use billing_service::app;
use billing_service::app::advance;
use billing_service::app::caller::Caller;
use billing_service::app::payments::record_manual::record_payment;
use billing_service::app::subscriptions::downgrade;
use billing_service::app::subscriptions::engine;
use billing_service::consumer::Facts;
use billing_service::domain::invoice::{Invoice, InvoiceFilter};
use billing_service::domain::subscription::Subscription;
use billing_service::domain::subscription::{ProvisionPolicy, Status};
use billing_service::store::invoices::{self};
use billing_service::store::subscriptions::{self};
use contracts::billing::v1 as proto;
use contracts::events::{BillingFact, InstanceFact, topics};
use messaging::{Handler as _, Message};
use runtime::clock;
use runtime::grpc::Refusal;
use runtime::page::Page;
use sqlx::PgPool;
use time::{Duration, OffsetDateTime};
use uuid::Uuid;

use crate::books::proof;
use crate::world::World;

const GIB: u64 = 1 << 30;

async fn row(world: &World, id: &str) -> Subscription {
    subscriptions::find(&world.pool, id.parse().unwrap()).await.unwrap().unwrap()
}

async fn all_invoices(world: &World, customer: Uuid) -> Vec<Invoice> {
    let filter = InvoiceFilter { customer_id: Some(customer), ..InvoiceFilter::default() };
    let (mut found, _) = invoices::list(&world.pool, &filter, Page::try_new(1, 100).unwrap()).await.unwrap();
    found.reverse();
    found
}

async fn pay(world: &World, invoice: &Invoice, at: OffsetDateTime) {
    let by = Caller {
        actor: "admin".into(),
        role: "admin",
        reason: "a bank payment".into(),
        request_id: String::new(),
    };
    let reference = format!("bank-{}", invoice.number);
    record_payment(&world.app, &by, invoice.id, invoice.balance, &reference, at, at).await.unwrap();
}

pub(crate) async fn tell(world: &World, topic: &str, customer: Uuid, instance: Uuid, subscription: &str) {
    let fact = InstanceFact {
        instance_id: instance,
        customer_id: customer,
        subscription_id: Some(subscription.parse().unwrap()),
        name: "Shop".into(),
        external_url: String::new(),
        admin_email: "ada@example.com".into(),
        plan: "basic-monthly".into(),
        operation_id: None,
        reason: None,
        purge_after: None,
        occurred_at: clock::now(),
    };
    let message =
        Message { id: Uuid::now_v7(), topic: topic.into(), body: serde_json::to_vec(&fact).unwrap() };
    let mut tx = world.pool.begin().await.unwrap();
    Facts { app: world.app.clone() }.handle(&mut tx, &message).await.unwrap();
    tx.commit().await.unwrap();
    app::subscriptions::instances::work(&world.app, clock::now()).await.unwrap();
}

/// What was announced about instances that come back (BIL-25).
async fn returns(pool: &PgPool) -> Vec<BillingFact> {
    let rows: Vec<serde_json::Value> =
        sqlx::query_scalar("SELECT payload FROM outbox WHERE topic = $1 ORDER BY id")
            .bind(topics::SUBSCRIPTION_REACTIVATED)
            .fetch_all(pool)
            .await
            .unwrap();
    rows.into_iter().map(|row| serde_json::from_value(row).unwrap()).collect()
}

fn again(customer: Uuid, instance: Uuid, plan: &str, former: &str) -> proto::PlaceOrderRequest {
    proto::PlaceOrderRequest {
        instance_id: instance.to_string(),
        customer_id: customer.to_string(),
        plan_name: plan.into(),
        trial: Some(true),
        replaces_subscription_id: former.into(),
        ..proto::PlaceOrderRequest::default()
    }
}

/// BIL-25: an ended instance gets a new subscription, never a trial, whether billing has heard of the end or
/// not; asked twice, it gets one.
#[sqlx::test(migrations = "./migrations")]
async fn a_reactivation_is_one_new_subscription_with_an_invoice(pool: PgPool) {
    let world = World::ledger(&pool, ProvisionPolicy::OnInvoice).await;
    for heard in [true, false] {
        let ada = world.directory.add(&format!("ada-{heard}@example.com"));
        let instance = Uuid::now_v7();
        let former = world.order(ada, instance).await.unwrap().subscription.unwrap().id;
        world.instances.set(&former, "terminated");
        if heard {
            tell(&world, topics::INSTANCE_TERMINATED, ada, instance, &former).await;
        }
        let wanted = again(ada, instance, "standard-monthly", &former);
        let first = world.orders().reactivate_order(wanted.clone()).await.unwrap().into_inner();
        let second = world.orders().reactivate_order(wanted).await.unwrap().into_inner();
        let new = first.subscription.unwrap();
        assert_eq!(second.subscription.unwrap().id, new.id);
        assert_ne!(new.id, former);
        assert!(first.provision_now);
        assert_eq!(
            (first.billing_status.as_str(), new.plan_name.as_str()),
            ("payment_required", "standard-monthly")
        );
        assert_eq!(first.invoice.unwrap().total.unwrap().amount_minor, 1_900);
        assert_eq!(row(&world, &former).await.status, Status::Ended);
        // The word of the end comes at last, and is about the former one.
        tell(&world, topics::INSTANCE_TERMINATED, ada, instance, &former).await;
        assert_eq!(row(&world, &new.id).await.status, Status::Active);
        assert_eq!(all_invoices(&world, ada).await.len(), 1);
    }
    let told = returns(&pool).await;
    assert_eq!(told.len(), 2, "one mail for each return: {told:?}");
    for fact in told {
        let new = row(&world, &fact.subscription_id.unwrap().to_string()).await;
        assert_eq!((fact.ends_at, fact.plan), (new.current_period_end, new.plan_name));
        assert_eq!((fact.balance, fact.invoice_number.is_some()), (None, true), "it comes back at once");
    }
    proof(&pool).await;
}

/// BIL-25: where money comes first, debts of the instance do too; and another customer's instance is not
/// there.
#[sqlx::test(migrations = "./migrations")]
async fn a_reactivation_waits_for_its_money(pool: PgPool) {
    let world = World::ledger(&pool, ProvisionPolicy::OnPayment).await;
    let (ada, instance, start) = (world.directory.add("ada@example.com"), Uuid::now_v7(), clock::now());
    let placed = world.order_plan(ada, instance, "basic-monthly", Some(false)).await.unwrap();
    let former = placed.subscription.unwrap().id;
    pay(&world, &all_invoices(&world, ada).await[0], clock::now()).await;
    for (day, cause) in [(32, ""), (43, ""), (47, "overdue"), (54, "overdue")] {
        engine::run_due(&world.app, start + Duration::days(day)).await.unwrap();
        assert_eq!(world.entitlement(&former).await.cause, cause, "day {day}");
    }
    assert_eq!(row(&world, &former).await.end_reason.as_deref(), Some("overdue"));

    let wanted = again(ada, instance, "basic-monthly", &former);
    let refused = world.orders().reactivate_order(wanted.clone()).await.unwrap_err();
    assert_eq!(Refusal::from_status(&refused).reason, "unpaid_invoices");
    let mallory = world.directory.add("mallory@example.com");
    let stolen = again(mallory, instance, "basic-monthly", &former);
    assert_eq!(world.orders().reactivate_order(stolen).await.unwrap_err().code(), tonic::Code::NotFound);

    pay(&world, &all_invoices(&world, ada).await[1], start + Duration::days(55)).await;
    let back = world.orders().reactivate_order(wanted).await.unwrap().into_inner();
    assert!(!back.provision_now);
    let new = back.subscription.unwrap().id;
    let open = all_invoices(&world, ada).await;
    let invoice = open.into_iter().find(|invoice| invoice.status.as_str() == "open").unwrap();
    assert!(!world.entitlement(&new).await.may_run);
    let told = returns(&pool).await;
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!(told[0].balance.as_ref().unwrap().minor, invoice.balance.minor(), "it waits for its money");
    assert_eq!(told[0].invoice_number.as_ref(), Some(&invoice.number));
    pay(&world, &invoice, start + Duration::days(55)).await;
    assert!(world.entitlement(&new).await.may_run);
    proof(&pool).await;
}

/// INS-27, BIL-24: a fact is a hint. An instance that ended and is back keeps its subscription, in whatever
/// order the words come.
#[sqlx::test(migrations = "./migrations")]
async fn an_instance_that_is_back_keeps_its_subscription(pool: PgPool) {
    let world = World::ledger(&pool, ProvisionPolicy::OnInvoice).await;
    let (ada, instance) = (world.directory.add("ada@example.com"), Uuid::now_v7());
    let id = world.order(ada, instance).await.unwrap().subscription.unwrap().id;
    world.instances.set(&id, "creating");
    tell(&world, topics::INSTANCE_TERMINATED, ada, instance, &id).await;
    assert_eq!(row(&world, &id).await.status, Status::Trialing);
    tell(&world, topics::INSTANCE_UNDELETED, ada, instance, &id).await;
    assert_eq!(
        world.announced().await.last().unwrap(),
        topics::SUBSCRIPTION_CHANGED,
        "instance-service hears it"
    );

    world.instances.set(&id, "terminated");
    tell(&world, topics::INSTANCE_TERMINATED, ada, instance, &id).await;
    assert_eq!(row(&world, &id).await.status, Status::Ended);
    world.instances.set(&id, "starting");
    tell(&world, topics::INSTANCE_UNDELETED, ada, instance, &id).await;
    assert_eq!(row(&world, &id).await.status, Status::Trialing);

    // Nobody can say: nothing is done before somebody can.
    world.instances.set_away(true);
    world.instances.set(&id, "terminated");
    tell(&world, topics::INSTANCE_TERMINATED, ada, instance, &id).await;
    assert_eq!(row(&world, &id).await.status, Status::Trialing);
    world.instances.set_away(false);
    app::subscriptions::instances::work(&world.app, clock::now() + Duration::minutes(1)).await.unwrap();
    assert_eq!(row(&world, &id).await.status, Status::Ended);
}

/// BIL-13: an order that is taken back costs nothing: its invoice is void, what was paid is credit with a
/// note.
#[sqlx::test(migrations = "./migrations")]
async fn an_order_that_is_taken_back_costs_nothing(pool: PgPool) {
    let world = World::ledger(&pool, ProvisionPolicy::OnInvoice).await;
    let ada = world.directory.add("ada@example.com");
    let (open, paid) = (Uuid::now_v7(), Uuid::now_v7());
    for instance in [open, paid] {
        world.order_plan(ada, instance, "basic-monthly", Some(false)).await.unwrap();
    }
    let issued = all_invoices(&world, ada).await;
    pay(&world, &issued[1], clock::now()).await;
    for instance in [open, paid] {
        world.cancel(instance).await.unwrap();
        world.cancel(instance).await.unwrap();
    }
    let words: Vec<(String, i64)> = all_invoices(&world, ada)
        .await
        .iter()
        .map(|invoice| (invoice.status.as_str().to_owned(), invoice.total.minor()))
        .collect();
    assert_eq!(words, [("void".into(), 900), ("paid".into(), 900), ("paid".into(), -900)]);
    assert_eq!(world.count("credits WHERE remaining_minor = 900").await, 1);
    proof(&pool).await;
}

/// BIL-22: what does not fit is refused, what fits waits for the period's end, and a preview only tells.
#[sqlx::test(migrations = "./migrations")]
async fn a_downgrade_asks_how_much_data_there_is(pool: PgPool) {
    let world = World::ledger(&pool, ProvisionPolicy::OnInvoice).await;
    let ada = world.directory.add("ada@example.com");
    let placed = world.order_plan(ada, Uuid::now_v7(), "premium-monthly", Some(false)).await.unwrap();
    let id: Uuid = placed.subscription.unwrap().id.parse().unwrap();
    pay(&world, &all_invoices(&world, ada).await[0], clock::now()).await;
    let ask =
        |preview| downgrade::downgrade(&world.app, Some(ada), id, "basic-monthly", preview, clock::now());
    for (used, refusal) in [
        (Some(10 * GIB + 1), Some("storage_exceeds_plan")),
        (None, Some("usage_unknown")),
        (Some(10 * GIB), None),
    ] {
        world.instances.set_used(used);
        let told = ask(true).await.unwrap();
        assert_eq!((told.refusal.map(|(reason, _)| reason), told.used_bytes), (refusal, used));
        assert_ne!(told.current.db_type, told.target.db_type);
        assert!(row(&world, &id.to_string()).await.pending.is_none(), "a preview changes nothing");
        match refusal {
            Some(reason) => assert_eq!(ask(false).await.unwrap_err().reason(), reason),
            None => {
                assert_eq!(
                    ask(false).await.unwrap().subscription.pending.unwrap().plan_name,
                    "basic-monthly"
                );
            }
        }
    }
    world.instances.set_away(true);
    assert_eq!(ask(false).await.unwrap_err().reason(), "unavailable", "nothing is cut off on a guess");
    proof(&pool).await;
}

/// BIL-11, BIL-12, NTF-09: one long jump tells of the trial's end three times, in order and with true dates,
/// and then issues one invoice.
#[sqlx::test(migrations = "./migrations")]
async fn a_jump_over_a_trial_sends_its_reminders_on_their_days(pool: PgPool) {
    let world = World::ledger(&pool, ProvisionPolicy::OnInvoice).await;
    let ada = world.directory.add("ada@example.com");
    let id = world.order(ada, Uuid::now_v7()).await.unwrap().subscription.unwrap().id;
    let end = row(&world, &id).await.trial_ends_at.unwrap();
    let (now, _) = advance::advance(&world.app, Duration::days(15)).await.unwrap();
    assert!((now - clock::now() - Duration::days(15)).abs() < Duration::minutes(1));
    let told: Vec<serde_json::Value> =
        sqlx::query_scalar("SELECT payload FROM outbox WHERE topic = $1 ORDER BY id")
            .bind(topics::TRIAL_ENDING)
            .fetch_all(&pool)
            .await
            .unwrap();
    let days: Vec<i64> = told.iter().map(|fact| fact["days"].as_i64().unwrap()).collect();
    assert_eq!(days, [7, 3, 1]);
    for (fact, days) in told.iter().zip(days) {
        let fact: contracts::events::BillingFact = serde_json::from_value(fact.clone()).unwrap();
        assert_eq!(fact.ends_at.unwrap().unix_timestamp(), end.unix_timestamp());
        let left = end - fact.occurred_at;
        assert!(left <= Duration::days(days) && left > Duration::days(days) - Duration::hours(2), "{left}");
    }
    assert_eq!(all_invoices(&world, ada).await.len(), 1);
}

/// BIL-11: who was away for days tells the last reminder alone, not three at once; and none after the end.
#[sqlx::test(migrations = "./migrations")]
async fn a_late_look_tells_one_reminder(pool: PgPool) {
    let world = World::ledger(&pool, ProvisionPolicy::OnInvoice).await;
    let start = clock::now();
    for (email, look, reminders) in [("late@example.com", 12, 1), ("too-late@example.com", 15, 1)] {
        world.order(world.directory.add(email), Uuid::now_v7()).await.unwrap();
        engine::run_due(&world.app, start + Duration::days(look)).await.unwrap();
        let told = world.announced().await.into_iter().filter(|topic| topic == topics::TRIAL_ENDING).count();
        assert_eq!(told, reminders, "after {look} days");
    }
}

/// BIL-15, BIL-17, BIL-20: jumps of 1, 15, 45 and 400 days take each step of the ladder once and in order,
/// leave a day between suspension and termination, and end where the same days one by one end.
#[sqlx::test(migrations = "./migrations")]
async fn long_jumps_take_each_step_once(pool: PgPool) {
    let world = World::ledger(&pool, ProvisionPolicy::OnInvoice).await;
    let mut now = clock::now();
    for days in [1_i64, 15, 45, 400] {
        let (owing, paying) = (
            world.directory.add(&format!("owing-{days}@example.com")),
            world.directory.add(&format!("paying-{days}@example.com")),
        );
        let mut ids = Vec::new();
        for customer in [owing, paying] {
            let wish = app::orders::place::Wish {
                instance_id: Uuid::now_v7(),
                customer_id: customer,
                plan_name: "basic-monthly".into(),
                trial: Some(false),
                settings: serde_json::json!({}),
                coupon: None,
            };
            let placed = app::orders::place::place_order(&world.app, wish, now).await.unwrap();
            ids.push(placed.subscription.id.to_string());
        }
        pay(&world, &all_invoices(&world, paying).await[0], now).await;
        now += Duration::days(days);
        engine::run_due(&world.app, now).await.unwrap();
        engine::run_due(&world.app, now).await.unwrap();
        let dunning = |row: &Subscription| row.dunning.as_str();
        let jumped = row(&world, &ids[0]).await;
        assert_eq!(dunning(&jumped), if days < 10 { "none" } else { "suspended" }, "after {days} days");
        let expected = 1 + days / 31;
        let billed = i64::try_from(all_invoices(&world, paying).await.len()).unwrap();
        assert!((expected..=expected + 1).contains(&billed), "{billed} invoices after {days} days");
        if days >= 14 {
            engine::run_due(&world.app, now + Duration::hours(23)).await.unwrap();
            assert_eq!(dunning(&row(&world, &ids[0]).await), "suspended", "a day lies between");
            now += Duration::days(22);
            engine::run_due(&world.app, now).await.unwrap();
            assert_eq!(row(&world, &ids[0]).await.end_reason.as_deref(), Some("overdue"));
        }
        for customer in [owing, paying] {
            for row in subscriptions::live(&pool, customer).await.unwrap() {
                app::subscriptions::change::cancel(&world.app, None, row.id, "done", true, now)
                    .await
                    .unwrap();
            }
        }
        proof(&pool).await;
    }
}
