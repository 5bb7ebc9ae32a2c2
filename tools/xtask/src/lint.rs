//! `lint`: everything that can be said about the code without running it. Each check runs whatever the ones
//! before said; those that take seconds come first.

use std::fs;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Instant;

use anyhow::{Context as _, Result};
use clap::Args;
use devstack::process;
use devstack::progress::{Progress, seconds};

use crate::install::in_path;
use crate::sqlx::Found;
use crate::tools::{self, DENY, SHEAR, Tool};
use crate::workspace::{cargo, crates_with_sql, has_offline_data, root, succeeds, target};
use crate::{build, databases, former, lines, requirements, signals, third_party};

/// Check formatting, lints, dependencies, contracts and SQL data
#[derive(Debug, Args)]
pub struct Lint {
    /// Leave out the check of the SQL data, which compiles every crate against a PostgreSQL server of its own
    #[arg(long)]
    skip_sqlx: bool,
}

enum Outcome {
    Passed,
    Failed,
    Skipped(&'static str),
}

impl Lint {
    /// Runs all checks and sums up.
    pub fn run(&self) -> ExitCode {
        signals::unblock();
        let begun = Instant::now();
        let progress = Progress::new(std::io::stderr());
        third_party::share(&progress);
        let mut lines = Vec::new();
        let mut failed = 0;
        for (name, check) in self.checks() {
            progress.line(&format!("--- {name}"));
            let start = Instant::now();
            let outcome = check(&progress).unwrap_or_else(|error| {
                progress.line(&format!("{error:#}"));
                Outcome::Failed
            });
            let word = match outcome {
                Outcome::Passed => "passed".to_owned(),
                Outcome::Failed => {
                    failed += 1;
                    "FAILED".to_owned()
                }
                Outcome::Skipped(why) => format!("skipped: {why}"),
            };
            lines.push(format!("  {name:<18} {:>8}  {word}", seconds(start.elapsed())));
        }
        if failed == 0 {
            third_party::keep(&progress);
        }
        progress.line(&format!("\nlint: {}", if failed == 0 { "passed" } else { "FAILED" }));
        for line in lines {
            progress.line(&line);
        }
        progress.line(&format!("  all of it took {}", seconds(begun.elapsed())));
        if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }

