//! One trace through the platform (MON-10): a call over gRPC, what it announces by the outbox, and who hears of
//! it from the broker; and all of it reaches the collector.
#![expect(clippy::unwrap_used, reason = "a test fails where it stands")]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::extract::State;
use axum::http::HeaderMap;
use contracts::notification::v1 as api;
use contracts::notification::v1::notification_service_client::NotificationServiceClient;
use contracts::notification::v1::notification_service_server::{
    NotificationService, NotificationServiceServer,
};
use contracts::services::{NOTIFICATION, USER};
use messaging::{Broker, Consumer, Failure, Handler, Message, Relay, outbox};
use runtime::grpc::{Allow, MethodPolicy, Needs};
use sqlx::{PgConnection, PgPool};
use telemetry::metrics::Metrics;
use test_kit::{environment, eventually};
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use tonic::{Request, Response, Status};
use tracing::Instrument as _;
use uuid::Uuid;

const SOON: Duration = Duration::from_secs(20);
const TOPIC: &str = "test.traces.v1";
const POLICIES: &[MethodPolicy] = &[MethodPolicy {
    method: "/saasodoo.notification.v1.NotificationService/SendTemplate",
    allow: &[Allow { caller: USER, needs: Needs::Nothing }],
}];

/// The trace of the present span; none: there is no span.
fn trace_id() -> String {
    let headers = telemetry::context::headers();
    headers.get("traceparent").and_then(|parent| parent.split('-').nth(1)).unwrap_or_default().to_owned()
}

/// Announces each call, and answers with the trace that it runs in.
struct Announcing(PgPool);

#[tonic::async_trait]
impl NotificationService for Announcing {
    async fn send_template(
        &self,
        _: Request<api::SendTemplateRequest>,
    ) -> Result<Response<api::SendTemplateResponse>, Status> {
        let mut db = self.0.acquire().await.unwrap();
        outbox::enqueue(&mut db, TOPIC, Uuid::now_v7(), &()).await.unwrap();
        Ok(Response::new(api::SendTemplateResponse { email_id: trace_id() }))
    }
}

/// Keeps the traces in which messages are handled.
struct Listening(Arc<Mutex<Vec<String>>>);

impl Handler for Listening {
    async fn handle(&self, _: &mut PgConnection, _: &Message) -> Result<(), Failure> {
        self.0.lock().unwrap().push(trace_id());
        Ok(())
    }
}

/// A collector of OTLP over gRPC that keeps what it gets, as it is on the wire; its URL.
async fn collector(kept: Arc<Mutex<Vec<u8>>>) -> String {
    let keep = |State(kept): State<Arc<Mutex<Vec<u8>>>>, body: axum::body::Bytes| async move {
        kept.lock().unwrap().extend_from_slice(&body);
        let mut headers = HeaderMap::new();
        headers.insert("content-type", "application/grpc".parse().unwrap());
        headers.insert("grpc-status", "0".parse().unwrap());
        headers
    };
    let router = axum::Router::new()
        .route("/opentelemetry.proto.collector.trace.v1.TraceService/Export", axum::routing::post(keep))
        .with_state(kept);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let incoming = tonic::transport::server::TcpIncoming::from(listener);
    let server = tonic::transport::Server::builder().add_routes(Routes::from(router));
    tokio::spawn(server.serve_with_incoming(incoming));
    url
}

fn contains(bytes: &[u8], wanted: &[u8]) -> bool {
    bytes.windows(wanted.len()).any(|window| window == wanted)
}

#[sqlx::test(migrations = "./migrations")]
async fn one_trace_goes_through_grpc_and_the_broker_links_to_it(pool: PgPool) {
    let exported = Arc::new(Mutex::new(Vec::new()));
    let guard = telemetry::init(&telemetry::Settings {
        service: "traced-service",
        level: "info".into(),
        otlp_endpoint: Some(collector(Arc::clone(&exported)).await),
    })
    .unwrap();
    let keys = test_kit::identity::Keyring::new();
    let routes = Routes::new(NotificationServiceServer::new(Announcing(pool.clone())));
    let server = test_kit::grpc::serve(NOTIFICATION, POLICIES, &keys, routes).await;
    let (broker, stop) = (Broker::from_url(&environment::amqp_url(), "test"), CancellationToken::new());
    let queue: &'static str = Box::leak(format!("test.{}", Uuid::now_v7().simple()).into_boxed_str());
    let heard = Arc::new(Mutex::new(Vec::new()));
    let consumer = Consumer { queue, topics: &[TOPIC] };
    let listening = Listening(Arc::clone(&heard));
    tokio::spawn(consumer.run(broker.clone(), pool.clone(), listening, Metrics::new(), stop.clone()));
    let channel = broker.connect().await.unwrap().create_channel().await.unwrap();
    messaging::topology::declare_queue(&channel, queue, &[TOPIC]).await.unwrap();
    tokio::spawn(Relay::new(&pool, &broker, &Metrics::new()).run(stop.clone()));

    let request = tracing::info_span!("request");
    let (there, here) = async {
        let mut client = NotificationServiceClient::new(server.channel_as(USER));
        let answer = client.send_template(api::SendTemplateRequest::default()).await.unwrap();
        (answer.into_inner().email_id, trace_id())
    }
    .instrument(request)
    .await;
    let handled_in =
        eventually("the event is handled", SOON, || async { heard.lock().unwrap().first().cloned() }).await;
    stop.cancel();
    let delete = lapin::options::QueueDeleteOptions::default();
    channel.queue_delete(queue.into(), delete).await.unwrap();
    tokio::task::spawn_blocking(|| guard.shutdown()).await.unwrap();

    assert_eq!((there.as_str(), here.len()), (here.as_str(), 32), "the called service is in the same trace");
    assert_ne!(handled_in, here, "a message may be handled days later: that is another trace");
    let exported = exported.lock().unwrap();
    for name in ["traced-service", "request", "consume"] {
        assert!(contains(&exported, name.as_bytes()), "{name} was not exported");
    }
    // The attribute of the consumer's span with its text, in protobuf.
    let cause = [b"cause.trace.id", b"\x12\x22\x0a\x20".as_slice(), here.as_bytes()].concat();
    assert!(contains(&exported, &cause), "the consumer does not name the trace that caused it");
}
