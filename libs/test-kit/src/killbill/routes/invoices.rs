//! Invoices, payments, refunds, credits.

use axum::http::StatusCode;
use axum::response::Response;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{Call, amount, done, error, made, ok};
use crate::killbill::books::{Invoice, Payment, Plan, Tenant, adjustment, day, repair_items};
use crate::killbill::{Line, page};

const NO_OBJECT: &str = "Object id doesn't exist!";

/// A literal number of the body in cents. Numbers come as JSON, so that a whole one and one with a fraction
/// are both read.
pub(super) fn cents(value: Option<&Value>) -> Option<i64> {
    let text = value.filter(|value| value.is_number())?.to_string();
    let (whole, part) = text.split_once('.').unwrap_or((&text, ""));
    format!("{whole}{part:0<2}").parse().ok()
}

/// Without the components 0.24 says nothing of the money in a list.
fn is_known(call: &Call<'_>) -> bool {
    call.query("includeInvoiceComponents") == Some("true") || call.line == Line::V22
}

pub(super) fn shown(invoice: &Invoice, known: bool) -> Value {
    let items: Vec<Value> = invoice
        .items
        .iter()
        .map(|item| {
            json!({
                "invoiceItemId": item.id, "invoiceId": invoice.id, "accountId": invoice.account, "subscriptionId": item.subscription,
                "itemType": item.kind, "description": item.description, "startDate": day(item.start), "endDate": day(item.end),
                "amount": amount(item.cents), "planName": null, "currency": "USD", "linkedInvoiceItemId": item.linked,
            })
        })
        .collect();
    json!({
        "amount": amount(if known { invoice.amount() } else { 0 }), "currency": "USD",
        "status": if invoice.void { "VOID" } else { "COMMITTED" }, "creditAdj": amount(0),
        "refundAdj": amount(0), "invoiceId": invoice.id, "invoiceDate": day(invoice.date), "targetDate": day(invoice.date),
        "invoiceNumber": invoice.number.to_string(), "balance": amount(if known { invoice.balance() } else { 0 }),
        "accountId": invoice.account, "items": if known { json!(items) } else { json!([]) }, "auditLogs": [],
    })
}

pub(super) fn of_account(tenant: &Tenant, account: Uuid, call: &Call<'_>) -> Response {
    if !tenant.accounts.iter().any(|found| found.id == account) {
        return error(404, None, NO_OBJECT);
    }
    let unpaid = call.query("unpaidInvoicesOnly") == Some("true");
    if unpaid && call.query("includeInvoiceComponents") == Some("true") && call.line == Line::V24 {
        return error(500, None, "both options");
    }
    let invoices = tenant
        .invoices
        .iter()
        .filter(|invoice| invoice.account == account && (!unpaid || invoice.balance() > 0))
        .filter(|invoice| !invoice.void || call.query("includeVoidedInvoices") == Some("true"));
    ok(&Value::Array(invoices.map(|invoice| shown(invoice, is_known(call))).collect()))
}

pub(super) fn shown_payment(payment: &Payment) -> Value {
    let step = |id: Uuid, key: &str, kind: &str, cents: i64| {
        json!({
            "transactionId": id, "transactionExternalKey": key, "transactionType": kind, "amount": amount(cents),
            "currency": "USD", "effectiveDate": format!("{}T00:00:00.000Z", day(payment.at)), "status": "SUCCESS",
        })
    };
    // Without a key the transaction's own id is its key.
    let mut steps = vec![step(payment.id, &payment.id.to_string(), "PURCHASE", payment.cents)];
    steps.extend(payment.refunds.iter().map(|(key, id, cents)| step(*id, key, "REFUND", *cents)));
    json!({
        "targetInvoiceId": payment.invoice, "accountId": payment.account, "paymentId": payment.id, "paymentNumber": "1",
        "paymentExternalKey": payment.key, "authAmount": 0, "purchasedAmount": amount(payment.cents),
        "refundedAmount": amount(payment.refunds.iter().map(|(_, _, cents)| cents).sum()), "currency": "USD", "transactions": steps,
    })
}

pub(super) fn payments_of(tenant: &Tenant, account: Uuid) -> Response {
    let payments = tenant.payments.iter().filter(|payment| payment.account == account);
    ok(&Value::Array(payments.map(shown_payment).collect()))
}

pub(super) fn payment_by_key(tenant: &Tenant, call: &Call<'_>) -> Response {
    let key = call.query("externalKey").unwrap_or_default();
    match tenant.payments.iter().find(|payment| payment.key == key) {
        Some(payment) => ok(&shown_payment(payment)),
        None => error(404, Some(7020), "Payment does not exist"),
    }
}

