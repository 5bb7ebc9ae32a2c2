//! The data of the queries of a crate: a file for each in its folder `.sqlx`.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};

/// Data of queries, by the name of the file.
pub type Queries = BTreeMap<String, String>;

/// The data in a folder.
pub fn queries(folder: &Path) -> Result<Queries> {
    let mut found = Queries::new();
    for entry in fs::read_dir(folder).into_iter().flatten() {
        let entry = entry?;
        let text =
            fs::read_to_string(entry.path()).with_context(|| format!("read {}", entry.path().display()))?;
        found.insert(entry.file_name().to_string_lossy().into_owned(), text);
    }
    Ok(found)
}

/// Where data is not as it was made now.
pub fn differences(made: &Queries, kept: &Queries) -> Vec<String> {
    let missing =
        made.keys().filter(|file| !kept.contains_key(*file)).map(|file| format!("{file} is missing"));
    let useless =
        kept.keys().filter(|file| !made.contains_key(*file)).map(|file| format!("{file} has no query"));
    let changed = made
        .iter()
        .filter(|(file, text)| kept.get(*file).is_some_and(|kept| kept != *text))
        .map(|(file, _)| format!("{file} is not what the database says"));
    missing.chain(useless).chain(changed).collect()
}

/// Puts what was made in the place of what was there.
pub fn replace(folder: &Path, made: &Queries) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("create {}", folder.display()))?;
    for file in queries(folder)?.keys().filter(|file| !made.contains_key(*file)) {
        fs::remove_file(folder.join(file)).with_context(|| format!("remove {file}"))?;
    }
    for (file, text) in made {
        fs::write(folder.join(file), text).with_context(|| format!("write {file}"))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_is_stale_when_it_is_missing_useless_or_other() {
        let queries = |all: &[(&str, &str)]| -> Queries {
            all.iter().map(|(file, text)| ((*file).to_owned(), (*text).to_owned())).collect()
        };
        let kept = queries(&[("a", "1"), ("b", "1"), ("d", "1")]);
        let made = queries(&[("a", "1"), ("b", "2"), ("c", "1")]);
        let told = differences(&made, &kept);
        assert_eq!(told, ["c is missing", "d has no query", "b is not what the database says"]);
        assert!(differences(&made, &made).is_empty());
    }

    #[test]
    fn what_is_made_replaces_what_was_there() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("old"), "1").unwrap();
        let made = Queries::from([("new".to_owned(), "2".to_owned())]);
        replace(folder.path(), &made).unwrap();
        assert_eq!(queries(folder.path()).unwrap(), made);
    }
}
