//! The pages say what is true: each path of the repository that they name is there, each block of commands is
//! one for the shell, each variable in it is set before, and each route that it calls is one of the gateway,
//! with that method.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::process::Command;

use serde_json::Value;

use crate::sources;

/// Pages with commands for people.
const PAGES: [&str; 5] =
    ["README.md", "CONTRIBUTING.md", "docs/INSTALL.md", "docs/RUNBOOK.md", "docs/TESTING.md"];

/// What `cargo xtask env` sets, and the shell itself.
const GIVEN: [&str; 13] = [
    "API",
    "ADMIN_TOKEN",
    "HOME",
    "KUBECONFIG",
    "MAIL_URL",
    "PATH",
    "PSQL",
    "PSQL_BILLING",
    "PSQL_DATABASE",
    "PSQL_INSTANCE",
    "PSQL_NOTIFICATION",
    "PSQL_USER",
    "CONTROL",
];

fn page(name: &str) -> String {
    fs::read_to_string(sources::root().join(name)).unwrap()
}

/// The blocks of a page that are marked as commands, without the indentation of lists.
fn blocks(text: &str) -> Vec<String> {
    let mut all = Vec::new();
    let mut block: Option<(usize, String)> = None;
    for line in text.lines() {
        let trimmed = line.trim_start();
        match &mut block {
            None if trimmed == "```sh" || trimmed == "```bash" => {
                block = Some((line.len() - trimmed.len(), String::new()));
            }
            None => {}
            Some(_) if trimmed == "```" => all.extend(block.take().map(|(_, commands)| commands)),
            Some((indentation, commands)) => {
                commands.push_str(line.get(*indentation..).unwrap_or_default());
                commands.push('\n');
            }
        }
    }
    all
}

#[test]
fn paths_that_pages_name_are_there() {
    let folders = ["docs/", "infrastructure/", "libs/", "proto/", "services/", "tests/e2e", "tools/"];
    let mut gone = Vec::new();
    for name in PAGES.into_iter().chain(["docs/ARCHITECTURE.md", "docs/ERRORS.md", "docs/LOGGING.md"]) {
        for word in page(name).split('`').skip(1).step_by(2) {
            let plain = |c: char| c.is_ascii_alphanumeric() || "/._-".contains(c);
            let is_path = folders.iter().any(|folder| word.starts_with(folder)) && word.chars().all(plain);
            if is_path && !sources::root().join(word).exists() {
                gone.push(format!("{name}: {word}"));
            }
        }
    }
    assert!(gone.is_empty(), "{}", gone.join("\n"));
}

#[test]
fn blocks_of_commands_are_understood_by_the_shell() {
    for name in PAGES {
        for block in blocks(&page(name)) {
            let outcome = Command::new("bash").args(["-n", "-c", &block]).output().unwrap();
            let told = String::from_utf8_lossy(&outcome.stderr);
            assert!(outcome.status.success(), "{name}: {told}\n{block}");
        }
    }
}

/// Names that are used as `$NAME` in capital letters, where the shell would put their value.
fn used(block: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for line in block.lines() {
        // Between single quotes a `$` is only a sign; that is precise enough for one line.
        let outside: String = line.split('\'').step_by(2).collect::<Vec<_>>().join(" ");
        for (at, _) in outside.match_indices('$') {
            let rest = outside[at + 1..].trim_start_matches('{');
            let name: String = rest
                .chars()
                .take_while(|c| c.is_ascii_uppercase() || *c == '_' || c.is_ascii_digit())
                .collect();
            if name.starts_with(|c: char| c.is_ascii_uppercase()) {
                found.insert(name);
            }
        }
    }
    found
}

/// Names that a block sets, by `NAME=` or `read NAME`.
fn set(block: &str) -> BTreeSet<String> {
    let words: Vec<&str> = block.split(|c: char| c.is_whitespace() || c == ';' || c == '(').collect();
    let assigned = words.iter().filter_map(|word| word.split_once('=')).map(|(name, _)| name);
    let read =
        block.lines().filter(|line| line.starts_with("read ")).flat_map(|line| line.split(' ').skip(1));
    assigned
        .chain(read)
        .filter(|name| !name.is_empty() && name.chars().all(|c| c.is_ascii_uppercase() || c == '_'))
        .map(str::to_owned)
        .collect()
}

