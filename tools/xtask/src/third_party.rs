//! Compiled third-party crates, shared by all clones of the repository on this machine: a new clone starts
//! with a copy of what an earlier one compiled.
//!
//! Cargo can share a build folder between clones, but takes the packages of the workspace for the same ones
//! in each of them, and may then use the code of one clone in another. So every clone has its own folder, and
//! only what comes from a registry is copied, together with the times by which cargo recognises it. A copy is
//! always that of one clone as a whole: compiled crates name each other by digests which contain the paths of
//! generated code, so that crates from two clones do not fit together.

use std::collections::BTreeSet;
use std::fs::{self, File, FileTimes};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};
use devstack::process;
use devstack::progress::Progress;
use nix::unistd::syncfs;
use serde::Deserialize;

use crate::workspace::{cache, cargo, root, target};

/// Folders of cargo with an entry or some for each compiled crate. Cargo believes that a crate is compiled
/// when its entry in the last one says so, which is therefore copied last.
const FOLDERS: [&str; 3] = ["deps", "build", FINGERPRINTS];
const FINGERPRINTS: &str = ".fingerprint";
/// Kept for this many states of the lock file, compiler and profiles. One takes some 2 GiB.
const KEPT: usize = 2;

/// Gives a new clone what an earlier one compiled. Whatever goes wrong costs time only: cargo compiles what
/// is not there.
pub fn share(progress: &Progress) {
    if let Err(error) = try_share(progress) {
        progress.line(&format!("compiled crates of earlier clones are not used: {error:#}"));
    }
}

/// Keeps for later clones what this one compiled, if that is more than what is kept already.
pub fn keep(progress: &Progress) {
    if let Err(error) = try_keep(progress) {
        progress.line(&format!("compiled crates are not kept for other clones: {error:#}"));
    }
}

fn try_share(progress: &Progress) -> Result<()> {
    let store = Store::open()?;
    let ours = target()?.join("debug");
    let members = Members::read()?;
    if !may_share(&store, &ours, &members) {
        return Ok(());
    }
    let _locks = (lock_target(&ours)?, store.lock()?);
    // Whoever held the locks may have compiled or copied them.
    if !may_share(&store, &ours, &members) {
        return Ok(());
    }
    progress.stage("compiled crates of this machine", || {
        // Nothing that this clone compiled stays: it names other copies of the same crates. What says that a
        // crate is compiled goes first, so that cargo never believes in one whose files are gone.
        for folder in FOLDERS.into_iter().rev() {
            match fs::remove_dir_all(ours.join(folder)) {
                Err(error) if error.kind() != ErrorKind::NotFound => return Err(error.into()),
                _ => {}
            }
        }
        for folder in FOLDERS {
            copy_all(&store.kept().join(folder), &ours.join(folder), &|_| true)?;
        }
        File::create(ours.join(FINGERPRINTS).join("shared")).context("note that crates were copied").map(drop)
    })
}

/// Whether there is something to copy, and this clone has compiled little yet.
fn may_share(store: &Store, ours: &Path, members: &Members) -> bool {
    let kept = store.kept();
    kept.exists()
        && !ours.join(FINGERPRINTS).join("shared").exists()
        && units(ours, members) * 2 <= units(&kept, members)
}

fn try_keep(progress: &Progress) -> Result<()> {
    let store = Store::open()?;
    let kept = store.kept();
    let ours = target()?.join("debug");
    let members = Members::read()?;
    if units(&ours, &members) <= units(&kept, &members) {
        return Ok(());
    }
    let _locks = (lock_target(&ours)?, store.lock()?);
    progress.stage("keep compiled crates", || {
        let partial = store.folder.join(format!("partial-{}", std::process::id()));
        drop(fs::remove_dir_all(&partial));
        for folder in FOLDERS {
            copy_all(&ours.join(folder), &partial.join(folder), &|name| !members.owns(name))?;
        }
        // After a power cut a folder with this name is whole.
        syncfs(File::open(&partial).context("open the copy")?).context("write the copy to the disk")?;
        drop(fs::remove_dir_all(&kept));
        fs::rename(&partial, &kept).with_context(|| format!("put crates into {}", kept.display()))?;
        store.prune()
    })
}

/// Where compiled crates are kept, and by which name.
struct Store {
    folder: PathBuf,
    key: String,
}

impl Store {
    fn open() -> Result<Self> {
        let folder = cache().join("third-party");
        fs::create_dir_all(&folder).with_context(|| format!("create {}", folder.display()))?;
        let mut hasher = DefaultHasher::new();
        process::run(Command::new("rustc").arg("-vV").current_dir(root()), None)?.hash(&mut hasher);
        for name in ["Cargo.lock", "Cargo.toml", ".cargo/config.toml"] {
            let path = root().join(name);
            fs::read(&path).with_context(|| format!("read {}", path.display()))?.hash(&mut hasher);
        }
        Ok(Self { folder, key: format!("{:016x}", hasher.finish()) })
    }

    fn kept(&self) -> PathBuf {
        self.folder.join(&self.key)
    }

    /// Nobody reads what another is writing.
    fn lock(&self) -> Result<File> {
        let lock = File::create(self.folder.join("lock")).context("create the lock")?;
        lock.lock().context("lock the compiled crates")?;
        Ok(lock)
    }

