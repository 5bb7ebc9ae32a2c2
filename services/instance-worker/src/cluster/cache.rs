//! What the leader's watches know, trimmed to what is compared or shown (K8S-34). A store is asked only while
//! its watch is connected; before that, and on replicas that do not lead, the server is asked.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{ConfigMap, Node, PersistentVolumeClaim, Pod, Secret, Service};
use k8s_openapi::api::networking::v1::{Ingress, NetworkPolicy};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

/// All stores.
#[derive(Debug, Default)]
pub struct Cache {
    /// Deployments of tenants.
    pub deployments: Store<Deployment>,
    /// Services of tenants.
    pub services: Store<Service>,
    /// Ingresses of tenants.
    pub ingresses: Store<Ingress>,
    /// Volume claims of tenants.
    pub claims: Store<PersistentVolumeClaim>,
    /// Network policies of tenants.
    pub policies: Store<NetworkPolicy>,
    /// Metadata of the tenants' Secrets; their content is never kept.
    pub secrets: Store<ObjectMeta>,
    /// Pods of tenants.
    pub pods: Store<Pod>,
    /// Machines, with whether they are heard of.
    pub nodes: Store<Node>,
    left: Mutex<HashMap<(String, String), Vec<String>>>,
}

/// The last seen objects of one kind in one namespace.
#[derive(Debug)]
pub struct Store<T> {
    objects: RwLock<BTreeMap<String, Arc<T>>>,
    namespace: RwLock<String>,
    fresh: AtomicBool,
}

impl<T> Default for Store<T> {
    fn default() -> Self {
        Self { objects: RwLock::default(), namespace: RwLock::default(), fresh: AtomicBool::new(false) }
    }
}

impl<T> Store<T> {
    /// Everything at once: the end of a list.
    pub fn replace(&self, namespace: &str, objects: BTreeMap<String, Arc<T>>) {
        namespace.clone_into(&mut self.namespace.write().unwrap_or_else(PoisonError::into_inner));
        *self.objects.write().unwrap_or_else(PoisonError::into_inner) = objects;
        self.fresh.store(true, Ordering::SeqCst);
    }

    /// One object was added or changed.
    pub fn put(&self, name: String, object: Arc<T>) {
        self.objects.write().unwrap_or_else(PoisonError::into_inner).insert(name, object);
    }

    /// One object is gone.
    pub fn remove(&self, name: &str) {
        self.objects.write().unwrap_or_else(PoisonError::into_inner).remove(name);
    }

    /// The watch is broken, or connected again.
    pub fn set_fresh(&self, fresh: bool) {
        self.fresh.store(fresh, Ordering::SeqCst);
    }

    /// May the store be asked?
    pub fn is_fresh(&self) -> bool {
        self.fresh.load(Ordering::SeqCst)
    }

    /// Forgets everything: this replica does not lead any more.
    pub fn clear(&self) {
        self.fresh.store(false, Ordering::SeqCst);
        self.objects.write().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// One object, as it was seen last.
    pub fn get(&self, name: &str) -> Option<Arc<T>> {
        self.objects.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }

    /// All objects.
    pub fn all(&self) -> Vec<Arc<T>> {
        self.objects.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// Objects whose names begin so.
    pub fn with_prefix(&self, prefix: &str) -> Vec<Arc<T>> {
        let objects = self.objects.read().unwrap_or_else(PoisonError::into_inner);
        let from = objects.range(prefix.to_owned()..);
        from.take_while(|(name, _)| name.starts_with(prefix)).map(|(_, object)| Arc::clone(object)).collect()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.objects.read().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Is there none?
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// May the store be asked about this namespace?
    fn knows(&self, namespace: &str) -> bool {
        self.is_fresh() && *self.namespace.read().unwrap_or_else(PoisonError::into_inner) == namespace
    }
}

/// What the cache can say about an object.
#[derive(Debug)]
pub enum Known<K> {
    /// Ask the server.
    Nothing,
    /// It is not there.
    Absent,
    /// All that is compared.
    Whole(Arc<K>),
    /// Its metadata only.
    Metadata(Arc<ObjectMeta>),
}

/// Kinds that can be looked up.
pub trait Cached: Sized {
    /// What the watches know.
    fn known(cache: &Cache, namespace: &str, name: &str) -> Known<Self>;
}

macro_rules! cached {
    ($($kind:ty => $store:ident),+ $(,)?) => {$(
        impl Cached for $kind {
            fn known(cache: &Cache, namespace: &str, name: &str) -> Known<Self> {
                if !cache.$store.knows(namespace) {
                    return Known::Nothing;
                }
                cache.$store.get(name).map_or(Known::Absent, Known::Whole)
            }
        }
    )+};
}

cached! {
    Deployment => deployments,
    Service => services,
    Ingress => ingresses,
    PersistentVolumeClaim => claims,
    NetworkPolicy => policies,
    Pod => pods,
}

impl Cached for Secret {
    fn known(cache: &Cache, namespace: &str, name: &str) -> Known<Self> {
        if !cache.secrets.knows(namespace) {
            return Known::Nothing;
        }
        cache.secrets.get(name).map_or(Known::Absent, Known::Metadata)
    }
}

impl Cached for Job {
    fn known(_: &Cache, _: &str, _: &str) -> Known<Self> {
        Known::Nothing
    }
}

impl Cached for StatefulSet {
    fn known(_: &Cache, _: &str, _: &str) -> Known<Self> {
        Known::Nothing
    }
}

impl Cached for ConfigMap {
    fn known(_: &Cache, _: &str, _: &str) -> Known<Self> {
        Known::Nothing
    }
}

impl Cache {
    /// Remembers differences that a repair could not remove; an empty list forgets them.
    pub(super) fn leave(&self, namespace: &str, what: &str, paths: Vec<String>) {
        let mut left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (namespace.to_owned(), what.to_owned());
        if paths.is_empty() {
            left.remove(&key);
        } else {
            left.insert(key, paths);
        }
    }

    /// Are these the very differences that the last repair left? One try an edit: somebody else in the
    /// cluster insists on them.
    pub(super) fn is_left(&self, namespace: &str, what: &str, paths: &[String]) -> bool {
        let left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        left.get(&(namespace.to_owned(), what.to_owned())).is_some_and(|known| known == paths)
    }

    /// Forgets what was watched.
    pub fn clear(&self) {
        self.deployments.clear();
        self.services.clear();
        self.ingresses.clear();
        self.claims.clear();
        self.policies.clear();
        self.secrets.clear();
        self.pods.clear();
        self.nodes.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// K8S-17: a store whose watch is broken says nothing, above all not "absent".
    #[test]
    fn a_stale_store_is_never_read_as_absent() {
        let cache = Cache::default();
        assert!(matches!(Service::known(&cache, "tenants", "a"), Known::Nothing));
        cache.services.replace("tenants", BTreeMap::new());
        assert!(matches!(Service::known(&cache, "tenants", "a"), Known::Absent));
        assert!(matches!(Service::known(&cache, "platform", "a"), Known::Nothing));
        cache.services.set_fresh(false);
        assert!(matches!(Service::known(&cache, "tenants", "a"), Known::Nothing));
    }
}