#[test]
fn variables_are_set_before_they_are_used() {
    let mut unset = Vec::new();
    for name in PAGES {
        let mut known: BTreeSet<String> = GIVEN.iter().map(|name| (*name).to_owned()).collect();
        for block in blocks(&page(name)) {
            known.extend(set(&block));
            unset.extend(used(&block).difference(&known).map(|used| format!("{name}: ${used}")));
        }
    }
    assert!(unset.is_empty(), "{}", unset.join("\n"));
}

/// The routes of the gateway with their methods, from the snapshot of its document.
fn routes() -> BTreeMap<String, BTreeSet<String>> {
    let snapshot = page("services/gateway/tests/it/snapshots/it__documents__openapi.snap");
    let document = snapshot.splitn(3, "---\n").nth(2).unwrap();
    let document: Value = serde_json::from_str(document).unwrap();
    let paths = document["paths"].as_object().unwrap();
    paths
        .iter()
        .map(|(path, methods)| (path.clone(), methods.as_object().unwrap().keys().cloned().collect()))
        .collect()
}

/// The calls of the API in a block: the method and the path.
fn calls(block: &str) -> Vec<(String, String)> {
    let joined = block.replace("\\\n", " ");
    let mut found = Vec::new();
    // A command ends where the next one begins: at a line, a pipe, or in a `$(…)`.
    for command in joined.split(['\n', '|', ')']) {
        let Some(at) = ["$API/", "$D/", "$B/"].iter().filter_map(|base| command.find(base)).min() else {
            continue;
        };
        let url: String =
            command[at..].chars().take_while(|c| !c.is_whitespace() && !"\"'?".contains(*c)).collect();
        let path = url.replacen("$API", "", 1).replacen("$D/", "/database/api/database/", 1).replacen(
            "$B/",
            "/billing/api/billing/",
            1,
        );
        let before = &command[..at];
        let method = if let Some((_, rest)) = before.rsplit_once("api ") {
            rest.split_whitespace().next().unwrap_or_default().to_lowercase()
        } else if let Some((_, rest)) = command.split_once("-X ") {
            rest.split_whitespace().next().unwrap_or_default().to_lowercase()
        } else if command.contains("--json") || command.contains(" -d ") {
            "post".to_owned()
        } else {
            "get".to_owned()
        };
        // The definition of `api` and assignments of bases are no calls.
        if !path.trim_matches('/').is_empty() && before.trim_end_matches('"').ends_with([' ', '\t']) {
            found.push((method, path));
        }
    }
    found
}

/// Whether a path with values or variables in it is this route.
fn is(route: &str, path: &str) -> bool {
    let (route, path): (Vec<_>, Vec<_>) = (route.split('/').collect(), path.split('/').collect());
    let same =
        |(route, path): (&&str, &&str)| route == path || route.starts_with('{') || path.starts_with('$');
    route.len() == path.len() && route.iter().zip(&path).all(same)
}

#[test]
fn commands_call_routes_that_are_there() {
    let routes = routes();
    let mut wrong = Vec::new();
    let mut count = 0;
    for name in PAGES {
        for (method, path) in blocks(&page(name)).iter().flat_map(|block| calls(block)) {
            count += 1;
            let found = routes.iter().any(|(route, methods)| is(route, &path) && methods.contains(&method));
            if !found {
                wrong.push(format!("{name}: {method} {path}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(count > 60, "only {count} calls were recognised");
}

#[test]
fn calls_are_read_as_a_shell_would() {
    let block = "ID=$(api GET \"$API/a/b?x=1\" | jq .)\napi POST $D/pools/$P '{\"r\": 1}' \\\n  -H 'K: v'\n\
                 curl -s $API/health\ncurl -s $B/x --json '{}'\nD=$API/database\n";
    let found: Vec<_> = calls(block).into_iter().map(|(method, path)| format!("{method} {path}")).collect();
    assert_eq!(
        found,
        ["get /a/b", "post /database/api/database/pools/$P", "get /health", "post /billing/api/billing/x"]
    );
    assert!(is("/pools/{pool}", "/pools/$P") && !is("/pools/{pool}", "/pools") && !is("/a/b", "/a/c"));
}
