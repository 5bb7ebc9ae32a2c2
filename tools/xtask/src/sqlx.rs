//! `sqlx prepare`: makes, or with `--check` compares, the data by which SQL is checked where no database is. A PostgreSQL server of its
//! own gets every crate's migrations for it.

use std::path::Path;
use std::process::{Command, ExitCode};

use anyhow::{Context as _, Result, bail};
use clap::{Args, Subcommand};
use devstack::given::Given;
use devstack::postgres::{self, Address};
use devstack::process;
use devstack::progress::Progress;
use devstack::stack::{Extent, Plan, Stack};

use crate::install;
use crate::scratch::{Scratch, clean};
use crate::signals::{self, First};
use crate::tools::{self, SQLX};
use crate::workspace::{crates_with_sql, succeeds};

/// SQL data that builds use where no database is
#[derive(Debug, Args)]
pub struct Sqlx {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Make the data of every crate
    Prepare {
        /// Fail where it is not as it would be made now, and change nothing
        #[arg(long)]
        check: bool,
    },
}

impl Sqlx {
    /// Runs it.
    pub fn run(self) -> Result<ExitCode> {
        let Task::Prepare { check } = self.task;
        let progress = Progress::new(std::io::stderr());
        Ok(if prepare(check, &progress)? { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

/// Makes or compares the data; tells whether all crates were in order.
pub fn prepare(check: bool, progress: &Progress) -> Result<bool> {
    let crates = crates_with_sql()?;
    if crates.is_empty() {
        return Ok(true);
    }
    let tool = SQLX.ensure(progress)?;
    let given = Given::default();
    install::servers(&given, progress)?;
    let scratch = Scratch::for_tests()?;
    let layout = scratch.layout.clone();
    let abandoned = layout.clone();
    let _watch = signals::watch(First::End, move || clean(&abandoned, false));
    let plan = Plan {
        layout: layout.clone(),
        durable: false,
        extent: Extent::Postgres,
        keep_going: false,
        given,
        killbill: false,
        extra: [].into(),
    };
    let outcome = Stack::start(plan, progress, || Ok(())).and_then(|stack| {
        let passed =
            crates.iter().try_fold(true, |passed, folder| Ok(one(&stack, &tool, folder, check)? && passed));
        stack.stop(true).and(passed)
    });
    drop(scratch);
    clean(&layout, false);
    outcome
}

/// The variable that names the crate's database, from its `sqlx.toml`.
fn variable(folder: &Path) -> Result<String> {
    let path = folder.join("sqlx.toml");
    let text = std::fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
    let value = text.lines().find_map(|line| {
        let (name, value) = line.split_once('=')?;
        (name.trim() == "database-url-var").then(|| value.trim().trim_matches('"').to_owned())
    });
    value.with_context(|| format!("{} has no database-url-var", path.display()))
}

/// `INSTANCE_DATABASE_URL` → `prepare_instance`.
fn scratch_database(variable: &str) -> String {
    format!("prepare_{}", variable.trim_end_matches("_DATABASE_URL").to_lowercase())
}

fn one(stack: &Stack, tool: &Path, folder: &Path, check: bool) -> Result<bool> {
    let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let variable = variable(folder)?;
    let database = scratch_database(&variable);
    let file = stack.describe_file();
    let (server, _) = file.database_url.rsplit_once('/').context("the URL has no database")?;
    let url = format!("{server}/{database}");

    let migrations = folder.join("migrations");
    if migrations.is_dir() {
        let address: Address = stack.database_address();
        postgres::run_script(
            &address,
            &stack.secrets().postgres,
            "postgres",
            &format!(
                "SELECT 'CREATE DATABASE {database}' WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = '{database}') \\gexec"
            ),
        )?;
        process::run(
            command(tool, folder)
                .args(["migrate", "run", "--ignore-missing"])
                .env(&variable, &url)
                .env("DATABASE_URL", &url),
            None,
        )
        .with_context(|| format!("migrations of {name}"))?;
    }
    let mut prepare = command(tool, folder);
    prepare.arg("prepare").env(&variable, &url).env("DATABASE_URL", &url);
    if check {
        prepare.arg("--check");
    }
    let targets = ["--", "--all-targets", "--quiet"];
    let fine = succeeds(prepare.args(targets))?;
    if !fine {
        eprintln!("{name}: the offline SQL data is not fresh; `cargo xtask sqlx prepare` makes it");
        if !check {
            bail!("{name} could not be prepared");
        }
    }
    Ok(fine)
}

/// The tool as a cargo command, in a crate's folder, with a database.
fn command(tool: &Path, folder: &Path) -> Command {
    let mut command = tools::call(tool, "sqlx");
    command.current_dir(folder).env_remove("SQLX_OFFLINE");
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_variable_of_a_crate_is_read_from_its_settings() {
        let folder = tempfile::tempdir().unwrap();
        let text = "[common]\ndatabase-url-var = \"INSTANCE_DATABASE_URL\"\n";
        std::fs::write(folder.path().join("sqlx.toml"), text).unwrap();
        assert_eq!(variable(folder.path()).unwrap(), "INSTANCE_DATABASE_URL");
        assert_eq!(scratch_database("DATABASE_SERVICE_DATABASE_URL"), "prepare_database_service");
    }
}
