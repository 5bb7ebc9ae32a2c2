//! `docs/ERRORS.md` names every reason that an answer can carry, and none that nobody gives.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use crate::sources::root;

/// Calls that take a reason as their text argument after the first, or as the first.
const CALLS: [&str; 6] = [
    "Refusal::new(",
    "Problem::new(",
    "Error::Refused(",
    "Failure::permanent(",
    "Failure::transient(",
    "cause(",
];

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// The code of services and libraries without comments and tests, by file.
fn code() -> BTreeMap<PathBuf, String> {
    let mut files = Vec::new();
    for folder in ["services", "libs"] {
        for package in fs::read_dir(root().join(folder)).unwrap().flatten() {
            sources(&package.path().join("src"), &mut files);
        }
    }
    let read = |file: PathBuf| {
        let text = fs::read_to_string(&file).unwrap();
        let text = text.split("#[cfg(test)]").next().unwrap_or_default();
        let lines = text.lines().filter(|line| !line.trim_start().starts_with("//"));
        (file, lines.collect::<Vec<_>>().join("\n"))
    };
    files.into_iter().map(read).collect()
}

fn is_reason(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
}

/// The texts in quotes.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('"').skip(1).step_by(2)
}

/// From the brace that opens first to the one that closes it.
fn block(text: &str) -> &str {
    let Some(start) = text.find('{') else { return "" };
    let mut depth = 0_usize;
    for (at, c) in text.char_indices().skip_while(|(at, _)| *at < start) {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return &text[start..at];
        }
    }
    ""
}

/// The reasons that this code gives: of each `fn reason(&self)`, and of each call that takes one.
fn given(code: &str) -> BTreeSet<String> {
    let mut reasons = BTreeSet::new();
    for (at, _) in code.match_indices("fn reason(&self)").chain(code.match_indices("fn reason(self)")) {
        reasons.extend(quoted(block(&code[at..])).filter(|text| is_reason(text)).map(str::to_owned));
    }
    for call in CALLS {
        for (at, _) in code.match_indices(call) {
            // The reason is the first text of the call itself, not of a call in it.
            let arguments = code[at + call.len()..].split(['(', ')']).next().unwrap_or_default();
            let first = quoted(arguments).next().filter(|text| is_reason(text));
            reasons.extend(first.map(str::to_owned));
        }
    }
    reasons
}

/// The reasons of the page: those in the first cell of a row of a table.
fn described(page: &str) -> BTreeSet<String> {
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `"));
    let cells = rows.filter_map(|row| row.split('|').next());
    let words = cells.flat_map(|cell| cell.split(['`', ',', ' ']));
    words.filter(|word| is_reason(word)).map(str::to_owned).collect()
}

#[test]
fn every_reason_stands_in_the_page_and_is_given() {
    let page = fs::read_to_string(root().join("docs/ERRORS.md")).unwrap();
    let (described, code) = (described(&page), code());
    let mut missing = Vec::new();
    for (file, text) in &code {
        let unknown = given(text).into_iter().filter(|reason| !described.contains(reason));
        missing.extend(unknown.map(|reason| format!("{reason} of {}", file.display())));
    }
    assert!(missing.is_empty(), "docs/ERRORS.md lacks\n{}", missing.join("\n"));

    let unused: Vec<_> = described
        .iter()
        .filter(|reason| !code.values().any(|text| text.contains(&format!("\"{reason}\""))))
        .collect();
    assert!(unused.is_empty(), "docs/ERRORS.md has reasons that nobody gives: {unused:?}");
}

#[test]
fn reasons_are_found_where_they_are_given() {
    let code = "impl E { pub fn reason(&self) -> &str { match self { A => \"not_a\", B => { \"b\" } } } }\n\
                Err(Error::Refused(\n  \"coupon_exists\", \"there is one\")); Problem::new(C, \"x_y\", t);\n\
                cause(reason); other(\"no_reason\")";
    let found: Vec<_> = given(code).into_iter().collect();
    assert_eq!(found, ["b", "coupon_exists", "not_a", "x_y"]);
    let page = "| Reason | Means |\n|---|---|\n| `one`, `two` | as `three` |\n";
    assert_eq!(described(page).into_iter().collect::<Vec<_>>(), ["one", "two"]);
}
