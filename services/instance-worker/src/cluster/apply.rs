//! The one `apply` and the one `delete` (style: server-side apply, forced, one field manager; 404 is
//! success).

use std::fmt;
use std::sync::Arc;

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, Preconditions, PropagationPolicy};
use kube::{Api, Resource, ResourceExt as _};
use serde::de::DeserializeOwned;
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use super::access::{Cluster, FIELD_MANAGER};
use super::cache::Known;
use super::compare::differences;
use super::error::{Error, absent_as_none};
use super::kind::Kind;
use super::mend::Target;
use crate::objects::{Name, meta};

/// Whose an object is, by its labels (K8S-16).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner<'a> {
    /// An instance.
    Instance(Uuid),
    /// A pool, by name.
    Pool(&'a str),
    /// A job for an instance.
    Job(Uuid),
}

impl Owner<'_> {
    /// Does the object carry our label? One that somebody took off does not make it a stranger's: whoever
    /// wrote it left the hash of what was wanted.
    pub fn owns(self, metadata: &ObjectMeta) -> bool {
        let label = |key: &str| metadata.labels.as_ref().and_then(|labels| labels.get(key));
        let annotations = metadata.annotations.as_ref();
        let written = annotations.is_some_and(|annotations| annotations.contains_key(meta::SPEC_HASH));
        match self {
            Self::Instance(id) => match meta::instance_of(metadata) {
                Some(owner) => owner == id && (written || label(meta::APP).is_some()),
                None => written && metadata.name.as_deref().and_then(Name::instance_in) == Some(id),
            },
            Self::Job(id) => label(meta::JOB_INSTANCE_ID).is_some_and(|instance| *instance == id.to_string()),
            Self::Pool(name) => match label(meta::POOL) {
                Some(pool) => pool == name,
                None => written && metadata.name.as_deref() == Some(name),
            },
        }
    }
}

/// Where an apply looks before it writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LookAt {
    /// The watches, when they are fresh: they may be some milliseconds behind.
    Watches,
    /// The server: for objects that another worker may have changed just now.
    Server,
}

/// What an apply did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Applied {
    /// It was there as wanted; nothing was written.
    Unchanged {
        /// Identity of the object.
        uid: String,
    },
    /// It was not there.
    Created {
        /// Identity of the object.
        uid: String,
    },
    /// It was there with other content.
    Repaired {
        /// Identity of the object.
        uid: String,
        /// Paths that differed.
        paths: Vec<String>,
        /// Paths that differ still.
        left: Vec<String>,
    },
}

/// How a stored object stands to the wanted one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// A write would change nothing.
    AsWanted,
    /// It is missing.
    Missing,
    /// It differs at these paths.
    Differs(Vec<String>),
    /// It differs in what the last repair could not remove.
    Left(Vec<String>),
}

impl Applied {
    /// Was something written?
    pub fn changed(&self) -> bool {
        !matches!(self, Self::Unchanged { .. })
    }

    /// Identity of the object.
    pub fn uid(&self) -> &str {
        match self {
            Self::Unchanged { uid } | Self::Created { uid } | Self::Repaired { uid, .. } => uid,
        }
    }
}

/// A wanted object as the server gets it: with the hash of all that is wanted.
pub(crate) fn wanted_json<K: Kind>(wanted: &K) -> Result<Value, Error> {
    let broken = |error: serde_json::Error| Error::Invalid(error.to_string());
    let text = serde_json::to_vec(wanted).map_err(broken)?;
    let hash = hex::encode(&Sha256::digest(&text)[..16]);
    let mut wanted = wanted.clone();
    wanted.meta_mut().annotations.get_or_insert_default().insert(meta::SPEC_HASH.to_owned(), hash);
    serde_json::to_value(&wanted).map_err(broken)
}

