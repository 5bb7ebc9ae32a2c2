//! Orders with Kill Bill behind the platform, against what Kill Bill itself needs: its own calls for an
//! account and a subscription.

use std::path::Path;

use anyhow::{Context as _, ensure};
use e2e::Stack;
use reqwest::{Client, RequestBuilder};
use serde_json::{Value, json};
use uuid::Uuid;

use super::orders::Desk;
use super::secrets;
use crate::clock::{many, timed};
use crate::figures::{Figures, percentile, say};

/// The REST interface of the stack's Kill Bill, with the keys of the platform's tenant.
struct Bare {
    http: Client,
    url: String,
    user: String,
    secrets: Value,
}

impl Bare {
    fn connect(stack: &Stack, stack_file: &Path) -> anyhow::Result<Self> {
        Ok(Self {
            http: Client::builder().no_proxy().build()?,
            url: format!("{}/1.0/kb", stack.killbill.trim_end_matches('/')),
            user: stack.killbill_user.clone(),
            secrets: secrets(stack_file)?["killbill"].take(),
        })
    }

    fn signed(&self, request: RequestBuilder) -> RequestBuilder {
        let secret = |name: &str| self.secrets[name].as_str().unwrap_or_default().to_owned();
        request
            .basic_auth(&self.user, Some(secret("password")))
            .header("X-Killbill-ApiKey", secret("api_key"))
            .header("X-Killbill-ApiSecret", secret("api_secret"))
            .header("X-Killbill-CreatedBy", "bench")
    }

    async fn post(&self, path: &str, body: &Value) -> anyhow::Result<String> {
        let request = self.signed(self.http.post(format!("{}{path}", self.url))).json(body);
        let answer = request.send().await?;
        ensure!(answer.status().as_u16() == 201, "{path} was answered with {}", answer.status());
        let place = answer.headers().get("location").context("no Location")?.to_str()?;
        Ok(place.trim_end_matches('/').rsplit('/').next().unwrap_or_default().to_owned())
    }

    /// An account and a paid subscription whose first invoice is waited for, as the platform does.
    async fn order(&self) -> anyhow::Result<()> {
        let [customer, subscription] = [Uuid::now_v7(), Uuid::now_v7()];
        let account = json!({"externalKey": customer, "name": customer, "currency": "USD", "timeZone": "UTC", "locale": "en_US"});
        let account = self.post("/accounts", &account).await?;
        let body = json!({
            "accountId": account, "externalKey": subscription, "bundleExternalKey": subscription, "planName": "basic-monthly", "phaseType": "EVERGREEN",
        });
        self.post("/subscriptions?callCompletion=true&callTimeoutSec=5", &body).await?;
        Ok(())
    }
}

/// Both, in turns and in parallel.
pub async fn run(
    (followed, parallel, concurrency): (usize, usize, usize),
    stack: &Stack,
    file: &Path,
    figures: &mut Figures,
) -> anyhow::Result<()> {
    let (desk, bare) = (Desk::connect(stack, file)?, Bare::connect(stack, file)?);
    say("orders with Kill Bill, one by one");
    // A server that has just started compiles itself while it works.
    for _ in 0..20 {
        desk.order().await?;
        bare.order().await?;
    }
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..followed {
        ours.push(timed(desk.order()).await?);
        theirs.push(timed(bare.order()).await?);
    }
    figures.add_times("order with Kill Bill", &ours, [None, None]);
    figures.add_times("account and subscription at Kill Bill", &theirs, [None, None]);
    let ratio = percentile(&ours, 0.5).as_secs_f64() / percentile(&theirs, 0.5).as_secs_f64();
    figures.add("order over Kill Bill's own calls, p50", ratio, "×", None);

    say("orders with Kill Bill, in parallel");
    let (whole, times) = many(parallel, concurrency, || desk.order()).await?;
    let (bare_whole, bare_times) = many(parallel, concurrency, || bare.order()).await?;
    #[expect(clippy::cast_precision_loss, reason = "some thousands")]
    let count = parallel as f64;
    figures.add("orders with Kill Bill", count / whole.as_secs_f64(), "1/s", None);
    figures.add("Kill Bill's own calls", count / bare_whole.as_secs_f64(), "1/s", None);
    let ratio = bare_whole.as_secs_f64() / whole.as_secs_f64();
    figures.add("orders over Kill Bill's own calls", ratio, "×", Some(">= 0.8"));
    figures.add_times("order with Kill Bill in parallel", &times, [None, None]);
    figures.add_times("Kill Bill's own calls in parallel", &bare_times, [None, None]);
    Ok(())
}
