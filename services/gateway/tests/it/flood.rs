//! A flood: what one source may hold, what a crowd of sources meets, and what is no request at all
//! (GTW-08, GTW-11).

use std::time::{Duration, Instant};

use contracts::instance::v1::{ListInstancesRequest, ListInstancesResponse};
use contracts::user::v1::{LoginRequest, LoginResponse};
use gateway::config::Config;
use runtime::identity::Role;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::world::{Answer, World, send};

async fn connect(world: &World) -> TcpStream {
    TcpStream::connect(world.url.trim_start_matches("http://")).await.unwrap()
}

/// What comes back for these bytes until the server closes the connection.
async fn exchange(mut stream: TcpStream, bytes: &str) -> String {
    let mut text = String::new();
    if stream.write_all(bytes.as_bytes()).await.is_ok() {
        let _ = tokio::time::timeout(Duration::from_secs(10), stream.read_to_string(&mut text)).await;
    }
    text
}

const HEALTH: &str = "GET /health HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";

/// One source holds so many connections and no more; a place that it gives back is free again. Our own
/// proxies are no source: they bring everybody's connections.
#[tokio::test]
async fn one_source_has_so_many_connections() {
    let few = |config: &mut Config| config.max_connections_per_address = 3;
    let world = World::start_with(few).await;
    let mut held = Vec::new();
    for _ in 0..3 {
        held.push(connect(&world).await);
    }
    assert_eq!(exchange(connect(&world).await, HEALTH).await, "");
    held.pop();
    test_kit::eventually("a place is free again", Duration::from_secs(5), || async {
        let answer = exchange(connect(&world).await, HEALTH).await;
        answer.starts_with("HTTP/1.1 200").then_some(())
    })
    .await;

    let world = World::start_with(|config: &mut Config| {
        few(config);
        config.edge.trusted_proxies = vec!["127.0.0.1".parse().unwrap()];
    })
    .await;
    let mut held = Vec::new();
    for _ in 0..10 {
        held.push(connect(&world).await);
    }
    assert!(exchange(connect(&world).await, HEALTH).await.starts_with("HTTP/1.1 200"));
}

/// Calls of the fake that wait until they are told to go on.
struct Held {
    arrived: tokio::sync::mpsc::UnboundedReceiver<()>,
    go: std::sync::mpsc::Sender<()>,
}

impl Held {
    /// One more call waits.
    async fn arrived(&mut self) {
        tokio::time::timeout(Duration::from_secs(10), self.arrived.recv())
            .await
            .expect("no call came")
            .unwrap();
    }
}

/// The handler that waits, and its remote control.
fn held() -> (impl Fn() + Send + Sync + 'static, Held) {
    let (asked, arrived) = tokio::sync::mpsc::unbounded_channel();
    let (go, wait) = std::sync::mpsc::channel::<()>();
    let wait = std::sync::Mutex::new(wait);
    let work = move || {
        asked.send(()).unwrap();
        tokio::task::block_in_place(|| {
            let _ = wait.lock().unwrap().recv();
        });
    };
    (work, Held { arrived, go })
}

fn assert_refused_early(answer: &Answer, asked: Instant) {
    assert_eq!(answer.problem(), (503, "unavailable".into()));
    assert!(answer.header("retry-after").parse::<u64>().unwrap() >= 1);
    assert!(asked.elapsed() < Duration::from_secs(2), "it waited: {:?}", asked.elapsed());
}

