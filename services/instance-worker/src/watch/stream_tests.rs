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
                let head =
                    "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n";
                stream.write_all(head.as_bytes()).await.unwrap();
                continue;
            }
            self.lists.fetch_add(1, Ordering::SeqCst);
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
