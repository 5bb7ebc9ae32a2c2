//! One skeleton: the same part has the same name and place in every service, so that whoever knows one knows
//! them all. Beside it: each table says how long its rows are kept.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use crate::sources;

/// A part that every service has, and how it is recognised.
struct Part {
    name: &'static str,
    is_there: fn(&Service) -> bool,
}

/// The model is instance-service.
const SKELETON: [Part; 9] = [
    Part {
        name: "config.rs with `Config`, all settings",
        is_there: |service| service.text("config.rs").contains("pub struct Config "),
    },
    Part {
        name: "`App`, what its use cases share",
        is_there: |service| service.defines("App") && !service.defines("Desk") && !service.defines("Post"),
    },
    Part { name: "serve.rs, the wiring", is_there: |service| service.has("serve.rs") },
    Part {
        name: "main.rs of at most 60 lines",
        is_there: |service| service.text("main.rs").lines().count() <= 60,
    },
    Part {
        name: "clients, the calls of other services",
        is_there: |service| !service.calls_services() || service.has("clients.rs") || service.has("clients"),
    },
    Part {
        name: "`Caller`, who acts",
        is_there: |service| {
            service.defines("Caller")
                || !(["By", "Who", "Actor", "Ctx"].iter().any(|name| service.defines(name)))
        },
    },
    Part {
        name: "use cases as free functions `verb(app, …)`",
        is_there: |service| {
            !service.sources.iter().any(|(name, text)| {
                name.contains("/src/app/") && !name.ends_with("/mod.rs") && text.contains("\nimpl App {")
            })
        },
    },
    Part {
        name: "`MIGRATIONS` of its database",
        is_there: |service| {
            !service.has_migrations() || service.text("lib.rs").contains("pub static MIGRATIONS:")
        },
    },
    Part {
        name: "tests/it/main.rs, the one test program",
        is_there: |service| service.folder.join("tests/it/main.rs").is_file(),
    },
];

/// A service's folder with its sources.
struct Service {
    folder: PathBuf,
    name: String,
    sources: Vec<(String, String)>,
}

impl Service {
    fn read(folder: &Path) -> Self {
        let mut sources = Vec::new();
        list(&folder.join("src"), &mut sources);
        Self { folder: folder.to_owned(), name: sources::name(folder), sources }
    }

    fn has(&self, path: &str) -> bool {
        self.folder.join("src").join(path).exists()
    }

    fn text(&self, path: &str) -> String {
        fs::read_to_string(self.folder.join("src").join(path)).unwrap_or_default()
    }

    fn defines(&self, name: &str) -> bool {
        let head = format!("pub struct {name}");
        let ends = |rest: &str| rest.starts_with([' ', '(', ';', '<']);
        self.sources
            .iter()
            .any(|(_, text)| text.match_indices(&head).any(|(at, _)| ends(&text[at + head.len()..])))
    }

    fn calls_services(&self) -> bool {
        self.sources.iter().any(|(_, text)| text.contains("_service_client::"))
    }

    fn has_migrations(&self) -> bool {
        self.folder.join("migrations").is_dir()
    }
}

fn list(folder: &Path, found: &mut Vec<(String, String)>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            list(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push((path.display().to_string(), fs::read_to_string(&path).unwrap()));
        }
    }
}

/// What services lack of the skeleton. The list only gets shorter.
const LACKING: &[&str] = &[
    "services/database-service: use cases as free functions `verb(app, …)`",
    "services/gateway: `Caller`, who acts",
    "services/gateway: serve.rs, the wiring",
    "services/instance-worker: `App`, what its use cases share",
    "services/instance-worker: clients, the calls of other services",
    "services/notification-service: `App`, what its use cases share",
    "services/user-service: use cases as free functions `verb(app, …)`",
];

#[test]
fn every_service_has_the_same_skeleton() {
    let mut found = BTreeSet::new();
    for folder in sources::packages(&["services"]) {
        let service = Service::read(&folder);
        let lacking = SKELETON.iter().filter(|part| !(part.is_there)(&service));
        found.extend(lacking.map(|part| format!("{}: {}", service.name, part.name)));
    }
    let known: BTreeSet<String> = LACKING.iter().map(|line| (*line).to_owned()).collect();

    let new: Vec<_> = found.difference(&known).cloned().collect();
    let gone: Vec<_> = known.difference(&found).cloned().collect();

    assert!(new.is_empty(), "missing:\n{}", new.join("\n"));
    assert!(gone.is_empty(), "in order by now, take them from the list:\n{}", gone.join("\n"));
}

/// The tables that migrations leave.
fn tables(scripts: &[String]) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for script in scripts {
        for line in script.lines().map(|line| line.split("--").next().unwrap_or_default().trim()) {
            let words: Vec<&str> = line.split([' ', '(', ';']).filter(|word| !word.is_empty()).collect();
            let name =
                |at: usize| words.iter().skip(at).find(|word| !["IF", "NOT", "EXISTS"].contains(*word));
            match words.as_slice() {
                ["CREATE", "TABLE", ..] => found.extend(name(2).map(|name| (*name).to_owned())),
                ["DROP", "TABLE", ..] => {
                    found.retain(|known| name(2) != Some(&known.as_str()));
                }
                _ => {}
            }
        }
    }
    found
}

/// Packages without a list of retention. The list only gets shorter.
const WITHOUT_RETENTION: &[&str] = &[];

#[test]
fn every_table_says_how_long_its_rows_are_kept() {
    let mut wrong = Vec::new();
    let mut without = Vec::new();
    for package in sources::packages(&["libs", "services"]) {
        let name = sources::name(&package);
        // The tables of messaging lie in the databases of its users, which name them.
        if !package.join("migrations").is_dir() || name == "libs/messaging" {
            continue;
        }
        // Two services share the database of `instance`; the one that sweeps it has the list.
        let list = match name.as_str() {
            "libs/instance" => sources::root().join("services/instance-service/src/retention.rs"),
            _ => package.join("src/store/retention.rs"),
        };
        let Ok(text) = fs::read_to_string(list) else {
            without.push(name);
            continue;
        };
        let mut files: Vec<_> = fs::read_dir(package.join("migrations")).unwrap().flatten().collect();
        files.sort_by_key(std::fs::DirEntry::file_name);
        let scripts: Vec<_> = files.iter().map(|file| fs::read_to_string(file.path()).unwrap()).collect();
        // The tables of messaging have their lines there, as constants of their names.
        let shared =
            |table: &str| ["inbox", "outbox"].contains(&table) && text.contains(&table.to_uppercase());
        let kept = |table: &&String| !text.contains(&format!("\"{table}\"")) && !shared(table);
        wrong.extend(tables(&scripts).iter().filter(kept).map(|table| format!("{name}: {table}")));
    }
    assert!(wrong.is_empty(), "tables without a retention:\n{}", wrong.join("\n"));
    assert_eq!(without, WITHOUT_RETENTION, "packages without src/store/retention.rs");
}

#[test]
fn tables_are_those_that_the_migrations_leave() {
    let scripts = [
        "CREATE TABLE a (\n    id uuid\n);\nCREATE TABLE IF NOT EXISTS b(x int);\nCREATE INDEX i ON a (id);"
            .to_owned(),
        "-- CREATE TABLE c\nDROP TABLE a;".to_owned(),
    ];
    assert_eq!(tables(&scripts), BTreeSet::from(["b".to_owned()]));
}
