//! Strangers and customers against accounts, limits and other customers' money.

use anyhow::{Context as _, ensure};
use e2e::api::anonymous;
use e2e::{Customer, Stack, control, mail};
use reqwest::Method;
use serde_json::{Value, json};
use uuid::Uuid;

const SERVICE: &str = "instance-service";

fn registration(email: &str, password: &str, first_name: &str) -> Value {
    let names = (first_name, "Doe");
    json!({"email": email, "password": password, "first_name": names.0, "last_name": names.1,
           "accept_terms": true})
}

async fn register(stack: &Stack, body: Value) -> anyhow::Result<e2e::Answer> {
    anonymous(stack, Method::POST, "/user/auth/register", Some(body)).await
}

/// USR-03: somebody registers an address before its owner does; when the owner proves the address, the
/// password of the other one opens nothing.
#[tokio::test]
async fn the_first_to_register_an_address_does_not_own_it() -> anyhow::Result<()> {
    let stack = Stack::load()?;
    let email = format!("victim-{}@example.com", &Uuid::now_v7().simple().to_string()[16..]);
    let (thief, owner) = ("Attacker-Pw-1!", "Correct-Horse-7");
    register(&stack, registration(&email, thief, "Mallory")).await?.expect(201)?;
    let first = mail::verification_token(&stack, &email).await?;
    register(&stack, registration(&email, owner, "Ada")).await?.expect(201)?;
    let newest = test_kit::eventually("another link", std::time::Duration::from_secs(30), || async {
        let token = mail::verification_token(&stack, &email).await.ok()?;
        (token != first).then_some(token)
    })
    .await;
    let verified =
        anonymous(&stack, Method::POST, "/user/auth/verify-email", Some(json!({"token": newest}))).await?;
    ensure!(verified.status == 200, "{verified:?}");

    let tried = json!({"email": email, "password": thief});
    let answer = anonymous(&stack, Method::POST, "/user/auth/login", Some(tried)).await?;
    ensure!(answer.status == 401, "the first password opens the account: {answer:?}");
    for text in mail::texts(&stack, &email).await {
        ensure!(
            !text.contains("Mallory"),
            "the mail greets the owner by a name that somebody else chose: {text}"
        );
    }
    Ok(())
}

/// USR-02, NTF-06: our mails carry no link and no trick of writing that a stranger typed as a name.
#[tokio::test]
async fn a_name_carries_no_message_to_strangers() -> anyhow::Result<()> {
    let stack = Stack::load()?;
    for name in
        ["Win a prize: http://evil.example/win", "www.evil.example", "Ada\u{202e}live", "Ada\u{2028}Bob"]
    {
        let email = format!("spam-{}@example.com", &Uuid::now_v7().simple().to_string()[16..]);
        let answer = register(&stack, registration(&email, "Correct-Horse-7", name)).await?;
        ensure!(answer.status == 422, "{name:?}: {answer:?}");
        ensure!(mail::subjects(&stack, &email).await.is_empty(), "a mail went to {email}");
    }
    Ok(())
}

/// INS-13: what was terminated and is kept for its retention counts towards a limit of its own.
#[tokio::test]
async fn ended_instances_that_are_kept_are_not_without_number() -> anyhow::Result<()> {
    let stack = Stack::load()?;
    let customer = Customer::sign_up(&stack, "keeper").await?;
    control::stop_service(&stack, SERVICE).await?;
    control::start_service(&stack, SERVICE, &[("MAX_KEPT_INSTANCES_PER_USER", "2")], true).await?;
    let outcome = keep_many(&customer).await;
    control::stop_service(&stack, SERVICE).await?;
    control::start_service(&stack, SERVICE, &[], true).await?;
    outcome
}

async fn keep_many(customer: &Customer) -> anyhow::Result<()> {
    for round in 0..2 {
        let id = customer.create(&format!("Kept {round}")).await?;
        let made = customer.until(&id, "running").await?;
        let end = json!({"confirm": made["subdomain"]});
        customer.post(&format!("/instance/instances/{id}/terminate"), end).await?.expect(202)?;
        customer.until(&id, "terminated").await?;
    }
    let third = customer.post("/instance/instances", json!({"name": "One more"})).await?;
    ensure!(third.status == 409 && third.reason() == "quota_exceeded", "{third:?}");
    Ok(())
}

/// BIL-17: a subscription that is not one's own does not exist, whatever is asked of it.
#[tokio::test]
async fn a_foreign_subscription_is_not_found() -> anyhow::Result<()> {
    let stack = Stack::load()?;
    let (ada, eve) = (Customer::sign_up(&stack, "ada").await?, Customer::sign_up(&stack, "eve").await?);
    let id = ada.create("Foreign").await?;
    let subscription = ada.instance(&id).await?["subscription_id"].as_str().context("id")?.to_owned();
    for target in [subscription, Uuid::now_v7().to_string()] {
        for rest in ["", "/invoices"] {
            let path = format!("/billing/api/billing/subscriptions/subscription/{target}{rest}");
            let answer = eve.get(&path).await?;
            ensure!(answer.status == 404, "{path}: {answer:?}");
        }
    }
    Ok(())
}
