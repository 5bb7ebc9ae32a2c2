//! Delivers results as Paynow would: a POST to the merchant's address, again up to ten times while it answers
//! with an error. The faults are done on the way.

use std::time::{Duration, Instant};

use super::books::{Hook, pairs};
use super::form::sign;
use super::{HookFaults, Paynow};

/// Paynow gives a result up after so many tries.
const TRIES: u32 = 10;

/// Delivers until the runtime ends.
pub async fn run(paynow: Paynow) -> anyhow::Result<()> {
    let client = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(10)).build()?;
    let mut held = Vec::new();
    loop {
        let (faults, key) = {
            let mut books = paynow.lock();
            books.tick(Instant::now());
            (books.hook_faults.clone(), books.settings.key.clone())
        };
        held.extend(paynow.take_hooks());
        if !faults.hold {
            // What was held comes in the other order.
            for hook in held.drain(..).rev() {
                if !faults.lost {
                    tokio::spawn(deliver(client.clone(), hook, faults.clone(), key.clone()));
                }
            }
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn deliver(client: reqwest::Client, hook: Hook, faults: HookFaults, key: String) {
    tokio::time::sleep(Duration::from_millis(faults.delay_ms)).await;
    let body = on_its_way(&hook, &faults, &key);
    for _ in 0..faults.times.max(1) {
        for attempt in 0..TRIES {
            let request = client.post(&hook.to).header("content-type", "application/x-www-form-urlencoded");
            match request.body(body.clone()).send().await {
                Ok(answer) if answer.status().is_success() => break,
                _ => tokio::time::sleep(Duration::from_millis(200 << attempt.min(5))).await,
            }
        }
    }
}

/// The body as it arrives.
fn on_its_way(hook: &Hook, faults: &HookFaults, key: &str) -> String {
    let mut fields = hook.fields.clone();
    if let (Some(amount), Some(field)) =
        (&faults.amount, fields.iter_mut().find(|(name, _)| name == "amount"))
    {
        field.1.clone_from(amount);
    }
    let mut body = sign(&pairs(&fields), if faults.wrong_hash { "another-key" } else { key });
    if faults.cut_off {
        body.truncate(body.len() / 2);
    }
    body
}
