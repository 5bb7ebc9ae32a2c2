//! Volumes of pods: claims are folders of the data folder, everything else is written as files beside the
//! pod.

pub mod files;
pub mod provisioner;

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::net::Ipv4Addr;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _, chown};
use std::path::{Path, PathBuf};

use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::{
    ConfigMap, Container, PersistentVolume, PersistentVolumeClaim, Pod, Secret, ServiceAccount, Volume,
};
use kube::api::PostParams;
use kube::{Api, Client, ResourceExt as _};

use self::files::{Entry, Tokens};
use crate::environment::{References, Sources};
use crate::mounts::Mounts;

/// Why a volume is not there yet. The pod waits and tries again.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Something that the pod names does not exist, or not yet.
    #[error("{0}")]
    Missing(String),
    /// The API did not answer as it should.
    #[error("cannot ask the API: {0}")]
    Api(#[from] kube::Error),
    /// This machine did not do as it should.
    #[error("{0}: {1}")]
    Io(String, #[source] std::io::Error),
}

/// Fetches the Secrets and ConfigMaps that are named.
pub async fn fetch(client: &Client, namespace: &str, references: &References) -> Result<Sources, Error> {
    let mut sources = Sources::default();
    let secrets: Api<Secret> = Api::namespaced(client.clone(), namespace);
    for (name, optional) in &references.secrets {
        match secrets.get_opt(name).await? {
            Some(secret) => sources.add_secret(secret),
            None if *optional => {}
            None => return Err(Error::Missing(format!("secret {name:?} not found"))),
        }
    }
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
    for (name, optional) in &references.config_maps {
        match maps.get_opt(name).await? {
            Some(map) => sources.add_config_map(map),
            None if *optional => {}
            None => return Err(Error::Missing(format!("configmap {name:?} not found"))),
        }
    }
    Ok(sources)
}

/// Makes all volumes of a pod, or brings the files of its Secrets and ConfigMaps to what these hold now;
/// gives the folder of each volume by its name.
///
/// `group` stands for the pod's `fsGroup` on this machine: files that are not for all are for it.
pub async fn prepare(
    client: &Client,
    pod: &Pod,
    ip: Ipv4Addr,
    pod_dir: &Path,
    group: Option<u32>,
) -> Result<BTreeMap<String, PathBuf>, Error> {
    let namespace = pod.namespace().unwrap_or_default();
    let volumes = pod.spec.as_ref().and_then(|spec| spec.volumes.clone()).unwrap_or_default();
    let mut needed = References::default();
    for volume in &volumes {
        files::references(volume, &mut needed);
    }
    let sources = fetch(client, &namespace, &needed).await?;

    let mut folders = BTreeMap::new();
    for volume in &volumes {
        let folder = if let Some(claim) = claim_of(pod, volume) {
            claim_folder(client, &namespace, &claim).await?
        } else if let Some(host) = &volume.host_path {
            PathBuf::from(&host.path)
        } else {
            let folder = pod_dir.join("volumes").join(&volume.name);
            make_folder(&folder)?;
            let tokens = tokens(client, pod, volume).await?;
            let entries = files::entries(pod, ip, volume, &sources, &tokens).map_err(Error::Missing)?;
            write(&folder, &entries, group)?;
            folder
        };
        folders.insert(volume.name.clone(), folder);
    }
    Ok(folders)
}

/// The mounts of a container, from the folders of the pod's volumes.
pub fn mounts(
    container: &Container,
    folders: &BTreeMap<String, PathBuf>,
    pod_dir: &Path,
) -> Result<Mounts, Error> {
    let scratch = pod_dir.join("scratch").join(&container.name);
    make_folder(&scratch)?;
    let mut entries = Vec::new();
    for mount in container.volume_mounts.iter().flatten() {
        let Some(folder) = folders.get(&mount.name) else { continue };
        let place = match mount.sub_path.as_deref().filter(|path| !path.is_empty()) {
            Some(below) => {
                let place = folder.join(below);
                if !place.exists() {
                    make_folder(&place)?;
                }
                place
            }
            None => folder.clone(),
        };
        entries.push((mount.mount_path.clone(), place));
    }
    Ok(Mounts::new(entries, scratch))
}

fn claim_of(pod: &Pod, volume: &Volume) -> Option<String> {
    if let Some(claim) = &volume.persistent_volume_claim {
        return Some(claim.claim_name.clone());
    }
    volume.ephemeral.as_ref().map(|_| format!("{}-{}", pod.name_any(), volume.name))
}

async fn claim_folder(client: &Client, namespace: &str, claim: &str) -> Result<PathBuf, Error> {
    let claims: Api<PersistentVolumeClaim> = Api::namespaced(client.clone(), namespace);
    let found = claims.get_opt(claim).await?;
    let Some(found) = found else {
        return Err(Error::Missing(format!("persistentvolumeclaim {claim:?} not found")));
    };
    let bound = found.spec.and_then(|spec| spec.volume_name).filter(|name| !name.is_empty());
    let Some(name) = bound else {
        return Err(Error::Missing(format!("persistentvolumeclaim {claim:?} is not bound")));
    };
    let volumes: Api<PersistentVolume> = Api::all(client.clone());
    let spec = volumes.get(&name).await?.spec.unwrap_or_default();
    let path = spec.host_path.map(|host| host.path).or_else(|| spec.local.map(|local| local.path));
    let Some(path) = path else {
        return Err(Error::Missing(format!("volume {name:?} is not a folder of this machine")));
    };
    let folder = PathBuf::from(path);
    make_folder(&folder)?;
    Ok(folder)
}

/// Tokens of the pod's service account for a projected volume, by the path of their file.
async fn tokens(client: &Client, pod: &Pod, volume: &Volume) -> Result<Tokens, Error> {
    let mut tokens = Tokens::new();
    let sources = volume.projected.as_ref().and_then(|projected| projected.sources.as_ref());
    for token in sources.into_iter().flatten().filter_map(|source| source.service_account_token.as_ref()) {
        let account = pod.spec.as_ref().and_then(|spec| spec.service_account_name.clone());
        let account = account.unwrap_or_else(|| "default".to_owned());
        let accounts: Api<ServiceAccount> =
            Api::namespaced(client.clone(), &pod.namespace().unwrap_or_default());
        let request = TokenRequest {
            spec: TokenRequestSpec {
                audiences: token.audience.clone().into_iter().collect(),
                expiration_seconds: token.expiration_seconds,
                ..TokenRequestSpec::default()
            },
            ..TokenRequest::default()
        };
        let answer = accounts.create_token_request(&account, &PostParams::default(), &request).await?;
        tokens.insert(token.path.clone(), answer.status.map(|status| status.token).unwrap_or_default());
    }
    Ok(tokens)
}

fn make_folder(folder: &Path) -> Result<(), Error> {
    fs::create_dir_all(folder).map_err(|error| Error::Io(format!("cannot make {}", folder.display()), error))
}

/// Does anything in the volumes of a pod follow the API?
pub fn can_change(pod: &Pod) -> bool {
    let volumes = pod.spec.as_ref().and_then(|spec| spec.volumes.as_ref());
    volumes.into_iter().flatten().any(|volume| volume.secret.is_some() || volume.config_map.is_some())
}

fn write(folder: &Path, entries: &[Entry], group: Option<u32>) -> Result<(), Error> {
    for entry in entries {
        let file = folder.join(&entry.path);
        if fs::read(&file).is_ok_and(|present| present == entry.content) {
            continue;
        }
        let written = (|| {
            if let Some(parent) = file.parent() {
                fs::create_dir_all(parent)?;
            }
            // A reader sees the old content or the new one, and nobody else sees either.
            let part = file.with_extension("part");
            let _ = fs::remove_file(&part);
            let mut open = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&part)?;
            open.write_all(&entry.content)?;
            if let Some(group) = group {
                chown(&part, None, Some(group))?;
            }
            // Without a group all processes of the pod run as the owner.
            let is_for_all = entry.mode % 0o10 != 0;
            let mode = if group.is_some() || is_for_all { entry.mode } else { entry.mode & 0o700 };
            fs::set_permissions(&part, fs::Permissions::from_mode(mode))?;
            fs::rename(&part, &file)
        })();
        written.map_err(|error| Error::Io(format!("cannot write {}", file.display()), error))?;
    }
    Ok(())
}
