//! `kubectl exec` over a WebSocket (`v5.channel.k8s.io`), and commands of probes and hooks.
//!
//! The first byte of a message is its channel: 0 input, 1 output, 2 errors, 3 the result, 4 the size of the
//! terminal, 255 the end of a channel. There are no terminals here: a wish for one is accepted and sizes are
//! left out.

use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade, close_code};
use axum::extract::{Path, RawQuery, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use devstack::process::StopSignal;
use futures::stream::{SplitSink, SplitStream};
use futures::{SinkExt as _, StreamExt as _};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use serde_json::json;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, ChildStdin, Command};
use tokio::sync::mpsc;

use super::{find, parameter, parameters};
use crate::context::Shared;
use crate::pods::registry::Shell;
use crate::process::Exit;

const PROTOCOL: &str = "v5.channel.k8s.io";
const INPUT: u8 = 0;
const OUTPUT: u8 = 1;
const ERRORS: u8 = 2;
const RESULT: u8 = 3;
const CLOSE: u8 = 255;

/// The command of a shell: found on this machine, with the paths of the container.
fn command(shell: &Shell, words: &[String]) -> Result<Command, String> {
    let words: Vec<String> = words.iter().map(|word| shell.mounts.text(word)).collect();
    let Some((first, rest)) = words.split_first() else { return Err("no command given".to_owned()) };
    let program = if first.contains('/') && std::path::Path::new(first).is_file() {
        first.into()
    } else {
        let base = first.rsplit('/').next().unwrap_or(first);
        let usual =
            ["/usr/local/bin", "/usr/bin", "/bin", "/usr/sbin", "/sbin"].map(std::path::PathBuf::from);
        let mut places = shell.path.iter().chain(&usual).map(|folder| folder.join(base));
        places
            .find(|place| place.is_file())
            .ok_or_else(|| format!("exec: {first:?}: executable file not found in $PATH"))?
    };
    let mut launch = shell.like.clone();
    launch.program = program;
    launch.args = rest.iter().map(std::ffi::OsString::from).collect();
    launch.env.extend(shell.extra.iter().cloned());
    // A command of an operator runs as this process does: it may look at what belongs to the pod's user.
    launch.user = None;
    Ok(launch.command())
}

/// Runs a command to its end; the error has its output.
pub async fn run(shell: &Shell, words: &[String], timeout: Duration) -> Result<(), String> {
    let mut command = command(shell, words)?;
    let child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| error.to_string())?;
    match tokio::time::timeout(timeout, child.wait_with_output()).await {
        Err(_) => Err(format!("command timed out after {timeout:?}")),
        Ok(Err(error)) => Err(error.to_string()),
        Ok(Ok(output)) if output.status.success() => Ok(()),
        Ok(Ok(output)) => {
            let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
            text.push_str(&String::from_utf8_lossy(&output.stderr));
            Err(format!("command ended with {}: {}", Exit::of(output.status).code, text.trim()))
        }
    }
}

/// Answers the request of the API server.
pub(super) async fn handle(
    State(context): State<Shared>,
    Path((namespace, pod, container)): Path<(String, String, String)>,
    RawQuery(query): RawQuery,
    upgrade: WebSocketUpgrade,
) -> Response {
    let entry = match find(&context, &namespace, &pod) {
        Ok(entry) => entry,
        Err(answer) => return *answer,
    };
    let parameters = parameters(query.as_deref());
    let words: Vec<String> =
        parameters.iter().filter(|(name, _)| name == "command").map(|(_, value)| value.clone()).collect();
    let input = matches!(parameter(&parameters, "input"), Some("1" | "true"));
    let Some(shell) = entry.runtime(&container, |runtime| runtime.shell.clone()) else {
        let message = format!("container {container:?} has no process: it is not started, or simulated");
        return (StatusCode::BAD_REQUEST, message).into_response();
    };
    upgrade.protocols([PROTOCOL]).on_upgrade(move |socket| session(socket, shell, words, input))
}

async fn session(socket: WebSocket, shell: Shell, words: Vec<String>, input: bool) {
    let (mut sink, stream) = socket.split();
    let started = command(&shell, &words).and_then(|mut command| {
        command
            .stdin(if input { Stdio::piped() } else { Stdio::null() })
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| error.to_string())
    });
    let result = match started {
        Ok(child) => talk(&mut sink, stream, child).await,
        Err(message) => Some(failure(&format!("command cannot be run: {message}"), 127)),
    };
    if let Some(result) = result {
        let _ = sink.send(frame(RESULT, result.to_string().as_bytes())).await;
    }
    // Clients take an end without a code for a broken connection.
    let end = CloseFrame { code: close_code::NORMAL, reason: "".into() };
    let _ = sink.send(Message::Close(Some(end))).await;
}

