//! The part of the kubelet's API that the API server uses for `kubectl logs` and `kubectl exec`: TLS, for
//! clients that the cluster's authority certifies.

pub mod exec;
mod logs;

use std::sync::Arc;

use anyhow::Context as _;
use axum::Router;
use axum::extract::{Path, RawQuery, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use rcgen::{CertificateParams, KeyPair};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::config::Config;
use crate::context::Shared;
use crate::pods::registry::Entry;

/// Certificate of the server, made anew at each start, and the authority of its clients.
pub fn tls(config: &Config, cluster_ca: Option<&[Vec<u8>]>) -> anyhow::Result<Arc<ServerConfig>> {
    let mut roots = RootCertStore::empty();
    match &config.kubelet_client_ca {
        Some(file) => {
            for certificate in
                CertificateDer::pem_file_iter(file).context("cannot read the authority of clients")?
            {
                roots.add(certificate?)?;
            }
        }
        None => {
            for certificate in cluster_ca.unwrap_or_default() {
                roots.add(CertificateDer::from(certificate.clone()))?;
            }
        }
    }
    let verifier = WebPkiClientVerifier::builder(Arc::new(roots))
        .build()
        .context("the kubeconfig has no authority: give --kubelet-client-ca")?;

    let key = KeyPair::generate()?;
    let certificate = CertificateParams::new(vec!["127.0.0.1".to_owned(), config.node_name.clone()])?;
    let certificate = certificate.self_signed(&key)?;
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let mut tls = ServerConfig::builder()
        .with_client_cert_verifier(verifier)
        .with_single_cert(vec![certificate.der().clone()], key)?;
    // WebSockets need HTTP/1.1.
    tls.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(tls))
}

/// Serves without end.
pub async fn serve(context: Shared, listener: TcpListener, tls: Arc<ServerConfig>) -> anyhow::Result<()> {
    let acceptor = TlsAcceptor::from(tls);
    let router = Router::new()
        .route("/healthz", get(|| async { "ok" }))
        .route("/containerLogs/{namespace}/{pod}/{container}", get(container_logs))
        .route("/exec/{namespace}/{pod}/{container}", get(exec::handle))
        .with_state(context);
    loop {
        let (stream, _) = listener.accept().await.context("the kubelet API cannot accept")?;
        let (acceptor, router) = (acceptor.clone(), router.clone());
        tokio::spawn(async move {
            let Ok(stream) = acceptor.accept(stream).await else { return };
            let service = TowerToHyperService::new(router);
            let server = auto::Builder::new(TokioExecutor::new());
            let connection = server.serve_connection_with_upgrades(TokioIo::new(stream), service);
            if let Err(error) = connection.await {
                tracing::debug!(%error, "connection of the kubelet API");
            }
        });
    }
}

async fn container_logs(
    State(context): State<Shared>,
    Path((namespace, pod, container)): Path<(String, String, String)>,
    RawQuery(query): RawQuery,
) -> Response {
    let entry = match find(&context, &namespace, &pod) {
        Ok(entry) => entry,
        Err(answer) => return *answer,
    };
    logs::answer(&entry, &container, &parameters(query.as_deref()))
}

/// The pod; an answer when it is not here, or the node is cut off.
fn find(context: &Shared, namespace: &str, pod: &str) -> Result<Arc<Entry>, Box<Response>> {
    if *context.faults.node_lost().borrow() {
        return Err(Box::new((StatusCode::GATEWAY_TIMEOUT, "the node is cut off").into_response()));
    }
    context.pods.get(namespace, pod).ok_or_else(|| {
        Box::new((StatusCode::NOT_FOUND, format!("pod {pod:?} is not on this node")).into_response())
    })
}

/// The parameters of a query, in order; a name can come again.
fn parameters(query: Option<&str>) -> Vec<(String, String)> {
    let pairs = query.unwrap_or_default().split('&').filter(|part| !part.is_empty());
    pairs
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decode(name), decode(value))
        })
        .collect()
}

fn decode(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let hex = after.get(..2).and_then(|hex| std::str::from_utf8(hex).ok());
        let escaped = hex.filter(|_| *first == b'%').and_then(|hex| u8::from_str_radix(hex, 16).ok());
        match (escaped, first) {
            (Some(byte), _) => {
                bytes.push(byte);
                rest = &after[2..];
            }
            (None, b'+') => {
                bytes.push(b' ');
                rest = after;
            }
            (None, byte) => {
                bytes.push(*byte);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn parameter<'a>(parameters: &'a [(String, String)], name: &str) -> Option<&'a str> {
    parameters.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_are_decoded_and_keep_their_order() {
        let all = parameters(Some("command=sh&command=-c&command=echo+a%26b%2Fc&input=1"));
        let commands: Vec<&str> =
            all.iter().filter(|(name, _)| name == "command").map(|(_, value)| value.as_str()).collect();

        assert_eq!(commands, ["sh", "-c", "echo a&b/c"]);
        assert_eq!(parameter(&all, "input"), Some("1"));
    }

    #[test]
    fn a_broken_escape_stays_as_it_is() {
        assert_eq!(decode("100%"), "100%");
        assert_eq!(decode("%zz%41"), "%zzA");
    }
}
