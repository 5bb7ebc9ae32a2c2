//! Free loopback ports, remembered by name, so that a stack keeps its addresses from one start to the next.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read as _;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

/// Below the range from which the kernel takes ports of outgoing connections.
const RANGE: std::ops::Range<u16> = 20_000..32_000;

/// Which name has which port.
#[derive(Debug)]
pub struct Ports {
    file: PathBuf,
    known: BTreeMap<String, u16>,
}

impl Ports {
    /// Reads the ports of an earlier start; none if there was none.
    pub fn load(file: &Path) -> Self {
        let known =
            fs::read(file).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default();
        Self { file: file.to_owned(), known }
    }

    /// The port of `name`: the earlier one while it is free, else a new one.
    pub fn choose(&mut self, name: &str) -> Result<u16> {
        if let Some(port) = self.known.get(name).copied().filter(|port| is_free(*port)) {
            return Ok(port);
        }
        let port = self.find()?;
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
            if !self.known.values().any(|known| *known == port) && is_free(port) {
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
    fn two_names_never_share_a_port() {
        let folder = tempfile::tempdir().unwrap();
        let mut ports = Ports::load(&folder.path().join("ports.json"));
        let mut chosen: Vec<u16> = (0..50).map(|n| ports.choose(&format!("p{n}")).unwrap()).collect();
        chosen.sort_unstable();
        chosen.dedup();
        assert_eq!(chosen.len(), 50);
    }
}