pub(super) fn pay(tenant: &mut Tenant, invoice: Uuid, call: &Call<'_>) -> Response {
    let (Some(account), Some(paid)) = (call.id("accountId"), cents(call.json.get("purchasedAmount"))) else {
        return error(400, None, "InvoicePaymentJson accountId needs to be set");
    };
    if call.query("externalPayment") != Some("true") || call.id("targetInvoiceId") != Some(invoice) {
        return error(400, None, "the fake takes payments by hand alone");
    }
    let key = call.field("paymentExternalKey").map_or_else(|| Uuid::new_v4().to_string(), ToOwned::to_owned);
    let Some(found) =
        tenant.invoices.iter_mut().find(|found| found.id == invoice && found.account == account)
    else {
        return error(404, Some(4004), "No invoice could be found");
    };
    let balance = found.balance();
    if balance <= 0 {
        return done();
    }
    if tenant.payments.iter().any(|payment| payment.key == key) {
        return error(400, Some(7032), "Invalid payment transition PURCHASE from state PURCHASE_SUCCESS");
    }
    if paid > balance || paid <= 0 {
        return error(400, Some(7199), "Plugin exception Invalid amount for invoice");
    }
    found.paid += paid;
    let id = Uuid::new_v4();
    tenant.payments.push(Payment {
        id,
        key,
        account,
        invoice,
        cents: paid,
        at: call.now,
        refunds: Vec::new(),
    });
    tenant.hook(
        "PAYMENT_SUCCESS",
        account,
        "PAYMENT",
        id,
        Some(json!({"status": "SUCCESS", "transactionType": "PURCHASE"})),
    );
    tenant.hook("INVOICE_PAYMENT_SUCCESS", account, "INVOICE", invoice, Some(json!({"paymentId": id})));
    // With a slash at its end, as the real one.
    made(call, &format!("invoicePayments/{id}/"))
}

pub(super) fn credit(tenant: &mut Tenant, call: &Call<'_>) -> Response {
    let Some(first) = call.json.as_array().and_then(|list| list.first()) else {
        return error(400, None, "a list of credits");
    };
    let account = first.get("accountId").and_then(Value::as_str).and_then(|id| id.parse().ok());
    let (Some(account), Some(given)) = (account, cents(first.get("amount"))) else {
        return error(400, None, "amount");
    };
    let description = first.get("description").and_then(Value::as_str).unwrap_or_default();
    let Some(owner) = tenant.accounts.iter_mut().find(|found| found.id == account) else {
        return error(404, None, NO_OBJECT);
    };
    owner.credit += given;
    let items = vec![
        adjustment("CREDIT_ADJ", description, call.now, -given),
        adjustment("CBA_ADJ", "Adjustment (account credit)", call.now, given),
    ];
    tenant.invoice(account, call.now, items);
    ok(&json!([{"itemType": "CREDIT_ADJ", "description": description, "amount": amount(given)}]))
}

pub(super) fn tag(tenant: &mut Tenant, invoice: Uuid, call: &Call<'_>) -> Response {
    let Some(found) = tenant.invoices.iter_mut().find(|found| found.id == invoice) else {
        return error(404, None, NO_OBJECT);
    };
    if call.json != json!([Uuid::from_u128(4)]) {
        return error(400, None, "the fake knows WRITTEN_OFF alone");
    }
    found.written_off = true;
    made(call, &format!("invoices/{invoice}/tags"))
}

pub(super) fn dry_run(tenant: &Tenant, call: &Call<'_>) -> Response {
    if call.id("bundleId").is_none() {
        return error(400, None, "DryRun bundleID should be specified");
    }
    let found =
        call.id("subscriptionId").and_then(|id| tenant.subscriptions.iter().find(|found| found.id == id));
    let Some(found) = found else { return error(404, None, NO_OBJECT) };
    let newest = tenant.catalogs.iter().max_by_key(|catalog| catalog.effective);
    let is_wanted = |plan: &&Plan| {
        Some(plan.product.as_str()) == call.field("productName")
            && Some(plan.period.as_str()) == call.field("billingPeriod")
    };
    let Some(plan) = newest.and_then(|catalog| catalog.plans.iter().find(is_wanted)) else {
        return error(400, Some(2019), "Could not find a plan matching");
    };
    let items = repair_items(found, call.now, Some(plan));
    if items.is_empty() {
        return page(StatusCode::NOT_FOUND, "Not Found");
    }
    let (id, account) = (Uuid::new_v4(), found.account);
    ok(&shown(
        &Invoice { id, number: 0, account, date: call.now, items, paid: 0, written_off: false, void: false },
        true,
    ))
}
