//! A customer pays through Paynow, with its stand-in and the real hooks over HTTP (BIL-27).

use std::time::Duration;

use anyhow::{Context as _, ensure};
use e2e::{Customer, Stack};
use reqwest::Method;
use serde_json::{Value, json};
use test_kit::eventually;

const BILLING: &str = "/billing/api/billing";
const SOON: Duration = Duration::from_mins(1);

async fn invoice(customer: &Customer) -> anyhow::Result<Value> {
    let listed = customer.get(&format!("{BILLING}/invoices")).await?.expect(200)?;
    listed["invoices"].get(0).cloned().context("no invoice")
}

async fn paid(customer: &Customer, payment: &str) -> Value {
    let path = format!("{BILLING}/payments/paynow/status/{payment}");
    eventually("the payment is paid", SOON, || async {
        let shown = customer.get(&path).await.ok()?.body;
        (shown["status"] == "paid").then_some(shown)
    })
    .await
}

/// BIL-27, BIL-29, BIL-30: begun, confirmed on the phone, told by the hook, seen by the customer, given back
/// by an admin.
#[tokio::test]
async fn a_customer_pays_by_phone_and_an_admin_gives_it_back() -> anyhow::Result<()> {
    let stack = Stack::load()?;
    let ada = Customer::sign_up(&stack, "paynow").await?;
    let body = json!({"name": "Paynow", "trial": false});
    ada.post("/instance/instances", body).await?.expect(201)?;
    let open = invoice(&ada).await?;
    let begin = json!({"invoice_id": open["invoice_id"], "payment_method": "ecocash", "phone": "0771111111"});
    let begun = ada.post(&format!("{BILLING}/payments/paynow/initiate"), begin).await?.expect(201)?;
    ensure!(begun["payment_type"] == "mobile" && begun["status"] == "pending", "{begun}");
    let payment = begun["payment_id"].as_str().context("payment")?;
    paid(&ada, payment).await;
    let closed = invoice(&ada).await?;
    ensure!(closed["status"] == "paid" && closed["balance"]["amount_minor"] == 0, "{closed}");

    let eve = Customer::sign_up(&stack, "eve").await?;
    let foreign = eve.get(&format!("{BILLING}/payments/paynow/status/{payment}")).await?;
    ensure!(foreign.status == 404, "{foreign:?}");
    let admin = Customer::admin(&stack).await?;
    let refund = json!({"amount": {"amount_minor": 400, "currency": "USD"}, "reason": "a bad day"});
    let path = format!("{BILLING}/admin/payments/{payment}/refund");
    let first = admin.post_once(&path, "refund-1", refund.clone()).await?.expect(201)?;
    let again = admin.post_once(&path, "refund-1", refund).await?.expect(201)?;
    ensure!(first["refund_id"] == again["refund_id"] && again["payment"]["refunded"]["amount_minor"] == 400);
    Ok(())
}

/// BIL-27: a card is paid on Paynow's page; a result that nobody signed is refused at the door.
#[tokio::test]
async fn a_card_is_paid_on_the_page_and_a_forged_result_is_refused() -> anyhow::Result<()> {
    let stack = Stack::load()?;
    let ada = Customer::sign_up(&stack, "card").await?;
    ada.post("/instance/instances", json!({"name": "Card", "trial": false})).await?.expect(201)?;
    let open = invoice(&ada).await?;
    let begin = json!({"invoice_id": open["invoice_id"], "payment_method": "card"});
    let begun = ada.post(&format!("{BILLING}/payments/paynow/initiate"), begin).await?.expect(201)?;
    let page = begun["redirect_url"].as_str().context("redirect")?;
    let reference = begun["reference"].as_str().context("reference")?;

    let http = reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).build()?;
    let forged = http
        .request(Method::POST, format!("{}{BILLING}/webhooks/paynow", stack.api))
        .header("content-type", "application/x-www-form-urlencoded")
        .body(format!("reference={reference}&amount=9.00&status=Paid&hash=0000"))
        .send()
        .await?;
    ensure!(forged.status() == 400, "{}", forged.status());
    ensure!(invoice(&ada).await?["status"] == "open");

    let back = http.post(page).body("do=Paid").send().await?;
    ensure!(back.status().is_redirection(), "{}", back.status());
    paid(&ada, begun["payment_id"].as_str().context("payment")?).await;
    ensure!(invoice(&ada).await?["status"] == "paid");
    Ok(())
}
