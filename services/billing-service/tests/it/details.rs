//! Who buys: texts of the account, tax numbers, countries, names on invoices; and what refusals say.

use billing_service::app::caller::Caller;
use billing_service::app::payments::record_manual;
use billing_service::app::payments::refund::refund;
use billing_service::domain::money::{Currency, Money};
use billing_service::domain::subscription::ProvisionPolicy;
use contracts::billing::v1 as proto;
use runtime::clock;
use runtime::grpc::Refusal;
use runtime::identity::Role;
use sqlx::PgPool;
use tonic::Code;
use uuid::Uuid;

use crate::books::{Case, proof};
use crate::world::World;

async fn tax(pool: &PgPool, country: &str, reverse_charge: bool) {
    sqlx::query(
        "INSERT INTO tax_rates (country, name, rate_bp, reverse_charge) VALUES ($1, 'VAT', 1900, $2)",
    )
    .bind(country)
    .bind(reverse_charge)
    .execute(pool)
    .await
    .unwrap();
}

/// BIL-36: any text is no tax number: it is refused where it is entered, and an old one does not take the tax
/// off.
#[sqlx::test(migrator = "billing_service::MIGRATIONS")]
async fn a_text_is_no_tax_number(pool: PgPool) {
    let world = World::ledger(&pool, ProvisionPolicy::OnInvoice).await;
    tax(&pool, "DE", true).await;
    let ada = world.directory.add_from("DE", "ada@example.com");
    for text in ["x", "0", "DE", "12345"] {
        let change = proto::UpdateAccountRequest {
            tax_id: Some(text.into()),
            country: Some("DE".into()),
            ..proto::UpdateAccountRequest::default()
        };
        let refused =
            world.billing().update_account(world.by(ada, Role::Customer, change)).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{text}");
        sqlx::query("UPDATE customers SET tax_id = $1").bind(text).execute(&pool).await.unwrap();
        let placed = world.order_plan(ada, Uuid::now_v7(), "basic-monthly", Some(false)).await.unwrap();
        assert_eq!(placed.invoice.unwrap().tax.unwrap().amount_minor, 171, "{text}");
    }
    sqlx::query("UPDATE customers SET tax_id = 'DE136695976'").execute(&pool).await.unwrap();
    let placed = world.order_plan(ada, Uuid::now_v7(), "basic-monthly", Some(false)).await.unwrap();
    let invoice = placed.invoice.unwrap();
    assert_eq!(invoice.tax.unwrap().amount_minor, 0);
    assert!(invoice.note.contains("not verified"), "{}", invoice.note);
}

/// BIL-36: the country of the registration is the buyer's until the account says otherwise; without one
/// nobody knows the tax.
#[sqlx::test(migrator = "billing_service::MIGRATIONS")]
async fn a_country_is_known_before_an_order_is_taxed(pool: PgPool) {
    let world = World::ledger(&pool, ProvisionPolicy::OnInvoice).await;
    tax(&pool, "LV", false).await;
    let (from, nowhere) = (
        world.directory.add_from("LV", "ada@example.com"),
        world.directory.add_from("Latvia", "eve@example.com"),
    );
    let placed = world.order_plan(from, Uuid::now_v7(), "basic-monthly", Some(false)).await.unwrap();
    assert_eq!(placed.invoice.unwrap().tax.unwrap().amount_minor, 171);
    let refused = world.order_plan(nowhere, Uuid::now_v7(), "basic-monthly", Some(false)).await.unwrap_err();
    assert_eq!(Refusal::from_status(&refused).fields[0].field, "country");
    let change = proto::UpdateAccountRequest { country: Some("ZW".into()), ..Default::default() };
    world.billing().update_account(world.by(nowhere, Role::Customer, change)).await.unwrap();
    let placed = world.order_plan(nowhere, Uuid::now_v7(), "basic-monthly", Some(false)).await.unwrap();
    assert_eq!(placed.invoice.unwrap().tax.unwrap().amount_minor, 0);
}

/// BIL-19: an invoice names the person, the product and the instance.
#[sqlx::test(migrator = "billing_service::MIGRATIONS")]
async fn an_invoice_names_person_product_and_instance(pool: PgPool) {
    let world = World::ledger(&pool, ProvisionPolicy::OnInvoice).await;
    let nina = world.directory.add("nina@example.com");
    let placed = world.order_plan(nina, Uuid::now_v7(), "basic-monthly", Some(false)).await.unwrap();
    let invoice = placed.invoice.unwrap();
    assert_eq!(invoice.lines[0].description, "SaaSOdoo Basic (monthly) for Shop");
    let request = proto::GetInvoiceRequest { invoice_id: invoice.id };
    let pdf = world.billing().get_invoice_pdf(world.by(nina, Role::Customer, request)).await.unwrap();
    let said = crate::paper::text(&pdf.into_inner().pdf);
    assert!(said.contains("nina") && !said.contains(&nina.to_string()), "{said}");
}

