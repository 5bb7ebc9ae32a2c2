//! The Ingress listener: plain HTTP, routed by host and path through Ingress and Service to a ready pod of
//! this node.
//!
//! Pages of its own are plain: 404 for a host or path without an Ingress, 503 with `Retry-After` where no pod
//! is ready.

mod table;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::Context as _;
use futures::StreamExt as _;
use http_body_util::{Either, Full};
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONNECTION, HOST, HeaderValue, RETRY_AFTER, UPGRADE};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode, Uri};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use k8s_openapi::api::networking::v1::Ingress;
use kube::runtime::reflector::{self, Store};
use kube::runtime::watcher;
use kube::{Api, ResourceExt as _};
use tokio::net::TcpListener;

use self::table::{Backend, Table};
use crate::context::Shared;
use crate::names;
use crate::watching::changes;

/// Seconds after which a client may try again.
const RETRY_SECONDS: HeaderValue = HeaderValue::from_static("10");

type Body = Either<Incoming, Full<Bytes>>;

/// The listener and what it knows.
#[derive(Debug)]
pub struct Proxy {
    context: Shared,
    table: Arc<std::sync::RwLock<Arc<Table>>>,
    client: Client<HttpConnector, Incoming>,
    turn: AtomicUsize,
}

impl Proxy {
    /// A listener that knows no route yet.
    pub fn new(context: Shared) -> Arc<Self> {
        // Pods come and go at the same addresses: idle connections would outlive them.
        let client = Client::builder(TokioExecutor::new())
            .pool_idle_timeout(std::time::Duration::from_secs(2))
            .build_http();
        Arc::new(Self { context, table: Arc::default(), client, turn: AtomicUsize::new(0) })
    }

    /// Follows Ingresses without end.
    pub async fn follow(self: Arc<Self>) {
        let (store, mut writer): (Store<Ingress>, _) = reflector::store();
        let mut events = std::pin::pin!(changes(
            Api::<Ingress>::all(self.context.client.clone()),
            watcher::Config::default()
        ));
        while let Some(event) = events.next().await {
            writer.apply_watcher_event(&event);
            // While a list comes in, the routes of before hold.
            if !matches!(event, watcher::Event::Init | watcher::Event::InitApply(_)) {
                let table = Arc::new(Table::build(&store.state()));
                *self.table.write().unwrap_or_else(std::sync::PoisonError::into_inner) = table;
            }
        }
    }

    /// Serves without end.
    pub async fn serve(self: Arc<Self>, listener: TcpListener) -> anyhow::Result<()> {
        loop {
            let (stream, peer) = listener.accept().await.context("the Ingress listener cannot accept")?;
            let this = self.clone();
            tokio::spawn(async move {
                let service = service_fn(|request| {
                    let this = this.clone();
                    async move { Ok::<_, std::convert::Infallible>(this.answer(request, peer).await) }
                });
                let server = auto::Builder::new(TokioExecutor::new());
                let connection = server.serve_connection_with_upgrades(TokioIo::new(stream), service);
                if let Err(error) = connection.await {
                    tracing::debug!(%error, "connection of the Ingress listener");
                }
            });
        }
    }

    async fn answer(&self, request: Request<Incoming>, peer: SocketAddr) -> Response<Body> {
        let host = host_of(&request);
        let table = self.table.read().unwrap_or_else(std::sync::PoisonError::into_inner).clone();
        let Some(backend) = table.find(&host, request.uri().path()) else {
            return page(StatusCode::NOT_FOUND, "There is no site at this address.");
        };
        let Some(target) = self.choose(backend) else { return unavailable() };
        match self.forward(request, &host, peer, target).await {
            Ok(answer) => answer,
            Err(error) => {
                tracing::debug!(host, %error, "pod did not answer");
                unavailable()
            }
        }
    }

