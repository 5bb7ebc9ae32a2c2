//! The money's way to an instance on the whole stack, with the test clock: trial, invoice, warning,
//! suspension, payment, end, and back again (BIL-11 to BIL-16, BIL-24, BIL-25). It moves billing's clock for
//! everybody, so nobody may be beside it.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use e2e::api::visit;
use e2e::{Customer, Stack, control, kubectl, mail};
use serde_json::{Value, json};
use test_kit::eventually;

const B: &str = "/billing/api/billing";
const SOON: Duration = Duration::from_secs(30);

/// One customer with one instance, and who moves the clock.
struct Case {
    stack: Stack,
    ada: Customer,
    admin: Customer,
    id: String,
    subdomain: String,
}

impl Case {
    async fn begin() -> anyhow::Result<Self> {
        let stack = Stack::load()?;
        let ada = Customer::sign_up(&stack, "ladder").await?;
        let admin = Customer::admin(&stack).await?;
        let body = ada.create_running("Ladder").await?;
        ensure!(body["billing_status"] == "trial", "{body}");
        let text = |name: &str| body[name].as_str().map(str::to_owned).context("no text");
        Ok(Self { id: text("id")?, subdomain: text("subdomain")?, stack, ada, admin })
    }

    /// Moves the clock; billing's time then.
    async fn jump(&self, by: &str) -> anyhow::Result<String> {
        let body = self.admin.post(&format!("{B}/test/clock"), json!({"advance": by})).await?.expect(200)?;
        Ok(body["now"].as_str().context("now")?.to_owned())
    }

    async fn subscription(&self) -> anyhow::Result<Value> {
        let id = self.ada.instance(&self.id).await?["subscription_id"].as_str().context("id")?.to_owned();
        let found = self.ada.get(&format!("{B}/subscriptions/subscription/{id}")).await?.expect(200)?;
        Ok(found["subscription"].clone())
    }

    async fn on_step(&self, step: &str) -> anyhow::Result<()> {
        let found = self.subscription().await?;
        ensure!(found["ladder"]["state"] == step, "wanted {step}: {found}");
        Ok(())
    }

    async fn open_invoices(&self) -> anyhow::Result<Vec<Value>> {
        let found = self.ada.get(&format!("{B}/invoices?status=open")).await?.expect(200)?;
        Ok(found["invoices"].as_array().cloned().unwrap_or_default())
    }

    /// Pays everything by the bank.
    async fn pay(&self, received_at: &str) -> anyhow::Result<()> {
        for invoice in self.open_invoices().await? {
            let balance = &invoice["balance"];
            let body = json!({
                "invoice_id": invoice["invoice_id"],
                "amount": {"amount_minor": balance["amount_minor"], "currency": balance["currency"]},
                "reference": format!("bank-{}", invoice["number"]),
                "received_at": received_at,
                "reason": "an end-to-end test",
            });
            self.admin.post(&format!("{B}/admin/payments"), body.clone()).await?.expect(201)?;
            let twice = self.admin.post(&format!("{B}/admin/payments"), body).await?;
            ensure!(twice.status == 409, "the same payment twice: {twice:?}");
        }
        Ok(())
    }

    /// Exactly `count` mails with this in their subject.
    async fn mails(&self, subject: &str, count: usize) -> anyhow::Result<()> {
        let found = eventually(&format!("the mail {subject:?}"), SOON, || async {
            let subjects = mail::subjects(&self.stack, &self.ada.email).await;
            let found: Vec<_> =
                subjects.into_iter().filter(|one| one.to_lowercase().contains(subject)).collect();
            (found.len() >= count).then_some(found)
        })
        .await;
        ensure!(found.len() == count, "wanted {count} of {subject:?}: {found:?}");
        Ok(())
    }

    /// The identity of the volume: the data is on it.
    async fn volume(&self) -> anyhow::Result<Value> {
        let claims = kubectl::objects(&self.stack, "persistentvolumeclaims", &self.id).await?;
        ensure!(claims.len() == 1, "{} volumes", claims.len());
        Ok(claims[0]["metadata"]["uid"].clone())
    }