/// Carries input and output until the process ends; none when the client left.
async fn talk(
    sink: &mut SplitSink<WebSocket, Message>,
    stream: SplitStream<WebSocket>,
    mut child: Child,
) -> Option<serde_json::Value> {
    let group = Pid::from_raw(child.id().and_then(|id| i32::try_from(id).ok()).unwrap_or(i32::MAX));
    let _ = devstack::process::guard(group.as_raw(), StopSignal::TermGroup);
    let (sender, mut frames) = mpsc::channel::<Message>(64);
    tokio::spawn(read(child.stdout.take(), OUTPUT, sender.clone()));
    tokio::spawn(read(child.stderr.take(), ERRORS, sender));
    let mut client = tokio::spawn(feed(stream, child.stdin.take()));

    // The senders end with the pipes, that is with the process and what it started.
    let result = loop {
        tokio::select! {
            frame = frames.recv() => match frame {
                Some(frame) => if sink.send(frame).await.is_err() { break None },
                None => break child.wait().await.ok().map(result),
            },
            _ = &mut client => {
                let _ = killpg(group, Signal::SIGTERM);
                let _ = tokio::time::timeout(Duration::from_secs(2), child.wait()).await;
                break None;
            }
        }
    };
    client.abort();
    let _ = killpg(group, Signal::SIGKILL);
    let _ = devstack::process::unguard(group.as_raw());
    result
}

async fn read(pipe: Option<impl AsyncRead + Unpin>, channel: u8, sender: mpsc::Sender<Message>) {
    let Some(mut pipe) = pipe else { return };
    let mut buffer = vec![0; 32 * 1024];
    while let Ok(length @ 1..) = pipe.read(&mut buffer).await {
        if sender.send(frame(channel, &buffer[..length])).await.is_err() {
            return;
        }
    }
}

/// Carries what the client sends to the process; ends when the client leaves.
async fn feed(mut stream: SplitStream<WebSocket>, mut input: Option<ChildStdin>) {
    while let Some(Ok(message)) = stream.next().await {
        let Message::Binary(bytes) = message else {
            if matches!(message, Message::Close(_)) {
                return;
            }
            continue;
        };
        match bytes.split_first() {
            Some((&INPUT, data)) => {
                if let Some(pipe) = &mut input
                    && pipe.write_all(data).await.is_err()
                {
                    input = None;
                }
            }
            Some((&CLOSE, [INPUT])) => input = None,
            _ => {}
        }
    }
}

fn frame(channel: u8, data: &[u8]) -> Message {
    let mut bytes = Vec::with_capacity(data.len() + 1);
    bytes.push(channel);
    bytes.extend_from_slice(data);
    Message::Binary(bytes.into())
}

fn result(status: ExitStatus) -> serde_json::Value {
    let code = Exit::of(status).code;
    if code == 0 {
        return json!({ "metadata": {}, "status": "Success" });
    }
    failure(&format!("command terminated with non-zero exit code: exit status {code}"), code)
}

fn failure(message: &str, code: i32) -> serde_json::Value {
    json!({
        "metadata": {},
        "status": "Failure",
        "message": message,
        "reason": "NonZeroExitCode",
        "details": { "causes": [{ "reason": "ExitCode", "message": code.to_string() }] },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mounts::Mounts;
    use crate::process::Launch;

    fn shell() -> Shell {
        Shell {
            like: Launch {
                program: "/bin/false".into(),
                args: Vec::new(),
                env: vec![("PATH".into(), "/usr/bin:/bin".into())],
                dir: "/".into(),
                user: None,
                stop_signal: Signal::SIGTERM,
            },
            extra: vec![("PGPORT".into(), "5432".into())],
            mounts: Mounts::default(),
            path: Vec::new(),
        }
    }

    fn words(words: &[&str]) -> Vec<String> {
        words.iter().map(|word| (*word).to_owned()).collect()
    }

    #[tokio::test]
    async fn a_command_knows_the_extra_variables() {
        let check = words(&["sh", "-c", "test $PGPORT = 5432"]);
        run(&shell(), &check, Duration::from_secs(5)).await.unwrap();
    }

    #[tokio::test]
    async fn a_failing_command_tells_its_output_and_code() {
        let error = run(&shell(), &words(&["sh", "-c", "echo no; exit 4"]), Duration::from_secs(5)).await;
        assert_eq!(error.unwrap_err(), "command ended with 4: no");

        let error = run(&shell(), &words(&["no-such-program"]), Duration::from_secs(5)).await.unwrap_err();
        assert!(error.contains("not found"), "{error}");
    }

    #[tokio::test]
    async fn a_command_that_hangs_is_given_up() {
        let error = run(&shell(), &words(&["sleep", "60"]), Duration::from_millis(50)).await;
        assert!(error.unwrap_err().contains("timed out"));
    }
}
