//! Operations as server-sent events.

use std::time::Duration;

use contracts::instance::v1::{Operation, WatchOperationRequest, WatchOperationResponse};
use futures::stream::{self, StreamExt as _};
use runtime::grpc::Refusal;
use runtime::identity::Role;
use tokio_stream::wrappers::UnboundedReceiverStream;
use uuid::Uuid;

use crate::world::{World, send};

const WATCH: &str = "saasodoo.instance.v1.InstanceService/WatchOperation";

fn change(revision: i64, state: &str) -> WatchOperationResponse {
    let operation = Operation { id: "op".into(), state: state.into(), revision, ..Operation::default() };
    WatchOperationResponse { operation: Some(operation) }
}

fn path() -> String {
    format!("/instance/instances/{}/operations/{}/stream", Uuid::now_v7(), Uuid::now_v7())
}

/// Reads until `words` stand in what came.
async fn read_until(response: &mut reqwest::Response, words: &str) -> String {
    let mut text = String::new();
    while !text.contains(words) {
        let chunk = tokio::time::timeout(Duration::from_secs(25), response.chunk()).await.unwrap().unwrap();
        let Some(chunk) = chunk else { panic!("the stream ended before {words:?}: {text}") };
        text.push_str(std::str::from_utf8(&chunk).unwrap());
    }
    text
}

/// Issue 3 (operations), INS-31: each change is an event with its revision; the end comes after the final
/// state.
#[tokio::test]
async fn a_stream_shows_each_change_and_ends() {
    let world = World::start().await;
    let token = world.token(Role::Customer);
    world.fake.on_stream(WATCH, |request: WatchOperationRequest| {
        let all = [change(1, "queued"), change(2, "running"), change(3, "succeeded"), change(4, "succeeded")];
        let seen = request.after_revision;
        Ok(stream::iter(all)
            .filter(move |change| futures::future::ready(change.operation.as_ref().unwrap().revision > seen))
            .boxed())
    });
    let whole = send(world.request("GET", &path()).bearer_auth(&token)).await;
    assert_eq!((whole.status, whole.header("content-type")), (200, "text/event-stream"));
    let events: Vec<_> = whole.text.split("\n\n").filter(|event| !event.is_empty()).collect();
    assert_eq!(events.len(), 3, "{whole:?}");
    for (event, (id, state)) in events.iter().zip([(1, "queued"), (2, "running"), (3, "succeeded")]) {
        assert!(event.contains("event: operation") && event.contains(&format!("id: {id}")), "{event}");
        let data = event.lines().find_map(|line| line.strip_prefix("data: ")).unwrap();
        assert_eq!(serde_json::from_str::<serde_json::Value>(data).unwrap()["state"], state);
    }
    let rest = send(world.request("GET", &path()).bearer_auth(&token).header("last-event-id", "2")).await;
    assert!(rest.text.contains("id: 3") && !rest.text.contains("id: 2"), "{rest:?}");
    let calls = world.fake.calls::<WatchOperationRequest>(WATCH);
    assert!(!calls[0].0.contains_key("grpc-timeout"), "a stream has no deadline");
    assert_eq!(calls[1].1.after_revision, 2);
}

/// SEC-01: another customer's operation is an ordinary 404 before a stream begins.
#[tokio::test]
async fn a_refused_stream_is_a_problem() {
    let world = World::start().await;
    let token = world.token(Role::Customer);
    world.fake.on_stream(
        WATCH,
        |_: WatchOperationRequest| -> Result<stream::BoxStream<'_, WatchOperationResponse>, _> {
            Err(Refusal::not_found("operation").into())
        },
    );
    let answer = send(world.request("GET", &path()).bearer_auth(&token)).await;
    assert_eq!(answer.problem(), (404, "not_found".into()));
    assert_eq!(send(world.request("GET", &path())).await.problem().0, 401);
}

