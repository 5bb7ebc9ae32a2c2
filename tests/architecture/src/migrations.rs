//! Migrations are applied while programs of the former release still run, so a change has three parts, each
//! in a release of its own: *expand* (add what is new, beside the old), *migrate* (all programs use the new),
//! and *contract* (the old goes). CONTRIBUTING has the rule; this holds new migrations against it. The first
//! migration of a database is its baseline and is not looked at.
//!
//! A statement of the third part says so in the comment before it, with the release that needed the old part
//! last: `-- contract: v1.4 was the last release that read the column.`
//!
//! Not seen: a new constraint that refuses what the former release writes. `cargo xtask sqlx former` asks the
//! new schema about each query of the former release.

use std::fs;
use std::path::{Path, PathBuf};

use crate::sources;

/// The mark of a statement that takes away what no running release uses.
const MARK: &str = "-- contract: ";

/// The migrations of a package after its baseline.
fn new_migrations(package: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(package.join("migrations")).into_iter().flatten();
    let mut found: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    found.retain(|path| path.extension().is_some_and(|extension| extension == "sql"));
    found.sort();
    found.into_iter().skip(1).collect()
}

/// The statements of a script, with the comments before each. What stands between `$$` is one part of it.
fn statements(script: &str) -> Vec<String> {
    let mut all = Vec::new();
    let mut statement = String::new();
    let mut quoted = false;
    for line in script.lines() {
        let code = line.split("--").next().unwrap_or_default();
        quoted ^= code.matches("$$").count() % 2 == 1;
        statement.push_str(line);
        statement.push('\n');
        if !quoted && code.trim_end().ends_with(';') {
            all.push(std::mem::take(&mut statement));
        }
    }
    all.push(statement);
    all
}

/// Why a program of the former release would break on this statement.
fn breaks(statement: &str) -> Option<&'static str> {
    let code: Vec<&str> = statement.lines().map(|line| line.split("--").next().unwrap_or_default()).collect();
    let code = code.join(" ").to_uppercase().replace(['(', ')', ';'], " ").replace(',', " , ");
    let words: Vec<&str> = code.split_whitespace().collect();
    let has = |wanted: &[&str]| words.windows(wanted.len()).any(|window| window == wanted);
    if ["TABLE", "VIEW", "FUNCTION", "TYPE"].iter().any(|kind| words.starts_with(&["DROP", kind])) {
        return Some("drops what the former release may use");
    }
    if !words.starts_with(&["ALTER"]) {
        return None;
    }
    if words.contains(&"RENAME") {
        return Some("renames what the former release uses");
    }
    if has(&["DROP", "COLUMN"]) {
        return Some("drops a column");
    }
    if has(&["SET", "NOT", "NULL"]) {
        return Some("demands a value that the former release may not write");
    }
    if has(&["DROP", "NOT", "NULL"]) {
        return Some("lets a column be NULL that the former release reads as never NULL");
    }
    if words.contains(&"ALTER") && (has(&["SET", "DATA", "TYPE"]) || changes_type(&words)) {
        return Some("changes the type of a column");
    }
    let parts: Vec<&[&str]> = words.split(|word| *word == ",").collect();
    let demands = parts.iter().any(|part| adds_column(part) && not_null(part) && !part.contains(&"DEFAULT"));
    demands.then_some("adds a column that the former release does not fill")
}

/// `ALTER COLUMN x TYPE y`, also without `COLUMN`.
fn changes_type(words: &[&str]) -> bool {
    words.iter().enumerate().any(|(at, word)| {
        let name = if words.get(at + 1) == Some(&"COLUMN") { at + 2 } else { at + 1 };
        at > 0 && *word == "ALTER" && words.get(name + 1) == Some(&"TYPE")
    })
}

fn adds_column(part: &[&str]) -> bool {
    let next = part.iter().position(|word| *word == "ADD").and_then(|at| part.get(at + 1));
    next.is_some_and(|next| {
        !["CONSTRAINT", "CHECK", "UNIQUE", "PRIMARY", "FOREIGN", "EXCLUDE"].contains(next)
    })
}

fn not_null(part: &[&str]) -> bool {
    part.windows(2).any(|pair| pair == ["NOT", "NULL"]) || part.contains(&"PRIMARY")
}

/// The statements of a script that break the former release and are not marked.
fn faults(script: &str) -> Vec<String> {
    let statements = statements(script);
    let unmarked = statements.iter().filter(|statement| !statement.contains(MARK));
    unmarked
        .filter_map(|statement| breaks(statement).map(|why| format!("{}\n  {why}", statement.trim())))
        .collect()
}

#[test]
fn the_former_release_runs_on_each_new_migration() {
    let mut wrong = Vec::new();
    for package in sources::packages(&["libs", "services"]) {
        for migration in new_migrations(&package) {
            let script = fs::read_to_string(&migration).unwrap();
            let name = sources::name(&migration);
            wrong.extend(faults(&script).into_iter().map(|fault| format!("{name}: {fault}")));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn what_breaks_the_former_release_is_found() {
    for statement in [
        "DROP TABLE users;",
        "ALTER TABLE users DROP COLUMN phone;",
        "alter table users\n    rename column phone to telephone;",
        "ALTER TABLE users RENAME TO people;",
        "ALTER TABLE users ALTER COLUMN phone TYPE bytea;",
        "ALTER TABLE users ALTER phone SET NOT NULL;",
        "ALTER TABLE users ALTER COLUMN phone DROP NOT NULL;",
        "ALTER TABLE users ADD COLUMN a text, ADD COLUMN b uuid NOT NULL;",
        "DROP FUNCTION f(x int);",
    ] {
        assert_eq!(faults(statement).len(), 1, "{statement}");
        let marked = format!("{MARK}v1.4 was the last release that read it.\n{statement}");
        assert!(faults(&marked).is_empty(), "{marked}");
    }
    let second = format!("{MARK}v1.4 read it.\nDROP TABLE a;\nDROP TABLE b;");
    assert_eq!(faults(&second).len(), 1, "a mark is for one statement");
}

#[test]
fn what_only_adds_is_no_fault() {
    for statement in [
        "CREATE TABLE a (id uuid PRIMARY KEY, n text NOT NULL);",
        "ALTER TABLE a ADD COLUMN b bigint NOT NULL DEFAULT 0, ADD COLUMN c text;",
        "ALTER TABLE a ADD CONSTRAINT b CHECK (c IS NOT NULL OR d);",
        "ALTER TABLE a DROP CONSTRAINT b;",
        "-- DROP TABLE a;\nCREATE INDEX i ON a (b) WHERE c IS NOT NULL;",
        "CREATE FUNCTION f() RETURNS trigger AS $$\nBEGIN\n    DROP TABLE x;\nEND $$;",
    ] {
        assert_eq!(faults(statement), Vec::<String>::new(), "{statement}");
    }
}
