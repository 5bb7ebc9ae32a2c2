//! A strict stand-in for Kill Bill: it answers as a running 0.22.26 and a 0.24.21 were seen to answer (status
//! codes, error codes, content types, date forms), and refuses what they refuse. Where it and a real one
//! disagree, the real one is right.
//!
//! It keeps its hooks instead of sending them: a test delivers them late, twice or never.

mod books;
mod routes;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::{IntoResponse as _, Response};
use time::OffsetDateTime;

use books::Tenant;

/// Which line is imitated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Line {
    /// 0.22.26
    V22,
    /// 0.24.21
    V24,
}

/// What goes wrong with calls; where it does not say otherwise, with those that write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Nothing.
    None,
    /// A page of something in between; nothing is done.
    Down,
    /// Every call, reads too, gets this status, and nothing is done.
    Answers(u16),
    /// No call, reads too, is answered within this time, and nothing is done.
    Silent(Duration),
    /// 500 and nothing done.
    FailBefore,
    /// Done, and then 500.
    FailAfter,
    /// Done, and the answer comes too late.
    SlowAfter(Duration),
}

/// User and password.
pub const USER: &str = "admin";
/// User and password.
pub const PASSWORD: &str = "a password of the tests";

pub(crate) struct Server {
    line: Line,
    now: OffsetDateTime,
    tenants: BTreeMap<String, (String, Tenant)>,
    fault: Fault,
    calls: u64,
}

/// A running fake.
#[derive(Clone)]
pub struct FakeKillBill {
    /// Its address.
    pub url: String,
    server: Arc<Mutex<Server>>,
}

impl std::fmt::Debug for FakeKillBill {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "FakeKillBill({})", self.url)
    }
}

impl FakeKillBill {
    /// Starts one on a free port; it ends with the runtime.
    pub async fn start(line: Line, now: OffsetDateTime) -> anyhow::Result<Self> {
        let server = Server { line, now, tenants: BTreeMap::new(), fault: Fault::None, calls: 0 };
        let server = Arc::new(Mutex::new(server));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}", listener.local_addr()?);
        let router = Router::new().fallback(answer).with_state(Arc::clone(&server));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Ok(Self { url, server })
    }

    fn lock(&self) -> MutexGuard<'_, Server> {
        lock(&self.server)
    }

    /// What goes wrong from now on.
    pub fn set(&self, fault: Fault) {
        self.lock().fault = fault;
    }

    /// All hooks of a tenant so far, as their bodies, oldest first.
    pub fn hooks(&self, api_key: &str) -> Vec<String> {
        self.lock().tenants.get(api_key).map(|(_, tenant)| tenant.hooks.clone()).unwrap_or_default()
    }

    /// How many versions of the catalogue a tenant has, and where its hooks go.
    pub fn tenant(&self, api_key: &str) -> (usize, Option<String>) {
        let server = self.lock();
        let tenant = server.tenants.get(api_key).map(|(_, tenant)| tenant);
        tenant.map(|tenant| (tenant.catalogs.len(), tenant.callback.clone())).unwrap_or_default()
    }

    /// How many accounts, subscriptions and payments a tenant has.
    pub fn counts(&self, api_key: &str) -> (usize, usize, usize) {
        let server = self.lock();
        let tenant = server.tenants.get(api_key).map(|(_, tenant)| tenant);
        tenant
            .map(|tenant| (tenant.accounts.len(), tenant.subscriptions.len(), tenant.payments.len()))
            .unwrap_or_default()
    }

    /// Somebody makes an invoice VOID by hand.
    pub fn void(&self, api_key: &str, invoice: uuid::Uuid) {
        if let Some((_, tenant)) = self.lock().tenants.get_mut(api_key) {
            drop(routes::void(tenant, invoice));
        }
    }

    /// How many refunds and adjustments a tenant has.
    pub fn corrections(&self, api_key: &str) -> (usize, usize) {
        let server = self.lock();
        let tenant = server.tenants.get(api_key).map(|(_, tenant)| tenant);
        tenant
            .map(|tenant| {
                let items = tenant.invoices.iter().flat_map(|invoice| &invoice.items);
                let refunds = tenant.payments.iter().map(|payment| payment.refunds.len()).sum();
                (refunds, items.filter(|item| item.kind == "ITEM_ADJ").count())
            })
            .unwrap_or_default()
    }

    /// How many calls came.
    pub fn calls(&self) -> u64 {
        self.lock().calls
    }
}

fn lock(server: &Mutex<Server>) -> MutexGuard<'_, Server> {
    server.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn answer(
    State(server): State<Arc<Mutex<Server>>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let fault = {
        let mut server = lock(&server);
        server.calls += 1;
        server.fault
    };
    let writes = method != Method::GET;
    match fault {
        Fault::Down => return page(StatusCode::BAD_GATEWAY, "no upstream"),
        Fault::Answers(status) => {
            let status = StatusCode::from_u16(status).unwrap_or(StatusCode::SERVICE_UNAVAILABLE);
            return page(status, "it does not work");
        }
        Fault::Silent(pause) => {
            tokio::time::sleep(pause).await;
            return page(StatusCode::GATEWAY_TIMEOUT, "too late");
        }
        Fault::FailBefore if writes => return failure(),
        _ => {}
    }
    let response = routes::route(&mut lock(&server), &method, &uri, &headers, &body);
    match fault {
        // A refusal stays one: the work was not done.
        Fault::FailAfter if writes && response.status().is_success() => failure(),
        Fault::SlowAfter(pause) if writes => {
            tokio::time::sleep(pause).await;
            response
        }
        _ => response,
    }
}

/// An error page of the server around it.
fn page(status: StatusCode, text: &str) -> Response {
    let body = format!("<html>\n<head><title>Error {} {text}</title></head>\n</html>\n", status.as_u16());
    (status, [("content-type", "text/html;charset=iso-8859-1")], body).into_response()
}

fn failure() -> Response {
    let body = r#"{"className":"java.lang.RuntimeException","code":null,"message":"it broke","causeClassName":null,"causeMessage":null,"stackTrace":[]}"#;
    (StatusCode::INTERNAL_SERVER_ERROR, [("content-type", "application/json")], body).into_response()
}
