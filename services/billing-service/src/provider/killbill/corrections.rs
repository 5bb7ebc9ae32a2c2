//! What operators take back: a payment, an invoice. The charges are adjusted with it, so that nothing of it
//! is owed again. An invoice is never made VOID at Kill Bill: its next run would bill the same period once
//! more, while a charge that was adjusted away stays billed.

use reqwest::Method;
use serde::Serialize;
use uuid::Uuid;

use super::KillBill;
use super::fault::Fault;
use super::model::{Account, Invoice, Item, Payment};
use super::money::json;
use super::values::Decimal;
use crate::domain::money::{Currency, Money};
use crate::provider::{PaidBy, ProviderError};

/// Items that charge something.
const CHARGES: [&str; 5] = ["RECURRING", "FIXED", "EXTERNAL_CHARGE", "USAGE", "TAX"];
/// Items that take back what another one charges.
const TAKES_BACK: [&str; 2] = ["ITEM_ADJ", "REPAIR_ADJ"];
/// Items that settle charges.
const SETTLES: [&str; 2] = ["CBA_ADJ", "CREDIT_ADJ"];

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct NewRefund {
    amount: Decimal,
    transaction_external_key: String,
    is_adjusted: bool,
    adjustments: Vec<NewAdjustment>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct NewAdjustment {
    account_id: Uuid,
    invoice_item_id: Uuid,
    amount: Decimal,
    currency: String,
}

/// A part of a charge that is taken back.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Share {
    item: Uuid,
    amount: Money,
}

impl Share {
    fn adjustment(&self, account_id: Uuid) -> NewAdjustment {
        NewAdjustment {
            account_id,
            invoice_item_id: self.item,
            amount: Decimal::of(self.amount),
            currency: self.amount.currency().to_string(),
        }
    }
}

impl KillBill {
    /// Gives a part of a payment back, once for each `refund`. What its invoice still charges is taken back
    /// with it; what was taken back before and became credit of the account is paid out of that credit, which
    /// Kill Bill uses by itself.
    pub async fn give_back(
        &self,
        payment: &PaidBy<'_>,
        refund: Uuid,
        amount: Money,
    ) -> Result<(), ProviderError> {
        let key = refund.to_string();
        let found = self.payment_of(payment).await?;
        if has_refund(&found, &key) {
            return Ok(());
        }
        let currency = amount.currency();
        // Kill Bill itself takes a refund of more than is left.
        let left = minor(&found.purchased_amount, currency)? - minor(&found.refunded_amount, currency)?;
        if found.currency != currency.as_str() || amount.minor() > left {
            return Err(ProviderError::Refused("the payment has not so much left at Kill Bill".into()));
        }
        let invoice =
            found.target_invoice_id.ok_or_else(|| Fault::Nonsense("a payment of no invoice".into()))?;
        let invoices = self.invoices(found.account_id).await?;
        let shares = shares(&invoices, invoice, amount)?;
        let rest = amount.minor() - shares.iter().map(|share| share.amount.minor()).sum::<i64>();
        if rest > 0 && rest > self.credit_of(found.account_id, currency).await? {
            let text = "what was paid is taken back already, and its credit is used";
            return Err(ProviderError::Refused(text.into()));
        }
        let body = NewRefund {
            amount: Decimal::of(amount),
            transaction_external_key: key.clone(),
            is_adjusted: !shares.is_empty(),
            adjustments: shares.iter().map(|share| share.adjustment(found.account_id)).collect(),
        };
        let path = format!("/invoicePayments/{}/refunds", found.payment_id);
        let Err(fault) = self.client.call(Method::POST, &path, &[], json(&body)?).await else {
            return Ok(());
        };
        // Done although it says otherwise?
        if has_refund(&self.payment_of(payment).await?, &key) { Ok(()) } else { Err(fault.into()) }
    }

    /// Takes back all that an invoice still charges; what was paid of it becomes credit of the account.
    /// Again: nothing is left to take back.
    pub async fn void(&self, invoice: Uuid) -> Result<(), ProviderError> {
        let found: Invoice = self.get(&format!("/invoices/{invoice}"), &[]).await?;
        if found.status != "COMMITTED" {
            return Ok(());
        }
        let currency = currency_of(&found)?;
        let account = found.account_id.ok_or_else(|| Fault::Nonsense("an invoice of nobody".into()))?;
        let whole = charged(&found, currency)?;
        for share in shares(&self.invoices(account).await?, invoice, Money::new(whole, currency))? {
            let body = json(&share.adjustment(account))?;
            self.client.call(Method::POST, &format!("/invoices/{invoice}"), &[], body).await?;
        }
        let after: Invoice = self.get(&format!("/invoices/{invoice}"), &[]).await?;
        if minor(&after.balance, currency)? > 0 {
            // Charges that were taken back on another invoice, and their credit was used there.
            self.write_off(invoice).await?;
        }
        Ok(())
    }

    /// With the invoice that it was for, and its refunds.
    async fn payment_of(&self, payment: &PaidBy<'_>) -> Result<Payment, ProviderError> {
        let unknown = || ProviderError::Refused("Kill Bill does not know this payment".into());
        let id = match payment {
            PaidBy::Key(key) => self.payment_by_key(*key).await?.ok_or_else(unknown)?.payment_id,
            PaidBy::ProviderId(id) => super::accounts::parse(id)?,
        };
        match self.get(&format!("/invoicePayments/{id}"), &[]).await {
            // Without a code of its own.
            Err(fault) if fault.status() == Some(404) => Err(unknown()),
            found => Ok(found?),
        }
    }

