//! Cargo where it takes minutes: its own progress bar is read, so that a person sees how far it is, on a
//! terminal or not.

use std::io::{BufRead, BufReader, Write as _};
use std::process::{Command, Stdio};

use anyhow::Result;
use devstack::process;
use devstack::progress::{Count, Progress};

use crate::signals;

/// What cargo tells of its ordinary work, a word at the start of each line. Everything else is for the
/// person: warnings and errors.
const ROUTINE: [&str; 13] = [
    "Adding",
    "Blocking",
    "Building",
    "Checking",
    "Compiling",
    "Documenting",
    "Downloaded",
    "Downloading",
    "Finished",
    "Fresh",
    "Installing",
    "Locking",
    "Updating",
];

/// Runs a command of cargo as a stage; tells whether it succeeded.
pub fn succeeds(command: &mut Command, name: &str, progress: &Progress) -> Result<bool> {
    command
        .stderr(Stdio::piped())
        .env("CARGO_TERM_PROGRESS_WHEN", "always")
        // Wide enough for the two numbers, which a narrow bar leaves out.
        .env("CARGO_TERM_PROGRESS_WIDTH", "120");
    progress.counted(name, "crates", |count| {
        let status = process::run_foreground_with(command, signals::forward_to, |child| {
            if let Some(pipe) = child.stderr.take() {
                follow(BufReader::new(pipe), count)?;
            }
            Ok(())
        });
        signals::forward_to(0);
        Ok(status?.success())
    })
}

/// Reads to the end: numbers of the bar go to `count`, what concerns a person to standard error.
fn follow(pipe: impl BufRead, count: &Count) -> Result<()> {
    let mut line = Vec::new();
    for byte in pipe.bytes() {
        match byte? {
            // The bar writes itself anew from the start of its line.
            end @ (b'\r' | b'\n') => {
                tell(&String::from_utf8_lossy(&line), end == b'\n', count);
                line.clear();
            }
            byte => line.push(byte),
        }
    }
    tell(&String::from_utf8_lossy(&line), true, count);
    Ok(())
}

fn tell(line: &str, complete: bool, count: &Count) {
    let text = line.trim_start_matches("\u{1b}[K");
    if let Some((done, total)) = numbers(text) {
        count.set(done, total);
    } else if complete && !is_routine(text) {
        // Nobody reads any more: the work goes on.
        let _: std::io::Result<()> = writeln!(std::io::stderr().lock(), "{text}");
    }
}

fn is_routine(text: &str) -> bool {
    let word = text.trim_start().split(' ').next().unwrap_or_default();
    // Its own lines are indented so that the words end below each other; a line of a compiler's message is
    // not.
    text.starts_with(' ') && ROUTINE.contains(&word)
}

/// `    Building [====>     ] 412/655: name` → 412 and 655.
fn numbers(text: &str) -> Option<(usize, usize)> {
    let (head, rest) = text.split_once("] ")?;
    if !head.trim_start().starts_with("Building [") {
        return None;
    }
    let (done, rest) = rest.split_once('/')?;
    let total: String = rest.chars().take_while(char::is_ascii_digit).collect();
    Some((done.trim().parse().ok()?, total.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bar_of_cargo_is_read() {
        let bar = "    Building [=======>      ] 412/655: gateway, billing-service";
        assert_eq!(numbers(bar), Some((412, 655)));
        assert_eq!(numbers("error: expected one of `]` or `/`"), None);
        assert_eq!(numbers("    Building [=======>      ] about 1/2"), None);
    }

    #[test]
    fn messages_of_the_compiler_are_no_routine() {
        assert!(is_routine("   Compiling gateway v0.1.0 (/x)"));
        assert!(!is_routine("warning: unused variable"));
        assert!(!is_routine("  --> src/main.rs:1:1"));
        assert!(!is_routine(""));
    }
}