    /// Removes all but the latest.
    fn prune(&self) -> Result<()> {
        let mut kept = Vec::new();
        for entry in fs::read_dir(&self.folder)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                kept.push((entry.metadata()?.modified()?, entry.path()));
            }
        }
        kept.sort();
        kept.reverse();
        for (_, folder) in kept.into_iter().skip(KEPT) {
            fs::remove_dir_all(&folder).with_context(|| format!("remove {}", folder.display()))?;
        }
        Ok(())
    }
}

/// Cargo's own lock of a target folder: nothing is compiled there meanwhile.
fn lock_target(folder: &Path) -> Result<File> {
    let path = folder.join(".cargo-lock");
    let lock = File::options()
        .create(true)
        .append(true)
        .open(&path)
        .with_context(|| format!("open {}", path.display()))?;
    lock.lock().context("lock the target folder")?;
    Ok(lock)
}

/// The names under which cargo files packages and targets of the workspace.
struct Members(BTreeSet<String>);

impl Members {
    fn read() -> Result<Self> {
        #[derive(Deserialize)]
        struct Metadata {
            packages: Vec<Package>,
        }
        #[derive(Deserialize)]
        struct Package {
            name: String,
            targets: Vec<Target>,
        }
        #[derive(Deserialize)]
        struct Target {
            name: String,
        }
        let text = process::run(cargo().args(["metadata", "--format-version", "1", "--no-deps"]), None)?;
        let metadata: Metadata = serde_json::from_str(&text).context("read the packages of the workspace")?;
        let names = metadata.packages.into_iter().flat_map(|package| {
            let targets = package.targets.into_iter().map(|target| target.name);
            targets.chain([package.name]).collect::<Vec<_>>()
        });
        Ok(Self(names.map(|name| name.replace('-', "_")).collect()))
    }

    /// Whether a file or folder belongs to one of them: `gateway-0123456789abcdef`,
    /// `libgateway-0123456789abcdef.rmeta` or without digest.
    fn owns(&self, name: &str) -> bool {
        let stem = name.rsplit_once('-').map_or(name, |(stem, _)| stem).replace('-', "_");
        self.0.contains(&stem) || stem.strip_prefix("lib").is_some_and(|stem| self.0.contains(stem))
    }
}

/// How many third-party crates are compiled in this folder, in whatever way.
fn units(folder: &Path, members: &Members) -> usize {
    let entries = fs::read_dir(folder.join(FINGERPRINTS)).into_iter().flatten().flatten();
    entries.filter(|entry| !members.owns(&entry.file_name().to_string_lossy())).count()
}

/// Copies files, rights and times; `wanted` chooses among the entries of the folder itself.
fn copy_all(from: &Path, to: &Path, wanted: &dyn Fn(&str) -> bool) -> Result<()> {
    fs::create_dir_all(to).with_context(|| format!("create {}", to.display()))?;
    for entry in fs::read_dir(from).with_context(|| format!("read {}", from.display()))? {
        let entry = entry?;
        if !wanted(&entry.file_name().to_string_lossy()) {
            continue;
        }
        let (source, copy) = (entry.path(), to.join(entry.file_name()));
        if entry.file_type()?.is_dir() {
            copy_all(&source, &copy, &|_| true)?;
        } else if entry.file_type()?.is_file() {
            // Never in place: a file that is linked elsewhere would change there as well.
            drop(fs::remove_file(&copy));
            copy_file(&source, &copy).with_context(|| format!("copy {}", source.display()))?;
        }
    }
    Ok(())
}

fn copy_file(source: &Path, copy: &Path) -> Result<()> {
    fs::copy(source, copy)?;
    let metadata = fs::metadata(source)?;
    let times = FileTimes::new().set_modified(metadata.modified()?);
    File::options().append(true).open(copy)?.set_times(times)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_ours_is_told_from_what_is_not() {
        let members = Members(["billing_service", "it"].map(str::to_owned).into());
        for ours in [
            "billing-service-0123456789abcdef",
            "libbilling_service-0123456789abcdef.rmeta",
            "billing_service-0123456789abcdef.d",
            "it-0123456789abcdef",
        ] {
            assert!(members.owns(ours), "{ours}");
        }
        for other in ["serde-0123456789abcdef", "libit_more-0123456789abcdef.rlib", "itoa-0123456789abcdef"] {
            assert!(!members.owns(other), "{other}");
        }
    }

    #[test]
    fn a_copy_has_the_times_of_its_original() {
        let folder = tempfile::tempdir().unwrap();
        let (from, to) = (folder.path().join("from"), folder.path().join("to"));
        fs::create_dir_all(from.join("inner")).unwrap();
        for name in ["ours-1", "inner/theirs"] {
            fs::write(from.join(name), name).unwrap();
        }
        copy_all(&from, &to, &|name| name != "ours-1").unwrap();
        assert!(!to.join("ours-1").exists());
        let time = |path: PathBuf| fs::metadata(path).unwrap().modified().unwrap();
        assert_eq!(time(from.join("inner/theirs")), time(to.join("inner/theirs")));
    }
}
