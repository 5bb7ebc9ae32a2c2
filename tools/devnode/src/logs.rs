//! Logs of containers: one file for each run, each line with time and stream in the format that container
//! runtimes use.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use tokio::sync::watch;

/// Which output a line came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Out,
    /// Standard error.
    Err,
}

/// Length of a log, and whether more may come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Bytes written.
    pub length: u64,
    /// No more will come.
    pub closed: bool,
}

/// The log of one run.
#[derive(Debug)]
pub struct LogFile {
    path: PathBuf,
    file: Mutex<File>,
    progress: watch::Sender<Progress>,
}

impl LogFile {
    /// Makes an empty log.
    pub fn create(path: &Path) -> io::Result<Self> {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        let file = Mutex::new(File::create(path)?);
        let (progress, _) = watch::channel(Progress { length: 0, closed: false });
        Ok(Self { path: path.to_owned(), file, progress })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Adds a line, given without its end.
    pub fn append(&self, stream: Stream, line: &[u8]) {
        let name = match stream {
            Stream::Out => "stdout",
            Stream::Err => "stderr",
        };
        let mut bytes = format!("{:.9} {name} F ", Timestamp::now()).into_bytes();
        bytes.extend_from_slice(line);
        bytes.push(b'\n');
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        // A full disk must not take the pod with it; its log then lacks a line.
        if file.write_all(&bytes).is_ok() {
            self.progress.send_modify(|progress| progress.length += bytes.len() as u64);
        }
    }

    /// Says that no more will come.
    pub fn close(&self) {
        self.progress.send_modify(|progress| progress.closed = true);
    }

    /// Follows its growth.
    pub fn progress(&self) -> watch::Receiver<Progress> {
        self.progress.subscribe()
    }
}

/// The logs of one container: of this run and of the one before.
#[derive(Debug, Clone, Default)]
pub struct ContainerLogs {
    /// This run.
    pub current: Option<Arc<LogFile>>,
    /// The run before.
    pub previous: Option<Arc<LogFile>>,
}

impl ContainerLogs {
    /// Begins the log of a new run. Only the last two runs are kept.
    pub fn begin(&mut self, folder: &Path, run: i32) -> io::Result<Arc<LogFile>> {
        let log = Arc::new(LogFile::create(&folder.join(format!("{run}.log")))?);
        if let Some(dropped) = self.previous.take() {
            let _ = fs::remove_file(dropped.path());
        }
        self.previous = self.current.replace(log.clone());
        Ok(log)
    }
}

/// One line of a log file, taken apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Line<'a> {
    /// When it was written, as text.
    pub time: &'a str,
    /// What was written.
    pub text: &'a [u8],
}

impl<'a> Line<'a> {
    /// Takes a line apart, given without its end.
    pub fn parse(line: &'a [u8]) -> Option<Self> {
        let mut parts = line.splitn(4, |byte| *byte == b' ');
        let time = std::str::from_utf8(parts.next()?).ok()?;
        let (_, _, text) = (parts.next()?, parts.next()?, parts.next()?);
        Some(Self { time, text })
    }

    /// Whether it was written at or after `since`.
    pub fn is_since(&self, since: Option<Timestamp>) -> bool {
        since.is_none_or(|since| self.time.parse::<Timestamp>().is_ok_and(|time| time >= since))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_taken_apart_as_they_were_written() {
        let dir = tempfile::tempdir().unwrap();
        let log = LogFile::create(&dir.path().join("a/log")).unwrap();
        log.append(Stream::Err, b"two words");
        let content = fs::read(log.path()).unwrap();

        let line = Line::parse(content.strip_suffix(b"\n").unwrap()).unwrap();

        assert_eq!(line.text, b"two words");
        assert!(line.is_since(Some(Timestamp::UNIX_EPOCH)));
        assert_eq!(log.progress().borrow().length, content.len() as u64);
    }

    #[test]
    fn only_two_runs_are_kept() {
        let dir = tempfile::tempdir().unwrap();
        let mut logs = ContainerLogs::default();
        for run in 0..3 {
            logs.begin(dir.path(), run).unwrap();
        }

        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
        assert!(logs.previous.unwrap().path().ends_with("1.log"));
    }
}
