//! Finds or builds the devcluster program: one build for each content of its Go module, shared by all
//! checkouts.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};
use sha2::{Digest as _, Sha256};

use crate::process;
use crate::progress::{Count, Progress};

/// The release that `go.mod` pins; `kubectl version` and the API server report it.
pub const KUBERNETES_VERSION: &str = "v1.37.2";

/// Where the program for this module's content is or will be.
pub fn path(module: &Path, cache: &Path) -> Result<PathBuf> {
    let mut hash = Sha256::new();
    for name in ["go.mod", "go.sum", "main.go"] {
        let file = module.join(name);
        hash.update(fs::read(&file).with_context(|| format!("cannot read {}", file.display()))?);
    }
    let name = hex::encode(hash.finalize());
    Ok(cache.join("devcluster").join(&name[..16]).join("devcluster"))
}

/// The program, built when it is missing. The first build takes minutes; `progress` tells how many of the Go
/// packages are compiled.
///
/// `module` is the folder `infrastructure/devcluster`, `cache` a per-user folder such as `~/.cache/saasodoo`.
pub fn ensure(module: &Path, cache: &Path, progress: &Progress) -> Result<PathBuf> {
    let program = path(module, cache)?;
    if program.exists() {
        return Ok(program);
    }
    let Some(folder) = program.parent() else { bail!("{} has no folder", program.display()) };
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;

    let lock = fs::File::create(folder.join("lock"))?;
    lock.lock().context("cannot lock the build folder")?;
    if !program.exists() {
        progress.line("The Kubernetes control plane is built once from its Go modules, beside the services.");
        progress.counted("control plane (Go)", "packages", |count| build(module, folder, &program, count))?;
    }
    drop(lock);
    Ok(program)
}

fn build(module: &Path, folder: &Path, program: &Path, count: &Count) -> Result<()> {
    let part = folder.join("devcluster.part");
    let log = folder.join("build.log");
    let version_flags = ["k8s.io/component-base/version", "k8s.io/client-go/pkg/version"]
        .map(|package| format!("-X {package}.gitVersion={KUBERNETES_VERSION}"))
        .join(" ");
    // Each package that is not in Go's own cache is compiled and named in a line.
    let packages = process::run_within(process::DOWNLOAD, go(module).args(["list", "-deps", "."]), None)
        .context("cannot run `go`: is it installed?")?;
    count.set(0, packages.lines().count());
    let mut child = go(module)
        .args(["build", "-v", "-p", "2", "-trimpath", "-ldflags"])
        .arg(format!("-s -w {version_flags}"))
        .arg("-o")
        .arg(&part)
        .arg(".")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .context("cannot run `go`: is it installed?")?;
    let mut notes = File::create(&log).with_context(|| format!("cannot make {}", log.display()))?;
    for line in child.stderr.take().into_iter().flat_map(|pipe| BufReader::new(pipe).lines()) {
        writeln!(notes, "{}", line?)?;
        count.add();
    }
    let status = child.wait().context("wait for `go build`")?;
    if !status.success() {
        bail!("`go build` failed ({status}):\n{}", fs::read_to_string(&log).unwrap_or_default());
    }
    fs::rename(&part, program)?;
    Ok(())
}

fn go(module: &Path) -> Command {
    let mut command = Command::new("go");
    command.current_dir(module).env("CGO_ENABLED", "0");
    command
}

/// A link `name` in `folder`: the program runs the part whose name it is called by.
pub(super) fn link(binary: &Path, folder: &Path, name: &str) -> Result<PathBuf> {
    let link = folder.join(name);
    if fs::read_link(&link).is_ok_and(|target| target == binary) {
        return Ok(link);
    }
    let _ = fs::remove_file(&link);
    std::os::unix::fs::symlink(binary, &link).with_context(|| format!("cannot make {}", link.display()))?;
    Ok(link)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_content_is_another_program() {
        let module = tempfile::tempdir().unwrap();
        let cache = Path::new("/cache");
        for name in ["go.mod", "go.sum", "main.go"] {
            fs::write(module.path().join(name), name).unwrap();
        }
        let before = path(module.path(), cache).unwrap();

        fs::write(module.path().join("go.sum"), "changed").unwrap();

        assert_ne!(before, path(module.path(), cache).unwrap());
    }
}
