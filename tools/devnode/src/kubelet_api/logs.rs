//! `kubectl logs`: the last lines, from a time on, with times, followed, of this run or of the one before.

use std::io::{Read as _, Seek as _, SeekFrom};
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use jiff::Timestamp;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::parameter;
use crate::logs::{Line, LogFile};
use crate::pods::registry::Entry;

/// What part of a log is wanted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Wish {
    follow: bool,
    previous: bool,
    timestamps: bool,
    tail: Option<usize>,
    since: Option<Timestamp>,
    limit: Option<usize>,
}

impl Wish {
    fn of(parameters: &[(String, String)], now: Timestamp) -> Self {
        let flag = |name: &str| matches!(parameter(parameters, name), Some("true" | "1"));
        let number = |name: &str| parameter(parameters, name).and_then(|value| value.parse::<i64>().ok());
        let size = |name: &str| number(name).and_then(|value| usize::try_from(value).ok());
        let since_seconds = number("sinceSeconds")
            .and_then(|seconds| now.checked_sub(Duration::from_secs(seconds.unsigned_abs())).ok());
        Self {
            follow: flag("follow"),
            previous: flag("previous"),
            timestamps: flag("timestamps"),
            tail: size("tailLines"),
            since: since_seconds
                .or_else(|| parameter(parameters, "sinceTime").and_then(|time| time.parse().ok())),
            limit: size("limitBytes"),
        }
    }

    /// The wanted lines of a part of a log, as they are sent.
    fn lines(&self, content: &[u8], tail: Option<usize>) -> Vec<u8> {
        let lines: Vec<Line<'_>> = content
            .split(|byte| *byte == b'\n')
            .filter_map(Line::parse)
            .filter(|line| line.is_since(self.since))
            .collect();
        let skipped = tail.map_or(0, |tail| lines.len().saturating_sub(tail));
        let mut bytes = Vec::new();
        for line in &lines[skipped..] {
            if self.timestamps {
                bytes.extend_from_slice(line.time.as_bytes());
                bytes.push(b' ');
            }
            bytes.extend_from_slice(line.text);
            bytes.push(b'\n');
        }
        bytes
    }
}

/// The log of a container as an answer.
pub(super) fn answer(entry: &Arc<Entry>, container: &str, parameters: &[(String, String)]) -> Response {
    let wish = Wish::of(parameters, Timestamp::now());
    if entry.state().container(container).is_none() {
        let message = format!("container {container:?} is not in the pod");
        return (StatusCode::NOT_FOUND, message).into_response();
    }
    let logs = entry.runtime(container, |runtime| runtime.logs.clone());
    let log = if wish.previous { logs.previous } else { logs.current };
    let Some(log) = log else {
        if wish.previous {
            let message = format!("previous terminated container {container:?} in pod not found");
            return (StatusCode::BAD_REQUEST, message).into_response();
        }
        return Body::empty().into_response();
    };
    let (sender, receiver) = mpsc::channel::<std::io::Result<Bytes>>(16);
    tokio::spawn(send(log, wish, sender));
    Body::from_stream(ReceiverStream::new(receiver)).into_response()
}

async fn send(log: Arc<LogFile>, wish: Wish, sender: mpsc::Sender<std::io::Result<Bytes>>) {
    let mut progress = log.progress();
    let mut position = 0;
    let mut left = wish.limit;
    let mut tail = wish.tail;
    loop {
        let now = *progress.borrow_and_update();
        if now.length > position {
            let Ok(content) = read(&log, position) else { return };
            position += content.len() as u64;
            let mut bytes = wish.lines(&content, tail.take());
            if let Some(left) = &mut left {
                bytes.truncate(*left);
                *left -= bytes.len();
            }
            if !bytes.is_empty() && sender.send(Ok(bytes.into())).await.is_err() {
                return;
            }
        }
        // Only what comes after the first part is followed in full.
        tail = None;
        if !wish.follow || now.closed || left == Some(0) {
            return;
        }
        tokio::select! {
            changed = progress.changed() => if changed.is_err() { return },
            () = sender.closed() => return,
        }
    }
}

/// The complete lines from a position on.
fn read(log: &LogFile, position: u64) -> std::io::Result<Vec<u8>> {
    let mut file = std::fs::File::open(log.path())?;
    file.seek(SeekFrom::Start(position))?;
    let mut content = Vec::new();
    file.read_to_end(&mut content)?;
    let complete = content.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
    content.truncate(complete);
    Ok(content)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &[u8] = b"2026-01-01T00:00:00Z stdout F one\n2026-01-01T00:00:10Z stderr F two words\n2026-01-01T00:00:20Z stdout F three\n";

    fn wish(parameters: &[(&str, &str)]) -> Wish {
        let parameters: Vec<_> =
            parameters.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Wish::of(&parameters, "2026-01-01T00:00:25Z".parse().unwrap())
    }

    fn lines(parameters: &[(&str, &str)]) -> String {
        let wish = wish(parameters);
        String::from_utf8(wish.lines(LOG, wish.tail)).unwrap()
    }

    #[test]
    fn lines_come_without_their_times_unless_wanted() {
        assert_eq!(lines(&[]), "one\ntwo words\nthree\n");
        assert!(
            lines(&[("timestamps", "true"), ("tailLines", "1")]).starts_with("2026-01-01T00:00:20Z three")
        );
    }

    #[test]
    fn the_tail_and_a_time_choose_lines() {
        assert_eq!(lines(&[("tailLines", "2")]), "two words\nthree\n");
        assert_eq!(lines(&[("tailLines", "0")]), "");
        assert_eq!(lines(&[("sinceSeconds", "15")]), "two words\nthree\n");
        assert_eq!(lines(&[("sinceTime", "2026-01-01T00:00:20Z")]), "three\n");
    }
}