/// BIL-19: old texts of any length are printed in no time.
#[sqlx::test(migrator = "billing_service::MIGRATIONS")]
async fn a_document_has_a_size(pool: PgPool) {
    let world = World::ledger(&pool, ProvisionPolicy::OnInvoice).await;
    let ada = world.directory.add("ada@example.com");
    world.order(ada, Uuid::now_v7()).await.unwrap();
    sqlx::query("UPDATE customers SET address = jsonb_build_object('street', repeat('A', 900000))")
        .execute(&pool)
        .await
        .unwrap();
    let placed = world.order_plan(ada, Uuid::now_v7(), "basic-monthly", Some(false)).await.unwrap();
    let id = placed.invoice.unwrap().id.parse().unwrap();
    let invoice = billing_service::store::invoices::find(&pool, id).await.unwrap().unwrap();
    let (pdf, _) = billing_service::app::invoices::document::invoice_pdf(&world.app, invoice).await.unwrap();
    assert!(crate::paper::text(&pdf).matches('A').count() < 1000);
}

/// BIL-10: who asks for a trial gets one or is told why not; nothing is bought instead.
#[sqlx::test(migrator = "billing_service::MIGRATIONS")]
async fn a_trial_that_cannot_be_given_is_refused(pool: PgPool) {
    let world = World::ledger(&pool, ProvisionPolicy::OnInvoice).await;
    let ada = world.directory.add("ada@example.com");
    world.order_plan(ada, Uuid::now_v7(), "basic-monthly", Some(true)).await.unwrap();
    let refused = world.order_plan(ada, Uuid::now_v7(), "basic-monthly", Some(true)).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    assert_eq!(Refusal::from_status(&refused).reason, "trial_not_available");
    assert!(refused.message().contains("used already"), "{}", refused.message());
    assert_eq!((world.count("orders").await, world.count("invoices").await), (1, 0));
    let open = world.order_plan(ada, Uuid::now_v7(), "basic-monthly", None).await.unwrap();
    assert_eq!(open.trial_reason, "already_used");
}

/// BIL-19: another one's subscription looks like none.
#[sqlx::test(migrator = "billing_service::MIGRATIONS")]
async fn invoices_of_a_foreign_subscription_are_not_there(pool: PgPool) {
    let case = Case::begin(&pool, ProvisionPolicy::OnInvoice, "basic-monthly", false).await;
    let list = async |user: Uuid, role: Role, subscription: Uuid| {
        let request = proto::ListInvoicesRequest {
            page: 1,
            page_size: 20,
            subscription_id: Some(subscription.to_string()),
            ..proto::ListInvoicesRequest::default()
        };
        let found = case.world.billing().list_invoices(case.world.by(user, role, request)).await;
        found.map(|found| found.into_inner().total).map_err(|status| status.code())
    };
    assert_eq!(list(case.customer, Role::Customer, case.subscription).await, Ok(1));
    assert_eq!(list(Uuid::now_v7(), Role::Operator, case.subscription).await, Ok(1));
    assert_eq!(list(Uuid::now_v7(), Role::Customer, case.subscription).await, Err(Code::NotFound));
    assert_eq!(list(case.customer, Role::Customer, Uuid::now_v7()).await, Err(Code::NotFound));
}

/// BIL-29, BIL-36: refunds in parts take back exactly the net and the tax.
#[sqlx::test(migrator = "billing_service::MIGRATIONS")]
async fn refunds_in_parts_take_back_net_and_tax(pool: PgPool) {
    let world = World::ledger(&pool, ProvisionPolicy::OnInvoice).await;
    tax(&pool, "LV", false).await;
    let by =
        Caller { actor: "admin".into(), role: "admin", reason: "a test".into(), request_id: String::new() };
    let usd = |minor| Money::new(minor, Currency::USD);
    for (name, parts) in [("ada", vec![268, 268, 268, 267]), ("eve", vec![3; 357])] {
        let customer = world.directory.add_from("LV", &format!("{name}@example.com"));
        let placed = world.order_plan(customer, Uuid::now_v7(), "basic-monthly", Some(false)).await.unwrap();
        let (id, now) = (placed.invoice.unwrap().id.parse().unwrap(), clock::now());
        let paid =
            record_manual::record_payment(&world.app, &by, id, usd(1071), name, now, now).await.unwrap();
        for (number, part) in parts.into_iter().enumerate() {
            refund(&world.app, &by, paid.id, usd(part), &number.to_string(), now).await.unwrap();
        }
        for account in ["revenue", "tax"] {
            let left: i64 = sqlx::query_scalar(
                "SELECT coalesce(sum(amount_minor), 0)::bigint FROM journal_lines WHERE account = $1",
            )
            .bind(account)
            .fetch_one(&pool)
            .await
            .unwrap();
            assert_eq!(left, 0, "{name}: {account}");
        }
    }
    let found = billing_service::store::audits::books(&pool).await.unwrap();
    assert_eq!(found, []);
    proof(&pool).await;
}

/// REL-06: a text that cannot be stored is the caller's, a database that is away is nobody's fault.
#[sqlx::test(migrator = "billing_service::MIGRATIONS")]
async fn errors_of_the_database_say_what_to_do(pool: PgPool) {
    let case = Case::begin(&pool, ProvisionPolicy::OnInvoice, "basic-monthly", false).await;
    let ask = async |status: &str| {
        let request = proto::ListInvoicesRequest {
            page: 1,
            page_size: 20,
            status: Some(status.into()),
            ..proto::ListInvoicesRequest::default()
        };
        case.world.billing().list_invoices(case.world.by(case.customer, Role::Customer, request)).await
    };
    assert_eq!(ask("a\0b").await.unwrap_err().code(), Code::InvalidArgument);
    pool.close().await;
    let away = ask("open").await.unwrap_err();
    assert_eq!(away.code(), Code::Unavailable);
    assert!(Refusal::from_status(&away).retry_after.is_some());
}
