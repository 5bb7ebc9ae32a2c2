//! The former release on the present schema. While a release is rolled out, programs of the one before run
//! beside those of the new one, on a schema to which all migrations were applied. So each query of the former
//! release must still be understood there, and take and give the same types.
//!
//! Seen by this: columns, tables and functions that are gone or have another type. Not seen: values that a
//! new constraint refuses, and columns that may be NULL by now; the lint over migrations in
//! `tests/architecture` is for these.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};
use devstack::progress::Progress;
use devstack::stack::Stack;
use devstack::{postgres, process};

use crate::databases;
use crate::queries::{Queries, queries};
use crate::workspace::{crates_with_sql, root, target};

/// Without tags of releases: what is this many commits old may still run somewhere.
const COMMITS: usize = 20;

/// Whether the queries of a former release, or of the last one, work on the present schema; names those that
/// do not. `None` where the clone has no history.
pub fn is_served(release: Option<String>, progress: &Progress) -> Result<Option<bool>> {
    let Some(release) = release.map_or_else(commit, |release| Ok(Some(release)))? else { return Ok(None) };
    let broken = broken_queries(&release, progress)?;
    for query in &broken {
        eprintln!("{query}");
    }
    if !broken.is_empty() {
        let page = "see \"A table\" in CONTRIBUTING.md";
        eprintln!("programs of {release} still run while the new ones start: {page}");
    }
    Ok(Some(broken.is_empty()))
}

/// The commit of the former release: the newest tag `v…` before this commit, else one some commits ago.
/// `None` where the clone has no history, such as a shallow one.
fn commit() -> Result<Option<String>> {
    if let Ok(tag) = git(&["describe", "--tags", "--abbrev=0", "--match", "v[0-9]*", "HEAD^"]) {
        return Ok(Some(tag.trim().to_owned()));
    }
    let count = format!("--max-count={}", COMMITS + 1);
    let commits = git(&["rev-list", "--first-parent", &count, "HEAD"])?;
    Ok(commits.lines().skip(1).last().map(|commit| commit.chars().take(12).collect()))
}

fn git(args: &[&str]) -> Result<String> {
    process::run(Command::new("git").args(args).current_dir(root()), None)
}

/// The queries of a commit that the present schema does not answer as that commit's own did.
fn broken_queries(commit: &str, progress: &Progress) -> Result<Vec<String>> {
    let folder = target()?.join(format!("former-{}", std::process::id()));
    drop(fs::remove_dir_all(&folder));
    let former = unpack(commit, &folder);
    let broken = former.and_then(|former| {
        databases::with_server(progress, |stack| {
            databases::make_databases(stack, "former", &former)?;
            databases::make_databases(stack, "present", &crates_with_sql()?)?;
            former.iter().try_fold(Vec::new(), |mut all, folder| {
                all.extend(compare(stack, folder)?);
                Ok(all)
            })
        })
    });
    drop(fs::remove_dir_all(&folder));
    broken
}

/// Puts the migrations and the data of queries of a commit into a folder; gives the crates that have some.
fn unpack(commit: &str, folder: &Path) -> Result<Vec<PathBuf>> {
    fs::create_dir_all(folder).with_context(|| format!("create {}", folder.display()))?;
    let archive = folder.join("former.tar").display().to_string();
    git(&["archive", "--output", &archive, commit, "--", "libs", "services"])?;
    let mut tar = Command::new("tar");
    tar.args(["-xf", &archive, "-C"]).arg(folder).args(["--wildcards"]);
    tar.args(["*/sqlx.toml", "*/migrations/*", "*/.sqlx/*"]);
    process::run(&mut tar, None).context("unpack the former release")?;
    let mut crates = Vec::new();
    for kind in ["libs", "services"] {
        for entry in fs::read_dir(folder.join(kind)).into_iter().flatten() {
            crates.push(entry?.path());
        }
    }
    crates.retain(|path| path.join("sqlx.toml").exists());
    crates.sort();
    Ok(crates)
}

/// Asks the database of the former release and the present one about each query of a crate.
fn compare(stack: &Stack, folder: &Path) -> Result<Vec<String>> {
    let variable = databases::variable(folder)?;
    let data = queries(&folder.join(".sqlx"))?;
    let script = script(&data)?;
    let ask = |prefix: &str| {
        let database = databases::scratch_database(prefix, &variable);
        postgres::run_script(&stack.database_address(), &stack.secrets().postgres, &database, &script)
    };
    let (former, present) = (answers(&ask("former")?), answers(&ask("present")?));
    let name = databases::name(folder);
    let other = former.iter().filter(|(file, was)| present.get(*file) != Some(was));
    Ok(other
        .map(|(file, was)| {
            let now = present.get(file).map_or("nothing", String::as_str);
            let query = data.get(file).and_then(|data| query(data).ok()).unwrap_or_default();
            format!("{name}: {query}\n  was answered with {was}\n  and is now with {now}")
        })
        .collect())
}

/// A script that tells of each query its parameters and what it gives, or why it is not understood.
fn script(data: &Queries) -> Result<String> {
    let mut script = "\\set ON_ERROR_STOP 0\n\\set VERBOSITY sqlstate\n".to_owned();
    for (file, data) in data {
        let query = query(data)?;
        writeln!(script, "\\echo @{file}\nPREPARE asked AS {query}\n;\n\\echo :SQLSTATE")?;
        writeln!(script, "SELECT parameter_types FROM pg_prepared_statements WHERE name = 'asked';")?;
        writeln!(script, "DEALLOCATE ALL;\n{query}\n\\gdesc")?;
    }
    Ok(script)
}

fn query(data: &str) -> Result<String> {
    let data: serde_json::Value = serde_json::from_str(data).context("the data of a query is no JSON")?;
    Ok(data["query"].as_str().context("the data has no query")?.to_owned())
}

/// What the script told, by file.
fn answers(output: &str) -> BTreeMap<String, String> {
    let told = output.split("\n@").map(|part| part.trim_start_matches('@'));
    let told = told.filter_map(|part| part.split_once('\n'));
    told.map(|(file, text)| (file.to_owned(), text.trim().replace('\n', " "))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_told_by_file() {
        let told = answers("@a.json\n00000\n{uuid}\nid|uuid\n@b.json\n42703\n");
        assert_eq!(told["a.json"], "00000 {uuid} id|uuid");
        assert_eq!(told["b.json"], "42703");
    }

    #[test]
    fn each_query_is_asked_for_what_it_takes_and_gives() {
        let data = Queries::from([("a.json".to_owned(), r#"{"query": "SELECT 1 -- one"}"#.to_owned())]);
        let script = script(&data).unwrap();
        assert!(script.contains("\nPREPARE asked AS SELECT 1 -- one\n;\n"), "{script}");
        assert!(script.ends_with("\nSELECT 1 -- one\n\\gdesc\n"), "{script}");
    }
}
