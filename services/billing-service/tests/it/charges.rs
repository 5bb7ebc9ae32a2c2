//! Coupons and tax on invoices, in the journal, in quotes and on paper (BIL-36).

use billing_service::app;
use billing_service::app::caller::Caller;
use billing_service::app::payments::record_manual;
use billing_service::app::payments::refund::refund;
use billing_service::app::subscriptions::change;
use billing_service::app::subscriptions::engine;
use billing_service::domain::invoice::Invoice;
use billing_service::domain::invoice::{InvoiceStatus, LineKind};
use billing_service::domain::money::{Currency, Money};
use billing_service::domain::subscription::ProvisionPolicy;
use billing_service::store::invoices::{self};
use billing_service::store::journal;
use contracts::billing::v1 as proto;
use futures::future::join_all;
use runtime::clock;
use runtime::page::Page;
use sqlx::PgPool;
use tonic::{Code, Status};
use uuid::Uuid;

use crate::world::World;

async fn sql(pool: &PgPool, statement: &'static str) {
    sqlx::query(statement).execute(pool).await.unwrap();
}

async fn order(world: &World, customer: Uuid, coupon: &str) -> Result<proto::PlaceOrderResponse, Status> {
    order_at(world, customer, Uuid::now_v7(), coupon).await
}

async fn order_at(
    world: &World,
    customer: Uuid,
    instance: Uuid,
    coupon: &str,
) -> Result<proto::PlaceOrderResponse, Status> {
    order_plan(world, customer, instance, "standard-monthly", coupon).await
}

async fn order_plan(
    world: &World,
    customer: Uuid,
    instance: Uuid,
    plan: &str,
    coupon: &str,
) -> Result<proto::PlaceOrderResponse, Status> {
    let request = proto::PlaceOrderRequest {
        instance_id: instance.to_string(),
        customer_id: customer.to_string(),
        plan_name: plan.into(),
        trial: Some(false),
        settings_json: String::new(),
        coupon: coupon.into(),
        ..proto::PlaceOrderRequest::default()
    };
    Ok(world.orders().place_order(request).await?.into_inner())
}

async fn all(pool: &PgPool) -> Vec<Invoice> {
    let (mut rows, _) = invoices::list(
        pool,
        &billing_service::domain::invoice::InvoiceFilter::default(),
        Page::try_new(1, 100).unwrap(),
    )
    .await
    .unwrap();
    rows.reverse();
    rows
}

fn by() -> Caller {
    Caller { actor: "admin".into(), role: "admin", reason: "a test".into(), request_id: String::new() }
}

/// A transfer for each open invoice.
async fn pay_all(world: &World) {
    let by = by();
    let open = |invoice: &Invoice| invoice.status == InvoiceStatus::Open && invoice.balance.minor() > 0;
    for invoice in all(&world.pool).await.into_iter().filter(open) {
        let (reference, now) = (invoice.id.to_string(), clock::now());
        record_manual::record_payment(&world.app, &by, invoice.id, invoice.balance, &reference, now, now)
            .await
            .unwrap();
    }
}

async fn proof(pool: &PgPool) {
    assert_eq!(journal::unbalanced(pool).await.unwrap(), 0);
    assert_eq!(journal::receivable_differences(pool).await.unwrap(), 0);
}

async fn account(pool: &PgPool, name: &str) -> i64 {
    sqlx::query_scalar("SELECT coalesce(sum(amount_minor), 0)::bigint FROM journal_lines WHERE account = $1")
        .bind(name)
        .fetch_one(pool)
        .await
        .unwrap()
}

/// BIL-36: a coupon for two invoices is on two, tax is on what is left, and journal, preview and PDF say the
/// same.
#[sqlx::test(migrations = "./migrations")]
async fn a_coupon_and_tax_are_lines_of_the_invoice(pool: PgPool) {
    let world = World::ledger(&pool, ProvisionPolicy::OnInvoice).await;
    sql(&pool, "INSERT INTO coupons (code, percent_bp, invoices) VALUES ('SPRING', 2500, 2)").await;
    sql(&pool, "INSERT INTO tax_rates (country, name, rate_bp) VALUES ('ZW', 'VAT', 1500)").await;
    let customer = world.directory.add("ada@example.com");
    sqlx::query("INSERT INTO customers (id, country) VALUES ($1, 'ZW')")
        .bind(customer)
        .execute(&pool)
        .await
        .unwrap();
    let placed = order(&world, customer, " spring ").await.unwrap();
    let first = placed.invoice.unwrap();
    // 19.00 less a quarter (4.75) is 14.25; 15 % of it is 2.14.
    let kinds: Vec<_> = first
        .lines
        .iter()
        .map(|line| (line.kind.as_str(), line.amount.as_ref().unwrap().amount_minor))
        .collect();
    assert_eq!(kinds, [("plan", 1900), ("discount", -475), ("tax", 214)]);
    assert_eq!(first.total.unwrap().amount_minor, 1639);
    assert_eq!((account(&pool, "revenue").await, account(&pool, "tax").await), (-1425, -214));

    let overview = app::accounts::overview::overview(&world.app, customer).await.unwrap();
    assert_eq!(overview.next.unwrap().1.minor(), 1639, "the next one has the coupon too");
    let by = by();
    let (id, start) = (first.id.parse().unwrap(), clock::now() + time::Duration::minutes(1));
    let amount = Money::new(1639, Currency::USD);
    record_manual::record_payment(&world.app, &by, id, amount, "B-1", start, start).await.unwrap();
    engine::run_due(&world.app, start + time::Duration::days(32)).await.unwrap();
    let overview = app::accounts::overview::overview(&world.app, customer).await.unwrap();
    assert_eq!(overview.next.unwrap().1.minor(), 2185, "and the one after it not");
    let second = &all(&pool).await[1];
    assert_eq!(second.total.minor(), 1639);

    let (pdf, _) = app::invoices::document::invoice_pdf(&world.app, second.clone()).await.unwrap();
    let said = crate::paper::text(&pdf);
    for expected in ["Coupon SPRING (25 %)", "\u{2212}4.75", "VAT 15 %", "2.14", "USD 16.39"] {
        assert!(said.contains(expected), "{expected} is not in {said}");
    }
    proof(&pool).await;
}

