//! TLS to the mail server is verified, in both forms (NTF-13).

use std::sync::Arc;

use notification_service::domain::Failure;
use notification_service::smtp::Outgoing;
use notification_service::templates::Rendered;
use tokio_rustls::TlsAcceptor;

use crate::sink::{Sink, Transport};
use crate::world::{mailer, smtp};

/// A self-signed certificate for `localhost`: the server's side, and the PEM that trusts it.
fn certificate() -> (TlsAcceptor, String) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let key = rustls::pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    (TlsAcceptor::from(Arc::new(config)), made.cert.pem())
}

async fn send(port: u16, implicit: bool, host: &str, trusted: Option<&str>) -> Result<(), Failure> {
    let folder = tempfile::tempdir().unwrap();
    let mut settings = smtp(port);
    settings.smtp_host = host.into();
    settings.smtp_use_ssl = implicit;
    settings.smtp_use_tls = !implicit;
    if let Some(pem) = trusted {
        let path = folder.path().join("ca.pem");
        std::fs::write(&path, pem).unwrap();
        settings.smtp_ca_file = Some(path);
    }
    let content = Rendered { subject: "s".into(), html: "<p>h</p>".into(), text: "t".into() };
    let mail = Outgoing {
        recipient: "ada@example.com",
        message_id: "<x@example.com>",
        date: runtime::clock::now(),
        switchable: false,
        content: &content,
    };
    mailer(&settings).send(mail).await
}

/// NTF-13
#[tokio::test]
async fn starttls_and_implicit_tls_are_used_and_verified() {
    for implicit in [false, true] {
        let (acceptor, pem) = certificate();
        let transport = if implicit { Transport::Implicit(acceptor) } else { Transport::StartTls(acceptor) };
        let sink = Sink::start_with(transport, "127.0.0.1:0").await;

        send(sink.port, implicit, "localhost", Some(&pem)).await.unwrap();
        assert!(sink.mails()[0].encrypted, "implicit: {implicit}");

        let unknown = send(sink.port, implicit, "localhost", None).await;
        assert!(
            matches!(unknown, Err(Failure::Connection(_))),
            "an unknown certificate is refused: {unknown:?}"
        );
        let other_name = send(sink.port, implicit, "127.0.0.1", Some(&pem)).await;
        assert!(matches!(other_name, Err(Failure::Connection(_))), "another name is refused: {other_name:?}");
        assert_eq!(sink.mails().len(), 1);
    }
}

/// NTF-13: a server that does not offer STARTTLS gets no mail in the clear.
#[tokio::test]
async fn starttls_is_never_skipped() {
    let sink = Sink::start().await;

    let outcome = send(sink.port, false, "localhost", None).await;

    assert!(matches!(outcome, Err(Failure::Connection(_))), "{outcome:?}");
    assert!(sink.mails().is_empty());
}
