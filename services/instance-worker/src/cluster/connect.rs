//! Where the cluster is (K8S-02): in-cluster configuration first, then the kubeconfig, explicitly in this
//! order. Without either the process lives, is not ready and tries again.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use kube::client::ConfigExt as _;
use kube::client::retry::RetryPolicy;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tower::retry::RetryLayer;
use tower::{BoxError, ServiceBuilder};

/// What says where the cluster is.
#[derive(Debug, Clone)]
pub struct Source {
    /// Path of a kubeconfig, used when the process runs in no pod.
    pub kubeconfig: Option<PathBuf>,
    /// Longest wait for an answer to one call that is no watch.
    pub timeout: Duration,
}

impl Source {
    /// The configuration, without any call.
    pub async fn config(&self) -> anyhow::Result<Config> {
        let mut config = match Config::incluster() {
            Ok(config) => config,
            Err(outside) => {
                let path = self
                    .kubeconfig
                    .as_ref()
                    .with_context(|| format!("not in a cluster ({outside}), and KUBECONFIG is not set"))?;
                let file = Kubeconfig::read_from(path)
                    .with_context(|| format!("KUBECONFIG: cannot read {}", path.display()))?;
                Config::from_custom_kubeconfig(file, &KubeConfigOptions::default())
                    .await
                    .context("KUBECONFIG has no usable context")?
            }
        };
        config.connect_timeout = Some(Duration::from_secs(5));
        config.read_timeout = None;
        config.write_timeout = Some(Duration::from_secs(30));
        Ok(config)
    }

    /// A client whose server answered once.
    pub async fn connect(&self) -> anyhow::Result<Client> {
        let client = client(self.config().await?)?;
        tokio::time::timeout(self.timeout, client.apiserver_version())
            .await
            .context("the API server did not answer in time")?
            .context("the API server did not answer")?;
        Ok(client)
    }
}

/// A client whose connections are kept alive: one that a balancer or a lost machine dropped without a word is
/// found dead within half a minute, and not when a watch has long been silent.
pub fn client(config: Config) -> anyhow::Result<Client> {
    if config.proxy_url.is_some() {
        return Client::try_from(config).context("cannot make a client");
    }
    let mut connector = HttpConnector::new();
    connector.enforce_http(false);
    connector.set_nodelay(true);
    connector.set_connect_timeout(config.connect_timeout);
    connector.set_keepalive(Some(Duration::from_secs(15)));
    connector.set_keepalive_interval(Some(Duration::from_secs(5)));
    connector.set_keepalive_retries(Some(3));
    // What was sent and is not acknowledged is as dead.
    connector.set_tcp_user_timeout(Some(Duration::from_secs(30)));
    let https = config.rustls_https_connector_with_connector(connector).context("cannot set up TLS")?;
    let retry = config.default_retry.then(|| RetryLayer::new(RetryPolicy::server_retry()));
    let service = ServiceBuilder::new()
        .layer(config.base_uri_layer())
        .option_layer(retry)
        .option_layer(config.auth_layer().context("cannot use the credentials")?)
        .map_err(BoxError::from)
        .service(legacy::Client::builder(TokioExecutor::new()).build(https));
    Ok(Client::new(service, config.default_namespace))
}

/// The client, once there is one. Clones see the same.
#[derive(Debug, Clone)]
pub struct Connection {
    state: watch::Receiver<Option<ClientBox>>,
}

#[derive(Clone)]
struct ClientBox(Client);

impl std::fmt::Debug for ClientBox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Client")
    }
}

impl Connection {
    /// A connection that is there (tests).
    pub fn fixed(client: Client) -> Self {
        let (sender, state) = watch::channel(Some(ClientBox(client)));
        // The value outlives its sender.
        drop(sender);
        Self { state }
    }

    /// A connection, and the task that makes it: it tries until the server answers once. The client itself
    /// reconnects after that.
    pub fn open(
        source: Source,
        stop: CancellationToken,
    ) -> (Self, impl Future<Output = anyhow::Result<()>> + Send) {
        let (sender, state) = watch::channel(None);
        let task = async move {
            let mut pause = Duration::from_millis(500);
            loop {
                let attempt = tokio::select! {
                    attempt = source.connect() => attempt,
                    () = stop.cancelled() => return Ok(()),
                };
                match attempt {
                    Ok(client) => {
                        tracing::info!("connected to the Kubernetes API");
                        sender.send_replace(Some(ClientBox(client)));
                        stop.cancelled().await;
                        return Ok(());
                    }
                    Err(error) => {
                        tracing::warn!(error = format!("{error:#}"), "no Kubernetes API yet, trying again");
                    }
                }
                tokio::select! {
                    () = stop.cancelled() => return Ok(()),
                    () = tokio::time::sleep(pause) => {}
                }
                pause = (pause * 2).min(Duration::from_secs(10));
            }
        };
        (Self { state }, task)
    }

    /// The client, when there is one.
    pub fn get(&self) -> Option<Client> {
        self.state.borrow().as_ref().map(|client| client.0.clone())
    }

    /// Waits for the client; for ever, if need be.
    pub async fn ready(&mut self) -> Client {
        loop {
            if let Some(client) = self.get() {
                return client;
            }
            if self.state.changed().await.is_err() {
                // The task has ended: the process stops.
                std::future::pending::<()>().await;
            }
        }
    }
}
