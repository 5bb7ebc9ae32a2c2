//! Logs of a pod and one light HTTP request to it, however pods are reached here (`CLUSTER_ADDRESSING`).

use std::time::{Duration, Instant};

use clap::ValueEnum;
use futures::AsyncReadExt as _;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::{AttachParams, LogParams};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::access::Cluster;
use super::error::Error;
use crate::objects::deployment::CONTAINER;

/// How platform services reach pods.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Addressing {
    /// Through the Service's name: inside the cluster
    ServiceDns,
    /// Through the pod's address: the local node
    PodIp,
    /// Through the API server: from outside of a cluster
    PortForward,
}

/// One line of a pod's log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogLine {
    /// RFC 3339, as the kubelet wrote it.
    pub time: String,
    /// The line.
    pub text: String,
}

/// Most bytes of a log that are read and passed on: a tenant chooses what it writes.
const LOG_BYTES: usize = 1024 * 1024;
/// Longest line that is passed on whole.
const LINE_BYTES: usize = 16 * 1024;

/// The last lines of a pod's container (INS-35), as many as fit.
pub async fn logs(
    cluster: &Cluster,
    namespace: &str,
    pod: &str,
    lines: u32,
    previous: bool,
) -> Result<Vec<LogLine>, Error> {
    let api: Api<Pod> = Api::namespaced(cluster.client()?, namespace);
    let mut lines = i64::from(lines);
    loop {
        let parameters = LogParams {
            container: Some(CONTAINER.to_owned()),
            tail_lines: Some(lines),
            limit_bytes: i64::try_from(LOG_BYTES).ok(),
            timestamps: true,
            previous,
            ..LogParams::default()
        };
        let bytes = cluster.call("get", "PodLog", pod, read(&api, pod, &parameters)).await?;
        // The limit cuts at the end, where the newest lines are: fewer are asked for, until all of them fit.
        if bytes.len() < LOG_BYTES || lines <= 1 {
            return Ok(String::from_utf8_lossy(&bytes).lines().map(line).collect());
        }
        lines = (lines / 4).max(1);
    }
}

/// Not as text: a log may hold any bytes, and its limit may cut a character.
async fn read(api: &Api<Pod>, pod: &str, parameters: &LogParams) -> kube::Result<Vec<u8>> {
    let limit = u64::try_from(LOG_BYTES).unwrap_or(u64::MAX);
    let mut log = api.log_stream(pod, parameters).await?.take(limit);
    let mut bytes = Vec::new();
    if let Err(error) = log.read_to_end(&mut bytes).await {
        tracing::debug!(pod, error = %error, "a log ended early");
    }
    Ok(bytes)
}

/// Bytes below `path` in a pod, as `du` counts them there (BIL-22).
pub async fn used_bytes(
    cluster: &Cluster,
    namespace: &str,
    pod: &str,
    path: &str,
    deadline: Duration,
) -> Result<u64, Error> {
    let api: Api<Pod> = Api::namespaced(cluster.client()?, namespace);
    let parameters = AttachParams::default().container(CONTAINER).stdin(false).stdout(true).stderr(false);
    let unavailable = |what: &str| Error::Unavailable(format!("{pod}: {what}"));
    let work = async {
        let command = ["du", "-sk", path];
        let mut process = api.exec(pod, command, &parameters).await.map_err(|error| Error::of(pod, error))?;
        let mut output = process.stdout().ok_or_else(|| unavailable("no output"))?;
        // A file that goes away meanwhile makes du complain and end with 1; its sum is good all the same. It
        // is one line.
        let mut text = String::new();
        output.read_to_string(&mut text).await.map_err(|error| unavailable(&error.to_string()))?;
        kibibytes(&text).map(|kib| kib.saturating_mul(1024)).ok_or_else(|| unavailable("du says nothing"))
    };
    tokio::time::timeout(deadline, work).await.map_err(|_| unavailable("not measured in time"))?
}

/// The first number of what `du -sk` prints.
fn kibibytes(output: &str) -> Option<u64> {
    output.split_whitespace().next()?.parse().ok()
}

fn line(line: &str) -> LogLine {
    match line.split_once(' ') {
        Some((time, text)) if time.contains('T') => LogLine { time: time.to_owned(), text: cut(text) },
        _ => LogLine { time: String::new(), text: cut(line) },
    }
}

fn cut(text: &str) -> String {
    if text.len() <= LINE_BYTES {
        return text.to_owned();
    }
    let kept = (0..=LINE_BYTES).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    format!("{} … (cut, {} bytes in all)", &text[..kept], text.len())
}

/// Where an instance is.
#[derive(Debug, Clone)]
pub struct Target<'a> {
    /// Namespace of the pod.
    pub namespace: &'a str,
    /// Its Service.
    pub service: &'a str,
    /// Name of its pod, for port-forward.
    pub pod: &'a str,
    /// Address of its pod, for pod-ip.
    pub pod_ip: &'a str,
    /// Port.
    pub port: u16,
    /// Host name that the tenant knows.
    pub host: &'a str,
}

