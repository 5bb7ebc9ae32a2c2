//! The data by which SQL is checked where no database is: the folders `.sqlx`, a file for each query.
//!
//! `sqlx prepare` makes them, and `lint` compares them with what the query macros find out when they ask a
//! database. Both give the macros a PostgreSQL server of their own with all migrations, and a folder where
//! each macro leaves what it found out.

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::SystemTime;

use anyhow::{Context as _, Result, bail};
use clap::{Args, Subcommand};
use devstack::progress::Progress;

use crate::databases::{Databases, name, variable, with_databases};
use crate::former;
use crate::queries::{Queries, differences, queries, replace};
use crate::workspace::{cargo, crates_with_sql, succeeds, target};

/// SQL data that builds use where no database is
#[derive(Debug, Args)]
pub struct Sqlx {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Make the data of every crate, or of those that are named
    Prepare {
        /// Fail where it is not as it would be made now, and change nothing
        #[arg(long)]
        check: bool,
        /// Crates to look at, such as `billing-service`
        crates: Vec<String>,
    },
    /// Ask the present schema about the queries of the former release, whose programs run beside the new ones
    /// while a release is rolled out
    Former {
        /// A commit or tag; the last release when nothing is said
        release: Option<String>,
    },
}

impl Sqlx {
    /// Runs it.
    pub fn run(self) -> Result<ExitCode> {
        let progress = Progress::new(std::io::stderr());
        match self.task {
            Task::Prepare { check, crates } => Self::prepare(check, &crates, &progress),
            Task::Former { release } => {
                let served = former::is_served(release, &progress)?;
                let served =
                    served.context("this clone has no history in which a former release could be")?;
                Ok(if served { ExitCode::SUCCESS } else { ExitCode::FAILURE })
            }
        }
    }

