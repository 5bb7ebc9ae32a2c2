//! Lines of at most 110 characters, also where rustfmt does not look: comments, texts, SQL, pages.

use std::fs;
use std::process::Command;

use anyhow::Result;
use devstack::process;

use crate::workspace::root;

const WIDTH: usize = 110;
/// Files that people read as text.
const KINDS: [&str; 6] = [".rs", ".sql", ".md", ".proto", ".toml", ".sh"];
/// Made by programs, or quoted as it is.
const LEFT_OUT: [&str; 2] = ["docs/requirements/INDEX.md", "docs/SETTINGS.md"];
/// Longer lines that are still there, nearly all of them texts in quotes and SQL. The number only falls:
/// whoever shortens some, lowers it.
const TOLERATED: usize = 1_086;

/// Whether no more lines are too long than are tolerated; names them where there are more.
pub fn are_short() -> Result<bool> {
    let names = process::run(Command::new("git").args(["ls-files"]).current_dir(root()), None)?;
    let mut long = Vec::new();
    for name in names.lines().filter(|name| concerns(name)) {
        let Ok(text) = fs::read_to_string(root().join(name)) else { continue };
        long.extend(too_long(&text).map(|line| format!("{name}:{line}")));
    }
    if long.len() > TOLERATED {
        eprintln!("{} lines have more than {WIDTH} characters, {TOLERATED} are tolerated:", long.len());
        eprintln!("{}", long.join("\n"));
        return Ok(false);
    }
    if long.len() < TOLERATED {
        eprintln!("only {} lines are too long: lower TOLERATED in {} to that", long.len(), file!());
    }
    Ok(true)
}

fn concerns(name: &str) -> bool {
    KINDS.iter().any(|kind| name.ends_with(kind)) && !LEFT_OUT.contains(&name)
}

/// Numbers of the lines that are too long. A line of one word, such as an address, cannot be broken, and a
/// row of a table neither.
fn too_long(text: &str) -> impl Iterator<Item = usize> {
    text.lines().enumerate().filter_map(|(at, line)| {
        let breakable = line.trim().contains(' ') && !line.trim_start().starts_with('|');
        (breakable && line.chars().count() > WIDTH).then_some(at + 1)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_counted_in_characters() {
        let text = format!("short\n{}\n{}\n| {} | x |\n", "ä ".repeat(56), "x".repeat(200), "y".repeat(200));
        assert_eq!(too_long(&text).collect::<Vec<_>>(), [2]);
        assert!(concerns("docs/RUNBOOK.md") && !concerns("docs/SETTINGS.md") && !concerns("Cargo.lock"));
    }
}
