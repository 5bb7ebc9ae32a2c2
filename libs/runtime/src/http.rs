//! The HTTP/1 server of all our ports. Whoever connects and then says nothing, or says it a byte at a time,
//! loses the connection; and there are never more connections than the process can hold.

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use axum::Router;
use axum::body::Body;
use axum::extract::{ConnectInfo, Request};
use axum::response::Response;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

/// Bounds of one port.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Open connections at most. More wait in the system's queue until one ends.
    pub connections: usize,
    /// Time for the whole head of a request. An idle connection ends after it as well.
    pub head: Duration,
    /// Open connections of one source at most; one more is closed at once. A source is an address, of IPv6 its
    /// /64. [`Sources`] says who is no source of its own.
    pub of_source: usize,
}

impl Limits {
    /// For ports that only the platform itself asks: health pages, metrics, operators' routes.
    pub const INTERNAL: Self =
        Self { connections: 256, head: Duration::from_secs(30), of_source: usize::MAX };
}

/// How many are open, by source.
type Counts = Arc<Mutex<HashMap<IpAddr, usize>>>;

/// Open connections by source.
///
/// Proxies of our own bring the connections of everybody, so that they are not counted: each request of theirs
/// is, by the address that they forward.
#[derive(Clone)]
pub struct Sources {
    open: Counts,
    is_proxy: Arc<dyn Fn(IpAddr) -> bool + Send + Sync>,
}

impl Sources {
    /// Nothing is open yet.
    pub fn new(is_proxy: impl Fn(IpAddr) -> bool + Send + Sync + 'static) -> Self {
        Self { open: Arc::default(), is_proxy: Arc::new(is_proxy) }
    }

    /// A place for one more connection of this peer, unless its source has `most` already.
    fn enter(&self, peer: IpAddr, most: usize) -> Option<Place> {
        if most == usize::MAX || (self.is_proxy)(peer) {
            return Some(Place(None));
        }
        let source = source_of(peer);
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let own = open.entry(source).or_default();
        if *own >= most {
            return None;
        }
        *own += 1;
        Some(Place(Some((Arc::clone(&self.open), source))))
    }
}

impl std::fmt::Debug for Sources {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Sources")
    }
}

/// The place of a connection; it is free again when this is dropped.
struct Place(Option<(Counts, IpAddr)>);

impl Drop for Place {
    fn drop(&mut self) {
        let Some((open, source)) = &self.0 else { return };
        let mut open = open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(own) = open.get_mut(source) {
            *own -= 1;
            if *own == 0 {
                open.remove(source);
            }
        }
    }
}

/// The address; of IPv6 its /64, which is what one customer line has.
fn source_of(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V6(ip) => {
            let [a, b, c, d, ..] = ip.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
        v4 @ IpAddr::V4(_) => v4,
    }
}

/// Serves until `stop`; open requests are finished. The caller bounds how long.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    limits: Limits,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    serve_sources(listener, router, limits, Sources::new(|_| false), stop).await
}

/// The same for a port that strangers reach, themselves or by our proxies.
pub async fn serve_sources(
    listener: TcpListener,
    router: Router,
    limits: Limits,
    sources: Sources,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let room = Arc::new(Semaphore::new(limits.connections));
    let graceful = GracefulShutdown::new();
    loop {
        let permit = tokio::select! {
            () = stop.cancelled() => break,
            permit = Arc::clone(&room).acquire_owned() => permit.context("no room for connections")?,
        };
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                let Some(place) = sources.enter(peer.ip(), limits.of_source) else {
                    tracing::debug!(peer = %peer.ip(), "a source has all the connections that it may have");
                    continue;
                };
                let (router, watcher) = (router.clone(), graceful.watcher());
                tokio::spawn(async move {
                    connection(stream, peer, router, limits, watcher).await;
                    drop((place, permit));
                });
            }
            Err(error) => {
                // Out of file descriptors, or a client that is gone already: the next one may do.
                tracing::warn!(error = %error, "cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
    drop(listener);
    graceful.shutdown().await;
    Ok(())
}

async fn connection(stream: TcpStream, peer: SocketAddr, router: Router, limits: Limits, watcher: Watcher) {
    // Small answers must not wait for the acknowledgement of earlier ones.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(error = %error, "no nodelay");
    }
    let service = service_fn(move |request: hyper::Request<Incoming>| answer(router.clone(), peer, request));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head)
        .serve_connection(TokioIo::new(stream), service);
    if let Err(error) = watcher.watch(connection).await {
        tracing::trace!(error = %error, "connection ended");
    }
}

async fn answer(
    router: Router,
    peer: SocketAddr,
    request: hyper::Request<Incoming>,
) -> Result<Response, Infallible> {
    let mut request: Request = request.map(Body::new);
    request.extensions_mut().insert(ConnectInfo(peer));
    router.oneshot(request).await
}