/// One request for `path`; the HTTP status and the time that it took.
pub async fn probe(
    cluster: &Cluster,
    addressing: Addressing,
    target: &Target<'_>,
    path: &str,
    deadline: Duration,
) -> Result<(u16, Duration), Error> {
    let start = Instant::now();
    let unavailable = |error: std::io::Error| Error::Unavailable(format!("{}: {error}", target.service));
    let work = async {
        match addressing {
            Addressing::ServiceDns => {
                let host = format!("{}.{}.svc.cluster.local", target.service, target.namespace);
                let stream = TcpStream::connect((host.as_str(), target.port)).await.map_err(unavailable)?;
                request(stream, target.host, path).await.map_err(unavailable)
            }
            Addressing::PodIp => {
                let stream = TcpStream::connect((target.pod_ip, target.port)).await.map_err(unavailable)?;
                request(stream, target.host, path).await.map_err(unavailable)
            }
            Addressing::PortForward => {
                let api: Api<Pod> = Api::namespaced(cluster.client()?, target.namespace);
                let mut forward = api
                    .portforward(target.pod, &[target.port])
                    .await
                    .map_err(|error| Error::of(target.pod, error))?;
                let stream = forward
                    .take_stream(target.port)
                    .ok_or_else(|| Error::Unavailable(format!("{}: no stream", target.pod)))?;
                let status = request(stream, target.host, path).await.map_err(unavailable);
                forward.abort();
                status
            }
        }
    };
    let status = tokio::time::timeout(deadline, work)
        .await
        .map_err(|_| Error::Unavailable(format!("{}: no answer in time", target.service)))??;
    Ok((status, start.elapsed()))
}

/// The least of HTTP: a request and the status line of its answer. Works on any stream, also a forwarded
/// port.
async fn request<S>(mut stream: S, host: &str, path: &str) -> std::io::Result<u16>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let head = format!(
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: saasodoo-probe\r\nAccept: */*\r\n\
         Connection: close\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await?;
    let mut answer = Vec::with_capacity(64);
    let mut chunk = [0_u8; 64];
    while answer.len() < 12 {
        let read = stream.read(&mut chunk).await?;
        if read == 0 {
            break;
        }
        answer.extend_from_slice(&chunk[..read]);
    }
    status_of(&answer).ok_or_else(|| std::io::Error::new(std::io::ErrorKind::InvalidData, "no HTTP answer"))
}

fn status_of(answer: &[u8]) -> Option<u16> {
    let line = std::str::from_utf8(answer.get(..12)?).ok()?;
    line.strip_prefix("HTTP/1.1 ").or_else(|| line.strip_prefix("HTTP/1.0 "))?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_line_is_split_at_its_time() {
        assert_eq!(
            line("2026-11-01T10:00:00.5Z hello world"),
            LogLine { time: "2026-11-01T10:00:00.5Z".into(), text: "hello world".into() }
        );
        assert_eq!(line("plain").text, "plain");
        let long = line(&"ü".repeat(LINE_BYTES)).text;
        assert!(long.len() < LINE_BYTES + 64 && long.ends_with("bytes in all)"), "{}", long.len());
    }

    /// INS-35: a tenant writes what it likes; neither the worker nor its answer grows with it, and the newest
    /// lines are among what is passed on.
    #[tokio::test]
    async fn a_log_of_long_lines_is_read_up_to_a_limit_and_its_end_is_shown() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let mut seen = vec![0; 4096];
                    while let Ok(read @ 1..) = stream.read(&mut seen).await {
                        let head = String::from_utf8_lossy(&seen[..read]).into_owned();
                        assert!(head.contains("limitBytes=1048576"), "{head}");
                        let few = ["tailLines=18&", "tailLines=4&"].iter().any(|lines| head.contains(lines));
                        let body =
                            if few { "2026-11-01T10:00:00Z newest\n".into() } else { "x".repeat(LOG_BYTES) };
                        let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len());
                        if stream.write_all((head + &body).as_bytes()).await.is_err() {
                            return;
                        }
                    }
                });
            }
        });
        let client = kube::Client::try_from(kube::Config::new(url.parse().unwrap())).unwrap();
        let cluster =
            Cluster::new(crate::cluster::Connection::fixed(client), 500, crate::cluster::Metrics::default());

        let lines = logs(&cluster, "t", "p", 300, false).await.unwrap();

        assert_eq!(lines.iter().map(|line| line.text.as_str()).collect::<Vec<_>>(), ["newest"]);
    }

    #[test]
    fn the_sum_of_du_is_its_first_number() {
        assert_eq!(kibibytes("10240\t/bitnami/odoo\n"), Some(10240));
        assert_eq!(kibibytes("du: cannot access"), None);
        assert_eq!(kibibytes(""), None);
    }

    #[tokio::test]
    async fn the_status_is_read_from_the_first_line() {
        let (near, mut far) = tokio::io::duplex(1024);
        let server = tokio::spawn(async move {
            let mut seen = [0_u8; 512];
            let read = far.read(&mut seen).await.unwrap();
            far.write_all(b"HTTP/1.1 303 See Other\r\nLocation: /web\r\n\r\n").await.unwrap();
            String::from_utf8_lossy(&seen[..read]).into_owned()
        });
        assert_eq!(request(near, "acme.localhost", "/").await.unwrap(), 303);
        assert!(server.await.unwrap().contains("Host: acme.localhost"));
        assert_eq!(status_of(b"SSH-2.0-x"), None);
    }
}
