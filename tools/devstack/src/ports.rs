//! Free loopback ports, remembered by name, so that a stack keeps its addresses from one start to the next.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read as _;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

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
        if let Some(port) = self.known.get(name).copied().filter(|port| is_free(*port)) {
            return Ok(port);
        }
        let well_known = WELL_KNOWN.iter().find(|(known, _)| self.well_known && *known == name);
        let port = match well_known {
            Some((_, port)) if is_free(*port) => *port,
            _ => self.find()?,
        };
        self.known.insert(name.to_owned(), port);
        let text = serde_json::to_string_pretty(&self.known)?;
        fs::write(&self.file, text).with_context(|| format!("write {}", self.file.display()))?;
        Ok(port)
    }

    fn find(&self) -> Result<u16> {
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
            if !taken && is_free(port) {
                return Ok(port);
            }
        }
        bail!("no free port on loopback")
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
    fn two_names_never_share_a_port() {
        let folder = tempfile::tempdir().unwrap();
        let mut ports = Ports::load(&folder.path().join("ports.json"));
        let mut chosen: Vec<u16> = (0..50).map(|n| ports.choose(&format!("p{n}")).unwrap()).collect();
        chosen.sort_unstable();
        chosen.dedup();
        assert_eq!(chosen.len(), 50);
    }
}
