//! The folder of one run of tests, benchmarks or checks: where it lies, whose it is, and that nothing of it
//! stays.

use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};
use devstack::layout::Layout;
use devstack::process;
use devstack::stack::Stack;
use nix::sys::statvfs::statvfs;
use nix::unistd::geteuid;

use crate::workspace::{self, target};

/// A folder for one run; an earlier one that nobody uses any more is deleted.
#[derive(Debug)]
pub struct Scratch {
    /// Where the run's stack lies.
    pub layout: Layout,
    /// Held as long as the run lasts.
    _lock: File,
}

/// The file system in memory that Linux has.
const MEMORY: &str = "/dev/shm";
/// What must be free there, with a wide margin: a complete run of the tests was seen to take some 0.6 GiB.
const ROOM: u64 = 6 << 30;

impl Scratch {
    /// In memory where there is room, else on the disk. Tests make and drop a database each, and some make
    /// whole servers: on a disk the kernel is busy with files for half of the time, though nothing waits for
    /// the disk.
    pub fn for_tests() -> Result<Self> {
        let memory = Path::new(MEMORY);
        let folder = memory.join(format!("saasodoo-test-{}", geteuid()));
        if has_room(memory) && !is_foreign(&folder) {
            return Self::beneath(&folder);
        }
        Self::on_disk()
    }

    /// Where a server's data would lie in earnest, for whoever measures.
    pub fn on_disk() -> Result<Self> {
        Self::beneath(&target()?.join("test"))
    }

    fn beneath(folder: &Path) -> Result<Self> {
        make(folder)?;
        // One run at a time looks here: a folder whose lock is not taken yet would look unused.
        let gate = File::create(folder.join("gate")).context("create the gate")?;
        gate.lock().context("wait at the gate")?;
        for entry in fs::read_dir(folder).with_context(|| format!("read {}", folder.display()))?.flatten() {
            let layout = workspace::layout(entry.path())?;
            let unused = File::open(layout.lock_file()).is_ok_and(|file| file.try_lock().is_ok());
            if unused {
                clean(&layout, false);
            }
        }
        let dir = folder.join(std::process::id().to_string());
        make(&dir)?;
        let layout = workspace::layout(dir)?;
        let lock = File::create(layout.lock_file()).context("create the lock")?;
        lock.try_lock().context("lock the scratch folder")?;
        Ok(Self { layout, _lock: lock })
    }
}

/// Makes a folder through which the database's user gets.
fn make(folder: &Path) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("create {}", folder.display()))?;
    fs::set_permissions(folder, fs::Permissions::from_mode(0o755))
        .with_context(|| format!("open {} to the database's user", folder.display()))
}

/// Whether somebody else has put something at this place, which everybody may write to: a folder of theirs,
/// or a link.
fn is_foreign(folder: &Path) -> bool {
    fs::symlink_metadata(folder).is_ok_and(|found| !found.is_dir() || found.uid() != geteuid().as_raw())
}

/// Whether this much may be put there: the file system says so, and the memory behind it too.
fn has_room(memory: &Path) -> bool {
    let free = statvfs(memory)
        .is_ok_and(|found| found.blocks_available().saturating_mul(found.fragment_size()) >= ROOM);
    free && fs::read_to_string("/proc/meminfo").is_ok_and(|told| available(&told) >= 2 * ROOM)
}

/// Bytes of memory that a new program may have.
fn available(meminfo: &str) -> u64 {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"));
    let kibibytes = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kibibytes.unwrap_or_default().saturating_mul(1024)
}

/// The log files of a run that failed, for a person to read.
pub fn keep_logs(layout: &Layout) -> Result<()> {
    let kept = target()?.join("test-logs");
    drop(fs::remove_dir_all(&kept));
    fs::create_dir_all(&kept).with_context(|| format!("create {}", kept.display()))?;
    for folder in [layout.logs(), layout.kubernetes().join("log")] {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            fs::copy(entry.path(), kept.join(entry.file_name()))?;
        }
    }
    eprintln!("the servers' logs are in {}", kept.display());
    Ok(())
}

/// Deletes the data of a run.
pub fn clean(layout: &Layout, keep: bool) {
    if keep {
        eprintln!("kept {}", layout.dir.display());
    } else if let Err(error) = unmount(&layout.dir).and_then(|()| Stack::purge(layout)) {
        eprintln!("{error:#}");
    }
}

/// Small volumes of tests that were killed: nothing can be deleted beneath them.
fn unmount(folder: &Path) -> Result<()> {
    let mounts = fs::read_to_string("/proc/self/mounts").context("list the mounts")?;
    for point in mounts_beneath(&mounts, folder) {
        process::run(Command::new("umount").arg("--lazy").arg(point), None)?;
    }
    Ok(())
}

/// The innermost first.
fn mounts_beneath<'a>(mounts: &'a str, folder: &Path) -> Vec<&'a Path> {
    let points = mounts.lines().filter_map(|line| line.split(' ').nth(1)).map(Path::new);
    let mut found: Vec<_> = points.filter(|point| *point != folder && point.starts_with(folder)).collect();
    found.sort();
    found.reverse();
    found
}

/// A folder of the run for what single tests make.
pub fn of_tests(layout: &Layout) -> Result<PathBuf> {
    let folder = layout.dir.join("tests");
    make(&folder)?;
    // Servers that run as another user make theirs in it, as in `/tmp`.
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o1777)).context("open the tests' folder")?;
    Ok(folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_counts_as_the_kernel_tells_it() {
        assert_eq!(available("MemTotal:  24000000 kB\nMemAvailable:   1024 kB\n"), 1 << 20);
        assert_eq!(available("MemTotal:  24000000 kB\n"), 0);
        assert!(!has_room(Path::new("/nowhere")));
    }

    #[test]
    fn a_link_in_the_place_of_the_folder_is_foreign() {
        let folder = tempfile::tempdir().unwrap();
        assert!(!is_foreign(folder.path()));
        assert!(!is_foreign(&folder.path().join("absent")));
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(folder.path(), &link).unwrap();
        assert!(is_foreign(&link));
    }

    #[test]
    fn mounts_go_from_the_inside_out() {
        let mounts =
            "tmpfs /s/1/tests/a tmpfs rw 0 0\ntmpfs /s/1/tests/a/b tmpfs rw 0 0\ntmpfs /s/10 tmpfs rw 0 0\n";
        let found = mounts_beneath(mounts, Path::new("/s/1"));
        assert_eq!(found, [Path::new("/s/1/tests/a/b"), Path::new("/s/1/tests/a")]);
    }
}
