//! A PostgreSQL server of our own with the databases of all crates with SQL, for those who check queries.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use devstack::given::Given;
use devstack::postgres;
use devstack::progress::Progress;
use devstack::stack::{Extent, Plan, Stack};

use crate::install;
use crate::scratch::{Scratch, clean};
use crate::signals::{self, First};
use crate::workspace::crates_with_sql;

/// By the variable that the macros of a crate read: the URL of its database.
pub type Databases = BTreeMap<String, String>;

/// Starts a PostgreSQL server with the database of every crate, all migrations applied, and stops it after
/// `work`.
pub fn with_databases<T>(progress: &Progress, work: impl FnOnce(&Databases) -> Result<T>) -> Result<T> {
    with_server(progress, |stack| {
        make_databases(stack, "prepare", &crates_with_sql()?).and_then(|databases| work(&databases))
    })
}

/// Starts a PostgreSQL server and stops it after `work`.
pub fn with_server<T>(progress: &Progress, work: impl FnOnce(&Stack) -> Result<T>) -> Result<T> {
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
        let done = work(&stack);
        stack.stop(true).and(done)
    });
    drop(scratch);
    clean(&layout, false);
    outcome
}

/// Makes the database of each of these crates with its migrations; their names begin with `prefix`.
pub fn make_databases(stack: &Stack, prefix: &str, crates: &[PathBuf]) -> Result<Databases> {
    let file = stack.describe_file();
    let (server, _) = file.database_url.rsplit_once('/').context("the URL has no database")?;
    let address = stack.database_address();
    let password = &stack.secrets().postgres;
    let mut databases = Databases::new();
    for folder in crates {
        let variable = variable(folder)?;
        let database = scratch_database(prefix, &variable);
        let create = format!("CREATE DATABASE {database}");
        postgres::run_script(&address, password, "postgres", &create)?;
        for migration in migrations(folder)? {
            let text =
                fs::read_to_string(&migration).with_context(|| format!("read {}", migration.display()))?;
            let script = format!("BEGIN;\n{text}\n;COMMIT;");
            postgres::run_script(&address, password, &database, &script)
                .with_context(|| format!("apply {}", migration.display()))?;
        }
        databases.insert(variable, format!("{server}/{database}"));
    }
    Ok(databases)
}

/// The migrations of a crate in the order of their names, which is that of their versions.
fn migrations(folder: &Path) -> Result<Vec<PathBuf>> {
    let folder = folder.join("migrations");
    let entries = fs::read_dir(&folder).with_context(|| format!("read {}", folder.display()))?;
    let mut found: Vec<_> =
        entries.collect::<std::io::Result<Vec<_>>>()?.iter().map(fs::DirEntry::path).collect();
    found.retain(|path| path.extension().is_some_and(|extension| extension == "sql"));
    found.sort();
    Ok(found)
}

/// The variable that names the crate's database, from its `sqlx.toml`.
pub fn variable(folder: &Path) -> Result<String> {
    let path = folder.join("sqlx.toml");
    let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
    let value = text.lines().find_map(|line| {
        let (name, value) = line.split_once('=')?;
        (name.trim() == "database-url-var").then(|| value.trim().trim_matches('"').to_owned())
    });
    value.with_context(|| format!("{} has no database-url-var", path.display()))
}

/// `INSTANCE_DATABASE_URL` → `prepare_instance`.
pub fn scratch_database(prefix: &str, variable: &str) -> String {
    format!("{prefix}_{}", variable.trim_end_matches("_DATABASE_URL").to_lowercase())
}

/// Name of the crate's folder. `libs/instance` and the services are packages of the same name.
pub fn name(folder: &Path) -> String {
    folder.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_variable_of_a_crate_is_read_from_its_settings() {
        let folder = tempfile::tempdir().unwrap();
        let text = "[common]\ndatabase-url-var = \"INSTANCE_DATABASE_URL\"\n";
        fs::write(folder.path().join("sqlx.toml"), text).unwrap();
        assert_eq!(variable(folder.path()).unwrap(), "INSTANCE_DATABASE_URL");
        assert_eq!(scratch_database("prepare", "DATABASE_SERVICE_DATABASE_URL"), "prepare_database_service");
    }
}