    async fn credit_of(&self, account: Uuid, currency: Currency) -> Result<i64, Fault> {
        let query = [("accountWithBalanceAndCBA", "true")];
        let found: Account = self.get(&format!("/accounts/{account}"), &query).await?;
        found.credit.as_ref().map_or(Ok(0), |credit| minor(credit, currency))
    }
}

/// One that failed does not count.
fn has_refund(payment: &Payment, key: &str) -> bool {
    payment.transactions.iter().any(|step| {
        step.transaction_type == "REFUND"
            && step.transaction_external_key.as_deref() == Some(key)
            && step.status.as_deref().is_none_or(|status| status == "SUCCESS")
    })
}

fn minor(amount: &Decimal, currency: Currency) -> Result<i64, Fault> {
    amount.money(currency).map(Money::minor).map_err(|error| Fault::Nonsense(error.to_string()))
}

fn currency_of(invoice: &Invoice) -> Result<Currency, Fault> {
    invoice.currency.parse().map_err(|_| Fault::Nonsense("an invoice without a currency".into()))
}

/// What an invoice charges in all, less what it takes back itself.
fn charged(invoice: &Invoice, currency: Currency) -> Result<i64, Fault> {
    let items = invoice.items.iter().flatten().filter(|item| !SETTLES.contains(&item.item_type.as_str()));
    items.map(|item| minor(&item.amount, currency)).sum()
}

/// `amount` in parts of the charges of an invoice, at most what is left of each and of the whole. What was
/// repaired on a later invoice is gone.
fn shares(invoices: &[Invoice], invoice: Uuid, amount: Money) -> Result<Vec<Share>, Fault> {
    let Some(found) = invoices.iter().find(|found| found.invoice_id == invoice) else {
        return Err(Fault::Nonsense("an invoice that its account does not have".into()));
    };
    let currency = amount.currency();
    let takes_back = |item: &&Item| TAKES_BACK.contains(&item.item_type.as_str());
    let living = invoices.iter().filter(|invoice| invoice.status != "VOID");
    let taken: Vec<&Item> =
        living.flat_map(|invoice| invoice.items.iter().flatten()).filter(takes_back).collect();
    let mut rest = amount.minor().min(charged(found, currency)?);
    let mut shares = Vec::new();
    for item in found.items.iter().flatten().filter(|item| CHARGES.contains(&item.item_type.as_str())) {
        let of_item = taken.iter().filter(|other| other.linked_invoice_item_id == Some(item.invoice_item_id));
        let taken: i64 = of_item.map(|other| minor(&other.amount, currency)).sum::<Result<_, _>>()?;
        let part = rest.min(minor(&item.amount, currency)? + taken);
        if part > 0 {
            shares.push(Share { item: item.invoice_item_id, amount: Money::new(part, currency) });
            rest -= part;
        }
    }
    Ok(shares)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn invoice(number: u128, items: &[(u128, &str, &str, Option<u128>)]) -> Invoice {
        let items: Vec<_> = items
            .iter()
            .map(|(id, kind, amount, linked)| {
                serde_json::json!({
                    "invoiceItemId": Uuid::from_u128(*id), "itemType": kind, "amount": amount,
                    "linkedInvoiceItemId": linked.map(Uuid::from_u128),
                })
            })
            .collect();
        let whole = serde_json::json!({
            "invoiceId": Uuid::from_u128(number), "accountId": Uuid::nil(), "status": "COMMITTED", "currency": "USD", "amount": "0", "balance": "0",
            "invoiceDate": "2027-01-01", "items": items,
        });
        serde_json::from_str(&whole.to_string()).unwrap()
    }

    fn parts(invoices: &[Invoice], invoice: u128, cents: i64) -> Vec<(u128, i64)> {
        let amount = Money::new(cents, Currency::USD);
        let shares = shares(invoices, Uuid::from_u128(invoice), amount).unwrap();
        shares.into_iter().map(|share| (share.item.as_u128(), share.amount.minor())).collect()
    }

    /// BIL-29: a charge is taken back once, whatever took it back before.
    #[test]
    fn at_most_what_is_left_of_each_charge_is_taken_back() {
        let plain = invoice(1, &[(11, "RECURRING", "9.00", None), (12, "CBA_ADJ", "-4.00", None)]);
        assert_eq!(parts(std::slice::from_ref(&plain), 1, 450), [(11, 450)]);
        assert_eq!(parts(&[plain], 1, 5000), [(11, 900)], "what credit paid was charged too");

        let first = invoice(
            1,
            &[
                (11, "RECURRING", "9.00", None),
                (12, "ITEM_ADJ", "-1.00", Some(11)),
                (13, "TAX", "1.00", None),
            ],
        );
        let upgrade = invoice(2, &[(21, "RECURRING", "19.00", None), (22, "REPAIR_ADJ", "-5.00", Some(11))]);
        let both = [first, upgrade];
        assert_eq!(parts(&both, 1, 900), [(11, 300), (13, 100)]);
        assert_eq!(parts(&both, 2, 9999), [(21, 1400)], "no more than the invoice charges");
    }
}
