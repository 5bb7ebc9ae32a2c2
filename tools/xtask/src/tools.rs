//! Cargo tools at pinned versions, installed once per user into the shared cache.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;
use devstack::progress::Progress;

use crate::workspace::{cache, cargo, root, run};

/// A tool of cargo.
#[derive(Debug, Clone, Copy)]
pub struct Tool {
    package: &'static str,
    program: &'static str,
    version: &'static str,
    options: &'static [&'static str],
    why: &'static str,
}

/// The test runner.
pub const NEXTEST: Tool = Tool {
    package: "cargo-nextest",
    program: "cargo-nextest",
    version: "0.9.143",
    options: &["--no-default-features", "--features", "default-no-update"],
    why: "runs the tests, each in a process of its own",
};

/// The check of dependencies.
pub const DENY: Tool = Tool {
    package: "cargo-deny",
    program: "cargo-deny",
    version: "0.20.2",
    options: &[],
    why: "checks bans, licences and sources of dependencies",
};

/// The maker of offline SQL data.
pub const SQLX: Tool = Tool {
    package: "sqlx-cli",
    program: "cargo-sqlx",
    version: "0.9.0",
    options: &["--no-default-features", "--features", "postgres,rustls,sqlx-toml"],
    why: "keeps the data by which SQL is checked without a database",
};

impl Tool {
    fn folder(self) -> PathBuf {
        cache().join("tools").join(format!("{}-{}", self.package, self.version))
    }

    /// The installed program; installs it first if absent. It is built without optimisation, which is several times faster.
    pub fn ensure(self, progress: &Progress) -> Result<PathBuf> {
        let program = self.folder().join("bin").join(self.program);
        if program.exists() {
            return Ok(program);
        }
        let Self { package, version, why, .. } = self;
        progress
            .line(&format!("{package} {version} is missing ({why}); it is built once, which takes minutes"));
        progress.stage(package, || {
            let mut command = cargo();
            command
                .args(["install", "--quiet", "--locked", "--debug", "--version", version, "--root"])
                .arg(self.folder())
                .args(self.options)
                .arg(package)
                .env("CARGO_PROFILE_DEV_DEBUG", "0")
                .env_remove("CARGO_TARGET_DIR");
            run(&mut command)
        })?;
        Ok(program)
    }
}

/// An installed tool as a command of cargo, in the workspace. It is called by its path: whatever else is installed, the version is ours.
pub fn call(program: &Path, name: &str) -> Command {
    let template = cargo();
    let mut command = Command::new(program);
    // As cargo itself tells its subcommands.
    command.arg(name).current_dir(root()).env("CARGO", "cargo");
    for (variable, value) in template.get_envs() {
        match value {
            Some(value) => command.env(variable, value),
            None => command.env_remove(variable),
        };
    }
    command
}
