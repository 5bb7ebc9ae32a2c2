//! Serves the claims of a storage class: a folder and a PersistentVolume for each, a larger one when the
//! claim grows.
//!
//! Binding stays with the controller-manager. Sizes are not enforced.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use k8s_openapi::api::core::v1::{
    HostPathVolumeSource, ObjectReference, PersistentVolume, PersistentVolumeClaim, PersistentVolumeSpec,
};
use k8s_openapi::api::storage::v1::StorageClass;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::runtime::watcher;
use kube::{Api, Client, ResourceExt as _};
use serde_json::json;
use tokio::sync::Mutex;

use crate::watching::changes;

/// Name of this provisioner in storage classes and volumes.
pub const NAME: &str = "devnode.saasodoo.io";
/// Label of volumes with the name of the node that made them.
const NODE_LABEL: &str = "saasodoo.io/devnode";
const PROVISIONED_BY: &str = "pv.kubernetes.io/provisioned-by";
/// How often a failed step is tried again before the next change of the object is waited for.
const TRIES: u32 = 30;

/// The provisioner of this node.
#[derive(Clone)]
pub struct Provisioner {
    client: Client,
    classes: Vec<String>,
    folder: PathBuf,
    node: String,
    /// One step at a time for each claim.
    busy: Arc<Mutex<HashMap<String, Arc<Mutex<()>>>>>,
}

impl Provisioner {
    /// The provisioner of `node`, which keeps volumes below `folder`.
    pub fn new(client: Client, node: &str, classes: &[String], folder: PathBuf) -> Self {
        Self { client, classes: classes.to_vec(), folder, node: node.to_owned(), busy: Arc::default() }
    }

