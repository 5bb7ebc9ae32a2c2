//! A gRPC server that answers every method: as a test says, else with an empty message. One server plays all
//! five services.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use contracts::user::v1::{CheckSessionRequest, CheckSessionResponse};
use futures::stream::{self, BoxStream, StreamExt as _};
use http::{HeaderMap, HeaderValue};
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::{Bytes, Frame};
use prost::Message;
use runtime::identity::Role;
use tonic::Status;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};

/// What a method answers: messages, one after the other, or a refusal.
type Answer = Result<BoxStream<'static, Vec<u8>>, Status>;
type Method = Arc<dyn Fn(&HeaderMap, &[u8]) -> Answer + Send + Sync>;

#[derive(Default)]
struct Inner {
    methods: HashMap<String, Method>,
    calls: Vec<(String, HeaderMap, Bytes)>,
    sessions: HashMap<String, Role>,
}

/// The services of a test.
#[derive(Clone, Default)]
pub struct Fake(Arc<Mutex<Inner>>);

impl Fake {
    /// Serves on a free port; the URL.
    pub async fn serve(&self) -> String {
        let this = self.clone();
        self.on("saasodoo.user.v1.AuthService/CheckSession", move |request: CheckSessionRequest| {
            let role = this.lock().sessions.get(&request.session_id).copied();
            let word = role.map(|role| role.to_string()).unwrap_or_default();
            Ok(CheckSessionResponse { live: role.is_some(), role: word, ..CheckSessionResponse::default() })
        });
        self.on("grpc.health.v1.Health/Check", |_: HealthCheckRequest| Ok(HealthCheckResponse { status: 1 }));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let router = axum::Router::new().fallback(answer).with_state(self.clone());
        let incoming = tonic::transport::server::TcpIncoming::from(listener);
        let server = tonic::transport::Server::builder().add_routes(tonic::service::Routes::from(router));
        tokio::spawn(server.serve_with_incoming(incoming));
        url
    }

    /// `method`, such as `saasodoo.user.v1.AuthService/Login`, answers so from now on.
    pub fn on<Q, A>(&self, method: &str, answer: impl Fn(Q) -> Result<A, Status> + Send + Sync + 'static)
    where
        Q: Message + Default,
        A: Message,
    {
        self.method(method, move |_, bytes| {
            let message = answer(Q::decode(bytes).unwrap())?.encode_to_vec();
            Ok(stream::once(async { message }).boxed())
        });
    }

    /// The same with several messages over time.
    pub fn on_stream<Q, A>(
        &self,
        method: &str,
        answer: impl Fn(Q) -> Result<BoxStream<'static, A>, Status> + Send + Sync + 'static,
    ) where
        Q: Message + Default,
        A: Message + 'static,
    {
        self.method(method, move |_, bytes| {
            Ok(answer(Q::decode(bytes).unwrap())?.map(|message| message.encode_to_vec()).boxed())
        });
    }

    fn method(&self, method: &str, run: impl Fn(&HeaderMap, &[u8]) -> Answer + Send + Sync + 'static) {
        self.lock().methods.insert(format!("/{method}"), Arc::new(run));
    }

    /// A session with this role lives.
    pub fn sign_in(&self, session: &str, role: Role) {
        self.lock().sessions.insert(session.to_owned(), role);
    }

    /// A session is over.
    pub fn sign_out(&self, session: &str) {
        self.lock().sessions.remove(session);
    }

    /// Metadata and message of the calls of a method so far.
    pub fn calls<Q: Message + Default>(&self, method: &str) -> Vec<(HeaderMap, Q)> {
        let inner = self.lock();
        let calls = inner.calls.iter().filter(|(path, ..)| path.trim_start_matches('/') == method);
        calls.map(|(_, headers, bytes)| (headers.clone(), Q::decode(&bytes[..]).unwrap())).collect()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.0.lock().unwrap()
    }
}

async fn answer(State(fake): State<Fake>, request: Request) -> Response {
    let path = request.uri().path().to_owned();
    let headers = request.headers().clone();
    let body = request.into_body().collect().await.unwrap().to_bytes();
    let message = body.get(5..).map(Bytes::copy_from_slice).unwrap_or_default();
    let method = {
        let mut inner = fake.lock();
        inner.calls.push((path.clone(), headers.clone(), message.clone()));
        inner.methods.get(&path).cloned()
    };
    let answer = method
        .map_or_else(|| Ok(stream::once(async { Vec::new() }).boxed()), |method| method(&headers, &message));
    match answer {
        Ok(messages) => {
            let frames = messages.map(|message| {
                let mut framed = vec![0];
                framed.extend(u32::try_from(message.len()).unwrap().to_be_bytes());
                framed.extend(message);
                Ok::<_, Infallible>(Frame::data(Bytes::from(framed)))
            });
            let trailers = HeaderMap::from_iter([(
                http::HeaderName::from_static("grpc-status"),
                HeaderValue::from_static("0"),
            )]);
            let frames = frames.chain(stream::once(async { Ok(Frame::trailers(trailers)) }));
            let mut response = Response::new(Body::new(StreamBody::new(frames)));
            let kind = HeaderValue::from_static("application/grpc");
            response.headers_mut().insert("content-type", kind);
            response
        }
        Err(status) => status.into_http(),
    }
}