    fn prepare(check: bool, crates: &[String], progress: &Progress) -> Result<ExitCode> {
        let all = crates_with_sql()?;
        let known: Vec<_> = all.iter().map(|folder| name(folder)).collect();
        if let Some(unknown) = crates.iter().find(|wanted| !known.contains(wanted)) {
            bail!("{unknown} is no crate with SQL; those are {}", known.join(", "));
        }
        let chosen: Vec<_> =
            all.into_iter().filter(|folder| crates.is_empty() || crates.contains(&name(folder))).collect();
        let fresh = with_databases(progress, |databases| {
            let mut fresh = true;
            for folder in &chosen {
                fresh &= progress.stage(&name(folder), || prepare(folder, databases, check))?;
            }
            Ok(fresh)
        })?;
        Ok(if fresh { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

/// Makes or compares the data of one crate; tells whether it was fresh, or is now.
fn prepare(folder: &Path, databases: &Databases, check: bool) -> Result<bool> {
    let variable = variable(folder)?;
    let url = databases.get(&variable).with_context(|| format!("there is no database for {variable}"))?;
    let found = Found::new()?;
    touch_targets(folder)?;
    let mut command = cargo();
    // By itself: what another crate asks must not be taken for this one's, and its data may be stale as well.
    // Libraries come first, so that what this one is built on is fresh.
    command.args(["check", "--quiet", "--all-targets", "--package", &name(folder)]);
    command.env(&variable, url);
    if !succeeds(found.collect(&mut command))? {
        bail!("{} does not compile", name(folder));
    }
    let (made, kept) = (found.queries(&name(folder))?, queries(&folder.join(".sqlx"))?);
    let differences = differences(&made, &kept);
    if differences.is_empty() {
        return Ok(true);
    }
    for difference in &differences {
        eprintln!("{}: {difference}", name(folder));
    }
    if check {
        eprintln!("{}: `cargo xtask sqlx prepare` makes the data fresh", name(folder));
        return Ok(false);
    }
    replace(&folder.join(".sqlx"), &made)?;
    Ok(true)
}

/// Cargo does not know that the macros read databases: only what changed is compiled, and only what is
/// compiled asks them.
#[expect(clippy::disallowed_methods, reason = "the time of a file is what cargo compares")]
fn touch_targets(folder: &Path) -> Result<()> {
    let mut roots = vec![folder.join("src/lib.rs"), folder.join("src/main.rs")];
    for entry in fs::read_dir(folder.join("tests")).into_iter().flatten() {
        roots.push(entry?.path().join("main.rs"));
    }
    for root in roots.into_iter().filter(|root| root.exists()) {
        File::options()
            .append(true)
            .open(&root)
            .and_then(|file| file.set_modified(SystemTime::now()))
            .with_context(|| format!("touch {}", root.display()))?;
    }
    Ok(())
}

/// Stands before the compiler, and has the macros of each package leave their data in a folder of its own. A
/// query that two crates have would else be there for both when one of them lacks its data. A wrapper that
/// somebody uses already comes after it. A plain `sh` may lose variables whose names it could not write itself,
/// such as `CARGO_BIN_EXE_billing-service`; bash hands them on.
const WRAPPER: &str = "#!/bin/bash
export SQLX_OFFLINE_DIR=\"$SQL_DATA_FOUND/${CARGO_PKG_NAME:-none}\"
mkdir -p \"$SQLX_OFFLINE_DIR\"
exec $SQL_DATA_WRAPPED \"$@\"
";

/// A folder in which the macros leave what databases told them; deleted when it is dropped.
#[derive(Debug)]
pub struct Found {
    folder: PathBuf,
}

impl Found {
    /// An empty one.
    pub fn new() -> Result<Self> {
        let folder = target()?.join(format!("queries-{}", std::process::id()));
        drop(fs::remove_dir_all(&folder));
        fs::create_dir_all(&folder).with_context(|| format!("create {}", folder.display()))?;
        let wrapper = folder.join(".wrapper");
        fs::write(&wrapper, WRAPPER).context("write the compiler's wrapper")?;
        fs::set_permissions(&wrapper, fs::Permissions::from_mode(0o755)).context("make it a program")?;
        Ok(Self { folder })
    }

    /// Makes the macros of this command leave what they find out here.
    #[expect(clippy::disallowed_methods, reason = "cargo is told its wrapper in the environment")]
    pub fn collect<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        command
            .env_remove("SQLX_OFFLINE")
            .env("SQL_DATA_FOUND", &self.folder)
            .env("SQL_DATA_WRAPPED", std::env::var_os("RUSTC_WRAPPER").unwrap_or_default())
            .env("RUSTC_WRAPPER", self.folder.join(".wrapper"))
    }

    /// What the macros of one package found out.
    fn queries(&self, package: &str) -> Result<Queries> {
        queries(&self.folder.join(package))
    }

    /// Where the data of a crate is not what was found out.
    pub fn differences(&self) -> Result<Vec<String>> {
        let mut all = Vec::new();
        for folder in crates_with_sql()? {
            let package = name(&folder);
            let differences = differences(&self.queries(&package)?, &queries(&folder.join(".sqlx"))?);
            all.extend(differences.into_iter().map(|difference| format!("{package}: {difference}")));
        }
        Ok(all)
    }
}

impl Drop for Found {
    fn drop(&mut self) {
        // A folder that stays is deleted with the target folder.
        drop(fs::remove_dir_all(&self.folder));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A query that two crates have is missing where one of them lacks it.
    #[test]
    fn each_package_leaves_its_data_in_a_folder_of_its_own() {
        let found = Found::new().unwrap();
        for package in ["one", "two"] {
            let mut compiler = Command::new(found.folder.join(".wrapper"));
            found.collect(&mut compiler);
            let script = "touch \"$SQLX_OFFLINE_DIR/query-$CARGO_PKG_NAME.json\"";
            compiler.args(["sh", "-c", script]).env("CARGO_PKG_NAME", package).env_remove("RUSTC_WRAPPER");
            compiler.env("SQL_DATA_WRAPPED", "");
            assert!(compiler.status().unwrap().success());
        }
        let files: Vec<_> = found.queries("one").unwrap().into_keys().collect();
        assert_eq!(files, ["query-one.json"]);
        assert_eq!(found.queries("two").unwrap().len(), 1);
    }
}