/// BIL-36: a business abroad owes the tax itself, and its invoice says so; a private buyer there pays it.
#[sqlx::test(migrations = "./migrations")]
async fn reverse_charge_has_a_note_and_no_tax(pool: PgPool) {
    let world = World::ledger(&pool, ProvisionPolicy::OnInvoice).await;
    sql(
        &pool,
        "INSERT INTO tax_rates (country, name, rate_bp, reverse_charge) VALUES ('DE', 'VAT', 1900, true)",
    )
    .await;
    for (tax_id, total, tax) in [("DE136695976", 1900, false), ("", 2261, true)] {
        let customer = world.directory.add(&format!("{tax_id}x@example.com"));
        sqlx::query("INSERT INTO customers (id, country, tax_id) VALUES ($1, 'DE', $2)")
            .bind(customer)
            .bind(tax_id)
            .execute(&pool)
            .await
            .unwrap();
        let invoice = order(&world, customer, "").await.unwrap().invoice.unwrap();
        assert_eq!(invoice.total.unwrap().amount_minor, total);
        assert_eq!(invoice.lines.iter().any(|line| line.kind == LineKind::Tax.as_str()), tax);
        assert_eq!(invoice.note.contains("Reverse charge"), !tax);
    }
    proof(&pool).await;
}

/// BIL-36, BIL-21: the quote of an upgrade is what its invoice costs, tax and all.
#[sqlx::test(migrations = "./migrations")]
async fn the_quote_of_an_upgrade_has_its_tax(pool: PgPool) {
    let world = World::ledger(&pool, ProvisionPolicy::OnInvoice).await;
    sql(&pool, "INSERT INTO tax_rates (country, name, rate_bp) VALUES ('ZW', 'VAT', 1500)").await;
    let customer = world.directory.add("ada@example.com");
    sqlx::query("INSERT INTO customers (id, country) VALUES ($1, 'ZW')")
        .bind(customer)
        .execute(&pool)
        .await
        .unwrap();
    let placed = order(&world, customer, "").await.unwrap();
    let id = placed.subscription.unwrap().id.parse().unwrap();
    sql(&pool, "UPDATE invoices SET status = 'paid', balance_minor = 0, paid_at = now()").await;
    let now = clock::now();
    let quote = change::upgrade(&world.app, None, id, "premium-monthly", true, now).await.unwrap();
    let made = change::upgrade(&world.app, None, id, "premium-monthly", false, now).await.unwrap();
    let invoice = made.invoice.unwrap();
    assert_eq!((quote.amount_due, invoice.tax.minor() > 0), (invoice.total, true));
}

/// BIL-21, BIL-36: an upgrade gives back what the period cost, not what its plan costs without the coupon;
/// the next upgrade was paid for as it is.
#[sqlx::test(migrations = "./migrations")]
async fn an_upgrade_gives_no_coupon_back(pool: PgPool) {
    let world = World::ledger(&pool, ProvisionPolicy::OnInvoice).await;
    sql(&pool, "INSERT INTO coupons (code, percent_bp) VALUES ('GIFT', 10000), ('SPRING', 2500)").await;
    for (code, back) in [("GIFT", 0), ("SPRING", 675), ("", 900)] {
        let customer = world.directory.add(&format!("{code}@example.com"));
        let placed = order_plan(&world, customer, Uuid::now_v7(), "basic-monthly", code).await.unwrap();
        let id = placed.subscription.unwrap().id.parse().unwrap();
        for (target, back) in [("standard-monthly", back), ("premium-monthly", 1900)] {
            pay_all(&world).await;
            let now = clock::now();
            let quote = change::upgrade(&world.app, None, id, target, true, now).await.unwrap();
            // The whole period but for the moments since the order.
            let given = quote.credit.minor();
            assert!((back - 1..=back).contains(&given), "{code}, {target}: {given}");
            let made = change::upgrade(&world.app, None, id, target, false, now).await.unwrap();
            assert_eq!((made.amount_due, made.status), (quote.amount_due, "applied"), "{code}, {target}");
        }
    }
    proof(&pool).await;
}

