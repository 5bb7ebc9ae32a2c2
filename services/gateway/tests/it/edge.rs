//! The edge: headers, CORS, request ids, metrics, drain (GTW-07, GTW-09, GTW-12, GTW-17, MON-07).

use std::time::Duration;

use contracts::instance::v1::{ListInstancesRequest, ListInstancesResponse};
use runtime::identity::Role;

use crate::world::{World, send};

/// GTW-09
#[tokio::test]
async fn each_answer_carries_the_security_headers() {
    let world = World::start().await;
    for path in ["/health", "/instance/instances", "/nothing-here", "/user/docs", "/verify-email"] {
        let answer = send(world.request("GET", path)).await;
        assert_eq!(answer.header("x-content-type-options"), "nosniff", "{path}");
        assert_eq!(answer.header("x-frame-options"), "DENY", "{path}");
        assert_eq!(answer.header("referrer-policy"), "no-referrer", "{path}");
        assert!(answer.header("content-security-policy").starts_with("default-src 'none'"), "{path}");
        assert_eq!(answer.header("strict-transport-security"), "", "{path}: not without TLS");
    }
    let world = World::start_with(|config| config.edge.tls_enabled = true).await;
    let answer = send(world.request("GET", "/nothing-here")).await;
    assert_eq!(answer.header("strict-transport-security"), "max-age=31536000; includeSubDomains");
}

/// GTW-07
#[tokio::test]
async fn only_exact_origins_may_call_from_a_browser() {
    let world = World::start().await;
    let preflight = |origin: &'static str| {
        let request = world.request("OPTIONS", "/instance/instances").header("origin", origin);
        send(
            request
                .header("access-control-request-method", "POST")
                .header("access-control-request-headers", "authorization"),
        )
    };
    let ours = preflight("http://app.saasodoo.local").await;
    assert_eq!(ours.header("access-control-allow-origin"), "http://app.saasodoo.local");
    assert_eq!(ours.header("access-control-max-age"), "86400");
    for method in ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"] {
        assert!(ours.header("access-control-allow-methods").contains(method));
    }
    assert!(ours.headers.get_all("vary").iter().any(|vary| vary.to_str().unwrap().contains("origin")));
    assert_eq!(ours.header("access-control-allow-credentials"), "");
    for foreign in [
        "http://evil.example",
        "http://app.saasodoo.local.evil.example",
        "null",
        "https://app.saasodoo.local",
    ] {
        assert_eq!(preflight(foreign).await.header("access-control-allow-origin"), "", "{foreign}");
        let plain = send(world.request("GET", "/health").header("origin", foreign)).await;
        assert_eq!(plain.header("access-control-allow-origin"), "", "{foreign}");
    }
    let mut config = crate::world::config(&world.keys, "http://127.0.0.1:1");
    config.edge.cors_allowed_origins =
        vec![" https://a.example/ ".into(), String::new(), "https://b.example".into()];
    assert_eq!(config.edge.origins(), ["https://a.example", "https://b.example"]);
}

/// GTW-12
#[tokio::test]
async fn a_request_id_is_taken_when_it_is_a_uuid() {
    let world = World::start().await;
    let given = "5A9F43C0-11CE-4BD4-8D3F-57A9D2E0B1AA";
    let answer = send(world.request("GET", "/health").header("x-request-id", given)).await;
    assert_eq!(answer.header("x-request-id"), given.to_lowercase());
    for bad in ["", "x", "1; drop table"] {
        let answer = send(world.request("GET", "/nothing-here").header("x-request-id", bad)).await;
        assert!(uuid::Uuid::parse_str(answer.header("x-request-id")).is_ok(), "{answer:?}");
        answer.problem();
    }
}

/// MON-07: labels are templates, never what a client wrote.
#[tokio::test]
async fn requests_are_counted_by_template() {
    let world = World::start().await;
    let token = world.token(Role::Customer);
    world.get("/instance/instances/0196f0c0-5a1e-7c3a-9f58-2b1f6f1f0a11/events", &token).await;
    send(world.request("GET", "/secret-path-of-a-client")).await;
    let text = world.metrics.encode().unwrap();
    let wanted = "http_server_requests_total{route=\"/instance/instances/{id}/events\",method=\"GET\",status=\"200\"} 1";
    assert!(text.contains(wanted), "{text}");
    assert!(text.contains("route=\"unknown\",method=\"GET\",status=\"404\""), "{text}");
    assert!(text.contains("http_server_request_seconds_bucket"));
    assert!(!text.contains("secret-path") && !text.contains("0196f0c0"));
}

/// GTW-17 (part): a request that is open at the stop gets its answer; the listener is closed.
#[tokio::test(flavor = "multi_thread")]
async fn an_open_request_ends_after_the_stop() {
    let world = World::start().await;
    let token = world.token(Role::Customer);
    let (asked, mut was_asked) = tokio::sync::mpsc::unbounded_channel();
    let (go, wait) = std::sync::mpsc::channel::<()>();
    let wait = std::sync::Mutex::new(wait);
    world.fake.on("saasodoo.instance.v1.InstanceService/ListInstances", move |_: ListInstancesRequest| {
        asked.send(()).unwrap();
        tokio::task::block_in_place(|| wait.lock().unwrap().recv().unwrap());
        Ok(ListInstancesResponse::default())
    });
    let request = world.request("GET", "/instance/instances").bearer_auth(&token);
    let open = tokio::spawn(async move { send(request).await });
    was_asked.recv().await.unwrap();

    world.stop.cancel();
    let address = world.url.trim_start_matches("http://").to_owned();
    test_kit::eventually("nobody new gets in", Duration::from_secs(5), || async {
        tokio::net::TcpStream::connect(&address).await.err()
    })
    .await;
    go.send(()).unwrap();

    assert_eq!(open.await.unwrap().status, 200);
    assert!(world.server.await.unwrap().is_ok());
}

/// GTW-11: a request without exactly one Host, and a head that does not end, are no requests.
#[tokio::test]
async fn a_head_must_be_whole_and_name_one_host() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let world = World::start().await;
    let address = world.url.trim_start_matches("http://").to_owned();
    let ask = async |head: &str| {
        let mut stream = tokio::net::TcpStream::connect(&address).await.unwrap();
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).await.unwrap();
        text
    };
    let close = "Connection: close\r\n\r\n";
    let good = ask(&format!("GET /health HTTP/1.1\r\nHost: a\r\n{close}")).await;
    assert!(good.starts_with("HTTP/1.1 200"), "{good}");
    for hosts in ["", "Host: a\r\nHost: b\r\n"] {
        let refused = ask(&format!("GET /health HTTP/1.1\r\n{hosts}{close}")).await;
        assert!(refused.starts_with("HTTP/1.1 400"), "{refused}");
    }
    // A client of 1.0 names none.
    let old = ask("GET /health HTTP/1.0\r\n\r\n").await;
    assert!(old.starts_with("HTTP/1.0 200"), "{old}");
}