    fn checks(&self) -> Vec<(&'static str, Check)> {
        vec![
            ("format", |_| outcome(cargo().args(["fmt", "--all", "--check"]))),
            ("unused dependencies", |progress| with_tool(SHEAR, "shear", &[], progress)),
            ("dependencies", |progress| {
                let args = ["--log-level", "error", "check", "bans", "licenses", "sources"];
                with_tool(DENY, "deny", &args, progress)
            }),
            ("features", |_| same_features()),
            ("lines", |_| Ok(if lines::are_short()? { Outcome::Passed } else { Outcome::Failed })),
            ("requirements", |_| {
                Ok(if requirements::is_fresh()? { Outcome::Passed } else { Outcome::Failed })
            }),
            ("contracts", |_| {
                if !in_path("buf") {
                    return Ok(Outcome::Skipped("buf is not installed"));
                }
                outcome(Command::new("buf").arg("lint").current_dir(root().join("proto")))
            }),
            if self.skip_sqlx {
                ("clippy", |progress| clippy_offline(None, progress))
            } else {
                ("clippy, SQL data", clippy_live)
            },
            if self.skip_sqlx {
                ("former release", |_| Ok(Outcome::Skipped("no databases are wanted")))
            } else {
                ("former release", former_release)
            },
            ("architecture", |_| outcome(cargo().args(["test", "--quiet", "--package", "architecture"]))),
        ]
    }
}

type Check = fn(&Progress) -> Result<Outcome>;

fn outcome(command: &mut Command) -> Result<Outcome> {
    Ok(if succeeds(command)? { Outcome::Passed } else { Outcome::Failed })
}

fn with_tool(tool: Tool, name: &str, args: &[&str], progress: &Progress) -> Result<Outcome> {
    let program = tool.ensure(progress)?;
    outcome(tools::call(&program, name).args(args))
}

/// Packages that are compiled by themselves, and whose third-party crates must be those of the whole
/// workspace.
const BUILT_ALONE: [&str; 2] = ["xtask", "architecture"];

/// Whether what is compiled for a package alone is also what is compiled for the whole workspace;
/// `tools/workspace-hack` sees to it.
fn same_features() -> Result<Outcome> {
    let whole = features(&["--workspace"])?;
    let mut outcome = Outcome::Passed;
    for package in BUILT_ALONE {
        for other in features(&["--package", package])?.iter().filter(|line| !whole.contains(line)) {
            eprintln!(
                "{package} alone compiles {other}, and the workspace does not: see tools/workspace-hack"
            );
            outcome = Outcome::Failed;
        }
    }
    Ok(outcome)
}

/// The third-party crates of a selection, a line each with version and features.
fn features(selection: &[&str]) -> Result<Vec<String>> {
    let mut tree = cargo();
    tree.args(["tree", "--prefix", "none", "--edges", "normal,build,dev"]);
    tree.args(["--format", "{p} {f}"]).args(selection);
    let text = process::run_within(process::DOWNLOAD, &mut tree, None)?;
    let ours = root().display().to_string();
    let lines = text.lines().map(|line| line.trim_end_matches(" (*)"));
    let mut lines: Vec<_> = lines.filter(|line| !line.contains(&ours)).map(str::to_owned).collect();
    lines.sort();
    lines.dedup();
    Ok(lines)
}

/// Clippy over everything. `mark` makes it look at all crates again when it is another one than last time.
fn clippy(mark: Option<&str>) -> Command {
    let mut clippy = cargo();
    clippy.args(["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]);
    if let Some(mark) = mark {
        clippy.args(["--cfg", mark]);
    }
    clippy
}

/// As everybody else sees the code, whatever databases this machine has.
fn clippy_offline(mark: Option<&str>, progress: &Progress) -> Result<Outcome> {
    let mut clippy = clippy(mark);
    if has_offline_data() {
        clippy.env("SQLX_OFFLINE", "true");
    }
    Ok(if build::succeeds(&mut clippy, "clippy", progress)? { Outcome::Passed } else { Outcome::Failed })
}

/// Clippy while the query macros ask real databases, and a comparison of what these answer with the SQL data.
/// Nothing is compiled twice for it. When no crate with SQL has changed since this passed, clippy runs
/// without databases.
fn clippy_live(progress: &Progress) -> Result<Outcome> {
    let note = target()?.join("sql-data-checked");
    let sources = sources()?;
    let (checked, mark) = fs::read_to_string(&note)
        .ok()
        .and_then(|text| text.split_once(' ').map(|(sources, mark)| (sources.to_owned(), mark.to_owned())))
        .unwrap_or_default();
    if checked == sources {
        return clippy_offline(Some(&mark), progress);
    }
    // What clippy looked at before asked no database, or another one: the new mark makes it look again.
    let mark = format!("sql_data_{sources}_{}", std::process::id());
    let found = Found::new()?;
    let passed = databases::with_databases(progress, |databases| {
        build::succeeds(found.collect(clippy(Some(&mark)).envs(databases)), "clippy", progress)
    })?;
    if !passed {
        return Ok(Outcome::Failed);
    }
    let differences = found.differences()?;
    for difference in &differences {
        eprintln!("{difference}");
    }
    if !differences.is_empty() {
        eprintln!("the offline SQL data is not fresh; `cargo xtask sqlx prepare` makes it");
        return Ok(Outcome::Failed);
    }
    fs::write(&note, format!("{sources} {mark}")).context("note that the SQL data was checked")?;
    Ok(Outcome::Passed)
}

/// Whether the queries of the release before this one still work on the present schema.
fn former_release(progress: &Progress) -> Result<Outcome> {
    Ok(match former::is_served(None, progress)? {
        None => Outcome::Skipped("this clone has no history in which a former release could be"),
        Some(true) => Outcome::Passed,
        Some(false) => Outcome::Failed,
    })
}

/// Digest of all files of the crates with SQL: sources, migrations and the data itself.
fn sources() -> Result<String> {
    let mut files = vec![root().join("Cargo.lock")];
    for folder in crates_with_sql()? {
        list(&folder, &mut files)?;
    }
    files.sort();
    let mut hasher = DefaultHasher::new();
    for file in files {
        file.hash(&mut hasher);
        fs::read(&file).with_context(|| format!("read {}", file.display()))?.hash(&mut hasher);
    }
    Ok(format!("{:016x}", hasher.finish()))
}

fn list(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| format!("read {}", folder.display()))? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            list(&entry.path(), files)?;
        } else {
            files.push(entry.path());
        }
    }
    Ok(())
}
