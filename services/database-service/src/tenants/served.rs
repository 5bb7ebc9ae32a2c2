//! Which certificate a server serves (DBS-35): a handshake of its own, because the driver does not tell. It
//! checks name, authority and time in full, also where services reach a server by an address.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::connections::Tenants;
use super::target::Target;
use crate::certificates::fingerprint;

/// Longest look.
const DEADLINE: Duration = Duration::from_secs(5);
/// Asks for TLS: length and code, as PostgreSQL's protocol has it.
const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f];

/// What a server answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Served {
    /// No TLS.
    Nothing,
    /// The certificate of this fingerprint; it is good.
    Certificate(String),
    /// One that is not good: why.
    Refused(String),
}

impl Served {
    /// Empty without a good one.
    pub fn fingerprint(&self) -> &str {
        match self {
            Self::Nothing | Self::Refused(_) => "",
            Self::Certificate(fingerprint) => fingerprint,
        }
    }
}

impl Tenants {
    /// What the server serves, checked for `name` and `authorities` (PEM). An error: it does not answer.
    pub async fn served(target: &Target, name: &str, authorities: &str) -> anyhow::Result<Served> {
        let look = look(target, name, authorities);
        tokio::time::timeout(DEADLINE, look).await.context("the server did not answer in time")?
    }

    /// Tells the server to read its configuration and certificate again; sessions go on.
    pub async fn reload(&self, target: &Target) -> sqlx::Result<()> {
        sqlx::query("SELECT pg_reload_conf()").execute(&self.admin(target)).await?;
        Ok(())
    }
}

async fn look(target: &Target, name: &str, authorities: &str) -> anyhow::Result<Served> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(authorities.as_bytes()) {
        roots.add(certificate.context("an authority")?).context("an authority")?;
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .context("TLS")?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from(name.to_owned()).context("the server's name")?;

    let mut stream = TcpStream::connect((target.host.as_str(), target.port)).await?;
    stream.write_all(&SSL_REQUEST).await?;
    match stream.read_u8().await? {
        b'S' => {}
        b'N' => return Ok(Served::Nothing),
        _ => bail!("the server does not speak the protocol"),
    }
    let session = match TlsConnector::from(Arc::new(config)).connect(name, stream).await {
        Ok(session) => session,
        // rustls' own refusals arrive so; anything else is a connection that broke.
        Err(error) if error.kind() == std::io::ErrorKind::InvalidData => {
            return Ok(Served::Refused(error.to_string()));
        }
        Err(error) => return Err(error.into()),
    };
    let shown = session.get_ref().1.peer_certificates().and_then(<[_]>::first);
    Ok(Served::Certificate(fingerprint(shown.context("no certificate was shown")?)))
}
