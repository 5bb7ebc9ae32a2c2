//! Invoices as PDF over gRPC: whose they are, and that they say what the rows say.

use billing_service::app::caller::Caller;
use billing_service::app::payments::record_manual;
use billing_service::app::payments::refund::refund;
use billing_service::domain::document::date;
use billing_service::domain::money::{Currency, Money};
use billing_service::domain::subscription::ProvisionPolicy;
use contracts::billing::v1 as proto;
use lopdf::Document as Parsed;
use runtime::clock;
use runtime::identity::Role;
use sqlx::PgPool;
use tonic::{Code, Status};
use uuid::Uuid;

use crate::world::World;

pub(crate) fn text(pdf: &[u8]) -> String {
    let parsed = Parsed::load_mem(pdf).unwrap();
    let numbers: Vec<u32> = parsed.get_pages().into_keys().collect();
    parsed.extract_text(&numbers).unwrap().replace('\n', " ")
}

async fn pdf(
    world: &World,
    user: Uuid,
    role: Role,
    invoice: &str,
) -> Result<proto::GetInvoicePdfResponse, Status> {
    let request = world.by(user, role, proto::GetInvoiceRequest { invoice_id: invoice.to_owned() });
    Ok(world.billing().get_invoice_pdf(request).await?.into_inner())
}

/// BIL-19, BIL-17: the PDF of an invoice, of the same one after its payment, and of the credit note of a
/// refund; for owner and operators only.
#[sqlx::test(migrations = "./migrations")]
async fn the_owner_gets_the_invoice_as_pdf(pool: PgPool) {
    let world = World::ledger(&pool, ProvisionPolicy::OnInvoice).await;
    let customer = world.directory.add("ada@example.com");
    let account = proto::UpdateAccountRequest {
        company: Some("Zoë Müller GmbH".into()),
        country: Some("DE".into()),
        tax_id: Some("DE136695976".into()),
        address: Some(proto::Address {
            street: "Hauptstraße 5".into(),
            city: "Köln".into(),
            postal_code: "50667".into(),
            region: String::new(),
        }),
        ..Default::default()
    };
    world.billing().update_account(world.by(customer, Role::Customer, account)).await.unwrap();
    world.order_plan(customer, Uuid::now_v7(), "basic-monthly", Some(false)).await.unwrap();
    let listed = world.by(customer, Role::Customer, proto::ListInvoicesRequest::default());
    let listed = world.billing().list_invoices(listed).await.unwrap().into_inner();
    let invoice = &listed.invoices[0];

    let first = pdf(&world, customer, Role::Customer, &invoice.id).await.unwrap();
    assert_eq!(first.file_name, "INV-000001.pdf");
    assert_eq!(pdf(&world, customer, Role::Customer, &invoice.id).await.unwrap().pdf, first.pdf);
    let said = text(&first.pdf);
    for expected in [
        "Invoice",
        "INV-000001",
        "USD 9.00",
        "SaaSOdoo Basic (monthly) for Shop",
        "Zoë Müller GmbH",
        "50667 Köln",
        "DE136695976",
        "SaaSOdoo Hosting Ltd",
        "ZW-2000123",
        "Balance due",
        &date(clock::now()),
    ] {
        assert!(said.contains(expected), "{expected} is not in {said}");
    }
    assert!(!said.contains("PAID"));
    assert_eq!(pdf(&world, customer, Role::Operator, &invoice.id).await.unwrap().pdf, first.pdf);
    let stranger = pdf(&world, Uuid::now_v7(), Role::Customer, &invoice.id).await.unwrap_err();
    assert_eq!(stranger.code(), Code::NotFound);
    assert_eq!(pdf(&world, customer, Role::Customer, "no-id").await.unwrap_err().code(), Code::NotFound);

    let by = Caller {
        actor: "admin-1".into(),
        role: "admin",
        reason: "a letter of the bank".into(),
        request_id: String::new(),
    };
    let usd = |minor| Money::new(minor, Currency::USD);
    let now = clock::now();
    let id = invoice.id.parse().unwrap();
    let payment =
        record_manual::record_payment(&world.app, &by, id, usd(900), "BANK-77", now, now).await.unwrap();
    let paid = text(&pdf(&world, customer, Role::Customer, &invoice.id).await.unwrap().pdf);
    for expected in ["PAID", "Payment by bank, BANK-77", "\u{2212}9.00", "USD 0.00"] {
        assert!(paid.contains(expected), "{expected} is not in {paid}");
    }

    refund(&world.app, &by, payment.id, usd(400), "k", now).await.unwrap();
    let note: Uuid = sqlx::query_scalar("SELECT id FROM invoices WHERE kind = 'credit_note'")
        .fetch_one(&pool)
        .await
        .unwrap();
    let note = text(&pdf(&world, customer, Role::Customer, &note.to_string()).await.unwrap().pdf);
    for expected in [
        "Credit note",
        "INV-000002",
        "For invoice",
        "INV-000001",
        "USD \u{2212}4.00",
        "Paid back",
        "PAID BACK",
    ] {
        assert!(note.contains(expected), "{expected} is not in {note}");
    }
}
