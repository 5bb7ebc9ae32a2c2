//! TLS between services (GTW-16). The files are read at each handshake: a certificate that was renewed is used
//! for the next connection, without a restart. Clients connect anew every few minutes, so that all connections
//! are on the new certificate long before the old one ends.

use std::future::Future;
use std::io;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use aws_lc_rs::digest::{self, SHA256};
use hyper_util::rt::TokioIo;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio_rustls::{TlsAcceptor, TlsConnector, client, server};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Uri;
use tonic::transport::server::{Connected, TcpConnectInfo};

use crate::config::GrpcTls;

/// The only protocol of these connections.
const ALPN: &[u8] = b"h2";
/// Longest handshake, for whoever connects and then says nothing.
const HANDSHAKE: Duration = Duration::from_secs(5);
/// Handshakes at once.
const HANDSHAKES: usize = 256;

/// A file of the settings.
#[derive(Debug, Clone)]
struct Named {
    setting: &'static str,
    path: PathBuf,
}

impl Named {
    fn try_new(setting: &'static str, path: Option<&PathBuf>) -> anyhow::Result<Self> {
        let path = path.with_context(|| format!("GRPC_TLS is on, but {setting} is missing"))?;
        Ok(Self { setting, path: path.clone() })
    }

    fn read(&self) -> anyhow::Result<Vec<u8>> {
        std::fs::read(&self.path)
            .with_context(|| format!("{}: cannot read {}", self.setting, self.path.display()))
    }
}

/// What was made of some files, made anew when their contents change.
#[derive(Debug)]
pub(super) struct Watched<T> {
    files: Vec<Named>,
    make: fn(&[Vec<u8>]) -> anyhow::Result<T>,
    made: Mutex<Made<T>>,
}

#[derive(Debug)]
struct Made<T> {
    of: Vec<u8>,
    value: Arc<T>,
}

impl<T> Watched<T> {
    fn try_new(files: Vec<Named>, make: fn(&[Vec<u8>]) -> anyhow::Result<T>) -> anyhow::Result<Arc<Self>> {
        let contents = read_all(&files)?;
        let made = Made { of: fingerprint(&contents), value: Arc::new(make(&contents)?) };
        Ok(Arc::new(Self { files, make, made: Mutex::new(made) }))
    }

    /// What the files say now. While they cannot be used (only half of them is replaced yet), what they said
    /// last. The files are small and in memory, and a handshake costs far more than to read them.
    fn current(&self) -> Arc<T> {
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = self.renew(&mut made) {
            tracing::warn!(
                error = format!("{error:#}"),
                "new GRPC_TLS files cannot be used, the former ones are"
            );
        }
        Arc::clone(&made.value)
    }

    fn renew(&self, made: &mut Made<T>) -> anyhow::Result<()> {
        let contents = read_all(&self.files)?;
        let of = fingerprint(&contents);
        if of != made.of {
            *made = Made { value: Arc::new((self.make)(&contents)?), of };
            tracing::info!("new GRPC_TLS files are in use");
        }
        Ok(())
    }
}

fn read_all(files: &[Named]) -> anyhow::Result<Vec<Vec<u8>>> {
    files.iter().map(Named::read).collect()
}

fn fingerprint(contents: &[Vec<u8>]) -> Vec<u8> {
    contents.iter().flat_map(|content| digest::digest(&SHA256, content).as_ref().to_vec()).collect()
}

/// The server's side, unless GRPC_TLS is off.
pub(super) fn server(settings: &GrpcTls) -> anyhow::Result<Option<Arc<Watched<ServerConfig>>>> {
    if !settings.enabled {
        return Ok(None);
    }
    let files = vec![
        Named::try_new("GRPC_TLS_CERT_FILE", settings.cert_file.as_ref())?,
        Named::try_new("GRPC_TLS_KEY_FILE", settings.key_file.as_ref())?,
        Named::try_new("GRPC_TLS_CA_FILE", settings.ca_file.as_ref())?,
    ];
    Watched::try_new(files, server_config).map(Some)
}

