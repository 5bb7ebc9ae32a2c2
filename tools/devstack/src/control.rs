//! The switch of a running stack: a small HTTP server on loopback through which tests stop, kill and start
//! parts.
//!
//! - `GET /`: all parts; `GET /services/{name}` and `GET /deps/{name}`: one.
//! - `POST /services/{name}/{action}`, `POST /deps/{name}/{action}` with `stop`, `kill` (as by a crash, but
//!   it stays down), `crash` (killed, and started again with back-off) and `start`, which answers when the
//!   part is ready. The body of `start` may hold `{"env": {…}, "restart": false}`, in force until the next
//!   such start; 409 when the part runs already without it.
//! - `POST /services/{name}/replica/start` and `…/stop`: a second copy on ports of its own.
//! - `POST /deps/rabbitmq/purge`: empties every queue.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use crate::stack::Stack;
use crate::unit::{AlreadyRuns, Overlay};

/// What is done to a part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Start and wait until ready.
    Start(Overlay),
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

fn answer(stack: &Arc<Stack>, mut stream: TcpStream) -> Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut request = String::new();
    reader.read_line(&mut request)?;
    let mut length = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let Some((name, value)) = line.split_once(':') else { break };
        if name.eq_ignore_ascii_case("content-length") {
            length = value.trim().parse()?;
        }
    }
    let mut body = String::new();
    reader.take(length).read_to_string(&mut body)?;

    let (status, body) = respond(stack, &request, &body);
    let text = body.to_string();
    write!(
        stream,
        "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: \
         close\r\n\r\n{text}",
        text.len()
    )?;
    Ok(())
}

fn respond(stack: &Arc<Stack>, request: &str, body: &str) -> (&'static str, Value) {
    let outcome = match parse(request, body) {
        Some(Wanted::List) => return ("200 OK", stack.describe()),
        Some(Wanted::One(name)) => {
            return stack.describe_one(&name).map_or_else(|| unknown(&name), |part| ("200 OK", part));
        }
        Some(Wanted::Act(name, action)) => stack.act(&name, action).map(|done| (done, name)),
        Some(Wanted::Replica(name, start)) => stack.replica(&name, start).map(|done| (done, name)),
        Some(Wanted::Purge) => stack.purge_queues().map(|()| (true, "rabbitmq".to_owned())),
        None => return ("400 Bad Request", json!({ "error": "unknown request" })),
    };
    match outcome {
        Ok((true, name)) => ("200 OK", json!({ "name": name, "done": true })),
        Ok((false, name)) => unknown(&name),
        Err(error) if error.is::<AlreadyRuns>() => ("409 Conflict", json!({ "error": error.to_string() })),
        Err(error) => ("500 Internal Server Error", json!({ "error": format!("{error:#}") })),
    }
}

fn unknown(name: &str) -> (&'static str, Value) {
    ("404 Not Found", json!({ "error": format!("there is no part {name}") }))
}

#[derive(Debug, PartialEq, Eq)]
enum Wanted {
    List,
    One(String),
    Act(String, Action),
    Replica(String, bool),
    Purge,
}

fn parse(request: &str, body: &str) -> Option<Wanted> {
    let mut words = request.split(' ');
    let (method, path) = (words.next()?, words.next()?);
    let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
    match (method, parts.as_slice()) {
        ("GET", [""]) => Some(Wanted::List),
        ("GET", ["services" | "deps", name]) => Some(Wanted::One((*name).to_owned())),
        ("POST", ["deps", "rabbitmq", "purge"]) => Some(Wanted::Purge),
        ("POST", ["services", name, "replica", "start"]) => Some(Wanted::Replica((*name).to_owned(), true)),
        ("POST", ["services", name, "replica", "stop"]) => Some(Wanted::Replica((*name).to_owned(), false)),
        ("POST", ["services" | "deps", name, action]) => {
            let action = match *action {
                "start" if body.trim().is_empty() => Action::Start(Overlay::default()),
                "start" => Action::Start(serde_json::from_str(body).ok()?),
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
        let act = |name: &str, action| Some(Wanted::Act(name.to_owned(), action));
        assert_eq!(parse("GET / HTTP/1.1", ""), Some(Wanted::List));
        assert_eq!(parse("GET /services/gateway HTTP/1.1", ""), Some(Wanted::One("gateway".to_owned())));
        assert_eq!(
            parse("POST /services/instance-worker/kill HTTP/1.1", "{}"),
            act("instance-worker", Action::Kill)
        );
        assert_eq!(parse("POST /deps/rabbitmq/stop HTTP/1.1", ""), act("rabbitmq", Action::Stop));
        assert_eq!(parse("POST /deps/rabbitmq/purge HTTP/1.1", ""), Some(Wanted::Purge));
        assert_eq!(parse("POST /deps/rabbitmq/explode HTTP/1.1", ""), None);
        let replica = Some(Wanted::Replica("instance-worker".to_owned(), true));
        assert_eq!(parse("POST /services/instance-worker/replica/start HTTP/1.1", ""), replica);
        assert_eq!(parse("nonsense", ""), None);
    }

    #[test]
    fn a_start_may_change_the_environment() {
        let body = r#"{"env": {"WORKER_FAIL_POINT": "database"}, "restart": false}"#;
        let Some(Wanted::Act(_, Action::Start(overlay))) = parse("POST /services/x/start HTTP/1.1", body)
        else {
            panic!("not understood")
        };
        assert_eq!(overlay.env.get("WORKER_FAIL_POINT").map(String::as_str), Some("database"));
        assert!(!overlay.restart);
        assert_eq!(parse("POST /services/x/start HTTP/1.1", r#"{"nonsense": 1}"#), None);
        let plain = Some(Wanted::Act("x".to_owned(), Action::Start(Overlay::default())));
        assert_eq!(parse("POST /services/x/start HTTP/1.1", "{}"), plain);
    }
}
