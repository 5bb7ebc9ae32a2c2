//! The one `apply` and the one `delete` (style: server-side apply, forced, one field manager; 404 is success).

use std::fmt;
use std::sync::Arc;

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, Preconditions, PropagationPolicy};
use kube::{Api, Resource, ResourceExt as _};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use super::FIELD_MANAGER;
use super::access::Cluster;
use super::cache::{Cached, Known};
use super::compare::differences;
use super::error::{Error, absent_as_none};
use crate::objects::{Name, meta};

/// A namespaced kind that the worker writes.
pub trait Kind:
    Resource<DynamicType = (), Scope = NamespaceResourceScope>
    + Cached
    + Serialize
    + DeserializeOwned
    + Clone
    + fmt::Debug
    + Send
    + Sync
    + 'static
{
}

impl<K> Kind for K where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Cached
        + Serialize
        + DeserializeOwned
        + Clone
        + fmt::Debug
        + Send
        + Sync
        + 'static
{
}

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
    /// Does the object carry our label?
    pub fn owns(self, metadata: &ObjectMeta) -> bool {
        let label = |key: &str| metadata.labels.as_ref().and_then(|labels| labels.get(key));
        match self {
            Self::Instance(id) => meta::instance_of(metadata) == Some(id) && label(meta::APP).is_some(),
            Self::Job(id) => label(meta::JOB_INSTANCE_ID).is_some_and(|instance| *instance == id.to_string()),
            Self::Pool(name) => label(meta::POOL).is_some_and(|pool| pool == name),
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
    },
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
    fn api<K: Kind>(&self, namespace: &str) -> Result<Api<K>, Error> {
        Ok(Api::namespaced(self.client()?, namespace))
    }

    /// The object, or `None` when the server says that it is absent. Asks the server.
    pub async fn get<K: Kind>(&self, namespace: &str, name: &str) -> Result<Option<K>, Error> {
        let api = self.api::<K>(namespace)?;
        let what = format!("{} {name}", K::kind(&()));
        absent_as_none(self.call("get", &K::kind(&()), &what, api.get(name)).await)
    }

    /// The object from the watches when they are fresh, else from the server. For kinds that are watched whole.
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

    /// The same, metadata only.
    pub async fn list_metadata<K>(&self, namespace: &str, selector: &str) -> Result<Vec<ObjectMeta>, Error>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + DeserializeOwned + Clone + fmt::Debug,
    {
        let api: Api<K> = Api::namespaced(self.client()?, namespace);
        let parameters = ListParams::default().labels(selector);
        let list = self.call("list", &K::kind(&()), &K::plural(&()), api.list_metadata(&parameters)).await?;
        Ok(list.items.into_iter().map(|item| item.metadata).collect())
    }

    /// The pods of an instance, those on their way out among them.
    pub async fn pods_of(&self, namespace: &str, instance: Uuid) -> Result<Vec<Arc<Pod>>, Error> {
        if self.cache().pods.is_fresh() {
            let mut pods = self.cache().pods.with_prefix(&format!("{}-", Name::tenant(instance)));
            pods.retain(|pod| meta::instance_of(&pod.metadata) == Some(instance));
            return Ok(pods);
        }
        let pods = self.list::<Pod>(namespace, &meta::selector_text(instance)).await?;
        Ok(pods.into_iter().map(Arc::new).collect())
    }

    /// The paths at which the stored object differs from the wanted one; `None` when it is absent. Asks the server.
    pub async fn compare<K: Kind>(&self, wanted: &K, owner: Owner<'_>) -> Result<Option<Vec<String>>, Error> {
        let json = wanted_json(wanted)?;
        Ok(self.current(wanted, owner, LookAt::Server).await?.map(|current| current.differences(&json)))
    }

    /// Would an apply write nothing?
    pub async fn is_as_wanted<K: Kind>(&self, wanted: &K, owner: Owner<'_>) -> Result<bool, Error> {
        let (namespace, _, what) = place(wanted)?;
        let json = wanted_json(wanted)?;
        let Some(current) = self.current(wanted, owner, LookAt::Watches).await? else { return Ok(false) };
        let paths = current.differences(&json);
        Ok(paths.is_empty() || self.cache().is_tolerated(&namespace, &what, &paths))
    }

    /// Makes the stored object as wanted. Writes only when something differs; an object of another owner is refused, never adopted.
    pub async fn apply<K: Kind>(
        &self,
        wanted: &K,
        owner: Owner<'_>,
        look_at: LookAt,
    ) -> Result<Applied, Error> {
        let (namespace, name, what) = place(wanted)?;
        let json = wanted_json(wanted)?;
        let current = self.current(wanted, owner, look_at).await?;
        let paths = match &current {
            None => None,
            Some(current) if current.deleting => {
                return Err(Error::Conflict(format!("{what} is being deleted")));
            }
            Some(current) => {
                let paths = current.differences(&json);
                if paths.is_empty() || self.cache().is_tolerated(&namespace, &what, &paths) {
                    return Ok(Applied::Unchanged { uid: current.uid.clone() });
                }
                Some(paths)
            }
        };
        let stored: K = self.write(&namespace, &name, &what, &json).await?;
        let uid = stored.uid().unwrap_or_default();
        // What server-side apply cannot take away (a foreign list entry) would be written again for ever: one try an edit.
        if let Ok(live) = serde_json::to_value(&stored) {
            let left = differences(&json, &live);
            if !left.is_empty() {
                tracing::warn!(object = what, paths = ?left, "differences that an apply does not remove");
            }
            self.cache().tolerate(&namespace, &what, left);
        }
        Ok(match paths {
            None => Applied::Created { uid },
            Some(paths) => Applied::Repaired { uid, paths },
        })
    }

    /// Applies without a look at what is there: only for Secrets of pools, which the worker may not read (K8S-26).
    pub async fn apply_unseen<K: Kind>(&self, wanted: &K) -> Result<(), Error> {
        let (namespace, name, what) = place(wanted)?;
        let json = wanted_json(wanted)?;
        self.write::<K>(&namespace, &name, &what, &json).await.map(drop)
    }

    async fn write<K: Kind>(
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

    /// Removes the object when it is ours; absent is success. With `uid` only that very object (a new one of the same name is left alone).
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

    async fn delete_by_uid<K: Kind>(&self, namespace: &str, name: &str, uid: String) -> Result<(), Error> {
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

    fn differences(&self, wanted: &Value) -> Vec<String> {
        if self.metadata_only {
            let metadata = wanted.get("metadata").cloned().unwrap_or_default();
            differences(&serde_json::json!({ "metadata": metadata }), &self.live)
        } else {
            differences(wanted, &self.live)
        }
    }
}
