//! Probes: the pure part counts successes and failures, the other asks by HTTP, TCP or a command.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use http_body_util::{BodyExt as _, Empty};
use hyper::body::Bytes;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use k8s_openapi::api::core::v1::{Container, HTTPGetAction, Probe};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

/// How a probe is timed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timing {
    /// Wait after the start of the container.
    pub initial_delay: Duration,
    /// Time between two attempts.
    pub period: Duration,
    /// Longest time of one attempt.
    pub timeout: Duration,
    success_threshold: u32,
    failure_threshold: u32,
}

impl Timing {
    /// The timing of a probe, with the defaults of the API.
    pub fn of(probe: &Probe) -> Self {
        let positive = |value: Option<i32>, default: u32| {
            value.and_then(|value| u32::try_from(value).ok()).filter(|value| *value > 0).unwrap_or(default)
        };
        let seconds = |value: u32| Duration::from_secs(u64::from(value));
        Self {
            initial_delay: seconds(positive(probe.initial_delay_seconds, 0)),
            period: seconds(positive(probe.period_seconds, 10)),
            timeout: seconds(positive(probe.timeout_seconds, 1)),
            success_threshold: positive(probe.success_threshold, 1),
            failure_threshold: positive(probe.failure_threshold, 3),
        }
    }
}

/// Counts the results of one probe.
#[derive(Debug, Clone)]
pub struct Counter {
    timing: Timing,
    in_a_row: u32,
    last: Option<bool>,
}

impl Counter {
    /// A probe that has not been tried yet.
    pub fn new(timing: Timing) -> Self {
        Self { timing, in_a_row: 0, last: None }
    }

    /// Takes one result; tells the verdict when enough of the same kind came in a row.
    pub fn observe(&mut self, success: bool) -> Option<bool> {
        self.in_a_row = if self.last == Some(success) { self.in_a_row.saturating_add(1) } else { 1 };
        self.last = Some(success);
        let needed = if success { self.timing.success_threshold } else { self.timing.failure_threshold };
        (self.in_a_row >= needed).then_some(success)
    }
}

/// What a probe asks.
#[derive(Debug, Clone)]
pub enum Question {
    /// HTTP GET: 200 to 399 is a success.
    Http {
        /// Where to connect.
        address: SocketAddr,
        /// Path with query.
        path: String,
        /// Headers to send.
        headers: Vec<(String, String)>,
    },
    /// A TCP connection is a success.
    Tcp(SocketAddr),
    /// A command that ends with 0 is a success.
    Exec(Vec<String>),
    /// Nothing that this node can ask: a success.
    Nothing,
}

/// The question of a probe for a container at `ip`.
pub fn question(probe: &Probe, container: &Container, ip: Ipv4Addr) -> Question {
    if let Some(exec) = &probe.exec {
        return Question::Exec(exec.command.clone().unwrap_or_default());
    }
    if let Some(http) = &probe.http_get {
        let Some(port) = port_number(&http.port, container) else { return Question::Nothing };
        let host = http.host.as_deref().and_then(|host| host.parse().ok()).unwrap_or(ip);
        return Question::Http {
            address: SocketAddr::from((host, port)),
            path: http_path(http),
            headers: http
                .http_headers
                .iter()
                .flatten()
                .map(|header| (header.name.clone(), header.value.clone()))
                .collect(),
        };
    }
    if let Some(tcp) = &probe.tcp_socket
        && let Some(port) = port_number(&tcp.port, container)
    {
        let host = tcp.host.as_deref().and_then(|host| host.parse().ok()).unwrap_or(ip);
        return Question::Tcp(SocketAddr::from((host, port)));
    }
    Question::Nothing
}

fn http_path(http: &HTTPGetAction) -> String {
    let path = http.path.as_deref().unwrap_or("/");
    if path.starts_with('/') { path.to_owned() } else { format!("/{path}") }
}

