//! What a comparison depends on: while it is the same, an instance that was found as wanted still is.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use instance::store::observe::Reconcilable;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use crate::cluster::Cache;
use crate::objects::Name;

/// The row and the versions of the objects. `None` while a watch is broken.
pub(super) fn fingerprint(cache: &Cache, row: &Reconcilable) -> Option<u64> {
    let (name, volume) = (Name::tenant(row.id), Name::volume(row.id));
    let (name, volume) = (name.as_str(), volume.as_str());
    let fresh = cache.deployments.is_fresh()
        && cache.services.is_fresh()
        && cache.ingresses.is_fresh()
        && cache.claims.is_fresh()
        && cache.policies.is_fresh()
        && cache.secrets.is_fresh();
    let mut hasher = DefaultHasher::new();
    (row.version, row.updated_at).hash(&mut hasher);
    let mut add = |metadata: Option<&ObjectMeta>| {
        metadata.map(|metadata| (&metadata.uid, &metadata.resource_version)).hash(&mut hasher);
    };
    add(cache.deployments.get(name).as_deref().map(|object| &object.metadata));
    add(cache.services.get(name).as_deref().map(|object| &object.metadata));
    add(cache.ingresses.get(name).as_deref().map(|object| &object.metadata));
    add(cache.claims.get(volume).as_deref().map(|object| &object.metadata));
    add(cache.policies.get(name).as_deref().map(|object| &object.metadata));
    add(cache.secrets.get(name).as_deref());
    fresh.then(|| hasher.finish())
}
