//! Paths of a container and what they are on this machine. There is no file system of its own for a pod, so
//! paths below its mounts are rewritten in arguments, environment and configuration.

use std::path::{Path, PathBuf};

/// The mounts of one container, the longest path first.
#[derive(Debug, Clone, Default)]
pub struct Mounts {
    entries: Vec<(String, PathBuf)>,
    /// Stands for paths that no mount covers, where a recipe needs one.
    scratch: PathBuf,
}

impl Mounts {
    /// Mounts by path in the container.
    pub fn new(mut entries: Vec<(String, PathBuf)>, scratch: PathBuf) -> Self {
        for (path, _) in &mut entries {
            while path.len() > 1 && path.ends_with('/') {
                path.pop();
            }
        }
        entries.retain(|(path, _)| path.len() > 1);
        entries.sort_by_key(|(path, _)| std::cmp::Reverse(path.len()));
        Self { entries, scratch }
    }

    /// The place of a path on this machine, when a mount covers it.
    pub fn covered(&self, path: &str) -> Option<PathBuf> {
        self.entries.iter().find_map(|(mount, host)| {
            let rest = path.strip_prefix(mount.as_str())?;
            match rest.strip_prefix('/') {
                Some(below) => Some(host.join(below)),
                None => rest.is_empty().then(|| host.clone()),
            }
        })
    }

    /// The place of a path on this machine; a scratch folder of the container where no mount covers it.
    pub fn place(&self, path: &str) -> PathBuf {
        self.covered(path).unwrap_or_else(|| self.scratch.join(path.trim_start_matches('/')))
    }

    /// The container's scratch folder.
    pub fn scratch(&self) -> &Path {
        &self.scratch
    }

    /// A text in which every path below a mount is rewritten.
    pub fn text(&self, text: &str) -> String {
        let mut result = String::with_capacity(text.len());
        let mut before: Option<char> = None;
        let mut rest = text;
        while let Some(first) = rest.chars().next() {
            let boundary = before.is_none_or(|character| !is_path_character(character));
            let hit = if first == '/' && boundary { self.match_at(rest) } else { None };
            let step = if let Some((mount, host)) = hit {
                result.push_str(&host.to_string_lossy());
                mount.len()
            } else {
                result.push(first);
                first.len_utf8()
            };
            before = rest[..step].chars().next_back();
            rest = &rest[step..];
        }
        result
    }

    fn match_at(&self, rest: &str) -> Option<(&str, &Path)> {
        self.entries.iter().find_map(|(mount, host)| {
            let after = rest.strip_prefix(mount.as_str())?.chars().next();
            let ends = after.is_none_or(|character| character == '/' || !is_path_character(character));
            ends.then_some((mount.as_str(), host.as_path()))
        })
    }
}

fn is_path_character(character: char) -> bool {
    character.is_ascii_alphanumeric() || matches!(character, '/' | '.' | '-' | '_')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mounts() -> Mounts {
        Mounts::new(
            vec![
                ("/etc/postgresql".into(), "/h/config".into()),
                ("/data/".into(), "/h/data".into()),
                ("/data/inner".into(), "/h/inner".into()),
            ],
            "/h/scratch".into(),
        )
    }

    #[test]
    fn the_longest_mount_wins() {
        assert_eq!(mounts().place("/data/inner/x"), Path::new("/h/inner/x"));
        assert_eq!(mounts().place("/data/innermost"), Path::new("/h/data/innermost"));
        assert_eq!(mounts().place("/elsewhere/y"), Path::new("/h/scratch/elsewhere/y"));
        assert_eq!(mounts().covered("/elsewhere/y"), None);
    }

    #[test]
    fn paths_in_texts_are_rewritten_at_boundaries_only() {
        let mounts = mounts();
        assert_eq!(
            mounts.text("config_file=/etc/postgresql/postgresql.conf"),
            "config_file=/h/config/postgresql.conf"
        );
        assert_eq!(mounts.text("cp '/data/a' /data; ls /srv/data"), "cp '/h/data/a' /h/data; ls /srv/data");
        assert_eq!(mounts.text("/database /data-2"), "/database /data-2");
        assert_eq!(mounts.text("grüße /data"), "grüße /h/data");
    }
}