/// GTW-11, GTW-17: silence is filled with comment lines; a stop ends streams and lets requests end.
#[tokio::test]
async fn a_quiet_stream_says_it_lives_and_ends_with_the_process() {
    let world = World::start().await;
    let token = world.token(Role::Customer);
    let (sender, receiver) = tokio::sync::mpsc::unbounded_channel();
    let receiver = std::sync::Mutex::new(Some(receiver));
    world.fake.on_stream(WATCH, move |_: WatchOperationRequest| {
        Ok(UnboundedReceiverStream::new(receiver.lock().unwrap().take().unwrap()).boxed())
    });
    sender.send(change(1, "running")).unwrap();
    let request = world.request("GET", &path()).bearer_auth(&token).timeout(Duration::from_mins(1));
    let mut response = request.send().await.unwrap();
    read_until(&mut response, "id: 1").await;
    let start = std::time::Instant::now();
    read_until(&mut response, ":\n\n").await;
    assert!(start.elapsed() > Duration::from_secs(10), "a comment each 15 s");
    sender.send(change(2, "running")).unwrap();
    read_until(&mut response, "id: 2").await;

    world.stop.cancel();

    let end = tokio::time::timeout(Duration::from_secs(5), response.chunk()).await.unwrap().unwrap();
    assert!(end.is_none());
    let ended = tokio::time::timeout(Duration::from_secs(5), world.server).await.unwrap().unwrap();
    assert!(ended.is_ok());
}

/// A client that comes back and has seen everything gets the head of the stream at once, and the next change
/// when there is one.
#[tokio::test]
async fn a_client_that_has_seen_everything_waits_on_an_open_stream() {
    let world = World::start().await;
    let token = world.token(Role::Customer);
    let (sender, receiver) = tokio::sync::mpsc::unbounded_channel();
    let receiver = std::sync::Mutex::new(Some(receiver));
    world.fake.on_stream(WATCH, move |_: WatchOperationRequest| {
        Ok(UnboundedReceiverStream::new(receiver.lock().unwrap().take().unwrap()).boxed())
    });
    let request = world.request("GET", &path()).bearer_auth(&token).header("last-event-id", "7");
    let mut response = tokio::time::timeout(Duration::from_secs(5), request.send()).await.unwrap().unwrap();
    assert_eq!(response.status().as_u16(), 200);
    sender.send(change(8, "failed")).unwrap();
    read_until(&mut response, "id: 8").await;
    assert!(response.chunk().await.unwrap().is_none());
}

/// GTW-11, USR-11: an account has so many streams at once; each ends soon after its session.
#[tokio::test]
async fn streams_are_bounded_and_end_with_their_session() {
    let world = World::start().await;
    let user = Uuid::now_v7();
    let (token, other) = (world.token_of(user, Role::Customer), world.token_of(user, Role::Customer));
    world.fake.on_stream(WATCH, |_: WatchOperationRequest| {
        Ok(stream::iter([change(1, "running")]).chain(stream::pending()).boxed())
    });
    let mut open = Vec::new();
    for _ in 0..20 {
        let mut response = world.request("GET", &path()).bearer_auth(&token).send().await.unwrap();
        read_until(&mut response, "id: 1").await;
        open.push(response);
    }
    let refused = send(world.request("GET", &path()).bearer_auth(&other)).await;
    assert_eq!(refused.problem(), (429, "rate_limited".into()));
    let foreign = world.token(Role::Customer);
    let response = world.request("GET", &path()).bearer_auth(&foreign).send().await.unwrap();
    assert_eq!(response.status().as_u16(), 200);

    world.fake.sign_out(&crate::world::session_of(&token));

    for mut response in open {
        let end = tokio::time::timeout(Duration::from_secs(8), response.chunk()).await.unwrap().unwrap();
        assert!(end.is_none());
    }
    let again = world.request("GET", &path()).bearer_auth(&other).send().await.unwrap();
    assert_eq!(again.status().as_u16(), 200);
}