fn place<K: Kind>(object: &K) -> Result<(String, String, String), Error> {
    let missing = || Error::Invalid("an object without name or namespace".to_owned());
    let metadata = object.meta();
    let name = metadata.name.clone().ok_or_else(missing)?;
    let namespace = metadata.namespace.clone().ok_or_else(missing)?;
    let what = format!("{} {name}", K::kind(&()));
    Ok((namespace, name, what))
}

impl Cluster {
    pub(super) fn api<K: Kind>(&self, namespace: &str) -> Result<Api<K>, Error> {
        Ok(Api::namespaced(self.client()?, namespace))
    }

    /// The object, or `None` when the server says that it is absent. Asks the server.
    pub async fn get<K: Kind>(&self, namespace: &str, name: &str) -> Result<Option<K>, Error> {
        let api = self.api::<K>(namespace)?;
        let what = format!("{} {name}", K::kind(&()));
        absent_as_none(self.call("get", &K::kind(&()), &what, api.get(name)).await)
    }

    /// The object from the watches when they are fresh, else from the server. For kinds that are watched
    /// whole.
    pub async fn look_up<K: Kind>(&self, namespace: &str, name: &str) -> Result<Option<Arc<K>>, Error> {
        match K::known(self.cache(), namespace, name) {
            Known::Whole(object) => Ok(Some(object)),
            Known::Absent => Ok(None),
            Known::Metadata(_) | Known::Nothing => Ok(self.get(namespace, name).await?.map(Arc::new)),
        }
    }

    /// Objects of one kind with these labels, from the server.
    pub async fn list<K>(&self, namespace: &str, selector: &str) -> Result<Vec<K>, Error>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + DeserializeOwned + Clone + fmt::Debug,
    {
        let api: Api<K> = Api::namespaced(self.client()?, namespace);
        let parameters = ListParams::default().labels(selector);
        let list = self.call("list", &K::kind(&()), &K::plural(&()), api.list(&parameters)).await?;
        Ok(list.items)
    }

    /// The pods of an instance as the server has them: for a verdict that cannot be taken back.
    pub async fn pods_at_server(&self, namespace: &str, instance: Uuid) -> Result<Vec<Arc<Pod>>, Error> {
        let pods = self.list::<Pod>(namespace, &meta::selector_text(instance)).await?;
        Ok(pods.into_iter().map(Arc::new).collect())
    }

    /// The pods of an instance, those on their way out among them.
    pub async fn pods_of(&self, namespace: &str, instance: Uuid) -> Result<Vec<Arc<Pod>>, Error> {
        if self.cache().pods.is_fresh() {
            let mut pods = self.cache().pods.with_prefix(&format!("{}-", Name::tenant(instance)));
            pods.retain(|pod| meta::instance_of(&pod.metadata) == Some(instance));
            return Ok(pods);
        }
        self.pods_at_server(namespace, instance).await
    }

    /// The paths at which the stored object differs from the wanted one; `None` when it is absent. Asks the
    /// server.
    pub async fn compare<K: Kind>(&self, wanted: &K, owner: Owner<'_>) -> Result<Option<Vec<String>>, Error> {
        let json = wanted_json(wanted)?;
        Ok(self
            .current(wanted, owner, LookAt::Server)
            .await?
            .map(|current| current.differences(&K::kind(&()), &json)))
    }

    /// Would an apply write something?
    pub async fn standing<K: Kind>(&self, wanted: &K, owner: Owner<'_>) -> Result<Standing, Error> {
        let (namespace, _, what) = place(wanted)?;
        let json = wanted_json(wanted)?;
        let Some(current) = self.current(wanted, owner, LookAt::Watches).await? else {
            return Ok(Standing::Missing);
        };
        let paths = current.differences(&K::kind(&()), &json);
        Ok(if paths.is_empty() {
            Standing::AsWanted
        } else if self.cache().is_left(&namespace, &what, &paths) {
            Standing::Left(paths)
        } else {
            Standing::Differs(paths)
        })
    }

