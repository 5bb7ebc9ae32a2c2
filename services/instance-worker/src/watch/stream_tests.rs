use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use k8s_openapi::api::core::v1::Service;
use kube::Client;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use super::*;

const IMPATIENT: Patience = Patience {
    server: 5,
    idle: Duration::from_millis(400),
    quiet: Duration::from_millis(200),
    answer: Duration::from_millis(400),
};
const SOON: Duration = Duration::from_secs(10);

/// A server of the API that lists what it is told, and whose watches never say a word.
#[derive(Default)]
struct Server {
    services: Mutex<Vec<&'static str>>,
    lists: AtomicUsize,
    /// Watches are cut as soon as they begin.
    cuts: Mutex<bool>,
    /// What the server forgot: answers to so many watches.
    forgotten: Mutex<Option<Forgotten>>,
    /// What was asked, in order; `gone`: a watch that was answered by 410.
    asked: Mutex<Vec<&'static str>>,
}

/// How a server says that it does not know a version any more (410).
#[derive(Clone, Copy, Debug)]
enum Forgotten {
    /// As the answer.
    Answer,
    /// As an event, within a watch that began well.
    Event,
}

impl Server {
    async fn start(self: Arc<Self>) -> Api<Service> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(Arc::clone(&self).serve(stream));
            }
        });
        Api::namespaced(Client::try_from(kube::Config::new(url.parse().unwrap())).unwrap(), "t")
    }

    async fn serve(self: Arc<Self>, mut stream: TcpStream) {
        let mut seen = vec![0; 8192];
        while let Ok(read @ 1..) = stream.read(&mut seen).await {
            if String::from_utf8_lossy(&seen[..read]).contains("watch=true") {
                if *self.cuts.lock().unwrap() {
                    return;
                }
                let forgotten = self.forgotten.lock().unwrap().take();
                self.asked.lock().unwrap().push(if forgotten.is_some() { "gone" } else { "watch" });
                if let Some(forgotten) = forgotten {
                    stream.write_all(gone(forgotten).as_bytes()).await.unwrap();
                    continue;
                }
                let head =
                    "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n";
                stream.write_all(head.as_bytes()).await.unwrap();
                continue;
            }
            self.lists.fetch_add(1, Ordering::SeqCst);
            self.asked.lock().unwrap().push("list");
            let names = self.services.lock().unwrap().clone();
            let items: Vec<_> = names.iter().map(|name| json!({"metadata": {"name": name}})).collect();
            let list = json!({"apiVersion": "v1", "kind": "ServiceList", "metadata": {"resourceVersion": "7"},
                "items": items});
            let body = list.to_string();
            let answer = format!(
                "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
                body.len()
            );
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    }
}

fn gone(how: Forgotten) -> String {
    let status = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": "too old resource version: 7 (9000)", "reason": "Expired", "code": 410});
    let (code, body) = match how {
        Forgotten::Answer => ("410 Gone", status.to_string()),
        Forgotten::Event => ("200 OK", format!("{}\n", json!({"type": "ERROR", "object": status}))),
    };
    let length = body.len();
    format!("HTTP/1.1 {code}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}")
}

struct Followed {
    server: Arc<Server>,
    store: Arc<Store<Service>>,
    seen: UnboundedReceiver<Seen>,
}

async fn follow() -> Followed {
    let server = Arc::new(Server::default());
    server.services.lock().unwrap().extend(["a", "b"]);
    let api = Arc::clone(&server).start().await;
    let store = Arc::new(Store::default());
    let (sender, seen) = unbounded_channel();
    let kept = Arc::clone(&store);
    tokio::spawn(async move {
        let follow = Follow {
            kind: "services",
            namespace: "t",
            selector: None,
            store: Some(&*kept),
            trim: std::convert::identity,
            patience: IMPATIENT,
        };
        follow.run(api, &Status::default(), &sender).await;
    });
    Followed { server, store, seen }
}

impl Followed {
    /// Waits for the word that everything may have changed.
    async fn listed(&mut self) {
        let seen = timeout(SOON, self.seen.recv()).await.expect("a list in time").expect("a stream");
        assert_eq!(seen, Seen { kind: "services", subject: None });
    }
}

/// K8S-21: a server that takes connections and says nothing is not believed for longer than its time-out;
/// what a new list does not hold is gone, and everybody hears that all may have changed.
#[tokio::test]
async fn a_silent_watch_is_stale_and_the_next_list_tells_what_is_gone() {
    let mut followed = follow().await;
    followed.listed().await;
    assert!(followed.store.is_fresh() && followed.store.len() == 2);

    *followed.server.services.lock().unwrap() = vec!["a"];
    let began = Instant::now();
    followed.listed().await;

    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
    assert!(followed.store.get("b").is_none() && followed.store.is_fresh());
}

/// K8S-21: a watch that was cut is resumed, but its silence proves nothing: everything is listed.
#[tokio::test]
async fn a_resumed_watch_without_a_word_is_no_proof() {
    let mut followed = follow().await;
    *followed.server.cuts.lock().unwrap() = true;
    followed.listed().await;
    let stale = async {
        while followed.store.is_fresh() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(SOON, stale).await.expect("a store that is known to be stale");

    *followed.server.cuts.lock().unwrap() = false;
    followed.listed().await;

    assert!(followed.server.lists.load(Ordering::SeqCst) >= 2);
    assert!(followed.store.is_fresh());
}

/// K8S-21: a server that has forgotten the version of a watch is asked for everything; what came and went
/// meanwhile is seen, and nothing that stayed is lost.
#[tokio::test]
async fn a_version_that_the_server_has_forgotten_is_followed_by_a_fresh_list() {
    for how in [Forgotten::Answer, Forgotten::Event] {
        let mut followed = follow().await;
        followed.listed().await;
        *followed.server.services.lock().unwrap() = vec!["b", "c"];
        *followed.server.forgotten.lock().unwrap() = Some(how);

        let after_it = async {
            loop {
                let asked = followed.server.asked.lock().unwrap().clone();
                let mut after = asked.iter().skip_while(|asked| **asked != "gone").skip(1);
                if let Some(next) = after.next() {
                    return *next;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        let next = timeout(SOON, after_it).await.expect("another question");

        assert_eq!(next, "list", "{how:?}: a watch from there would miss what happened meanwhile");
        followed.listed().await;
        assert!(followed.store.get("a").is_none() && followed.store.len() == 2, "{how:?}");
        assert!(followed.store.get("b").is_some(), "{how:?}: what stayed is not lost");
    }
}
