//! The filestore in the pod's volume: one file for each content, named by its SHA-1 as Odoo does.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};

/// Folder `<data>/filestore/<database>`.
#[derive(Debug)]
pub struct Filestore {
    folder: PathBuf,
}

/// Where a content lies: the name in `ir_attachment` and the checksum.
#[derive(Debug, PartialEq, Eq)]
pub struct Stored {
    /// Path relative to the filestore.
    pub name: String,
    /// SHA-1 of the content in hexadecimal.
    pub checksum: String,
}

impl Filestore {
    /// Opens the folder, made if absent; fails when the volume cannot be written.
    pub fn open(data_dir: &Path, database: &str) -> anyhow::Result<Self> {
        let folder = data_dir.join("filestore").join(database);
        fs::create_dir_all(&folder).with_context(|| format!("filestore {}", folder.display()))?;
        Ok(Self { folder })
    }

    /// Writes a content unless it is there already.
    pub fn put(&self, content: &[u8]) -> anyhow::Result<Stored> {
        let checksum = hex::encode(digest(&SHA1_FOR_LEGACY_USE_ONLY, content));
        let name = format!("{}/{checksum}", checksum.get(..2).unwrap_or_default());
        let path = self.folder.join(&name);
        if !path.exists() {
            let parent = path.parent().context("a stored file has a folder")?;
            fs::create_dir_all(parent).with_context(|| format!("filestore {}", parent.display()))?;
            let partial = path.with_extension("part");
            fs::write(&partial, content).with_context(|| format!("filestore {}", partial.display()))?;
            fs::rename(&partial, &path).with_context(|| format!("filestore {}", path.display()))?;
        }
        Ok(Stored { name, checksum })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_content_lies_under_its_checksum() {
        let folder = tempfile::tempdir().unwrap();
        let files = Filestore::open(folder.path(), "shop").unwrap();
        let stored = files.put(b"hello").unwrap();
        assert_eq!(stored.name, "aa/aaf4c61ddcc5e8a2dabede0f3b482cd9aea9434d");
        assert_eq!(fs::read(folder.path().join("filestore/shop").join(&stored.name)).unwrap(), b"hello");
        assert_eq!(files.put(b"hello").unwrap(), stored);
    }
}
