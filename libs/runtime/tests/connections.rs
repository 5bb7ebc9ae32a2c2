//! Connections of gRPC: renewed certificates, renewed connections.
#![expect(clippy::unwrap_used, reason = "a test fails where it stands")]

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use contracts::services::{BILLING, USER};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use runtime::admin::Health;
use runtime::config::{Common, GrpcTls};
use runtime::grpc::{Authenticated, Dialer, Server};
use runtime::identity::ServiceSigner;
use telemetry::metrics::Metrics;
use test_kit::identity::Keyring;
use tokio::net::{TcpListener, TcpStream};
use tonic::service::Routes;
use tonic::{Code, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

const SOON: Duration = Duration::from_secs(10);

/// A server of user-service with its health pages; the port.
async fn serve(common: &Common, keys: &Keyring) -> u16 {
    let health = Health::new(USER);
    let server =
        Server::try_new(common, &[], keys.service_keys(USER), None, &health, &Metrics::new()).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(server.serve_on(listener, Routes::default(), std::future::pending()));
    port
}

async fn check(channel: &Authenticated) -> Result<(), Status> {
    HealthClient::new(channel.clone()).check(HealthCheckRequest::default()).await.map(drop)
}

/// Files of one authority and of a certificate that it made for this machine.
struct Pair {
    authority: String,
    certificate: String,
    key: String,
}

impl Pair {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let signing = KeyPair::generate().unwrap();
        let authority = params.self_signed(&signing).unwrap().pem();
        let issuer = Issuer::new(params, signing);
        let key = KeyPair::generate().unwrap();
        let own = CertificateParams::new(vec!["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap();
        let certificate = own.signed_by(&key, &issuer).unwrap();
        Self { authority, certificate: certificate.pem(), key: key.serialize_pem() }
    }

    fn write(&self, folder: &Path) -> GrpcTls {
        let write = |name: &str, content: &str| {
            let path = folder.join(name);
            std::fs::write(&path, content).unwrap();
            Some(path)
        };
        GrpcTls {
            enabled: true,
            ca_file: write("ca.crt", &self.authority),
            cert_file: write("tls.crt", &self.certificate),
            key_file: write("tls.key", &self.key),
        }
    }
}

fn dialer(keys: &Keyring, tls: &GrpcTls) -> Dialer {
    Dialer::try_new(ServiceSigner::try_new(BILLING, &keys.identity).unwrap(), tls).unwrap()
}

/// GTW-16: a service is reached with TLS only, and only by who knows the authority.
#[tokio::test]
async fn calls_between_services_are_encrypted_and_the_server_is_proved() {
    let (keys, folder, strange) =
        (Keyring::new(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let tls = Pair::new().write(folder.path());
    let port = serve(&Common { grpc_tls: tls.clone(), ..test_kit::grpc::common() }, &keys).await;
    let dial = |dialer: Dialer, url: String| dialer.channel(USER, &url, SOON).unwrap();

    check(&dial(dialer(&keys, &tls), format!("https://localhost:{port}"))).await.unwrap();
    check(&dial(dialer(&keys, &tls), format!("https://127.0.0.1:{port}"))).await.unwrap();

    let plain = check(&dial(keys.dialer(BILLING), format!("http://127.0.0.1:{port}"))).await.unwrap_err();
    assert_ne!(plain.code(), Code::Ok);
    let stranger = dialer(&keys, &Pair::new().write(strange.path()));
    let refused = check(&dial(stranger, format!("https://localhost:{port}"))).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable, "{refused}");
}

/// GTW-16: a renewed authority and certificate are used for the next connections, which come by themselves;
/// neither side is started again.
#[tokio::test]
async fn renewed_certificates_are_used_without_a_restart() {
    let (keys, folder, latest) = (Keyring::new(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (first, second) = (Pair::new(), Pair::new());
    let tls = first.write(folder.path());
    let common = Common { grpc_tls: tls.clone(), ..test_kit::grpc::common() };
    let url = format!("https://localhost:{}", serve(&common, &keys).await);
    let running = dialer(&keys, &tls).renewing_after(Duration::from_millis(50));
    let channel = running.channel(USER, &url, SOON).unwrap();
    check(&channel).await.unwrap();

    // Half of the files are new: what fits together is used on.
    std::fs::write(folder.path().join("tls.crt"), &second.certificate).unwrap();
    check(&dialer(&keys, &tls).channel(USER, &url, SOON).unwrap()).await.unwrap();
    second.write(folder.path());

    // Who trusts the new authority alone is served with the new certificate.
    let only_new = dialer(&keys, &second.write(latest.path())).channel(USER, &url, SOON).unwrap();
    check(&only_new).await.unwrap();
    // The client that ran all the time trusts it too, now that its connection is over.
    let began = std::time::Instant::now();
    while began.elapsed() < Duration::from_millis(200) {
        check(&channel).await.unwrap();
    }
    assert!(
        check(&dialer(&keys, &first.write(latest.path())).channel(USER, &url, SOON).unwrap()).await.is_err()
    );
}

#[tokio::test]
async fn files_that_do_not_belong_together_are_refused_at_the_start() {
    let (keys, folder) = (Keyring::new(), tempfile::tempdir().unwrap());
    let tls = Pair::new().write(folder.path());
    std::fs::write(folder.path().join("tls.key"), Pair::new().key).unwrap();
    let common = Common { grpc_tls: tls, ..test_kit::grpc::common() };
    let health = Health::new(USER);

    let refused = Server::try_new(&common, &[], keys.service_keys(USER), None, &health, &Metrics::new());

    assert!(format!("{:#}", refused.unwrap_err()).contains("do not belong together"));
}

/// An address behind which replicas take turns, as behind a Service of Kubernetes; how often each was chosen.
async fn balanced(ports: Arc<Mutex<Vec<u16>>>) -> (u16, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let accepted = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&accepted);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let turn = count.fetch_add(1, Ordering::SeqCst);
            let replicas = ports.lock().unwrap().clone();
            tokio::spawn(async move {
                let mut to =
                    TcpStream::connect(("127.0.0.1", replicas[turn % replicas.len()])).await.unwrap();
                tokio::io::copy_bidirectional(&mut stream, &mut to).await.ok();
            });
        }
    });
    (port, accepted)
}

/// A client that never stops calling gets to a new replica within the age of a connection, and no call of its
/// fails on the way.
#[tokio::test]
async fn clients_move_to_new_replicas_and_no_call_fails() {
    let keys = Keyring::new();
    let replicas = Arc::new(Mutex::new(vec![serve(&test_kit::grpc::common(), &keys).await]));
    let (port, accepted) = balanced(Arc::clone(&replicas)).await;
    let dialer = keys.dialer(BILLING).renewing_after(Duration::from_millis(50));
    let channel = dialer.channel(USER, &format!("http://127.0.0.1:{port}"), SOON).unwrap();
    check(&channel).await.unwrap();
    let new = serve(&test_kit::grpc::common(), &keys).await;
    *replicas.lock().unwrap() = vec![new];

    let calls = futures::future::join_all((0..20).map(|_| async {
        while accepted.load(Ordering::SeqCst) < 10 {
            check(&channel).await.unwrap();
        }
    }));
    tokio::time::timeout(SOON, calls).await.unwrap();
}

/// A client whose connection is never renewed stays where it is: the test above proves something.
#[tokio::test]
async fn a_young_connection_is_kept() {
    let keys = Keyring::new();
    let replicas = Arc::new(Mutex::new(vec![serve(&test_kit::grpc::common(), &keys).await]));
    let (port, accepted) = balanced(replicas).await;
    let channel = keys.dialer(BILLING).channel(USER, &format!("http://127.0.0.1:{port}"), SOON).unwrap();
    for _ in 0..50 {
        check(&channel.clone()).await.unwrap();
    }
    assert_eq!(accepted.load(Ordering::SeqCst), 1);
}