    /// Makes the stored object as wanted. Writes only when something differs; an object of another owner is
    /// refused, never adopted.
    pub async fn apply<K: Kind>(
        &self,
        wanted: &K,
        owner: Owner<'_>,
        look_at: LookAt,
    ) -> Result<Applied, Error> {
        let current = self.current(wanted, owner, look_at).await?;
        self.apply_over(wanted, current, false).await
    }

    /// What is stored now, for [`Cluster::apply_seen`].
    pub async fn see<K: Kind>(&self, wanted: &K, owner: Owner<'_>) -> Result<Seen, Error> {
        self.current(wanted, owner, LookAt::Server).await.map(Seen)
    }

    /// The same as an apply, but only while the object is as it was seen: whoever wrote since then knows
    /// better.
    pub async fn apply_seen<K: Kind>(&self, wanted: &K, seen: Seen) -> Result<Applied, Error> {
        self.apply_over(wanted, seen.0, true).await
    }

    async fn apply_over<K: Kind>(
        &self,
        wanted: &K,
        current: Option<Current>,
        guarded: bool,
    ) -> Result<Applied, Error> {
        let (namespace, name, what) = place(wanted)?;
        let json = wanted_json(wanted)?;
        let mut target = Target {
            namespace: &namespace,
            name: &name,
            what: &what,
            json: &json,
            exists: false,
            seen: None,
        };
        let Some(current) = current else {
            let stored: K = if guarded {
                Box::pin(self.create(target)).await?
            } else {
                Box::pin(self.write_whole::<K>(target)).await?.0
            };
            return Ok(Applied::Created { uid: stored.uid().unwrap_or_default() });
        };
        if current.deleting {
            return Err(Error::Conflict(format!("{what} is being deleted")));
        }
        let paths = current.differences(&K::kind(&()), &json);
        if paths.is_empty() || self.cache().is_left(&namespace, &what, &paths) {
            return Ok(Applied::Unchanged { uid: current.uid });
        }
        target.exists = true;
        target.seen = current.metadata.resource_version.as_deref().filter(|_| guarded);
        let (stored, left) = Box::pin(self.write_whole::<K>(target)).await?;
        Ok(Applied::Repaired { uid: stored.uid().unwrap_or_default(), paths, left })
    }

    /// Writes without a look at what is there: only for Secrets of pools, which the worker may not read
    /// (K8S-26). One that is there is made anew, because the answer to a change would hold what it held.
    /// Whoever reads it meanwhile finds none and tries again, as a kubelet does.
    pub async fn write_unseen<K: Kind>(&self, wanted: &K) -> Result<(), Error> {
        let (namespace, name, what) = place(wanted)?;
        let json = wanted_json(wanted)?;
        let target = Target {
            namespace: &namespace,
            name: &name,
            what: &what,
            json: &json,
            exists: false,
            seen: None,
        };
        match Box::pin(self.create::<K>(target)).await {
            Err(Error::Conflict(_)) => {
                self.delete_unseen::<K>(&namespace, &name).await?;
                Box::pin(self.create::<K>(target)).await.map(drop)
            }
            answer => answer.map(drop),
        }
    }

    pub(super) async fn write<K: Kind>(
        &self,
        namespace: &str,
        name: &str,
        what: &str,
        json: &Value,
    ) -> Result<K, Error> {
        let api = self.api::<K>(namespace)?;
        let parameters = PatchParams::apply(FIELD_MANAGER).force();
        self.call("patch", &K::kind(&()), what, api.patch(name, &parameters, &Patch::Apply(json))).await
    }

