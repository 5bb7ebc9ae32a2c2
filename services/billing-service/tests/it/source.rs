//! Rules that the source itself must keep.

use std::path::{Path, PathBuf};

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// BIL-06: no floats anywhere near money. Metrics, pauses and places on paper have them; nothing else may.
#[test]
fn there_are_no_floats_in_billing() {
    let mut found = Vec::new();
    sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut found);
    assert!(found.len() > 20);
    // Points on a page are no money: amounts come there as text.
    let page = |path: &Path| path.components().any(|folder| folder.as_os_str() == "pdf");
    for path in found.iter().filter(|path| !path.ends_with("metrics.rs") && !page(path)) {
        let text = std::fs::read_to_string(path).unwrap();
        for word in ["f32", "f64", "double precision", "::float"] {
            assert!(!text.contains(word), "{} has {word}", path.display());
        }
    }
}

/// Money, deadlines and retention go by the database's clock, which is the same for all replicas.
#[test]
fn nothing_is_decided_by_the_clock_of_the_process() {
    let mut found = Vec::new();
    sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut found);
    // The one that compares both clocks, and what is read of the clock of Kill Bill.
    let allowed = ["clock.rs", "snapshot.rs", "setup.rs"];
    for path in found.iter().filter(|path| !allowed.iter().any(|name| path.ends_with(name))) {
        let text = std::fs::read_to_string(path).unwrap();
        assert!(!text.contains("clock::now()"), "{} takes the time of the process", path.display());
    }
}

/// BIL-06: amounts are NUMERIC in SQL.
#[test]
fn amounts_are_numeric_in_sql() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations");
    for entry in std::fs::read_dir(folder).unwrap() {
        let text = std::fs::read_to_string(entry.unwrap().path()).unwrap();
        // Definitions of columns; conditions and indexes name amounts too.
        let name = |line: &str| {
            let line = line.trim().trim_start_matches("ADD COLUMN ");
            line.split_whitespace().next().is_some_and(|word| word.ends_with("_minor"))
        };
        for line in text.lines().filter(|line| name(line)) {
            assert!(line.contains("numeric(20, 0)"), "{line}");
        }
        // Comments may speak of real time.
        let code = text.lines().filter(|line| !line.trim_start().starts_with("--"));
        for line in code {
            assert!(!line.contains("double precision") && !line.contains(" real"), "{line}");
        }
    }
}