    /// The host answers with this.
    async fn host_answers(&self, wanted: &[u16]) {
        eventually(&format!("the host answers {wanted:?}"), SOON, || async {
            visit(&self.stack, &self.subdomain).await.ok().filter(|status| wanted.contains(status))
        })
        .await;
    }
}

/// BIL-11, BIL-12, BIL-14, BIL-16, BIL-24, BIL-25, INS-21, GTW-18, NTF-06
#[tokio::test]
async fn an_instance_goes_down_the_ladder_and_comes_back_by_money() -> anyhow::Result<()> {
    let case = Case::begin().await?;
    let volume = case.volume().await?;

    case.jump("P15D").await?;
    ensure!(case.open_invoices().await?.len() == 1, "the trial's end issues one invoice");
    case.mails("your trial ends", 3).await?;
    ensure!(case.ada.instance(&case.id).await?["status"] == "running", "an open invoice stops nothing");

    case.jump("P10D").await?;
    case.on_step("warning").await?;
    case.mails("is overdue", 1).await?;

    // Who carries it out is away when it is announced.
    control::kill_service(&case.stack, "instance-service").await?;
    let now = case.jump("P4D").await?;
    control::start_service(&case.stack, "instance-service", &[], true).await?;
    case.ada.until(&case.id, "suspended").await?;
    case.on_step("suspended").await?;
    case.host_answers(&[503]).await;
    ensure!(case.volume().await? == volume, "the data is kept");
    ensure!(case.ada.act(&case.id, "start").await?.status == 402, "nobody starts past a debt");
    case.mails("was suspended", 1).await?;
    let texts = mail::texts(&case.stack, &case.ada.email).await;
    let why = texts.iter().find(|text| text.contains("is off now")).context("the mail")?;
    ensure!(why.contains("An invoice is overdue"), "no reason: {why}");
    ensure!(why.contains("as soon as everything overdue is paid"), "no way back: {why}");

    let paid = Instant::now();
    case.pay(&now).await?;
    case.ada.until(&case.id, "running").await?;
    let took = paid.elapsed();
    ensure!(took < Duration::from_secs(30), "back only after {took:?}");
    case.on_step("none").await?;
    case.host_answers(&[200, 302, 303]).await;
    case.mails("is back", 1).await?;

    // Never again: a long jump to the next invoice, then over two steps at once, then to the end.
    case.jump("P45D").await?;
    case.jump("P15D").await?;
    case.on_step("suspended").await?;
    case.ada.until(&case.id, "suspended").await?;
    case.jump("PT23H").await?;
    case.on_step("suspended").await?;
    case.jump("P7D").await?;
    case.on_step("terminated").await?;
    let ended = case.ada.until(&case.id, "terminated").await?;
    ensure!(ended["billing_status"] == "closed" && ended["purge_after"].is_string(), "{ended}");
    ensure!(kubectl::objects(&case.stack, "pods", &case.id).await?.is_empty());

    let path = format!("{B}/instances/{}/reactivate", case.id);
    let back = case.ada.post(&path, json!({"plan_name": "basic-monthly"})).await?.expect(202)?;
    ensure!(
        back["invoice"]["status"] == "open" && back["subscription_id"] != ended["subscription_id"],
        "{back}"
    );
    case.ada.until(&case.id, "running").await?;
    ensure!(case.volume().await? == volume, "the same data");
    let again = case.ada.post(&path, json!({"plan_name": "basic-monthly"})).await?;
    ensure!(again.status == 409 && again.reason() == "not_terminated", "{again:?}");

    // A year later: each invoice once, and the instance is where the ladder is.
    case.jump("P400D").await?;
    case.on_step("suspended").await?;
    case.ada.until(&case.id, "suspended").await?;
    let all = case.ada.get(&format!("{B}/invoices?page_size=100")).await?.expect(200)?;
    let mut numbers: Vec<_> =
        all["invoices"].as_array().context("list")?.iter().map(|one| one["number"].to_string()).collect();
    let count = numbers.len();
    numbers.sort();
    numbers.dedup();
    ensure!(numbers.len() == count && count >= 3, "{numbers:?}");
    Ok(())
}
