//! Texts that no database can hold and documents that no processor can print, by everybody who may send them.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use e2e::api::anonymous;
use e2e::{Customer, Stack};
use reqwest::Method;
use serde_json::{Value, json};

const B: &str = "/billing/api/billing";
const D: &str = "/database/api/database";
const NUL: &str = "a\u{0}b";

/// GTW-10: U+0000 in paths, queries and bodies is a fault of the caller.
#[tokio::test]
async fn texts_that_no_database_holds_are_refused() -> anyhow::Result<()> {
    let stack = Stack::load()?;
    let (ada, admin) = (Customer::sign_up(&stack, "nul").await?, Customer::admin(&stack).await?);
    let id = ada.create("Texts").await?;
    let subscription = ada.instance(&id).await?["subscription_id"].as_str().context("id")?.to_owned();
    let mut wrong = Vec::new();
    let mut note = |call: String, answer: &e2e::Answer| {
        if !(400..500).contains(&answer.status) {
            wrong.push(format!("{call}: {} {}", answer.status, answer.body));
        }
    };

    let plan = anonymous(&stack, Method::GET, &format!("{B}/plans/a%00b"), None).await?;
    note("GET plan".into(), &plan);
    for field in ["description", "plan", "coupon", "name"] {
        let mut body = json!({"name": "Nul"});
        body[field] = NUL.into();
        note(format!("create {field}"), &ada.post("/instance/instances", body).await?);
    }
    let path = format!("/instance/instances/{id}");
    note(path.clone(), &ada.send(Method::PATCH, &path, Some(json!({"description": NUL}))).await?);
    for field in ["company", "tax_id", "billing_email"] {
        let answer = ada.send(Method::PUT, &format!("{B}/accounts/me"), Some(json!({field: NUL}))).await?;
        note(format!("PUT account {field}"), &answer);
    }
    for (action, field) in [("cancel", "reason"), ("upgrade", "plan"), ("downgrade", "plan")] {
        let path = format!("{B}/subscriptions/subscription/{subscription}/{action}");
        note(path.clone(), &ada.post(&path, json!({field: NUL})).await?);
    }
    for path in ["/instance/instances?q=a%00b".to_owned(), format!("{B}/invoices?status=a%00b")] {
        note(path.clone(), &ada.get(&path).await?);
    }
    for path in filters() {
        note(path.clone(), &admin.get(&path).await?);
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

/// Filters of operators, with a text that PostgreSQL refuses.
fn filters() -> Vec<String> {
    [
        format!("{B}/admin/subscriptions?status="),
        format!("{B}/admin/invoices?status="),
        format!("{B}/admin/webhooks?provider="),
        format!("{B}/admin/coupons/"),
        format!("{D}/admin/pools/"),
        format!("{D}/admin/tasks?state="),
        "/instance/admin/all-instances?q=".to_owned(),
        "/user/admin/customers?q=".to_owned(),
    ]
    .map(|path| format!("{path}a%00b"))
    .into()
}

/// BIL-20, GTW-10: a billing account is bounded text, and its invoice is printed in seconds.
#[tokio::test]
async fn a_billing_account_takes_no_book_and_no_header() -> anyhow::Result<()> {
    let stack = Stack::load()?;
    let ada = Customer::sign_up(&stack, "book").await?;
    ada.post("/instance/instances", json!({"name": "Book", "trial": false})).await?.expect(201)?;
    let evil = [
        json!({"company": "Evil\r\nBcc: a@b.cc <script>"}),
        json!({"tax_id": "1\n2"}),
        json!({"billing_email": "not-an-email\r\nBcc: all@x.yz"}),
        json!({"address": {"street": "A".repeat(900_000)}}),
    ];
    for body in evil {
        let answer = ada.send(Method::PUT, &format!("{B}/accounts/me"), Some(body)).await?;
        ensure!(answer.status == 422, "{answer:?}");
    }
    let invoices = ada.get(&format!("{B}/invoices")).await?.expect(200)?;
    let invoice = invoices["invoices"][0]["invoice_id"].as_str().context("the order has no invoice")?;
    let begun = Instant::now();
    let printed = ada.get(&format!("{B}/invoices/{invoice}/pdf")).await?;
    ensure!(printed.status == 200, "{printed:?}");
    ensure!(begun.elapsed() < Duration::from_secs(10), "{:?} for one invoice", begun.elapsed());
    Ok(())
}

/// INS-35: lines of a log may be as long as a tenant likes; the answer is bounded and is an answer.
#[tokio::test]
async fn long_lines_in_a_tenants_log_are_cut() -> anyhow::Result<()> {
    let stack = Stack::load()?;
    let ada = Customer::sign_up(&stack, "chatty").await?;
    let made = ada.create_running("Chatty").await?;
    let (id, subdomain) =
        (made["id"].as_str().context("id")?, made["subdomain"].as_str().context("subdomain")?);
    let host = format!("{subdomain}.{}", stack.base_domain);
    let client = reqwest::Client::builder().no_proxy().build()?;
    // Odoo notes each failed log-in with the name that was typed.
    let form = [("login", "x".repeat(20_000)), ("password", "wrong".to_owned())];
    for _ in 0..20 {
        let visits = (0..15).map(|_| {
            let url = format!("{}/web/login", stack.ingress);
            client.post(url).header("Host", host.clone()).form(&form).send()
        });
        futures::future::try_join_all(visits).await?;
    }

    let answer = ada.get(&format!("/instance/instances/{id}/logs?lines=1000")).await?;

    let body: Value = answer.expect(200)?;
    let text = body.to_string();
    ensure!(text.contains("xxxxxxxxxx"), "the long lines are not there, so that nothing is proved: {text}");
    ensure!(text.len() < 4_000_000, "{} bytes", text.len());
    Ok(())
}