/// The client's side, unless GRPC_TLS is off.
pub(super) fn client(settings: &GrpcTls) -> anyhow::Result<Option<Arc<Watched<ClientConfig>>>> {
    if !settings.enabled {
        return Ok(None);
    }
    let files = vec![Named::try_new("GRPC_TLS_CA_FILE", settings.ca_file.as_ref())?];
    Watched::try_new(files, client_config).map(Some)
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

/// Of certificate, key and authority.
fn server_config(contents: &[Vec<u8>]) -> anyhow::Result<ServerConfig> {
    let [certificate, key, authority] = contents else { anyhow::bail!("three files are needed") };
    let chain = certificates(certificate).context("GRPC_TLS_CERT_FILE")?;
    let key = PrivateKeyDer::from_pem_slice(key).context("GRPC_TLS_KEY_FILE holds no private key in PEM")?;
    let clients = WebPkiClientVerifier::builder_with_provider(Arc::new(roots(authority)?), provider())
        .allow_unauthenticated()
        .build()
        .context("GRPC_TLS_CA_FILE")?;
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(clients)
        .with_single_cert(chain, key)
        .context("GRPC_TLS_CERT_FILE and GRPC_TLS_KEY_FILE do not belong together")?;
    config.alpn_protocols.push(ALPN.to_vec());
    Ok(config)
}

/// Of the authority.
fn client_config(contents: &[Vec<u8>]) -> anyhow::Result<ClientConfig> {
    let [authority] = contents else { anyhow::bail!("one file is needed") };
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots(authority)?)
        .with_no_client_auth();
    config.alpn_protocols.push(ALPN.to_vec());
    Ok(config)
}

fn roots(pem: &[u8]) -> anyhow::Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(pem).context("GRPC_TLS_CA_FILE")? {
        roots.add(certificate).context("GRPC_TLS_CA_FILE")?;
    }
    Ok(roots)
}

fn certificates(pem: &[u8]) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    let found: Vec<_> = CertificateDer::pem_slice_iter(pem).collect::<Result<_, _>>()?;
    ensure!(!found.is_empty(), "there is no certificate in PEM");
    Ok(found)
}

/// An accepted connection after its handshake.
pub(super) struct Secured(server::TlsStream<TcpStream>);

impl Connected for Secured {
    type ConnectInfo = TcpConnectInfo;

    fn connect_info(&self) -> TcpConnectInfo {
        self.0.get_ref().0.connect_info()
    }
}

impl AsyncRead for Secured {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().0).poll_read(cx, buf)
    }
}

impl AsyncWrite for Secured {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().0).poll_write(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().0).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().0).poll_shutdown(cx)
    }
}

/// Connections of a listener after their handshakes, which hold up no other connection. Ends with its reader.
pub(super) fn incoming(
    listener: TcpListener,
    files: Arc<Watched<ServerConfig>>,
) -> ReceiverStream<io::Result<Secured>> {
    let (sender, receiver) = mpsc::channel(1);
    tokio::spawn(accept(listener, files, sender));
    ReceiverStream::new(receiver)
}

async fn accept(
    listener: TcpListener,
    files: Arc<Watched<ServerConfig>>,
    sender: mpsc::Sender<io::Result<Secured>>,
) {
    let room = Arc::new(Semaphore::new(HANDSHAKES));
    loop {
        let Ok(permit) = Arc::clone(&room).acquire_owned().await else { return };
        let accepted = tokio::select! {
            () = sender.closed() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => {
                let (files, sender) = (Arc::clone(&files), sender.clone());
                tokio::spawn(async move {
                    if let Some(secured) = handshake(stream, &files).await {
                        // The reader is gone: the server stops.
                        sender.send(Ok(secured)).await.ok();
                    }
                    drop(permit);
                });
            }
            Err(error) => {
                // Out of file descriptors, or a client that is gone already: the next one may do.
                tracing::warn!(error = %error, "cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn handshake(stream: TcpStream, files: &Watched<ServerConfig>) -> Option<Secured> {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(error = %error, "no nodelay");
    }
    let handshake = TlsAcceptor::from(files.current()).accept(stream);
    match tokio::time::timeout(HANDSHAKE, handshake).await {
        Ok(Ok(stream)) => Some(Secured(stream)),
        Ok(Err(error)) => {
            tracing::warn!(error = %error, "a TLS handshake failed");
            None
        }
        Err(_) => None,
    }
}

/// Connects to a service with TLS. Whoever uses it bounds the time.
#[derive(Debug, Clone)]
pub(super) struct Connector(pub(super) Arc<Watched<ClientConfig>>);

impl Connector {
    async fn connect(self, uri: Uri) -> anyhow::Result<TokioIo<client::TlsStream<TcpStream>>> {
        let host = uri.host().context("the URL has no host")?.trim_start_matches('[').trim_end_matches(']');
        let stream = TcpStream::connect((host, uri.port_u16().unwrap_or(443))).await?;
        stream.set_nodelay(true)?;
        let name = ServerName::try_from(host.to_owned()).context("the URL's host is no name")?;
        Ok(TokioIo::new(TlsConnector::from(self.0.current()).connect(name, stream).await?))
    }
}

impl tower::Service<Uri> for Connector {
    type Response = TokioIo<client::TlsStream<TcpStream>>;
    type Error = anyhow::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        Box::pin(self.clone().connect(uri))
    }
}
