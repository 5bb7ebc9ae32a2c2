//! Finds or builds the devcluster program: one build for each content of its Go module, shared by all checkouts.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};
use sha2::{Digest as _, Sha256};

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

/// The program, built when it is missing. The first build takes minutes; `progress` is told before it begins.
///
/// `module` is the folder `infrastructure/devcluster`, `cache` a per-user folder such as `~/.cache/saasodoo`.
pub fn ensure(module: &Path, cache: &Path, progress: impl Fn(&str)) -> Result<PathBuf> {
    let program = path(module, cache)?;
    if program.exists() {
        return Ok(program);
    }
    let Some(folder) = program.parent() else { bail!("{} has no folder", program.display()) };
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;

    let lock = fs::File::create(folder.join("lock"))?;
    lock.lock().context("cannot lock the build folder")?;
    if !program.exists() {
        progress("building the Kubernetes control plane from its Go modules (about 7 minutes on two cores)");
        build(module, folder, &program)?;
    }
    drop(lock);
    Ok(program)
}

fn build(module: &Path, folder: &Path, program: &Path) -> Result<()> {
    let part = folder.join("devcluster.part");
    let log = folder.join("build.log");
    let output = fs::File::create(&log)?;
    let version_flags = ["k8s.io/component-base/version", "k8s.io/client-go/pkg/version"]
        .map(|package| format!("-X {package}.gitVersion={KUBERNETES_VERSION}"))
        .join(" ");
    let status = Command::new("go")
        .args(["build", "-p", "2", "-trimpath", "-ldflags"])
        .arg(format!("-s -w {version_flags}"))
        .arg("-o")
        .arg(&part)
        .arg(".")
        .current_dir(module)
        .env("CGO_ENABLED", "0")
        .stdin(Stdio::null())
        .stdout(output.try_clone()?)
        .stderr(output)
        .status()
        .context("cannot run `go`: is it installed?")?;
    if !status.success() {
        bail!("`go build` failed ({status}):\n{}", fs::read_to_string(&log).unwrap_or_default());
    }
    fs::rename(&part, program)?;
    Ok(())
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