/// BIL-21: what of a period was refunded, written off or made void is not given back once more; what was paid
/// of it is.
#[sqlx::test(migrations = "./migrations")]
async fn an_upgrade_gives_nothing_back_that_was_taken_back(pool: PgPool) {
    let world = World::ledger(&pool, ProvisionPolicy::OnInvoice).await;
    let paid = Money::new(500, Currency::USD);
    for (case, back) in [("refunded", 1400), ("written off", 500), ("void", 0)] {
        let customer = world.directory.add(&[&case.replace(' ', "-"), "@example.com"].concat());
        let placed = order(&world, customer, "").await.unwrap();
        let invoice = placed.invoice.unwrap().id.parse().unwrap();
        let id = placed.subscription.unwrap().id.parse().unwrap();
        let (by, now) = (by(), clock::now());
        let payment =
            record_manual::record_payment(&world.app, &by, invoice, paid, case, now, now).await.unwrap();
        let close = |status| record_manual::close_invoice(&world.app, &by, invoice, status, now);
        match case {
            "refunded" => {
                pay_all(&world).await;
                refund(&world.app, &by, payment.id, paid, case, now).await.unwrap();
            }
            "written off" => drop(close(InvoiceStatus::WrittenOff).await.unwrap()),
            _ => drop(close(InvoiceStatus::Void).await.unwrap()),
        }
        let quote =
            change::upgrade(&world.app, None, id, "premium-monthly", true, clock::now()).await.unwrap();
        let given = quote.credit.minor();
        assert!(given == back || given == back - 1, "{case}: {given}");
    }
    proof(&pool).await;
}

/// BIL-36: unknown, ended, used-up and repeated coupons are refused with the field's name, and nothing of the
/// order stays.
#[sqlx::test(migrations = "./migrations")]
async fn a_bad_coupon_refuses_the_order(pool: PgPool) {
    let world = World::ledger(&pool, ProvisionPolicy::OnInvoice).await;
    sql(
        &pool,
        "INSERT INTO coupons (code, percent_bp, active, expires_at, max_uses, uses) VALUES
         ('OLD', 1000, true, now() - interval '1 day', NULL, 0), ('OFF', 1000, false, NULL, NULL, 0), ('FULL', 1000, true, NULL, 2, 2)",
    )
    .await;
    sql(&pool, "INSERT INTO coupons (code, amount_minor, currency) VALUES ('EURO', 500, 'EUR'), ('FIVE', 500, 'USD')").await;
    let customer = world.directory.add("ada@example.com");
    for code in ["NONE", "OLD", "OFF", "FULL", "EURO", "'; DROP"] {
        let refused = order(&world, customer, code).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{code}");
    }
    assert_eq!(world.count("orders").await, 0);
    assert_eq!(
        order(&world, customer, "FIVE").await.unwrap().invoice.unwrap().total.unwrap().amount_minor,
        1400
    );
    assert_eq!(
        order(&world, customer, "FIVE").await.unwrap_err().code(),
        Code::InvalidArgument,
        "once for each customer"
    );
    let other = world.directory.add("bob@example.com");
    order(&world, other, "FIVE").await.unwrap();
    proof(&pool).await;
}

/// BIL-36: of twenty orders at once a coupon with three uses is on three, and an order that is taken back
/// gives its use back.
#[sqlx::test(migrations = "./migrations")]
async fn a_coupon_is_used_as_often_as_it_may_be(pool: PgPool) {
    let world = World::ledger(&pool, ProvisionPolicy::OnInvoice).await;
    sql(&pool, "INSERT INTO coupons (code, percent_bp, max_uses) VALUES ('THREE', 10000, 3)").await;
    let customers: Vec<Uuid> = (0..20).map(|n| world.directory.add(&format!("c{n}@example.com"))).collect();
    let instances: Vec<Uuid> = (0..20).map(|_| Uuid::now_v7()).collect();
    let placed = join_all(
        customers
            .iter()
            .zip(&instances)
            .map(|(customer, instance)| order_at(&world, *customer, *instance, "THREE")),
    )
    .await;
    let taken: Vec<Uuid> =
        placed.iter().zip(&instances).filter(|(answer, _)| answer.is_ok()).map(|(_, id)| *id).collect();
    assert_eq!(taken.len(), 3);
    assert!(
        all(&pool)
            .await
            .iter()
            .all(|invoice| invoice.total.minor() == 0 && invoice.status.as_str() == "paid")
    );
    world.cancel(taken[0]).await.unwrap();
    let late = world.directory.add("late@example.com");
    order(&world, late, "THREE").await.unwrap();
    assert_eq!(world.count("coupon_redemptions").await, 3);
    proof(&pool).await;
}
