//! `requirements`: the index of `docs/requirements`, which says for each requirement the tests that name its
//! ID. A test names one in its doc comment, or the file of tests in its own.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::Args;

use crate::workspace::root;

const FOLDER: &str = "docs/requirements";
const INDEX: &str = "docs/requirements/INDEX.md";
/// Where tests are.
const SOURCES: [&str; 4] = ["libs", "services", "tests", "tools"];

/// Write the index that says which tests prove which requirement
#[derive(Debug, Args)]
pub struct Requirements {
    /// Fail where the index is not as it would be made now, and change nothing
    #[arg(long)]
    check: bool,
}

impl Requirements {
    /// Runs it.
    pub fn run(&self) -> Result<ExitCode> {
        if self.check {
            return Ok(if is_fresh()? { ExitCode::SUCCESS } else { ExitCode::FAILURE });
        }
        fs::write(root().join(INDEX), index()?).with_context(|| format!("write {INDEX}"))?;
        Ok(ExitCode::SUCCESS)
    }
}

/// Whether the index is as it would be made now; says what to do where it is not.
pub fn is_fresh() -> Result<bool> {
    let fresh = fs::read_to_string(root().join(INDEX)).unwrap_or_default() == index()?;
    if !fresh {
        eprintln!("{INDEX} is not fresh; `cargo xtask requirements` makes it");
    }
    Ok(fresh)
}

fn index() -> Result<String> {
    let mut titles = BTreeMap::new();
    for file in files(&root().join(FOLDER), "md")? {
        if !file.ends_with("INDEX.md") {
            titles.extend(headings(&read(&file)?));
        }
    }
    let mut proofs: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for folder in SOURCES {
        for file in files(&root().join(folder), "rs")? {
            let name = file.strip_prefix(root()).unwrap_or(&file).display().to_string();
            for (id, test) in named(&read(&file)?) {
                proofs.entry(id).or_default().insert(format!("`{name}` {test}").trim_end().to_owned());
            }
        }
    }
    Ok(render(&titles, &proofs))
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("read {}", path.display()))
}

/// All files of this kind beneath a folder, in the order of their names, without what cargo or the node
/// built.
fn files(folder: &Path, extension: &str) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| format!("read {}", folder.display()))? {
        let entry = entry?;
        let path = entry.path();
        if entry.file_type()?.is_dir() {
            if entry.file_name() != "target" {
                found.extend(files(&path, extension)?);
            }
        } else if path.extension().is_some_and(|found| found == extension) {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// `## INS-20 One operation at a time` → the ID and its title.
fn headings(text: &str) -> Vec<(String, String)> {
    let lines = text.lines().filter_map(|line| line.strip_prefix("## "));
    lines
        .filter_map(|line| {
            let (id, title) = line.split_once(' ')?;
            is_id(id).then(|| (id.to_owned(), title.to_owned()))
        })
        .collect()
}

/// Three letters or digits, a hyphen, two digits or more.
fn is_id(word: &str) -> bool {
    word.split_once('-').is_some_and(|(area, number)| {
        area.len() == 3
            && area.starts_with(|c: char| c.is_ascii_uppercase())
            && area.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit())
            && number.len() >= 2
            && number.chars().all(|c| c.is_ascii_digit())
    })
}

fn ids(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_ascii_alphanumeric() && c != '-').filter(|word| is_id(word))
}

/// The IDs that a file of tests names, each with the test, or without one where the head of the file names
/// it.
fn named(text: &str) -> Vec<(String, String)> {
    let is_test = |line: &str| line.starts_with("#[") && line.contains("test") && !line.contains("cfg(");
    if !text.lines().any(|line| is_test(line.trim())) {
        return Vec::new();
    }
    let mut found = Vec::new();
    let (mut comment, mut tested) = (String::new(), false);
    for line in text.lines().map(str::trim) {
        if let Some(head) = line.strip_prefix("//!") {
            found.extend(ids(head).map(|id| (id.to_owned(), String::new())));
        } else if let Some(more) = line.strip_prefix("///") {
            comment.push_str(more);
            comment.push('\n');
        } else if is_test(line) {
            tested = true;
        } else if let Some((_, rest)) = line.split_once("fn ").filter(|_| tested) {
            let name = rest.split(['(', '<']).next().unwrap_or_default();
            found.extend(ids(&comment).map(|id| (id.to_owned(), format!("`{name}`"))));
            (comment, tested) = (String::new(), false);
        } else if !line.starts_with("#[") && !line.starts_with("//") && !tested {
            comment.clear();
        }
    }
    found
}

fn render(titles: &BTreeMap<String, String>, proofs: &BTreeMap<String, BTreeSet<String>>) -> String {
    let mut text = String::from(
        "# Which test proves which requirement\n\n\
         Made by `cargo xtask requirements` from the IDs that stand in doc comments of tests; `cargo xtask lint` \
         keeps it fresh.\n",
    );
    let unproved: Vec<_> = titles.keys().filter(|id| !proofs.contains_key(*id)).map(String::as_str).collect();
    let proved = titles.len() - unproved.len();
    let _ = write!(
        text,
        "{proved} of {} requirements are named by a test.\n\n## Named by none\n\n",
        titles.len()
    );
    for id in unproved {
        let _ = writeln!(text, "- {id} {}", titles.get(id).map_or("", String::as_str));
    }
    text.push_str("\n## Named by tests\n");
    for (id, tests) in proofs.iter().filter(|(id, _)| titles.contains_key(*id)) {
        let _ = write!(text, "\n### {id} {}\n\n", titles.get(id).map_or("", String::as_str));
        for test in tests {
            let _ = writeln!(text, "- {test}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_told_from_other_words() {
        let text = "INS-20, K8S-31: as USR-01 says; not UTF-8, SHA-256, X-1 or E-27.";
        assert_eq!(ids(text).collect::<Vec<_>>(), ["INS-20", "K8S-31", "USR-01", "SHA-256"]);
        assert_eq!(headings("# T\n\n## INS-20 One at a time\n## How\n").len(), 1);
    }

    #[test]
    fn a_test_names_what_it_proves() {
        let text = "//! All of it (REL-01).\n\n/// INS-20: one\n/// at a time.\n#[sqlx::test]\nasync fn one(pool: PgPool) {\n\
                    /// BIL-01: a helper, no test.\nfn other() {}\n";
        let found = named(text);
        assert_eq!(found, [("REL-01".into(), String::new()), ("INS-20".into(), "`one`".into())]);
        assert!(named("//! INS-20\nfn main() {}").is_empty());
    }

    #[test]
    fn requirements_without_a_test_are_listed() {
        let titles = BTreeMap::from([
            ("INS-20".to_owned(), "One".to_owned()),
            ("INS-21".to_owned(), "Two".to_owned()),
        ]);
        let proofs = BTreeMap::from([("INS-20".to_owned(), BTreeSet::from(["`a.rs` `one`".to_owned()]))]);
        let text = render(&titles, &proofs);
        assert!(text.contains("1 of 2 requirements"));
        assert!(text.contains("- INS-21 Two\n"));
        assert!(text.contains("### INS-20 One\n\n- `a.rs` `one`\n"));
    }
}