    /// Makes the storage classes that are missing.
    pub async fn ensure_classes(&self) -> anyhow::Result<()> {
        let api: Api<StorageClass> = Api::all(self.client.clone());
        for name in &self.classes {
            match api.create(&PostParams::default(), &storage_class(name)).await {
                Ok(_) => {}
                Err(kube::Error::Api(status)) if status.is_already_exists() => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Follows claims and volumes without end.
    pub async fn run(self) {
        let claims: Api<PersistentVolumeClaim> = Api::all(self.client.clone());
        let volumes: Api<PersistentVolume> = Api::all(self.client.clone());
        let claims = changes(claims, watcher::Config::default()).for_each(|event| {
            if let watcher::Event::Apply(claim) | watcher::Event::InitApply(claim) = event
                && self.serves(&claim)
            {
                let this = self.clone();
                tokio::spawn(async move { this.claim_changed(&claim).await });
            }
            std::future::ready(())
        });
        let volumes = changes(volumes, watcher::Config::default()).for_each(|event| {
            if let watcher::Event::Apply(volume) | watcher::Event::InitApply(volume) = event
                && is_to_be_deleted(&volume)
            {
                let this = self.clone();
                tokio::spawn(async move { this.delete(&volume).await });
            }
            std::future::ready(())
        });
        tokio::join!(claims, volumes);
    }

    fn serves(&self, claim: &PersistentVolumeClaim) -> bool {
        let class = claim.spec.as_ref().and_then(|spec| spec.storage_class_name.as_ref());
        class.is_some_and(|class| self.classes.contains(class)) && claim.metadata.deletion_timestamp.is_none()
    }

    async fn claim_changed(&self, claim: &PersistentVolumeClaim) {
        let key = claim.uid().unwrap_or_default();
        let lock = self.busy.lock().await.entry(key.clone()).or_default().clone();
        let turn = lock.lock().await;
        for attempt in 0..TRIES {
            match self.serve(claim).await {
                Ok(()) => break,
                Err(error) => {
                    tracing::warn!(
                        claim = claim.name_any(),
                        error = format!("{error:#}"),
                        "volume not served yet"
                    );
                    tokio::time::sleep(Duration::from_millis(100) * (attempt + 1)).await;
                }
            }
        }
        drop(turn);
        forget(&mut *self.busy.lock().await, &key, lock);
    }

    /// One step for the claim as it is now: another step may have been done since it was seen.
    async fn serve(&self, seen: &PersistentVolumeClaim) -> anyhow::Result<()> {
        let namespace = seen.namespace().unwrap_or_default();
        let claims: Api<PersistentVolumeClaim> = Api::namespaced(self.client.clone(), &namespace);
        let Some(claim) = claims.get_opt(&seen.name_any()).await?.filter(|claim| claim.uid() == seen.uid())
        else {
            return Ok(());
        };
        match step(&claim) {
            Step::Nothing => Ok(()),
            Step::Create => self.create(&claim).await,
            Step::Grow { volume, to } => self.grow(&claim, &volume, &to).await,
        }
    }

    async fn create(&self, claim: &PersistentVolumeClaim) -> anyhow::Result<()> {
        let classes: Api<StorageClass> = Api::all(self.client.clone());
        let class = claim.spec.as_ref().and_then(|spec| spec.storage_class_name.clone()).unwrap_or_default();
        let class = classes.get(&class).await?;
        let name = volume_name(claim);
        let folder = self.folder.join(&name);
        fs::create_dir_all(&folder)?;
        let volumes: Api<PersistentVolume> = Api::all(self.client.clone());
        match volumes.create(&PostParams::default(), &volume(claim, &class, &folder, &self.node)).await {
            Ok(_) => tracing::info!(claim = claim.name_any(), volume = name, "volume made"),
            Err(kube::Error::Api(status)) if status.is_already_exists() => {}
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    async fn grow(&self, claim: &PersistentVolumeClaim, volume: &str, to: &Quantity) -> anyhow::Result<()> {
        let volumes: Api<PersistentVolume> = Api::all(self.client.clone());
        let capacity = json!({ "spec": { "capacity": { "storage": to } } });
        volumes.patch(volume, &PatchParams::default(), &Patch::Merge(capacity)).await?;
        let claims: Api<PersistentVolumeClaim> =
            Api::namespaced(self.client.clone(), &claim.namespace().unwrap_or_default());
        let status = json!({ "status": { "capacity": { "storage": to }, "conditions": null } });
        claims.patch_status(&claim.name_any(), &PatchParams::default(), &Patch::Merge(status)).await?;
        tracing::info!(claim = claim.name_any(), volume, size = to.0, "volume grown");
        Ok(())
    }

    async fn delete(&self, volume: &PersistentVolume) {
        let name = volume.name_any();
        // Only folders that this provisioner made, by its own rule for their place.
        let folder = self.folder.join(&name);
        if let Err(error) = fs::remove_dir_all(&folder)
            && error.kind() != std::io::ErrorKind::NotFound
        {
            tracing::warn!(volume = name, %error, "folder not removed");
            return;
        }
        let volumes: Api<PersistentVolume> = Api::all(self.client.clone());
        if let Err(error) = volumes.delete(&name, &DeleteParams::default()).await {
            tracing::warn!(volume = name, %error, "volume not deleted");
        }
    }
}

/// Takes the lock of a claim off the map, unless somebody waits for it: he and the next one must meet at the
/// same lock.
fn forget(busy: &mut HashMap<String, Arc<Mutex<()>>>, key: &str, lock: Arc<Mutex<()>>) {
    drop(lock);
    if busy.get(key).is_some_and(|left| Arc::strong_count(left) == 1) {
        busy.remove(key);
    }
}

/// What a claim needs.
#[derive(Debug, PartialEq)]
enum Step {
    Nothing,
    Create,
    Grow { volume: String, to: Quantity },
}

fn step(claim: &PersistentVolumeClaim) -> Step {
    let spec = claim.spec.clone().unwrap_or_default();
    let wanted =
        spec.resources.and_then(|resources| resources.requests).and_then(|mut all| all.remove("storage"));
    let status = claim.status.clone().unwrap_or_default();
    let has = status.capacity.and_then(|mut capacity| capacity.remove("storage"));
    let Some(volume) = spec.volume_name.filter(|name| !name.is_empty()) else { return Step::Create };
    match (wanted, has) {
        (Some(wanted), Some(has)) if bytes(&wanted) > bytes(&has) => Step::Grow { volume, to: wanted },
        _ => Step::Nothing,
    }
}

/// A quantity of storage in bytes; 0 for a text that is none.
fn bytes(quantity: &Quantity) -> u128 {
    let text = quantity.0.as_str();
    let digits =
        text.find(|character: char| !character.is_ascii_digit() && character != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let factor: u128 = match unit {
        "" => 1,
        "k" => 1_000,
        "M" => 1_000_000,
        "G" => 1_000_000_000,
        "T" => 1_000_000_000_000,
        "P" => 1_000_000_000_000_000,
        "Ki" => 1 << 10,
        "Mi" => 1 << 20,
        "Gi" => 1 << 30,
        "Ti" => 1 << 40,
        "Pi" => 1 << 50,
        _ => return 0,
    };
    let whole = whole.parse::<u128>().unwrap_or(0) * factor;
    let scale = 10_u128.checked_pow(u32::try_from(fraction.len()).unwrap_or(u32::MAX)).unwrap_or(u128::MAX);
    whole + fraction.parse::<u128>().unwrap_or(0) * factor / scale
}

fn is_to_be_deleted(volume: &PersistentVolume) -> bool {
    let released = volume.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Released");
    let policy = volume.spec.as_ref().and_then(|spec| spec.persistent_volume_reclaim_policy.as_deref());
    let ours = volume.annotations().get(PROVISIONED_BY).is_some_and(|name| name == NAME);
    released && ours && policy == Some("Delete") && volume.metadata.deletion_timestamp.is_none()
}

fn volume_name(claim: &PersistentVolumeClaim) -> String {
    format!("pvc-{}", claim.uid().unwrap_or_default())
}

fn storage_class(name: &str) -> StorageClass {
    StorageClass {
        metadata: ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() },
        provisioner: NAME.to_owned(),
        allow_volume_expansion: Some(true),
        reclaim_policy: Some("Retain".to_owned()),
        volume_binding_mode: Some("Immediate".to_owned()),
        ..StorageClass::default()
    }
}

fn volume(
    claim: &PersistentVolumeClaim,
    class: &StorageClass,
    folder: &Path,
    node: &str,
) -> PersistentVolume {
    let spec = claim.spec.clone().unwrap_or_default();
    let size =
        spec.resources.and_then(|resources| resources.requests).and_then(|mut all| all.remove("storage"));
    PersistentVolume {
        metadata: ObjectMeta {
            name: Some(volume_name(claim)),
            annotations: Some(BTreeMap::from([(PROVISIONED_BY.to_owned(), NAME.to_owned())])),
            labels: Some(BTreeMap::from([(NODE_LABEL.to_owned(), node.to_owned())])),
            ..ObjectMeta::default()
        },
        spec: Some(PersistentVolumeSpec {
            access_modes: spec.access_modes,
            capacity: size.map(|size| BTreeMap::from([("storage".to_owned(), size)])),
            claim_ref: Some(ObjectReference {
                api_version: Some("v1".to_owned()),
                kind: Some("PersistentVolumeClaim".to_owned()),
                name: Some(claim.name_any()),
                namespace: claim.namespace(),
                uid: claim.uid(),
                ..ObjectReference::default()
            }),
            host_path: Some(HostPathVolumeSource { path: folder.display().to_string(), type_: None }),
            persistent_volume_reclaim_policy: class.reclaim_policy.clone(),
            storage_class_name: spec.storage_class_name,
            volume_mode: spec.volume_mode,
            ..PersistentVolumeSpec::default()
        }),
        ..PersistentVolume::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::core::v1::{
        PersistentVolumeClaimSpec, PersistentVolumeClaimStatus, VolumeResourceRequirements,
    };

    fn claim(wants: &str, has: Option<&str>) -> PersistentVolumeClaim {
        let storage = |size: &str| BTreeMap::from([("storage".to_owned(), Quantity(size.to_owned()))]);
        PersistentVolumeClaim {
            metadata: ObjectMeta {
                name: Some("data".into()),
                namespace: Some("ns".into()),
                uid: Some("u".into()),
                ..ObjectMeta::default()
            },
            spec: Some(PersistentVolumeClaimSpec {
                resources: Some(VolumeResourceRequirements {
                    requests: Some(storage(wants)),
                    ..VolumeResourceRequirements::default()
                }),
                volume_name: has.map(|_| "pvc-u".to_owned()),
                storage_class_name: Some("cephfs-quota".into()),
                ..PersistentVolumeClaimSpec::default()
            }),
            status: has.map(|size| PersistentVolumeClaimStatus {
                capacity: Some(storage(size)),
                ..PersistentVolumeClaimStatus::default()
            }),
        }
    }

    #[test]
    fn the_lock_of_a_claim_stays_while_somebody_waits_for_it() {
        let mut busy = HashMap::new();
        let first = Arc::clone(busy.entry("claim".to_owned()).or_default());
        let waiting = Arc::clone(&busy["claim"]);

        forget(&mut busy, "claim", first);
        assert!(Arc::ptr_eq(&busy["claim"], &waiting));

        forget(&mut busy, "claim", waiting);
        assert!(busy.is_empty());
    }

    #[test]
    fn a_claim_gets_a_volume_and_a_larger_one_when_it_grows() {
        assert_eq!(step(&claim("1Gi", None)), Step::Create);
        assert_eq!(step(&claim("1Gi", Some("1024Mi"))), Step::Nothing);
        assert_eq!(step(&claim("1Gi", Some("2Gi"))), Step::Nothing);
        assert_eq!(
            step(&claim("2Gi", Some("1Gi"))),
            Step::Grow { volume: "pvc-u".into(), to: Quantity("2Gi".into()) }
        );
    }

    #[test]
    fn quantities_are_compared_by_value() {
        let value = |text: &str| bytes(&Quantity(text.into()));
        assert_eq!(value("1.5Gi"), 1_610_612_736);
        assert_eq!(value("1024Mi"), value("1Gi"));
        assert_eq!(value("5G"), 5_000_000_000);
        assert_eq!(value("nonsense"), 0);
    }

    #[test]
    fn a_volume_is_tied_to_its_claim_and_keeps_the_policy_of_its_class() {
        let volume =
            volume(&claim("1Gi", None), &storage_class("cephfs-quota"), Path::new("/v/pvc-u"), "node");
        let spec = volume.spec.unwrap();

        assert_eq!(spec.claim_ref.unwrap().uid.as_deref(), Some("u"));
        assert_eq!(spec.persistent_volume_reclaim_policy.as_deref(), Some("Retain"));
        assert_eq!(spec.host_path.unwrap().path, "/v/pvc-u");
    }
}
