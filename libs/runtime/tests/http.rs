//! The HTTP server against clients that are slow on purpose.
#![expect(clippy::unwrap_used, reason = "a test fails where it stands")]

use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::extract::ConnectInfo;
use axum::routing::get;
use runtime::http::{Limits, serve};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

const SOON: Duration = Duration::from_secs(10);

async fn server(limits: Limits) -> (SocketAddr, CancellationToken) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let peer = async |ConnectInfo(peer): ConnectInfo<SocketAddr>| peer.to_string();
    let stop = CancellationToken::new();
    tokio::spawn(serve(listener, Router::new().route("/", get(peer)), limits, stop.clone()));
    (address, stop)
}

async fn read_to_end(stream: &mut TcpStream) -> String {
    let mut text = String::new();
    tokio::time::timeout(SOON, stream.read_to_string(&mut text)).await.expect("still open").unwrap();
    text
}

/// GTW-11: silent clients, clients with half a head and idle ones all lose their connection.
#[tokio::test]
async fn who_does_not_finish_a_head_in_time_is_cut_off() {
    let (address, _) = server(Limits { head: Duration::from_millis(200), ..Limits::INTERNAL }).await;
    let mut silent = TcpStream::connect(address).await.unwrap();
    let mut half = TcpStream::connect(address).await.unwrap();
    half.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n").await.unwrap();
    let mut idle = TcpStream::connect(address).await.unwrap();
    idle.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();

    assert!(!read_to_end(&mut silent).await.contains("200 OK"));
    assert!(!read_to_end(&mut half).await.contains("200 OK"));
    let answered = read_to_end(&mut idle).await;
    assert!(answered.contains("200 OK") && answered.ends_with(&idle.local_addr().unwrap().to_string()));
}

/// GTW-11: more connections than allowed wait, and are served when there is room.
#[tokio::test]
async fn the_number_of_connections_is_bounded() {
    let (address, _) = server(Limits { connections: 1, head: SOON, ..Limits::INTERNAL }).await;
    let mut first = TcpStream::connect(address).await.unwrap();
    first.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    first.read_u8().await.unwrap();
    let mut second = TcpStream::connect(address).await.unwrap();
    second.write_all(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await.unwrap();
    let waits = tokio::time::timeout(Duration::from_millis(300), second.read_u8()).await;
    assert!(waits.is_err(), "a second connection was served beside the only one");

    drop(first);

    assert!(read_to_end(&mut second).await.contains("200 OK"));
}

/// REL-16: an idle connection does not keep the process from stopping.
#[tokio::test]
async fn a_stop_ends_idle_connections() {
    let (address, stop) = server(Limits { head: SOON, ..Limits::INTERNAL }).await;
    let mut idle = TcpStream::connect(address).await.unwrap();
    idle.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    idle.read_u8().await.unwrap();

    stop.cancel();

    read_to_end(&mut idle).await;
}
