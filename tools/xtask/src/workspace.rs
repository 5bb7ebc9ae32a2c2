//! Where the repository, its build results and the per-user cache are, and how cargo is called in it.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use devstack::layout::Layout;
use devstack::process;
use devstack::progress::Progress;
use devstack::stack::Extent;

use crate::{build, signals};

/// Root of the repository: this package lies two folders below it. Cargo says where that is at each run; the
/// path of the build holds only without it, since a program that was built in one checkout may run in a copy
/// of it.
#[expect(clippy::disallowed_methods, reason = "cargo tells the program its folder in the environment")]
pub fn root() -> PathBuf {
    let built = || PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let package = std::env::var_os("CARGO_MANIFEST_DIR").map_or_else(built, PathBuf::from);
    package.ancestors().nth(2).unwrap_or(Path::new("/")).to_owned()
}

/// Folder of build results. The running program lies in its `debug` folder.
pub fn target() -> Result<PathBuf> {
    let program = std::env::current_exe().context("find the running program")?;
    Ok(program.ancestors().nth(2).context("the running program lies in no target folder")?.to_owned())
}

/// Folder for what all checkouts of one user share.
#[expect(clippy::disallowed_methods, reason = "the user's cache folder is told by the environment alone")]
pub fn cache() -> PathBuf {
    let folder = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    folder("SAASODOO_CACHE")
        .or_else(|| folder("XDG_CACHE_HOME").map(|path| path.join("saasodoo")))
        .or_else(|| folder("HOME").map(|path| path.join(".cache/saasodoo")))
        .unwrap_or_else(|| PathBuf::from("/var/tmp/saasodoo-cache"))
}

/// The layout of a stack whose state is in `dir`.
pub fn layout(dir: PathBuf) -> Result<Layout> {
    let program = std::env::current_exe().context("find the running program")?;
    let programs = program.parent().context("the running program lies in no folder")?.to_owned();
    Ok(Layout { workspace: root(), dir, programs, cache: cache() })
}

/// The layout of the developer's stack of this name.
pub fn named_layout(stack: &str) -> Result<Layout> {
    layout(target()?.join(stack))
}

/// A name that cannot be taken for a folder of cargo or of the tests.
pub fn stack_name(text: &str) -> Result<String, String> {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if text.is_empty()
        || !text.chars().all(plain)
        || ["debug", "release", "test", "test-logs", "bench", "tmp", "doc"].contains(&text)
    {
        return Err(
            "a stack's name has lower-case letters, digits and hyphens, and is no folder of cargo".to_owned()
        );
    }
    Ok(text.to_owned())
}

/// Crates whose SQL is checked at compile time: those with a `sqlx.toml`.
pub fn crates_with_sql() -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for folder in ["libs", "services", "tools"] {
        let folder = root().join(folder);
        for entry in std::fs::read_dir(&folder).with_context(|| format!("read {}", folder.display()))? {
            let path = entry?.path();
            if path.join("sqlx.toml").exists() {
                found.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}

/// Whether every crate with SQL has its offline data, so that a build needs no database.
pub fn has_offline_data() -> bool {
    crates_with_sql()
        .is_ok_and(|crates| !crates.is_empty() && crates.iter().all(|path| path.join(".sqlx").is_dir()))
}

/// Cargo in the workspace, without the variables by which cargo told us about this package. Queries are
/// checked against the databases that `sqlx.toml` names, when their variables are set, else against the
/// offline data.
pub fn cargo() -> Command {
    let mut command = Command::new("cargo");
    command.current_dir(root());
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy().into_owned();
        if name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_") || name == "CARGO_CRATE_NAME"
        {
            command.env_remove(name);
        }
    }
    command
}

/// Runs a command in the foreground and fails when it does.
pub fn run(command: &mut Command) -> Result<()> {
    if !succeeds(command)? {
        let args: Vec<_> = command.get_args().map(|arg| arg.to_string_lossy().into_owned()).collect();
        bail!("`{} {}` failed", command.get_program().to_string_lossy(), args.join(" "));
    }
    Ok(())
}

/// Runs a command in the foreground; tells whether it succeeded.
pub fn succeeds(command: &mut Command) -> Result<bool> {
    let status = process::run_foreground(command, signals::forward_to);
    signals::forward_to(0);
    Ok(status?.success())
}

/// Builds the programs that a stack of this extent needs. Always as a part of the whole workspace: another
/// selection of packages would choose other features of shared dependencies, and build those twice.
pub fn build_programs(extent: Extent, progress: &Progress) -> Result<()> {
    let mut command = cargo();
    command.args(["build", "--workspace"]);
    match extent {
        Extent::Postgres => return Ok(()),
        Extent::Servers => command.args(["--bin", "mail-sink"]),
        Extent::Deps => command.args(["--bin", "mail-sink", "--bin", "devnode", "--bin", "odoo-standin"]),
        Extent::All => command.arg("--bins"),
    };
    if !build::succeeds(&mut command, "programs", progress)? {
        bail!("the programs could not be built; the compiler's messages stand above");
    }
    Ok(())
}
