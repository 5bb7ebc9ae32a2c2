//! How a wanted object gets into the cluster as a whole. Server-side apply sets what is wanted and leaves
//! what others added; what it leaves, or cannot set, is replaced; what cannot be replaced is deleted and made
//! again, where that loses no data.

use kube::ResourceExt as _;
use kube::api::PostParams;
use serde_json::Value;

use super::access::{Cluster, FIELD_MANAGER};
use super::compare::{differences, mended};
use super::error::Error;
use super::kind::Kind;

/// What is to be written, and where.
#[derive(Clone, Copy)]
pub(super) struct Target<'a> {
    pub namespace: &'a str,
    pub name: &'a str,
    /// For people.
    pub what: &'a str,
    pub json: &'a Value,
    pub exists: bool,
    /// The version over which it is written; over any without one.
    pub seen: Option<&'a str>,
}

/// What may be done to an object that can neither be applied nor replaced.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Renewal {
    /// Deleted and made again.
    AtOnce,
    /// Deleted; it is made again when its pods are gone.
    WhenItsPodsAreGone,
    /// It holds data: a person decides.
    Never,
}

fn renewal(kind: &str) -> Renewal {
    match kind {
        "Service" | "Ingress" | "NetworkPolicy" | "ConfigMap" => Renewal::AtOnce,
        "Deployment" => Renewal::WhenItsPodsAreGone,
        _ => Renewal::Never,
    }
}

impl Cluster {
    /// Writes the object; gives what is stored and the paths at which it differs still. They are remembered:
    /// whatever insists on them is not fought.
    pub(super) async fn write_whole<K: Kind>(&self, target: Target<'_>) -> Result<(K, Vec<String>), Error> {
        let Target { namespace, name, what, json, exists, seen } = target;
        let written = match seen {
            None => self.write::<K>(namespace, name, what, json).await,
            Some(version) => {
                let mut guarded = json.clone();
                guarded["metadata"]["resourceVersion"] = version.into();
                self.write::<K>(namespace, name, what, &guarded).await
            }
        };
        let stored = match written {
            Ok(stored) if rest(json, &stored)?.is_empty() => stored,
            Ok(stored) => {
                let version = stored.resource_version();
                let seen = seen.and(version.as_deref());
                Box::pin(self.replace::<K>(Target { seen, ..target })).await?
            }
            Err(Error::Invalid(_)) if exists => Box::pin(self.replace::<K>(target)).await?,
            Err(error) => return Err(error),
        };
        let left = rest(json, &stored)?;
        if !left.is_empty() {
            tracing::warn!(object = what, paths = ?left, "differences that no repair removes");
        }
        self.cache().leave(namespace, what, left.clone());
        Ok((stored, left))
    }

    /// Makes an object that is not there; one that somebody made meanwhile is a conflict.
    pub(super) async fn create<K: Kind>(&self, target: Target<'_>) -> Result<K, Error> {
        let api = self.api::<K>(target.namespace)?;
        let object: K =
            serde_json::from_value(target.json.clone()).map_err(|error| Error::Invalid(error.to_string()))?;
        let parameters = parameters();
        self.call("create", &K::kind(&()), target.what, api.create(&parameters, &object)).await
    }

    async fn replace<K: Kind>(&self, target: Target<'_>) -> Result<K, Error> {
        let Target { namespace, name, what, json, seen, .. } = target;
        let Some(live) = self.get::<K>(namespace, name).await? else {
            return Err(Error::Conflict(format!("{what} went away")));
        };
        if seen.is_some() && live.resource_version().as_deref() != seen {
            return Err(Error::Conflict(format!("{what} changed")));
        }
        let uid = live.uid().unwrap_or_default();
        let whole = mended(&K::kind(&()), json, &as_json(&live)?);
        let whole: K = serde_json::from_value(whole).map_err(|error| Error::Invalid(error.to_string()))?;
        let api = self.api::<K>(namespace)?;
        let kind = K::kind(&());
        match self.call("update", &kind, what, api.replace(name, &parameters(), &whole)).await {
            Err(Error::Invalid(why)) => match renewal(&kind) {
                Renewal::Never => Err(Error::Invalid(why)),
                Renewal::AtOnce => {
                    self.could_be_made::<K>(target).await?;
                    tracing::warn!(object = what, why, "deleted, to be made again as wanted");
                    self.delete_by_uid::<K>(namespace, name, uid).await?;
                    self.write(namespace, name, what, json).await
                }
                Renewal::WhenItsPodsAreGone => {
                    self.could_be_made::<K>(target).await?;
                    tracing::warn!(object = what, why, "deleted, to be made again when its pods are gone");
                    self.delete_by_uid::<K>(namespace, name, uid).await?;
                    Err(Error::Conflict(format!("{what} is made again when its pods are gone")))
                }
            },
            answer => answer,
        }
    }

    /// Whether the server would take the object if none of its name were there. What is refused for its own
    /// sake, by validation or by somebody's admission policy, must not cost the object that runs.
    async fn could_be_made<K: Kind>(&self, target: Target<'_>) -> Result<(), Error> {
        let api = self.api::<K>(target.namespace)?;
        let object: K =
            serde_json::from_value(target.json.clone()).map_err(|error| Error::Invalid(error.to_string()))?;
        let dry = PostParams { dry_run: true, ..parameters() };
        match self.call("create", &K::kind(&()), target.what, api.create(&dry, &object)).await {
            // The name alone stands in the way.
            Ok(_) | Err(Error::Conflict(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

fn parameters() -> PostParams {
    PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() }
}

fn as_json<K: Kind>(object: &K) -> Result<Value, Error> {
    serde_json::to_value(object).map_err(|error| Error::Invalid(error.to_string()))
}

fn rest<K: Kind>(json: &Value, stored: &K) -> Result<Vec<String>, Error> {
    Ok(differences(&K::kind(&()), json, &as_json(stored)?))
}