/// The number of a port that is given as number or by its name in the container.
pub fn port_number(port: &IntOrString, container: &Container) -> Option<u16> {
    match port {
        IntOrString::Int(number) => u16::try_from(*number).ok(),
        IntOrString::String(name) => name.parse().ok().or_else(|| {
            let ports = container.ports.iter().flatten();
            let port = ports.into_iter().find(|port| port.name.as_ref() == Some(name))?;
            u16::try_from(port.container_port).ok()
        }),
    }
}

/// A client that opens a connection for each request, as the kubelet does.
#[derive(Debug, Clone)]
pub struct Prober {
    client: Client<HttpConnector, Empty<Bytes>>,
}

impl Default for Prober {
    fn default() -> Self {
        Self { client: Client::builder(TokioExecutor::new()).pool_max_idle_per_host(0).build_http() }
    }
}

impl Prober {
    /// Asks by HTTP; the error says what was wrong.
    pub async fn http(
        &self,
        address: SocketAddr,
        path: &str,
        headers: &[(String, String)],
        timeout: Duration,
    ) -> Result<(), String> {
        let mut request = hyper::Request::get(format!("http://{address}{path}"))
            .header(hyper::header::USER_AGENT, "kube-probe/devnode");
        for (name, value) in headers {
            request = request.header(name, value);
        }
        let request = request.body(Empty::new()).map_err(|error| error.to_string())?;
        let answer = tokio::time::timeout(timeout, async {
            let answer = self.client.request(request).await.map_err(|error| cause(&error))?;
            let status = answer.status();
            // The body is read, or the server would see a broken connection.
            let _ = answer.into_body().collect().await;
            Ok::<_, String>(status)
        });
        match answer.await {
            Err(_) => Err(format!("no answer from {address}{path} within {timeout:?}")),
            Ok(Err(error)) => Err(error),
            Ok(Ok(status)) if (200..400).contains(&status.as_u16()) => Ok(()),
            Ok(Ok(status)) => Err(format!("HTTP probe failed with statuscode: {}", status.as_u16())),
        }
    }

    /// Asks by a connection.
    pub async fn tcp(address: SocketAddr, timeout: Duration) -> Result<(), String> {
        match tokio::time::timeout(timeout, tokio::net::TcpStream::connect(address)).await {
            Err(_) => Err(format!("no connection to {address} within {timeout:?}")),
            Ok(Err(error)) => Err(format!("dial tcp {address}: {error}")),
            Ok(Ok(_)) => Ok(()),
        }
    }
}

fn cause(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        text = format!("{text}: {inner}");
        source = inner.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::core::v1::ContainerPort;

    #[test]
    fn a_verdict_needs_enough_results_in_a_row() {
        let probe = Probe { failure_threshold: Some(3), ..Probe::default() };
        let mut counter = Counter::new(Timing::of(&probe));

        assert_eq!(counter.observe(false), None);
        assert_eq!(counter.observe(false), None);
        assert_eq!(counter.observe(true), Some(true));
        assert_eq!(counter.observe(false), None);
        assert_eq!(counter.observe(false), None);
        assert_eq!(counter.observe(false), Some(false));
    }

    #[test]
    fn missing_timings_are_those_of_the_api() {
        let timing = Timing::of(&Probe::default());

        assert_eq!(timing.period, Duration::from_secs(10));
        assert_eq!(timing.timeout, Duration::from_secs(1));
        assert_eq!(timing.initial_delay, Duration::ZERO);
    }

    #[test]
    fn a_named_port_is_looked_up_in_the_container() {
        let container = Container {
            ports: Some(vec![ContainerPort {
                name: Some("http".into()),
                container_port: 8069,
                ..ContainerPort::default()
            }]),
            ..Container::default()
        };
        let probe = Probe {
            http_get: Some(HTTPGetAction {
                port: IntOrString::String("http".into()),
                path: Some("web/health".into()),
                ..HTTPGetAction::default()
            }),
            ..Probe::default()
        };

        let Question::Http { address, path, .. } = question(&probe, &container, Ipv4Addr::new(127, 64, 0, 1))
        else {
            panic!("not an HTTP probe")
        };

        assert_eq!((address.port(), path.as_str()), (8069, "/web/health"));
    }
}
