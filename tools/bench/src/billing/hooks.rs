//! Messages of payment providers, by the public route: accepted and stored, against the plain INSERT of the
//! same row.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context as _, ensure};
use e2e::Stack;
use reqwest::Client;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use sqlx::postgres::PgPool;
use test_kit::paynow::sign;
use uuid::Uuid;

use super::secrets;
use crate::clock::many;
use crate::figures::{Figures, say};

const FORM: &str = "application/x-www-form-urlencoded";
const JSON: &str = "application/json; charset=UTF-8";

/// Who sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sender {
    /// Results with a right hash, about payments that are not there: each is stored, looked at, and ignored.
    Paynow,
    /// Hooks about accounts that are not there.
    Killbill,
}

impl Sender {
    fn name(self) -> &'static str {
        match self {
            Self::Paynow => "paynow",
            Self::Killbill => "killbill",
        }
    }

    fn content_type(self) -> &'static str {
        match self {
            Self::Paynow => FORM,
            Self::Killbill => JSON,
        }
    }
}

/// Sends messages that are all different: equal ones that wait would be one row.
struct Hooks {
    sender: Sender,
    http: Client,
    url: String,
    key: String,
    sent: AtomicU64,
}

impl Hooks {
    fn connect(sender: Sender, stack: &Stack, stack_file: &Path) -> anyhow::Result<Self> {
        let secrets = secrets(stack_file)?;
        let text = |value: &Value| value.as_str().map(ToOwned::to_owned).context("a secret is not there");
        let base = format!("{}/billing/api/billing/webhooks", stack.api);
        let (url, key) = match sender {
            Sender::Paynow => (format!("{base}/paynow"), text(&secrets["paynow"])?),
            Sender::Killbill => {
                (format!("{base}/killbill/{}", text(&secrets["killbill"]["hook_token"])?), String::new())
            }
        };
        Ok(Self { sender, http: Client::builder().no_proxy().build()?, url, key, sent: AtomicU64::new(0) })
    }

    fn body(&self) -> String {
        match self.sender {
            Sender::Paynow => {
                let number = self.sent.fetch_add(1, Ordering::Relaxed);
                let reference = format!("BENCH-{number}-{}", Uuid::now_v7().simple());
                sign(&[("reference", reference.as_str()), ("paynowreference", "1"), ("amount", "9.00"), ("status", "Paid")], &self.key.to_ascii_lowercase())
            }
            Sender::Killbill => json!({
                "eventType": "INVOICE_CREATION", "accountId": Uuid::now_v7(), "objectType": "INVOICE", "objectId": Uuid::now_v7(), "metaData": null,
            })
            .to_string(),
        }
    }

    async fn send(&self) -> anyhow::Result<()> {
        let request =
            self.http.post(&self.url).header("Content-Type", self.sender.content_type()).body(self.body());
        // The address holds the secret of the path.
        let answer = request.send().await.map_err(reqwest::Error::without_url)?;
        ensure!(answer.status().as_u16() == 200, "a hook was answered with {}", answer.status());
        Ok(())
    }

    /// The same row, and nothing else.
    async fn insert(&self, books: &PgPool) -> anyhow::Result<()> {
        let body = self.body();
        // Not due, so that nobody looks at it meanwhile.
        sqlx::query(
            "INSERT INTO webhook_inbox (id, provider, body, content_type, digest, next_at) VALUES ($1, \
             'bench', $2, $3, $4, now() + interval '1 day')",
        )
        .bind(Uuid::now_v7())
        .bind(body.as_bytes())
        .bind(self.sender.content_type())
        .bind(Sha256::digest(body.as_bytes()).as_slice())
        .execute(books)
        .await?;
        Ok(())
    }
}

/// How many a second, and what the bare rows cost.
pub async fn run(
    sender: Sender,
    count: usize,
    concurrency: usize,
    (books, stack, file): (&PgPool, &Stack, &Path),
    figures: &mut Figures,
) -> anyhow::Result<()> {
    let name = sender.name();
    say(&format!("messages of {name}"));
    let hooks = Hooks::connect(sender, stack, file)?;
    for _ in 0..20 {
        hooks.send().await?;
        hooks.insert(books).await?;
    }
    let before = stored(books, name).await?;
    let (whole, times) = many(count, concurrency, || hooks.send()).await?;
    let (bare, bare_times) = many(count, concurrency, || hooks.insert(books)).await?;
    let kept = stored(books, name).await? - before;
    ensure!(usize::try_from(kept)? == count, "{kept} rows of {count} messages");
    sqlx::query("DELETE FROM webhook_inbox WHERE provider = 'bench'").execute(books).await?;
    #[expect(clippy::cast_precision_loss, reason = "some thousands")]
    let all = count as f64;
    figures.add(format!("messages of {name}"), all / whole.as_secs_f64(), "1/s", None);
    figures.add(format!("bare rows as of {name}"), all / bare.as_secs_f64(), "1/s", None);
    figures.add(format!("messages of {name} over bare"), bare.as_secs_f64() / whole.as_secs_f64(), "×", None);
    figures.add_times(&format!("message of {name}"), &times, [None, None]);
    figures.add_times(&format!("bare row as of {name}"), &bare_times, [None, None]);
    Ok(())
}

async fn stored(books: &PgPool, name: &str) -> anyhow::Result<i64> {
    let count = sqlx::query_scalar("SELECT count(*) FROM webhook_inbox WHERE provider = $1").bind(name);
    Ok(count.fetch_one(books).await?)
}
