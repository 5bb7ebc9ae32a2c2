//! Loopback addresses of pods: one block 127.N.0.0/16 for each running node program, one address for each
//! pod.
//!
//! Pods of StatefulSets keep theirs for life, also over restarts of this program, by a small file.

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use anyhow::{Context as _, bail};
use serde::{Deserialize, Serialize};

/// Addresses handed out and those that are kept.
#[derive(Debug)]
pub struct Addresses {
    block: u8,
    file: PathBuf,
    inner: Mutex<Inner>,
    /// Nobody connects to it: holding it tells other node programs that the block is taken.
    _claim: TcpListener,
}

#[derive(Debug, Default)]
struct Inner {
    used: HashSet<Ipv4Addr>,
    kept: BTreeMap<String, Ipv4Addr>,
    next: u16,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct Saved {
    block: u8,
    kept: BTreeMap<String, Ipv4Addr>,
}

impl Addresses {
    /// Takes a block: the wanted one, or that of the last run, or the first free one.
    pub fn open(file: &Path, wanted: Option<u8>) -> anyhow::Result<Self> {
        let saved: Saved = match fs::read(file) {
            Ok(content) => {
                serde_json::from_slice(&content).with_context(|| format!("{} is damaged", file.display()))?
            }
            Err(_) => Saved::default(),
        };
        let candidates: Vec<u8> = match wanted {
            Some(block) => vec![block],
            None => (saved.block >= 64).then_some(saved.block).into_iter().chain(64..=127).collect(),
        };
        let claimed = candidates.into_iter().find_map(|block| Some((block, claim(block)?)));
        let Some((block, claim)) = claimed else { bail!("no block of loopback addresses is free") };

        let kept: BTreeMap<String, Ipv4Addr> =
            saved.kept.into_iter().filter(|(_, address)| address.octets()[1] == block).collect();
        let used = kept.values().copied().collect();
        let inner = Mutex::new(Inner { used, kept, next: 0 });
        let addresses = Self { block, file: file.to_owned(), inner, _claim: claim };
        addresses.save(&addresses.lock())?;
        Ok(addresses)
    }

    /// An address for a pod. `keep` names a pod that keeps it for life; `wish` is the one that it had before.
    pub fn take(&self, keep: Option<&str>, wish: Option<Ipv4Addr>) -> anyhow::Result<Ipv4Addr> {
        let mut inner = self.lock();
        if let Some(address) = keep.and_then(|name| inner.kept.get(name)) {
            return Ok(*address);
        }
        let wish = wish.filter(|address| {
            let [first, second, ..] = address.octets();
            first == 127 && second == self.block && !inner.used.contains(address)
        });
        let address = match wish {
            Some(address) => address,
            None => self.next_free(&mut inner)?,
        };
        inner.used.insert(address);
        if let Some(name) = keep {
            inner.kept.insert(name.to_owned(), address);
            self.save(&inner)?;
        }
        Ok(address)
    }

    /// Gives the address of a pod back, unless it is kept for life.
    pub fn give_back(&self, address: Ipv4Addr) {
        let mut inner = self.lock();
        if !inner.kept.values().any(|kept| *kept == address) {
            inner.used.remove(&address);
        }
    }

    fn next_free(&self, inner: &mut Inner) -> anyhow::Result<Ipv4Addr> {
        for _ in 0..u16::MAX {
            inner.next = inner.next.wrapping_add(1);
            let [third, fourth] = inner.next.to_be_bytes();
            let address = Ipv4Addr::new(127, self.block, third, fourth);
            // .0 and .255 are valid on loopback, but look like mistakes to people.
            if fourth != 0 && fourth != 255 && !inner.used.contains(&address) {
                return Ok(address);
            }
        }
        bail!("all addresses of 127.{}.0.0/16 are taken", self.block)
    }

    fn save(&self, inner: &Inner) -> anyhow::Result<()> {
        let saved = Saved { block: self.block, kept: inner.kept.clone() };
        let part = self.file.with_extension("part");
        fs::write(&part, serde_json::to_vec_pretty(&saved)?)
            .and_then(|()| fs::rename(&part, &self.file))
            .with_context(|| format!("cannot write {}", self.file.display()))
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn claim(block: u8) -> Option<TcpListener> {
    TcpListener::bind((Ipv4Addr::new(127, block, 255, 254), 65_254)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stateful_pod_has_the_same_address_after_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("addresses.json");
        let first = Addresses::open(&file, None).unwrap();
        let address = first.take(Some("ns/pool-0"), None).unwrap();
        first.give_back(address);
        drop(first);

        let second = Addresses::open(&file, None).unwrap();

        assert_eq!(second.take(Some("ns/pool-0"), None).unwrap(), address);
        assert_ne!(second.take(None, None).unwrap(), address);
    }

    #[test]
    fn two_nodes_never_share_a_block() {
        let dir = tempfile::tempdir().unwrap();
        let one = Addresses::open(&dir.path().join("one"), None).unwrap();
        let two = Addresses::open(&dir.path().join("two"), None).unwrap();

        assert_ne!(one.take(None, None).unwrap(), two.take(None, None).unwrap());
    }

    #[test]
    fn a_pod_that_had_an_address_gets_it_again_while_it_is_free() {
        let dir = tempfile::tempdir().unwrap();
        let addresses = Addresses::open(&dir.path().join("a"), None).unwrap();
        let address = addresses.take(None, None).unwrap();

        assert_ne!(addresses.take(None, Some(address)).unwrap(), address);
        addresses.give_back(address);
        assert_eq!(addresses.take(None, Some(address)).unwrap(), address);
    }
}
