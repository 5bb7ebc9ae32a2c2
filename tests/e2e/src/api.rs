//! The public API as a signed-in customer uses it.

use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use reqwest::{Method, RequestBuilder, Response};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::Stack;

/// Longest wait for an instance to reach a status.
pub const PATIENCE: Duration = Duration::from_mins(3);
/// Password of all customers of the tests.
const PASSWORD: &str = "Correct-Horse-7";

/// Status and body of an answer.
#[derive(Debug, Clone)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// JSON body, or null.
    pub body: Value,
}

impl Answer {
    /// Fails, showing the body, unless the status is `wanted`.
    pub fn expect(self, wanted: u16) -> anyhow::Result<Value> {
        ensure!(self.status == wanted, "wanted {wanted}, got {}: {}", self.status, self.body);
        Ok(self.body)
    }

    /// The `reason` of a problem document.
    pub fn reason(&self) -> &str {
        self.body["reason"].as_str().unwrap_or_default()
    }
}

/// Somebody with an access token.
#[derive(Debug, Clone)]
pub struct Customer {
    /// Their stack.
    pub stack: Stack,
    /// Their address.
    pub email: String,
    token: String,
    http: reqwest::Client,
}

fn client() -> anyhow::Result<reqwest::Client> {
    // Never through a proxy of the environment; redirects are answers to look at.
    Ok(reqwest::Client::builder()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .timeout(Duration::from_secs(35))
        .build()?)
}

async fn answer(response: Response) -> anyhow::Result<Answer> {
    let status = response.status().as_u16();
    let text = response.text().await?;
    Ok(Answer { status, body: serde_json::from_str(&text).unwrap_or(Value::Null) })
}

/// A call without a token.
pub async fn anonymous(
    stack: &Stack,
    method: Method,
    path: &str,
    body: Option<Value>,
) -> anyhow::Result<Answer> {
    let mut request = client()?.request(method, format!("{}{path}", stack.api));
    if let Some(body) = body {
        request = request.json(&body);
    }
    answer(request.send().await?).await
}

impl Customer {
    /// Registers, follows the link of the verification mail, signs in.
    pub async fn sign_up(stack: &Stack, tag: &str) -> anyhow::Result<Self> {
        let email = format!("{tag}-{}@example.com", &Uuid::now_v7().simple().to_string()[16..]);
        let body = json!({"email": email, "password": PASSWORD, "first_name": "Ada", "last_name": "Test",
            "accept_terms": true});
        anonymous(stack, Method::POST, "/user/auth/register", Some(body)).await?.expect(201)?;
        let token = crate::mail::verification_token(stack, &email).await?;
        anonymous(stack, Method::POST, "/user/auth/verify-email", Some(json!({"token": token})))
            .await?
            .expect(200)?;
        Self::sign_in(stack, &email, PASSWORD).await
    }

    /// Signs in.
    pub async fn sign_in(stack: &Stack, email: &str, password: &str) -> anyhow::Result<Self> {
        let body = json!({"email": email, "password": password});
        let body = anonymous(stack, Method::POST, "/user/auth/login", Some(body)).await?.expect(200)?;
        let token = body["tokens"]["access_token"].as_str().context("no access token")?.to_owned();
        Ok(Self { stack: stack.clone(), email: email.to_owned(), token, http: client()? })
    }

    /// The first administrator.
    pub async fn admin(stack: &Stack) -> anyhow::Result<Self> {
        Self::sign_in(stack, &stack.admin.email, &stack.admin.password).await
    }

