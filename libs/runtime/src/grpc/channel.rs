//! A channel that connects anew from time to time.
//!
//! A gRPC connection is long-lived, and behind one address stand several replicas: without an end it would stay
//! with the one that it found first, and new replicas would get nothing to do. The client ends it, not the
//! server: new calls go to the next connection while the old one finishes its calls, so that none is cut off
//! or refused on the way.

use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tonic::body::Body;
use tonic::transport::channel::ResponseFuture;
use tonic::transport::{Channel, Endpoint, Error};
use tower::Service;

use super::tls::Connector;

/// Where a channel leads, and how it connects.
#[derive(Debug, Clone)]
pub(super) struct Target {
    pub(super) endpoint: Endpoint,
    /// None: without TLS.
    pub(super) connector: Option<Connector>,
}

impl Target {
    /// Connects on the first call.
    fn connect(&self) -> Channel {
        match &self.connector {
            Some(connector) => self.endpoint.connect_with_connector_lazy(connector.clone()),
            None => self.endpoint.connect_lazy(),
        }
    }
}

/// A channel whose connections are used for a while only. Clones share the connection.
#[derive(Debug)]
pub struct Renewing {
    shared: Arc<Shared>,
    /// The one that is ready for our next call.
    ready: Option<Channel>,
}

#[derive(Debug)]
struct Shared {
    target: Target,
    age: Duration,
    current: Mutex<Current>,
}

#[derive(Debug)]
struct Current {
    channel: Channel,
    until: Instant,
}

impl Renewing {
    /// Each connection is used for `age`, give or take a tenth, so that clients that started together do not
    /// connect anew together.
    pub(super) fn new(target: Target, age: Duration) -> Self {
        let current = Current { channel: target.connect(), until: Instant::now() + about(age) };
        Self { shared: Arc::new(Shared { target, age, current: Mutex::new(current) }), ready: None }
    }
}

impl Shared {
    fn channel(&self) -> Channel {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if current.until <= Instant::now() {
            // The old one ends with the last of its calls.
            *current = Current { channel: self.target.connect(), until: Instant::now() + about(self.age) };
        }
        current.channel.clone()
    }
}

impl Clone for Renewing {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared), ready: None }
    }
}

impl Service<http::Request<Body>> for Renewing {
    type Response = http::Response<Body>;
    type Error = Error;
    type Future = ResponseFuture;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.ready.get_or_insert_with(|| self.shared.channel()).poll_ready(cx)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let mut channel = self.ready.take().unwrap_or_else(|| self.shared.channel());
        channel.call(request)
    }
}

/// This time, give or take a tenth.
fn about(time: Duration) -> Duration {
    let mut random = [0; 2];
    // Without randomness it is the time itself.
    if aws_lc_rs::rand::fill(&mut random).is_err() {
        return time;
    }
    let part = f64::from(u16::from_be_bytes(random)) / f64::from(u16::MAX);
    time.mul_f64(0.9 + part / 5.0)
}
