//! A running gateway with its services, and calls to it.

use std::time::Duration;

use gateway::config::{Config, Edge, Limits, Services};
use gateway::server;
use gateway::state::App;
use redis::IntoConnectionInfo as _;
use reqwest::{Client, Method, RequestBuilder};
use runtime::config::Redis;
use runtime::identity::Role;
use secrecy::SecretString;
use serde_json::Value;
use telemetry::metrics::Metrics;
use test_kit::identity::Keyring;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::fake::Fake;

/// A running gateway.
pub struct World {
    pub url: String,
    pub fake: Fake,
    pub keys: Keyring,
    pub client: Client,
    pub stop: CancellationToken,
    pub metrics: Metrics,
    pub app: App,
    pub server: tokio::task::JoinHandle<anyhow::Result<()>>,
}

/// An answer, read.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: http::HeaderMap,
    pub text: String,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or(Value::Null)
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// The words of a problem document; checks that it is a whole one (GTW-06).
    pub fn problem(&self) -> (u16, String) {
        assert_eq!(self.header("content-type"), "application/problem+json", "{self:?}");
        let body = self.json();
        for field in ["type", "title", "detail", "reason", "request_id"] {
            assert!(body[field].as_str().is_some_and(|text| !text.is_empty()), "{field}: {self:?}");
        }
        assert_eq!(body["status"], self.status);
        assert_eq!(body["request_id"], self.header("x-request-id"));
        assert!(body["errors"].is_array(), "{self:?}");
        (self.status, body["reason"].as_str().unwrap().to_owned())
    }

    /// Names of the refused fields.
    pub fn fields(&self) -> Vec<String> {
        let body = self.json();
        let errors = body["errors"].as_array().cloned().unwrap_or_default();
        errors.iter().map(|error| error["field"].as_str().unwrap().to_owned()).collect()
    }
}

/// Sends a request and reads the answer.
pub async fn send(request: RequestBuilder) -> Answer {
    let response = request.send().await.unwrap();
    Answer {
        status: response.status().as_u16(),
        headers: response.headers().clone(),
        text: response.text().await.unwrap(),
    }
}

/// Settings whose limits are out of the way.
pub fn config(keys: &Keyring, services: &str) -> Config {
    let url = services.to_owned();
    Config {
        common: test_kit::grpc::common(),
        users: keys.users.clone(),
        identity: keys.identity.clone(),
        redis: Redis {
            redis_host: "127.0.0.1".into(),
            redis_port: 1,
            redis_db: 0,
            redis_password: SecretString::from("unused"),
        },
        services: Services {
            user_service_url: url.clone(),
            billing_service_url: url.clone(),
            instance_service_url: url.clone(),
            database_service_url: url.clone(),
            notification_service_url: url,
        },
        limits: Limits {
            rate_limit_per_minute: 1_000_000,
            rate_limit_burst: 100_000,
            rate_limit_anonymous_per_minute: 1_000_000,
            rate_limit_auth_per_minute: 1_000_000,
            rate_limit_webhook_per_minute: 1_000_000,
            rate_limit_key_prefix: format!("test:{}", Uuid::now_v7()),
        },
        edge: Edge {
            base_domain: "saasodoo.local".into(),
            frontend_url: "http://app.saasodoo.local".into(),
            cors_allowed_origins: Vec::new(),
            trusted_proxies: vec!["10.0.0.0/8".parse().unwrap()],
            docs_enabled: None,
            tls_enabled: false,
        },
        http_port: 0,
        admin_port: 0,
        max_connections: 1000,
        max_connections_per_address: 100_000,
        max_requests: 10_000,
        max_auth_requests: 10_000,
        drain_seconds: 20,
        drain_grace_seconds: 0,
    }
}

impl World {
    /// With the usual settings.
    pub async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    /// With changed settings.
    pub async fn start_with(change: impl FnOnce(&mut Config)) -> Self {
        Self::start_on(&test_kit::environment::redis_url(), change).await
    }

    /// With Redis at `redis`.
    pub async fn start_on(redis: &str, change: impl FnOnce(&mut Config)) -> Self {
        let (keys, fake) = (Keyring::new(), Fake::default());
        let mut config = config(&keys, &fake.serve().await);
        change(&mut config);
        let (metrics, stop) = (Metrics::new(), CancellationToken::new());
        let redis = redis.into_connection_info().unwrap();
        let app = App::with_redis(&config, redis, &metrics, stop.clone()).unwrap();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let server = tokio::spawn(server::serve_on(listener, app.clone(), stop.clone(), config.drain()));
        let client = Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .timeout(Duration::from_secs(20))
            .build()
            .unwrap();
        Self { url, fake, keys, client, stop, metrics, app, server }
    }

    /// A request without a token.
    pub fn request(&self, method: &str, path: &str) -> RequestBuilder {
        let method: Method = method.parse().unwrap();
        self.client.request(method, format!("{}{path}", self.url))
    }

    /// A signed-in user: the token.
    pub fn token(&self, role: Role) -> String {
        self.token_of(Uuid::now_v7(), role)
    }

    /// A signed-in user with this id: the token.
    pub fn token_of(&self, user: Uuid, role: Role) -> String {
        let token = self.keys.user_token(user, role);
        self.fake.sign_in(&session_of(&token), role);
        token
    }

    /// GET with a token.
    pub async fn get(&self, path: &str, token: &str) -> Answer {
        send(self.request("GET", path).bearer_auth(token)).await
    }

    /// POST with a token and a JSON body.
    pub async fn post(&self, path: &str, token: &str, body: &Value) -> Answer {
        send(self.request("POST", path).bearer_auth(token).json(body)).await
    }

    /// POST with a JSON body alone.
    pub async fn post_public(&self, path: &str, body: &Value) -> Answer {
        send(self.request("POST", path).json(body)).await
    }
}

/// The session id in a token.
pub fn session_of(token: &str) -> String {
    use base64::Engine as _;
    let payload = token.split('.').nth(1).unwrap();
    let json = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(payload).unwrap();
    let claims: Value = serde_json::from_slice(&json).unwrap();
    claims["sid"].as_str().unwrap().to_owned()
}
