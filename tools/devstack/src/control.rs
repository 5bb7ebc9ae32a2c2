//! The switch of a running stack: a small HTTP server on loopback through which tests stop, kill and start parts.
//!
//! `GET /` lists all parts. `POST /services/{name}/{action}` and `POST /deps/{name}/{action}` with `stop`, `kill` (ends as by a crash,
//! without being started again), `crash` (killed, and started again with back-off) and `start` (waits until it is ready).

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::stack::Stack;

/// What is done to a part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Start and wait until ready.
    Start,
    /// Ask to stop, stay stopped.
    Stop,
    /// SIGKILL, stay stopped.
    Kill,
    /// SIGKILL, started again with back-off.
    Crash,
}

/// Serves in a thread of its own until the process ends.
pub fn serve(stack: &Arc<Stack>, port: u16) -> Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).context("listen for the control port")?;
    let stack = Arc::clone(stack);
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let stack = Arc::clone(&stack);
            thread::spawn(move || {
                // The caller went away: nothing is left to tell.
                drop(answer(&stack, stream));
            });
        }
    });
    Ok(())
}

fn answer(stack: &Stack, mut stream: TcpStream) -> Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    let request = lines.next().context("no request")??;
    // The rest of the head is read, so that closing the connection does not reset it.
    for line in lines {
        if line?.is_empty() {
            break;
        }
    }
    let (status, body) = respond(stack, &request);
    let text = body.to_string();
    write!(
        stream,
        "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{text}",
        text.len()
    )?;
    Ok(())
}

fn respond(stack: &Stack, request: &str) -> (&'static str, serde_json::Value) {
    match parse(request) {
        Some(Wanted::List) => ("200 OK", stack.describe()),
        Some(Wanted::Act(name, action)) => match stack.act(&name, action) {
            Ok(true) => ("200 OK", serde_json::json!({ "name": name, "done": true })),
            Ok(false) => {
                ("404 Not Found", serde_json::json!({ "error": format!("there is no part {name}") }))
            }
            Err(error) => ("500 Internal Server Error", serde_json::json!({ "error": format!("{error:#}") })),
        },
        None => ("400 Bad Request", serde_json::json!({ "error": "unknown request" })),
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Wanted {
    List,
    Act(String, Action),
}

fn parse(request: &str) -> Option<Wanted> {
    let mut words = request.split(' ');
    let (method, path) = (words.next()?, words.next()?);
    let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
    match (method, parts.as_slice()) {
        ("GET", [""]) => Some(Wanted::List),
        ("POST", ["services" | "deps", name, action]) => {
            let action = match *action {
                "start" => Action::Start,
                "stop" => Action::Stop,
                "kill" => Action::Kill,
                "crash" => Action::Crash,
                _ => return None,
            };
            Some(Wanted::Act((*name).to_owned(), action))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_understood() {
        assert_eq!(parse("GET / HTTP/1.1"), Some(Wanted::List));
        let act = |name: &str, action| Some(Wanted::Act(name.to_owned(), action));
        assert_eq!(
            parse("POST /services/instance-worker/kill HTTP/1.1"),
            act("instance-worker", Action::Kill)
        );
        assert_eq!(parse("POST /deps/rabbitmq/stop HTTP/1.1"), act("rabbitmq", Action::Stop));
        assert_eq!(parse("POST /deps/rabbitmq/explode HTTP/1.1"), None);
        assert_eq!(parse("nonsense"), None);
    }
}