/// Log-ins from many addresses, each within its limit: the excess is answered at once and the rest of the API
/// is as it was.
#[tokio::test(flavor = "multi_thread", worker_threads = 6)]
async fn a_crowd_of_sources_takes_the_log_in_only() {
    let world = World::start_with(|config: &mut Config| {
        config.max_auth_requests = 2;
        config.edge.trusted_proxies = vec!["127.0.0.1".parse().unwrap()];
    })
    .await;
    let (work, mut held) = held();
    world.fake.on("saasodoo.user.v1.AuthService/Login", move |_: LoginRequest| {
        work();
        Ok(LoginResponse::default())
    });
    let login = |at: usize| {
        let request = world.request("POST", "/user/auth/login");
        let request = request.header("x-forwarded-for", format!("203.0.113.{at}"));
        request.json(&json!({"email": format!("{at}@example.com"), "password": "x"}))
    };
    let slow: Vec<_> = (0..2).map(|at| tokio::spawn(send(login(at)))).collect();
    for _ in &slow {
        held.arrived().await;
    }

    let asked = Instant::now();
    for at in 10..20 {
        assert_refused_early(&send(login(at)).await, asked);
    }
    assert_eq!(world.get("/instance/instances", &world.token(Role::Customer)).await.status, 200);

    drop(held.go);
    for answer in slow {
        assert_ne!(answer.await.unwrap().status, 503);
    }
    assert_ne!(send(login(30)).await.status, 503);
}

/// More requests at once than the process works on: the excess is answered early.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn requests_in_excess_are_refused_early() {
    let world = World::start_with(|config: &mut Config| config.max_requests = 1).await;
    let token = world.token(Role::Customer);
    let (work, mut held) = held();
    world.fake.on("saasodoo.instance.v1.InstanceService/ListInstances", move |_: ListInstancesRequest| {
        work();
        Ok(ListInstancesResponse::default())
    });
    let slow = tokio::spawn(send(world.request("GET", "/instance/instances").bearer_auth(&token)));
    held.arrived().await;
    let asked = Instant::now();
    assert_refused_early(&send(world.request("GET", "/billing/api/billing/plans")).await, asked);
    drop(held.go);
    assert_eq!(slow.await.unwrap().status, 200);
    assert_eq!(send(world.request("GET", "/billing/api/billing/plans")).await.status, 200);
}

/// A recipient may take a bare LF in a head for the end of a line (RFC 9112, 2.2), and so do we and the proxy
/// in front of us, which writes each head anew: both read the same request. Where two readers could differ,
/// in a bare CR, a folded line or the frames of a body, it is refused: one request in, one answer out.
#[tokio::test]
async fn a_head_means_the_same_to_everybody_or_is_refused() {
    let world = World::start().await;
    let lenient = "GET /health HTTP/1.1\nHost: a\nX-Request-Id: 5a9f43c0-11ce-4bd4-8d3f-57a9d2e0b1aa\n\
                   Connection: close\n\n";
    let answer = exchange(connect(&world).await, lenient).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(answer.contains("5a9f43c0-11ce-4bd4-8d3f-57a9d2e0b1aa"), "every line was read: {answer}");
    assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{answer}");

    let second = "GET /health HTTP/1.1\r\nHost: b\r\nConnection: close\r\n\r\n";
    let post = "POST /user/auth/login HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n";
    for (what, bytes) in [
        ("a bare CR", "GET /health HTTP/1.1\r\nHost: a\rX: b\r\n\r\n".to_owned()),
        ("a folded line", "GET /health HTTP/1.1\r\nHost: a\r\nX: b\r\n c\r\n\r\n".to_owned()),
        ("a space before the colon", "GET /health HTTP/1.1\r\nHost: a\r\nX : b\r\n\r\n".to_owned()),
        (
            "a bare LF after a chunk's size",
            format!("{post}Transfer-Encoding: chunked\r\n\r\n2\n{{}}\r\n0\r\n\r\n{second}"),
        ),
        ("two lengths", format!("{post}Content-Length: 2\r\nContent-Length: 3\r\n\r\n{{}}{second}")),
        ("a signed length", format!("{post}Content-Length: +2\r\n\r\n{{}}{second}")),
        ("an unknown coding", format!("{post}Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n{second}")),
    ] {
        let answer = exchange(connect(&world).await, &bytes).await;
        assert!(answer.starts_with("HTTP/1.1 400") || answer.is_empty(), "{what}: {answer}");
        assert!(!answer.contains("HTTP/1.1 200"), "{what}: the rest was read as a request: {answer}");
    }
}