    /// The access token, for the search of secrets in logs.
    pub fn token(&self) -> &str {
        &self.token
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, format!("{}{path}", self.stack.api)).bearer_auth(&self.token)
    }

    /// Any call.
    pub async fn send(&self, method: Method, path: &str, body: Option<Value>) -> anyhow::Result<Answer> {
        let mut request = self.request(method, path);
        if let Some(body) = body {
            request = request.json(&body);
        }
        answer(request.send().await?).await
    }

    /// GET.
    pub async fn get(&self, path: &str) -> anyhow::Result<Answer> {
        answer(self.request(Method::GET, path).send().await?).await
    }

    /// POST with a body.
    pub async fn post(&self, path: &str, body: Value) -> anyhow::Result<Answer> {
        answer(self.request(Method::POST, path).json(&body).send().await?).await
    }

    /// POST without a body, as the guide's curl calls do.
    pub async fn act(&self, instance: &str, action: &str) -> anyhow::Result<Answer> {
        answer(self.request(Method::POST, &format!("/instance/instances/{instance}/{action}")).send().await?)
            .await
    }

    /// POST with an `Idempotency-Key`.
    pub async fn post_once(&self, path: &str, key: &str, body: Value) -> anyhow::Result<Answer> {
        self.post_with(path, ("Idempotency-Key", key), body).await
    }

    /// POST with a header.
    pub async fn post_with(
        &self,
        path: &str,
        (name, value): (&str, &str),
        body: Value,
    ) -> anyhow::Result<Answer> {
        answer(self.request(Method::POST, path).header(name, value).json(&body).send().await?).await
    }

    /// The whole text of an event stream until it ends.
    pub async fn stream(&self, path: &str, after: Option<i64>) -> anyhow::Result<String> {
        let mut request = self.request(Method::GET, path).timeout(PATIENCE);
        if let Some(after) = after {
            request = request.header("Last-Event-ID", after.to_string());
        }
        Ok(request.send().await?.error_for_status()?.text().await?)
    }

    /// Creates an instance; its id.
    pub async fn create(&self, name: &str) -> anyhow::Result<String> {
        let body = self.post("/instance/instances", json!({"name": name})).await?.expect(201)?;
        Ok(body["id"].as_str().context("no id")?.to_owned())
    }

    /// The instance now.
    pub async fn instance(&self, id: &str) -> anyhow::Result<Value> {
        self.get(&format!("/instance/instances/{id}")).await?.expect(200)
    }

    /// Waits until the instance has `status`; `error` ends the wait at once unless it is wanted. Answers of
    /// 5xx while a part is broken are waited over.
    pub async fn until(&self, id: &str, status: &str) -> anyhow::Result<Value> {
        let start = Instant::now();
        let mut last = Value::Null;
        while start.elapsed() < PATIENCE {
            if let Ok(Answer { status: 200, body }) = self.get(&format!("/instance/instances/{id}")).await {
                if body["status"] == status {
                    return Ok(body);
                }
                ensure!(
                    body["status"] != "error",
                    "instance {id} ended in error instead of {status}: {}",
                    body["error"]
                );
                last = body;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        bail!("instance {id} did not become {status} within {PATIENCE:?}; last seen: {last}")
    }

    /// Creates an instance and waits until it runs; its body.
    pub async fn create_running(&self, name: &str) -> anyhow::Result<Value> {
        let id = self.create(name).await?;
        self.until(&id, "running").await
    }

    /// Waits until the operation has ended; its body.
    pub async fn operation_end(&self, instance: &str, operation: &str) -> anyhow::Result<Value> {
        let start = Instant::now();
        while start.elapsed() < PATIENCE {
            if let Ok(Answer { status: 200, body }) =
                self.get(&format!("/instance/instances/{instance}/operations/{operation}")).await
                && matches!(body["state"].as_str(), Some("succeeded" | "failed" | "cancelled"))
            {
                return Ok(body);
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        bail!("operation {operation} did not end within {PATIENCE:?}")
    }
}

/// GET of a tenant's host through the Ingress; the status.
pub async fn visit(stack: &Stack, subdomain: &str) -> anyhow::Result<u16> {
    let host = format!("{subdomain}.{}", stack.base_domain);
    Ok(client()?.get(&stack.ingress).header("Host", host).send().await?.status().as_u16())
}

/// Signs in to a tenant's Odoo by its form; whether it let us in.
pub async fn sign_in_to_odoo(
    stack: &Stack,
    subdomain: &str,
    login: &str,
    password: &str,
) -> anyhow::Result<bool> {
    let host = format!("{subdomain}.{}", stack.base_domain);
    let form = [("login", login), ("password", password)];
    let url = format!("{}/web/login", stack.ingress);
    let response = client()?.post(url).header("Host", host).form(&form).send().await?;
    let status = response.status();
    ensure!(status.is_success() || status.is_redirection(), "the form answers {status}");
    Ok(status.is_redirection() && response.headers().contains_key("set-cookie"))
}
