//! Free loopback ports, remembered by name, so that a stack keeps its addresses from one start to the next.
//!
//! Between the choice of a port and the server that listens on it lie seconds or minutes. In this time it is
//! reserved: this process holds a lock on one byte of a file that all stacks of a user share, and the kernel
//! takes the lock back when the process ends in any way. So two stacks that start at the same time never get
//! one port, and a stack keeps the port of a server that is off for a while.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::Read as _;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use anyhow::{Context as _, Result, bail};
use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;
use nix::unistd::geteuid;

/// Below the range from which the kernel takes ports of outgoing connections.
const RANGE: std::ops::Range<u16> = 20_000..32_000;

/// Ports of the developer's own stack, so that addresses can be kept as bookmarks. No other stack takes them.
const WELL_KNOWN: [(&str, u16); 8] = [
    ("gateway-http", 28_000),
    ("control", 28_001),
    ("mail", 28_025),
    ("ingress", 28_080),
    ("paynow-control", 28_090),
    ("redis", 28_379),
    ("postgres", 28_432),
    ("rabbitmq", 28_672),
];

/// Which name has which port.
#[derive(Debug)]
pub struct Ports {
    file: PathBuf,
    known: BTreeMap<String, u16>,
    well_known: bool,
}

impl Ports {
    /// Reads the ports of an earlier start; none if there was none.
    pub fn load(file: &Path) -> Self {
        let known =
            fs::read(file).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default();
        Self { file: file.to_owned(), known, well_known: false }
    }

    /// The same for the developer's own stack: what a person opens has its well-known port while that is
    /// free.
    pub fn load_well_known(file: &Path) -> Self {
        Self { well_known: true, ..Self::load(file) }
    }

    /// The port of `name`: the earlier one while it is free, else its well-known or a new one.
    pub fn choose(&mut self, name: &str) -> Result<u16> {
        let owner = Owner { file: self.file.clone(), name: name.to_owned() };
        if let Some(port) = self.known.get(name).copied()
            && is_free(port)
            && reserve(port, &owner)?
        {
            return Ok(port);
        }
        let well_known = WELL_KNOWN.iter().find(|(known, _)| self.well_known && *known == name);
        let port = match well_known {
            Some((_, port)) if is_free(*port) && reserve(*port, &owner)? => *port,
            _ => self.find(&owner)?,
        };
        self.known.insert(name.to_owned(), port);
        let text = serde_json::to_string_pretty(&self.known)?;
        fs::write(&self.file, text).with_context(|| format!("write {}", self.file.display()))?;
        Ok(port)
    }

    fn find(&self, owner: &Owner) -> Result<u16> {
        let mut random = File::open("/dev/urandom").context("open /dev/urandom")?;
        for _ in 0..500 {
            let mut bytes = [0; 2];
            random.read_exact(&mut bytes)?;
            let port = RANGE.start + u16::from_le_bytes(bytes) % (RANGE.end - RANGE.start);
            let taken = self
                .known
                .values()
                .chain(WELL_KNOWN.iter().map(|(_, port)| port))
                .any(|other| *other == port);
            if !taken && is_free(port) && reserve(port, owner)? {
                return Ok(port);
            }
        }
        bail!("no free port on loopback")
    }
}

/// Whose a reserved port is.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Owner {
    file: PathBuf,
    name: String,
}

/// What this process has reserved.
#[derive(Debug)]
struct Reserved {
    /// The file with the locks, once it is open.
    locks: Option<File>,
    owners: BTreeMap<u16, Owner>,
}

static RESERVED: Mutex<Reserved> = Mutex::new(Reserved { locks: None, owners: BTreeMap::new() });

/// Reserves a port until this process ends; `false` when it is somebody else's.
fn reserve(port: u16, owner: &Owner) -> Result<bool> {
    let mut reserved = RESERVED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(other) = reserved.owners.get(&port) {
        return Ok(other == owner);
    }
    let locks = match &reserved.locks {
        Some(locks) => locks,
        None => reserved.locks.insert(open_locks()?),
    };
    if !lock_byte(locks, port)? {
        return Ok(false);
    }
    reserved.owners.insert(port, owner.clone());
    Ok(true)
}

/// Opens the file whose byte number n stands for port n.
fn open_locks() -> Result<File> {
    let user = geteuid().as_raw();
    let path = PathBuf::from(format!("/var/tmp/saasodoo-ports-{user}"));
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .read(true)
        .write(true)
        .mode(0o600)
        .custom_flags(libc::O_NOFOLLOW)
        .open(&path)
        .with_context(|| format!("open {}", path.display()))?;
    if file.metadata()?.uid() != user {
        bail!("{} belongs to somebody else", path.display());
    }
    Ok(file)
}

/// Locks one byte for this open file, which no child inherits.
fn lock_byte(file: &File, byte: u16) -> Result<bool> {
    let lock = libc::flock {
        l_type: libc::c_short::try_from(libc::F_WRLCK)?,
        l_whence: libc::c_short::try_from(libc::SEEK_SET)?,
        l_start: libc::off_t::from(byte),
        l_len: 1,
        l_pid: 0,
    };
    match fcntl(file, FcntlArg::F_OFD_SETLK(&lock)) {
        Ok(_) => Ok(true),
        Err(nix::errno::Errno::EAGAIN | nix::errno::Errno::EACCES) => Ok(false),
        Err(error) => Err(error).context("lock a port"),
    }
}

/// Whether nobody listens on this port of loopback.
pub fn is_free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_keeps_its_port_while_it_is_free() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("ports.json");
        let first = Ports::load(&file).choose("postgres").unwrap();
        assert_eq!(Ports::load(&file).choose("postgres").unwrap(), first);
        let _taken = TcpListener::bind((Ipv4Addr::LOCALHOST, first)).unwrap();
        assert_ne!(Ports::load(&file).choose("postgres").unwrap(), first);
    }

    #[test]
    fn the_own_stack_of_a_developer_has_well_known_ports() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("ports.json");
        // Whether it is free here or not: nobody else is given it.
        let own = Ports::load_well_known(&file).choose("mail").unwrap();
        assert!(own == 28_025 || !is_free(28_025));
        assert_ne!(Ports::load(&folder.path().join("other.json")).choose("mail").unwrap(), 28_025);
    }

    #[test]
    fn a_chosen_port_is_nobody_elses_before_a_server_listens_on_it() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("ports.json");
        let port = Ports::load(&file).choose("postgres").unwrap();

        // As another stack would, which happens to draw the same number.
        let other = folder.path().join("other.json");
        fs::write(&other, format!("{{\"redis\": {port}}}")).unwrap();
        let in_this_process = Ports::load(&other).choose("redis").unwrap();
        let in_another = lock_byte(&open_locks().unwrap(), port).unwrap();

        assert_ne!(in_this_process, port);
        assert!(!in_another);
        assert_eq!(Ports::load(&file).choose("postgres").unwrap(), port);
    }

    #[test]
    fn two_names_never_share_a_port() {
        let folder = tempfile::tempdir().unwrap();
        let mut ports = Ports::load(&folder.path().join("ports.json"));
        let mut chosen: Vec<u16> = (0..50).map(|n| ports.choose(&format!("p{n}")).unwrap()).collect();
        chosen.sort_unstable();
        chosen.dedup();
        assert_eq!(chosen.len(), 50);
    }
}
