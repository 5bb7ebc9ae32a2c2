//! `logs`: the log of one part of the stack.

use std::fs::{self, File};
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::Args;
use devstack::layout::Layout;

use crate::{signals, workspace};

/// Show the log of one part
#[derive(Debug, Args)]
pub struct Logs {
    /// Service or server, as `status` names it
    name: String,
    /// Go on while the file grows
    #[arg(short, long)]
    follow: bool,
    /// Begin with the last lines instead of the first
    #[arg(short = 'n', long, value_name = "LINES")]
    tail: Option<usize>,
}

impl Logs {
    /// Prints the file, and follows it if wanted.
    pub fn run(self, stack: &str) -> Result<ExitCode> {
        signals::unblock();
        let layout = workspace::named_layout(stack)?;
        let path = layout.log_of(&self.name).with_context(|| {
            format!("{} has no log; these have one: {}", self.name, names(&layout).join(", "))
        })?;
        let mut file = File::open(&path).with_context(|| format!("open {}", path.display()))?;
        if let Some(lines) = self.tail {
            let text = fs::read(&path).with_context(|| format!("read {}", path.display()))?;
            file.seek(SeekFrom::Start(start_of_last(&text, lines)))?;
        }
        loop {
            let mut bytes = Vec::new();
            file.read_to_end(&mut bytes)?;
            std::io::stdout().lock().write_all(&bytes)?;
            if !self.follow {
                return Ok(ExitCode::SUCCESS);
            }
            std::thread::sleep(Duration::from_millis(200));
        }
    }
}

/// The parts that have a log.
fn names(layout: &Layout) -> Vec<String> {
    let folders = [layout.logs(), layout.kubernetes().join("log")];
    let entries = folders.iter().flat_map(|folder| fs::read_dir(folder).into_iter().flatten().flatten());
    let mut names: Vec<_> = entries
        .filter_map(|entry| entry.file_name().to_string_lossy().strip_suffix(".log").map(str::to_owned))
        .collect();
    names.sort();
    names
}

/// Where the last so many lines begin.
fn start_of_last(text: &[u8], lines: usize) -> u64 {
    let ends = text.iter().enumerate().rev().filter(|(at, byte)| **byte == b'\n' && at + 1 < text.len());
    let start = if lines == 0 { Some(text.len()) } else { ends.map(|(at, _)| at + 1).nth(lines - 1) };
    start.unwrap_or_default() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_lines_are_counted_from_the_end() {
        let text = b"one\ntwo\nthree\n";
        assert_eq!(start_of_last(text, 1), 8);
        assert_eq!(start_of_last(text, 2), 4);
        assert_eq!(start_of_last(text, 9), 0);
        assert_eq!(start_of_last(text, 0), text.len() as u64);
        assert_eq!(start_of_last(b"", 3), 0);
    }
}