    /// Removes the object when it is ours; absent is success. With `uid` only that very object (a new one of
    /// the same name is left alone).
    pub async fn delete<K: Kind>(
        &self,
        namespace: &str,
        name: &str,
        owner: Owner<'_>,
        uid: Option<&str>,
    ) -> Result<(), Error> {
        let what = format!("{} {name}", K::kind(&()));
        let Some(found) = self.get::<K>(namespace, name).await? else { return Ok(()) };
        if !owner.owns(found.meta()) {
            return Err(Error::OwnershipConflict(what));
        }
        let seen = found.uid().unwrap_or_default();
        if uid.is_some_and(|wanted| wanted != seen) || found.meta().deletion_timestamp.is_some() {
            return Ok(());
        }
        self.delete_by_uid::<K>(namespace, name, seen).await
    }

    /// Removes a Secret of a pool without reading it (K8S-26).
    pub async fn delete_unseen<K: Kind>(&self, namespace: &str, name: &str) -> Result<(), Error> {
        self.remove::<K>(namespace, name, None).await
    }

    pub(super) async fn delete_by_uid<K: Kind>(
        &self,
        namespace: &str,
        name: &str,
        uid: String,
    ) -> Result<(), Error> {
        self.remove::<K>(namespace, name, Some(Preconditions { uid: Some(uid), resource_version: None }))
            .await
    }

    async fn remove<K: Kind>(
        &self,
        namespace: &str,
        name: &str,
        preconditions: Option<Preconditions>,
    ) -> Result<(), Error> {
        let api = self.api::<K>(namespace)?;
        let what = format!("{} {name}", K::kind(&()));
        let parameters = DeleteParams {
            propagation_policy: Some(PropagationPolicy::Background),
            preconditions,
            ..DeleteParams::default()
        };
        absent_as_none(self.call("delete", &K::kind(&()), &what, api.delete(name, &parameters)).await)
            .map(drop)
    }

    /// What is stored now.
    async fn current<K: Kind>(
        &self,
        wanted: &K,
        owner: Owner<'_>,
        look_at: LookAt,
    ) -> Result<Option<Current>, Error> {
        let (namespace, name, what) = place(wanted)?;
        let known = match look_at {
            LookAt::Watches => K::known(self.cache(), &namespace, &name),
            LookAt::Server => Known::Nothing,
        };
        let found = match known {
            Known::Absent => None,
            Known::Whole(object) => Some(Current::of(object.meta(), serde_json::to_value(&*object), false)?),
            Known::Metadata(metadata) => {
                let value = serde_json::to_value(&*metadata);
                Some(Current::of(&metadata, value.map(|m| serde_json::json!({ "metadata": m })), true)?)
            }
            Known::Nothing => match self.get::<K>(&namespace, &name).await? {
                None => None,
                Some(object) => Some(Current::of(object.meta(), serde_json::to_value(&object), false)?),
            },
        };
        match found {
            Some(current) if !owner.owns(&current.metadata) => Err(Error::OwnershipConflict(what)),
            found => Ok(found),
        }
    }
}

/// An object as it was seen, or its absence.
#[derive(Debug)]
pub struct Seen(Option<Current>);

impl Seen {
    /// Was it there?
    pub fn is_there(&self) -> bool {
        self.0.is_some()
    }
}

#[derive(Debug)]
struct Current {
    metadata: ObjectMeta,
    uid: String,
    deleting: bool,
    live: Value,
    metadata_only: bool,
}

impl Current {
    fn of(
        metadata: &ObjectMeta,
        live: Result<Value, serde_json::Error>,
        metadata_only: bool,
    ) -> Result<Self, Error> {
        Ok(Self {
            uid: metadata.uid.clone().unwrap_or_default(),
            deleting: metadata.deletion_timestamp.is_some(),
            metadata: metadata.clone(),
            live: live.map_err(|error| Error::Invalid(error.to_string()))?,
            metadata_only,
        })
    }

    fn differences(&self, kind: &str, wanted: &Value) -> Vec<String> {
        if self.metadata_only {
            let metadata = wanted.get("metadata").cloned().unwrap_or_default();
            differences(kind, &serde_json::json!({ "metadata": metadata }), &self.live)
        } else {
            differences(kind, wanted, &self.live)
        }
    }
}
