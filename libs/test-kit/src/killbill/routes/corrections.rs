//! Refunds and adjustments: what is taken back of payments and invoices.

use axum::response::Response;
use serde_json::Value;
use uuid::Uuid;

use super::invoices::{cents, shown, shown_payment};
use super::{Call, done, error, made, ok};
use crate::killbill::books::{Item, Tenant, adjustment, left_of};

const NO_OBJECT: &str = "Object id doesn't exist!";
/// What can be adjusted.
const CHARGES: [&str; 3] = ["RECURRING", "FIXED", "EXTERNAL_CHARGE"];

pub(super) fn payment(tenant: &Tenant, id: Uuid) -> Response {
    match tenant.payments.iter().find(|payment| payment.id == id) {
        Some(payment) => ok(&shown_payment(payment)),
        None => error(404, None, NO_OBJECT),
    }
}

pub(super) fn invoice(tenant: &Tenant, id: Uuid) -> Response {
    match tenant.invoices.iter().find(|invoice| invoice.id == id) {
        Some(invoice) => ok(&shown(invoice, true)),
        None => error(404, None, NO_OBJECT),
    }
}

/// The item, unless it is none that can be adjusted by so much.
fn adjustable(tenant: &Tenant, invoice: Uuid, wanted: &Value) -> Option<(Item, i64)> {
    let id: Uuid = wanted.get("invoiceItemId")?.as_str()?.parse().ok()?;
    let by = cents(wanted.get("amount")).filter(|by| *by > 0)?;
    let found = tenant.invoices.iter().find(|found| found.id == invoice)?;
    let item = found.items.iter().find(|item| item.id == id && CHARGES.contains(&item.kind))?;
    (by <= left_of(&tenant.invoices, item)).then(|| (item.clone(), by))
}

fn take_back(tenant: &mut Tenant, invoice: Uuid, item: &Item, by: i64, call: &Call<'_>) {
    let mut new = adjustment("ITEM_ADJ", "Invoice item adjustment", call.now, -by);
    (new.linked, new.subscription) = (Some(item.id), item.subscription);
    if let Some(found) = tenant.invoices.iter_mut().find(|found| found.id == invoice) {
        found.items.push(new);
    }
}

/// As the real one does, it takes a refund of more than is left of the payment; only a key that was used is
/// refused, and items that have not so much. When the whole does not fit, the payment is refunded all the
/// same, and the invoice stays as it is.
pub(super) fn refund(tenant: &mut Tenant, payment: Uuid, call: &Call<'_>) -> Response {
    let Some(found) = tenant.payments.iter().find(|found| found.id == payment).cloned() else {
        return error(404, None, NO_OBJECT);
    };
    let Some(back) = cents(call.json.get("amount")).filter(|back| *back > 0) else {
        return error(400, None, "InvoicePaymentTransactionJson amount needs to be set");
    };
    let key =
        call.field("transactionExternalKey").map_or_else(|| Uuid::new_v4().to_string(), ToOwned::to_owned);
    if tenant.payments.iter().flat_map(|payment| &payment.refunds).any(|(known, _, _)| *known == key) {
        return error(400, Some(7030), "Successful transaction with external key already exists");
    }
    let wanted = call.json.get("adjustments").and_then(Value::as_array).into_iter().flatten();
    let is_adjusted = call.json.get("isAdjusted") == Some(&Value::Bool(true));
    let items: Option<Vec<(Item, i64)>> =
        wanted.filter(|_| is_adjusted).map(|wanted| adjustable(tenant, found.invoice, wanted)).collect();
    let Some(items) = items else {
        return error(400, Some(7199), "Plugin exception Invoice adjustment amount should be lower");
    };
    let fits = back <= found.cents && items.iter().map(|(_, by)| by).sum::<i64>() <= back;
    if let Some(found) = tenant.payments.iter_mut().find(|found| found.id == payment) {
        found.refunds.push((key, Uuid::new_v4(), back));
    }
    if fits {
        if let Some(invoice) = tenant.invoices.iter_mut().find(|invoice| invoice.id == found.invoice) {
            invoice.paid -= back;
        }
        for (item, by) in items {
            take_back(tenant, found.invoice, &item, by, call);
        }
        tenant.use_credit(found.account, call.now);
    }
    tenant.hook("INVOICE_PAYMENT_SUCCESS", found.account, "INVOICE", found.invoice, None);
    made(call, &format!("invoicePayments/{payment}/"))
}

pub(super) fn adjust(tenant: &mut Tenant, invoice: Uuid, call: &Call<'_>) -> Response {
    let Some(found) = tenant.invoices.iter().find(|found| found.id == invoice) else {
        return error(404, None, NO_OBJECT);
    };
    let account = found.account;
    if call.id("accountId") != Some(account) {
        return error(400, None, "InvoiceItemJson accountId needs to be set");
    }
    let Some((item, by)) = adjustable(tenant, invoice, &call.json) else {
        return error(400, Some(4020), "Invoice adjustment amount should be lower");
    };
    take_back(tenant, invoice, &item, by, call);
    tenant.use_credit(account, call.now);
    tenant.hook("INVOICE_ADJUSTMENT", account, "INVOICE", invoice, None);
    made(call, &format!("invoices/{invoice}"))
}

/// Its next run bills the same periods once more: we never do it, but somebody may.
pub(in crate::killbill) fn void(tenant: &mut Tenant, invoice: Uuid) -> Response {
    let Some(found) = tenant.invoices.iter_mut().find(|found| found.id == invoice) else {
        return error(404, None, NO_OBJECT);
    };
    if found.paid != 0 {
        return error(400, Some(4028), "The invoice can not be voided. Invoice is paid or partially paid.");
    }
    if found.void {
        return error(400, Some(4023), "The invoice status VOID is invalid. Current status is VOID");
    }
    found.void = true;
    let account = found.account;
    tenant.hook("INVOICE_ADJUSTMENT", account, "INVOICE", invoice, None);
    done()
}