    /// A ready pod, each in its turn.
    fn choose(&self, backend: &Backend) -> Option<(Ipv4Addr, u16)> {
        let context = &self.context;
        if *context.faults.node_lost().borrow() {
            return None;
        }
        let service = context.services.get(&backend.namespace, &backend.service)?;
        let targets = names::backends(&service, &backend.port, &context.pods);
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        targets.get(turn.checked_rem(targets.len())?).copied()
    }

    async fn forward(
        &self,
        mut request: Request<Incoming>,
        host: &str,
        peer: SocketAddr,
        (ip, port): (Ipv4Addr, u16),
    ) -> anyhow::Result<Response<Body>> {
        let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
        *request.uri_mut() = format!("http://{ip}:{port}{path}").parse::<Uri>()?;
        *request.version_mut() = hyper::Version::HTTP_11;
        let upgrade = request.headers().get(UPGRADE).cloned();
        let client_side = upgrade.is_some().then(|| hyper::upgrade::on(&mut request));
        let headers = request.headers_mut();
        // The host with its port stays as the client sent it: applications build their own addresses from it.
        headers.entry(HOST).or_insert(HeaderValue::from_str(host)?);
        let original = headers.get(HOST).cloned();
        headers.remove(CONNECTION);
        if let Some(upgrade) = upgrade {
            headers.insert(UPGRADE, upgrade);
            headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        }
        headers.insert("x-forwarded-for", HeaderValue::from_str(&peer.ip().to_string())?);
        headers.insert("x-forwarded-proto", HeaderValue::from_static("http"));
        if let Some(original) = original {
            headers.insert("x-forwarded-host", original);
        }

        let mut answer = self.client.request(request).await?;
        if answer.status() == StatusCode::SWITCHING_PROTOCOLS
            && let Some(client_side) = client_side
        {
            let pod_side = hyper::upgrade::on(&mut answer);
            tokio::spawn(async move {
                if let (Ok(client), Ok(pod)) = (client_side.await, pod_side.await) {
                    let _ = tokio::io::copy_bidirectional(&mut TokioIo::new(client), &mut TokioIo::new(pod))
                        .await;
                }
            });
        }
        Ok(answer.map(Either::Left))
    }
}

/// The host that a request is for, without port, in lower case.
fn host_of<T>(request: &Request<T>) -> String {
    let header = request.headers().get(HOST).and_then(|host| host.to_str().ok());
    let host = request.uri().host().or(header).unwrap_or_default();
    let host = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    host.trim_end_matches('.').to_ascii_lowercase()
}

fn unavailable() -> Response<Body> {
    let mut answer = page(
        StatusCode::SERVICE_UNAVAILABLE,
        "This site is not running at the moment. Please try again later.",
    );
    answer.headers_mut().insert(RETRY_AFTER, RETRY_SECONDS);
    answer
}

fn page(status: StatusCode, text: &str) -> Response<Body> {
    let title = status.canonical_reason().unwrap_or_default();
    let html = format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>{title}</title></head><body><h1>{title}</h1><p>{text}</p></body></html>\n"
    );
    let mut answer = Response::new(Either::Right(Full::new(Bytes::from(html))));
    *answer.status_mut() = status;
    answer
        .headers_mut()
        .insert(hyper::header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    answer
}

/// Namespace and name of an Ingress, for messages.
fn name_of(ingress: &Ingress) -> String {
    format!("{}/{}", ingress.namespace().unwrap_or_default(), ingress.name_any())
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt as _;

    fn host(header: &str) -> String {
        host_of(&Request::get("/").header(HOST, header).body(()).unwrap())
    }

    #[test]
    fn the_host_is_without_port_and_case() {
        assert_eq!(host("Shop.LocalHost:8080"), "shop.localhost");
        assert_eq!(host("shop.localhost."), "shop.localhost");
        assert_eq!(host_of(&Request::get("http://a.b:1/x").body(()).unwrap()), "a.b");
    }

    #[tokio::test]
    async fn a_site_that_is_off_says_when_to_come_again() {
        let answer = unavailable();

        assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(answer.headers()[RETRY_AFTER], "10");
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        assert!(body.starts_with(b"<!doctype html>"));
    }
}
