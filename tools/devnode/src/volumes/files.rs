//! The files of Secrets, ConfigMaps, projected volumes and the downward API, as pure functions of their
//! contents.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::{Component, Path, PathBuf};

use k8s_openapi::api::core::v1::{DownwardAPIVolumeFile, KeyToPath, Pod, Volume, VolumeProjection};

use crate::environment::{References, Sources, field_value};

/// One file of a volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Path below the volume.
    pub path: PathBuf,
    /// Content.
    pub content: Vec<u8>,
    /// Permissions.
    pub mode: u32,
}

/// Tokens of a service account by the path of their file.
pub type Tokens = BTreeMap<String, String>;

const DEFAULT_MODE: i32 = 0o644;

/// What a volume names.
pub fn references(volume: &Volume, found: &mut References) {
    if let Some(secret) = &volume.secret
        && let Some(name) = &secret.secret_name
    {
        found.secret(name, secret.optional.unwrap_or(false));
    }
    if let Some(map) = &volume.config_map {
        found.config_map(&map.name, map.optional.unwrap_or(false));
    }
    let projected = volume.projected.as_ref().and_then(|projected| projected.sources.as_ref());
    for source in projected.into_iter().flatten() {
        if let Some(secret) = &source.secret {
            found.secret(&secret.name, secret.optional.unwrap_or(false));
        }
        if let Some(map) = &source.config_map {
            found.config_map(&map.name, map.optional.unwrap_or(false));
        }
    }
}

/// The files of a volume; none for an empty folder.
///
/// # Errors
/// The name of the key that is missing.
pub fn entries(
    pod: &Pod,
    ip: Ipv4Addr,
    volume: &Volume,
    sources: &Sources,
    tokens: &Tokens,
) -> Result<Vec<Entry>, String> {
    if let Some(secret) = &volume.secret {
        let name = secret.secret_name.as_deref().unwrap_or_default();
        let mode = secret.default_mode.unwrap_or(DEFAULT_MODE);
        return keys(name, sources.secrets.get(name), secret.items.as_deref(), secret.optional, mode);
    }
    if let Some(map) = &volume.config_map {
        let mode = map.default_mode.unwrap_or(DEFAULT_MODE);
        return keys(&map.name, sources.config_maps.get(&map.name), map.items.as_deref(), map.optional, mode);
    }
    if let Some(downward) = &volume.downward_api {
        let mode = downward.default_mode.unwrap_or(DEFAULT_MODE);
        return downward_files(pod, ip, downward.items.as_deref(), mode);
    }
    let Some(projected) = &volume.projected else { return Ok(Vec::new()) };
    let mode = projected.default_mode.unwrap_or(DEFAULT_MODE);
    let mut all = Vec::new();
    for source in projected.sources.iter().flatten() {
        all.extend(projection(pod, ip, source, sources, tokens, mode)?);
    }
    Ok(all)
}

fn projection(
    pod: &Pod,
    ip: Ipv4Addr,
    source: &VolumeProjection,
    sources: &Sources,
    tokens: &Tokens,
    mode: i32,
) -> Result<Vec<Entry>, String> {
    if let Some(secret) = &source.secret {
        let content = sources.secrets.get(&secret.name);
        return keys(&secret.name, content, secret.items.as_deref(), secret.optional, mode);
    }
    if let Some(map) = &source.config_map {
        let content = sources.config_maps.get(&map.name);
        return keys(&map.name, content, map.items.as_deref(), map.optional, mode);
    }
    if let Some(downward) = &source.downward_api {
        return downward_files(pod, ip, downward.items.as_deref(), mode);
    }
    if let Some(token) = &source.service_account_token {
        let content = tokens.get(&token.path).cloned().unwrap_or_default().into_bytes();
        return Ok(vec![entry(&token.path, content, 0o600)?]);
    }
    Ok(Vec::new())
}

