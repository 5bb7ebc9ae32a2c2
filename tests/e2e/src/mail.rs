//! What the mail sink received.

use std::time::Duration;

use serde_json::Value;
use test_kit::eventually;

use crate::Stack;

async fn get(stack: &Stack, path: &str) -> Option<Value> {
    let client = reqwest::Client::builder().no_proxy().build().ok()?;
    client.get(format!("{}{path}", stack.mail)).send().await.ok()?.json().await.ok()
}

/// Subjects of all mails to `address`, newest first.
pub async fn subjects(stack: &Stack, address: &str) -> Vec<String> {
    messages(stack, address)
        .await
        .iter()
        .filter_map(|mail| mail["Subject"].as_str().map(str::to_owned))
        .collect()
}

async fn messages(stack: &Stack, address: &str) -> Vec<Value> {
    let body = get(stack, "/api/v1/messages?limit=5000").await.unwrap_or_default();
    let all = body["messages"].as_array().cloned().unwrap_or_default();
    let to = |mail: &Value| {
        let recipients = mail["To"].as_array().cloned().unwrap_or_default();
        recipients.iter().any(|to| to["Address"].as_str().is_some_and(|to| to.eq_ignore_ascii_case(address)))
    };
    all.into_iter().filter(to).collect()
}

/// Texts of all mails to `address`.
pub async fn texts(stack: &Stack, address: &str) -> Vec<String> {
    let mut texts = Vec::new();
    for mail in messages(stack, address).await {
        let Some(id) = mail["ID"].as_str() else { continue };
        if let Some(body) = get(stack, &format!("/api/v1/message/{id}")).await {
            texts.push(body["Text"].as_str().unwrap_or_default().to_owned());
        }
    }
    texts
}

/// The token in the link of the verification mail.
pub async fn verification_token(stack: &Stack, address: &str) -> anyhow::Result<String> {
    let token = eventually("the verification mail", Duration::from_secs(30), || async {
        let texts = texts(stack, address).await;
        texts.iter().find_map(|text| {
            let after = text.split("token=").nth(1)?;
            let token: String = after
                .chars()
                .take_while(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
                .collect();
            (token.len() >= 20).then_some(token)
        })
    })
    .await;
    Ok(token)
}
