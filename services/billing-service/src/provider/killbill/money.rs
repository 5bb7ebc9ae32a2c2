//! Invoices and payments. Payments are made elsewhere and recorded here; our payment id is Kill Bill's key.

use reqwest::Method;
use serde::Serialize;
use uuid::Uuid;

use super::KillBill;
use super::client::Body;
use super::fault::{Fault, code};
use super::model::{Invoice, Payment};
use super::values::Decimal;
use crate::domain::money::{Currency, Money};
use crate::provider::ProviderError;

/// Invoices that will never be paid and are not asked for any more.
const WRITTEN_OFF: Uuid = Uuid::from_u128(4);

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct NewPayment<'a> {
    account_id: Uuid,
    target_invoice_id: Uuid,
    purchased_amount: Decimal,
    currency: &'a str,
    payment_external_key: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct NewCredit<'a> {
    account_id: Uuid,
    amount: Decimal,
    currency: &'a str,
    description: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
#[expect(clippy::struct_field_names, reason = "the fields are named as Kill Bill names them")]
struct DryRun<'a> {
    dry_run_type: &'a str,
    dry_run_action: &'a str,
    subscription_id: Uuid,
    bundle_id: Uuid,
    product_name: &'a str,
    product_category: &'a str,
    billing_period: &'a str,
    price_list_name: &'a str,
    billing_policy: &'a str,
}

pub(super) fn json<T: Serialize>(body: &T) -> Result<Body, Fault> {
    serde_json::to_string(body).map(Body::Json).map_err(|error| Fault::Nonsense(error.to_string()))
}

impl KillBill {
    /// All invoices of an account with their lines, those too that somebody made VOID there; without the
    /// lines 0.24 shows amounts of 0.
    pub(super) async fn invoices(&self, account: Uuid) -> Result<Vec<Invoice>, Fault> {
        let query = [("includeInvoiceComponents", "true"), ("includeVoidedInvoices", "true")];
        self.get(&format!("/accounts/{account}/invoices"), &query).await
    }

    /// All payments of an account.
    pub(super) async fn payments(&self, account: Uuid) -> Result<Vec<Payment>, Fault> {
        self.get(&format!("/accounts/{account}/invoicePayments"), &[]).await
    }

    /// Records a payment once, however often it is told (BIL-26).
    pub async fn pay(
        &self,
        customer: Uuid,
        invoice: Uuid,
        payment: Uuid,
        amount: Money,
    ) -> Result<(), ProviderError> {
        let account_id = self.account_of(customer).await?;
        let currency = amount.currency();
        let body = NewPayment {
            account_id,
            target_invoice_id: invoice,
            purchased_amount: Decimal::of(amount),
            currency: currency.as_str(),
            payment_external_key: payment.to_string(),
        };
        let path = format!("/invoices/{invoice}/payments");
        let outcome =
            self.client.call(Method::POST, &path, &[("externalPayment", "true")], json(&body)?).await;
        let fault = match outcome {
            Ok(answer) if answer.status != 204 => return Ok(()),
            // Nothing was left to pay: by this payment, or by another.
            Ok(_) => None,
            Err(fault) => Some(fault),
        };
        match self.payment_by_key(payment).await? {
            Some(found) if found.account_id == account_id && is_amount(&found, amount) => Ok(()),
            Some(_) => Err(ProviderError::Refused("the payment's key belongs to another payment".into())),
            None => Err(fault
                .map_or_else(|| ProviderError::Refused("the invoice is paid already".into()), Into::into)),
        }
    }

    pub(super) async fn payment_by_key(&self, payment: Uuid) -> Result<Option<Payment>, Fault> {
        let key = payment.to_string();
        self.find("/payments", &[("externalKey", key.as_str())], code::NO_PAYMENT).await
    }

    /// Gives a credit once for each `credit`: Kill Bill has no key for it, so ours stands in the description
    /// and is looked for.
    pub async fn give_credit(
        &self,
        customer: Uuid,
        credit: Uuid,
        amount: Money,
    ) -> Result<(), ProviderError> {
        let account_id = self.account_of(customer).await?;
        let description = format!("credit {credit}");
        if self.has_credit(account_id, &description).await? {
            return Ok(());
        }
        let currency = amount.currency();
        let body = [NewCredit {
            account_id,
            amount: Decimal::of(amount),
            currency: currency.as_str(),
            description: &description,
        }];
        let Err(fault) =
            self.client.call(Method::POST, "/credits", &[("autoCommit", "true")], json(&body)?).await
        else {
            return Ok(());
        };
        if self.has_credit(account_id, &description).await? { Ok(()) } else { Err(fault.into()) }
    }

    async fn has_credit(&self, account: Uuid, description: &str) -> Result<bool, Fault> {
        let invoices = self.invoices(account).await?;
        let mut items = invoices.iter().flat_map(|invoice| invoice.items.iter().flatten());
        Ok(items
            .any(|item| item.item_type == "CREDIT_ADJ" && item.description.as_deref() == Some(description)))
    }

    /// Writes an invoice off; again is the same.
    pub async fn write_off(&self, invoice: Uuid) -> Result<(), ProviderError> {
        let body = json(&[WRITTEN_OFF])?;
        self.client.call(Method::POST, &format!("/invoices/{invoice}/tags"), &[], body).await?;
        Ok(())
    }

    /// What a change of plan now would cost: the invoice that it would make. Nothing is changed.
    pub async fn preview(
        &self,
        id: Uuid,
        product: &str,
        period: &str,
        currency: Currency,
    ) -> Result<Money, ProviderError> {
        let found = self.subscription_by_key(id).await?;
        let found = found
            .ok_or_else(|| ProviderError::Refused("Kill Bill does not know this subscription".into()))?;
        let body = DryRun {
            dry_run_type: "SUBSCRIPTION_ACTION",
            dry_run_action: "CHANGE",
            subscription_id: found.subscription_id,
            bundle_id: found.bundle_id,
            product_name: product,
            product_category: "BASE",
            billing_period: period,
            price_list_name: "DEFAULT",
            billing_policy: "IMMEDIATE",
        };
        let account = found.account_id.to_string();
        let outcome = self
            .client
            .call(Method::POST, "/invoices/dryRun", &[("accountId", account.as_str())], json(&body)?)
            .await;
        match outcome {
            Ok(answer) if answer.status == 204 => Ok(Money::zero(currency)),
            Ok(answer) => {
                let invoice: Invoice = answer.read()?;
                invoice.amount.money(currency).map_err(|error| Fault::Nonsense(error.to_string()).into())
            }
            // Nothing would be charged.
            Err(fault) if fault.status() == Some(404) => Ok(Money::zero(currency)),
            Err(fault) => Err(fault.into()),
        }
    }
}

fn is_amount(payment: &Payment, amount: Money) -> bool {
    let currency = payment.currency.parse::<Currency>().ok();
    currency.and_then(|currency| payment.purchased_amount.money(currency).ok()) == Some(amount)
}