fn keys(
    name: &str,
    content: Option<&BTreeMap<String, Vec<u8>>>,
    items: Option<&[KeyToPath]>,
    optional: Option<bool>,
    mode: i32,
) -> Result<Vec<Entry>, String> {
    let Some(content) = content else { return Ok(Vec::new()) };
    let Some(items) = items else {
        return content.iter().map(|(key, value)| entry(key, value.clone(), mode)).collect();
    };
    let mut all = Vec::new();
    for item in items {
        match content.get(&item.key) {
            Some(value) => all.push(entry(&item.path, value.clone(), item.mode.unwrap_or(mode))?),
            None if optional == Some(true) => {}
            None => return Err(format!("references non-existent key {} of {name}", item.key)),
        }
    }
    Ok(all)
}

fn downward_files(
    pod: &Pod,
    ip: Ipv4Addr,
    items: Option<&[DownwardAPIVolumeFile]>,
    mode: i32,
) -> Result<Vec<Entry>, String> {
    let mut all = Vec::new();
    for item in items.unwrap_or_default() {
        let Some(field) = &item.field_ref else { continue };
        let value = field_value(pod, ip, &field.field_path).into_bytes();
        all.push(entry(&item.path, value, item.mode.unwrap_or(mode))?);
    }
    Ok(all)
}

fn entry(path: &str, content: Vec<u8>, mode: i32) -> Result<Entry, String> {
    let path = Path::new(path);
    if !path.components().all(|part| matches!(part, Component::Normal(_))) {
        return Err(format!("path {} leaves its volume", path.display()));
    }
    Ok(Entry { path: path.to_owned(), content, mode: u32::try_from(mode).unwrap_or(0o600) & 0o777 })
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::core::v1::{
        ConfigMapVolumeSource, ProjectedVolumeSource, SecretVolumeSource, ServiceAccountTokenProjection,
    };

    const IP: Ipv4Addr = Ipv4Addr::new(127, 64, 0, 1);

    fn sources() -> Sources {
        let content = BTreeMap::from([("a".to_owned(), b"1".to_vec()), ("b".to_owned(), b"2".to_vec())]);
        Sources {
            secrets: BTreeMap::from([("s".to_owned(), content.clone())]),
            config_maps: BTreeMap::from([("m".to_owned(), content)]),
        }
    }

    fn files(volume: &Volume) -> Result<Vec<Entry>, String> {
        let tokens = Tokens::from([("token".to_owned(), "jwt".to_owned())]);
        entries(&Pod::default(), IP, volume, &sources(), &tokens)
    }

    #[test]
    fn a_secret_is_one_file_a_key_with_its_mode() {
        let secret = SecretVolumeSource {
            secret_name: Some("s".into()),
            default_mode: Some(0o400),
            ..SecretVolumeSource::default()
        };
        let all = files(&Volume { secret: Some(secret), ..Volume::default() }).unwrap();

        assert_eq!(all.len(), 2);
        assert_eq!(all[0], Entry { path: "a".into(), content: b"1".to_vec(), mode: 0o400 });
    }

    #[test]
    fn items_choose_keys_and_paths_that_stay_inside() {
        let item = |key: &str, path: &str| KeyToPath { key: key.into(), path: path.into(), mode: None };
        let map = |items: Vec<KeyToPath>| Volume {
            config_map: Some(ConfigMapVolumeSource {
                name: "m".into(),
                items: Some(items),
                ..ConfigMapVolumeSource::default()
            }),
            ..Volume::default()
        };

        let all = files(&map(vec![item("b", "conf/b.txt")])).unwrap();

        assert_eq!(all[0].path, Path::new("conf/b.txt"));
        assert!(files(&map(vec![item("b", "../b")])).is_err());
        assert!(files(&map(vec![item("absent", "x")])).is_err());
    }

    #[test]
    fn a_projected_volume_has_the_token() {
        let token = ServiceAccountTokenProjection {
            path: "token".into(),
            ..ServiceAccountTokenProjection::default()
        };
        let source = VolumeProjection { service_account_token: Some(token), ..VolumeProjection::default() };
        let projected =
            ProjectedVolumeSource { sources: Some(vec![source]), ..ProjectedVolumeSource::default() };

        let all = files(&Volume { projected: Some(projected), ..Volume::default() }).unwrap();

        assert_eq!(all[0].content, b"jwt");
    }
}
