//! The pods of this node by name and by label, for everything that looks them up: routes, names, logs,
//! commands.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;
use tokio::sync::{Notify, watch};

use super::state::PodState;
use crate::logs::ContainerLogs;
use crate::process::{Launch, Run};

/// What the API wants of a pod.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// The newest object.
    pub pod: Arc<Pod>,
    /// The object is gone.
    pub gone: bool,
}

/// How commands are run beside a container's process.
#[derive(Debug, Clone)]
pub struct Shell {
    /// A launch like that of the container; program and arguments are replaced.
    pub like: Launch,
    /// More variables, such as how to reach its database.
    pub extra: Vec<(String, String)>,
    /// Paths of the container.
    pub mounts: crate::mounts::Mounts,
    /// Folders where programs are looked for first.
    pub path: Vec<std::path::PathBuf>,
}

/// What a container has at run time.
#[derive(Debug, Default)]
pub struct Runtime {
    /// Its run.
    pub run: Option<Run>,
    /// Its logs.
    pub logs: ContainerLogs,
    /// How commands are run in it; none for a simulated one.
    pub shell: Option<Shell>,
}

/// One pod.
#[derive(Debug)]
pub struct Entry {
    /// Its address.
    pub ip: Ipv4Addr,
    wanted: watch::Sender<Wanted>,
    state: Mutex<PodState>,
    /// Woken at each change of the state.
    pub changed: Notify,
    runtimes: Mutex<BTreeMap<String, Runtime>>,
}

impl Entry {
    /// A pod that is new to this node.
    pub fn new(pod: Arc<Pod>, ip: Ipv4Addr, state: PodState) -> Self {
        let (wanted, _) = watch::channel(Wanted { pod, gone: false });
        Self { ip, wanted, state: Mutex::new(state), changed: Notify::new(), runtimes: Mutex::default() }
    }

    /// The newest object.
    pub fn pod(&self) -> Arc<Pod> {
        self.wanted.borrow().pod.clone()
    }

    /// Takes a newer object; an older one, which a watch may tell late, is left out.
    pub fn update(&self, pod: Arc<Pod>) {
        self.wanted.send_if_modified(|wanted| {
            let newer = version(&pod) >= version(&wanted.pod);
            if newer {
                wanted.pod = pod;
            }
            newer
        });
    }

    /// The object is gone.
    pub fn set_gone(&self) {
        self.wanted.send_modify(|wanted| wanted.gone = true);
    }

    /// Follows what the API wants.
    pub fn wanted(&self) -> watch::Receiver<Wanted> {
        self.wanted.subscribe()
    }

    /// Looks at the state.
    pub fn state(&self) -> PodState {
        self.lock_state().clone()
    }

    /// Changes the state, and wakes the one that reports it if anything is different.
    pub fn change<T>(&self, change: impl FnOnce(&mut PodState) -> T) -> T {
        let mut state = self.lock_state();
        let before = state.clone();
        let result = change(&mut state);
        let different = *state != before;
        drop(state);
        if different {
            self.changed.notify_one();
        }
        result
    }

    /// Can take requests.
    pub fn is_ready(&self) -> bool {
        let wanted = self.wanted.borrow();
        let ending = wanted.gone || wanted.pod.metadata.deletion_timestamp.is_some();
        drop(wanted);
        !ending && self.lock_state().is_ready()
    }

    /// Looks at or changes a container's runtime.
    pub fn runtime<T>(&self, container: &str, change: impl FnOnce(&mut Runtime) -> T) -> T {
        let mut runtimes = self.runtimes.lock().unwrap_or_else(PoisonError::into_inner);
        change(runtimes.entry(container.to_owned()).or_default())
    }

    /// All runs that there are.
    pub fn runs(&self) -> Vec<Run> {
        let runtimes = self.runtimes.lock().unwrap_or_else(PoisonError::into_inner);
        runtimes.values().filter_map(|runtime| runtime.run.clone()).collect()
    }

    fn lock_state(&self) -> MutexGuard<'_, PodState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The version of an object as a number; the API server counts them up.
fn version(pod: &Pod) -> u64 {
    pod.metadata.resource_version.as_deref().and_then(|version| version.parse().ok()).unwrap_or(0)
}

type Key = (String, String);

type Label = (String, String, String);

/// A pod and the labels that it is indexed by.
#[derive(Debug)]
struct Slot {
    entry: Arc<Entry>,
    labels: Vec<Label>,
}

/// All pods of this node.
#[derive(Debug, Default)]
pub struct Registry {
    inner: RwLock<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    pods: HashMap<Key, Slot>,
    /// Names of pods by namespace, label and value.
    labels: HashMap<Label, BTreeSet<String>>,
}

impl Registry {
    /// A pod by name.
    pub fn get(&self, namespace: &str, name: &str) -> Option<Arc<Entry>> {
        self.read().pods.get(&(namespace.to_owned(), name.to_owned())).map(|slot| slot.entry.clone())
    }

    /// All pods.
    pub fn all(&self) -> Vec<Arc<Entry>> {
        self.read().pods.values().map(|slot| slot.entry.clone()).collect()
    }

    /// Adds a pod, or another one of the same name, under its labels of now.
    pub fn insert(&self, entry: Arc<Entry>) {
        let pod = entry.pod();
        let key = key_of(&pod);
        let labels = labels_of(&pod);
        let mut inner = self.inner.write().unwrap_or_else(PoisonError::into_inner);
        inner.remove(&key);
        for label in &labels {
            inner.labels.entry(label.clone()).or_default().insert(key.1.clone());
        }
        inner.pods.insert(key, Slot { entry, labels });
    }

    /// Takes a newer object of a pod.
    pub fn update(&self, entry: &Arc<Entry>, pod: Pod) {
        let relabelled = entry.pod().labels() != pod.labels();
        entry.update(Arc::new(pod));
        if relabelled {
            self.insert(entry.clone());
        }
    }

    /// Takes a pod with this object out.
    pub fn remove(&self, pod: &Pod) -> Option<Arc<Entry>> {
        let key = key_of(pod);
        let mut inner = self.inner.write().unwrap_or_else(PoisonError::into_inner);
        let same = inner.pods.get(&key).is_some_and(|slot| slot.entry.pod().metadata.uid == pod.metadata.uid);
        if same { inner.remove(&key) } else { None }
    }

    /// Pods of a namespace that have all these labels; none for no labels.
    pub fn select(&self, namespace: &str, labels: &BTreeMap<String, String>) -> Vec<Arc<Entry>> {
        let inner = self.read();
        let mut sets = Vec::new();
        for (key, value) in labels {
            match inner.labels.get(&(namespace.to_owned(), key.clone(), value.clone())) {
                Some(names) => sets.push(names),
                None => return Vec::new(),
            }
        }
        let Some(smallest) = sets.iter().min_by_key(|names| names.len()) else { return Vec::new() };
        smallest
            .iter()
            .filter(|name| sets.iter().all(|names| names.contains(*name)))
            .filter_map(|name| {
                inner.pods.get(&(namespace.to_owned(), name.clone())).map(|slot| slot.entry.clone())
            })
            .collect()
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, Inner> {
        self.inner.read().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn remove(&mut self, key: &Key) -> Option<Arc<Entry>> {
        let slot = self.pods.remove(key)?;
        for label in slot.labels {
            if let Some(names) = self.labels.get_mut(&label) {
                names.remove(&key.1);
                if names.is_empty() {
                    self.labels.remove(&label);
                }
            }
        }
        Some(slot.entry)
    }
}

/// Namespace and name of a pod.
pub fn key_of(pod: &Pod) -> Key {
    (pod.namespace().unwrap_or_default(), pod.name_any())
}

fn labels_of(pod: &Pod) -> Vec<Label> {
    let namespace = pod.namespace().unwrap_or_default();
    pod.labels().iter().map(|(key, value)| (namespace.clone(), key.clone(), value.clone())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::Timestamp;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

    fn entry(name: &str, version: &str, labels: &[(&str, &str)]) -> Arc<Entry> {
        let pod = pod(name, version, labels);
        let ip = Ipv4Addr::new(127, 64, 0, 1);
        let state = PodState::new(&pod, ip, Timestamp::UNIX_EPOCH);
        Arc::new(Entry::new(Arc::new(pod), ip, state))
    }

    fn pod(name: &str, version: &str, labels: &[(&str, &str)]) -> Pod {
        Pod {
            metadata: ObjectMeta {
                name: Some(name.into()),
                namespace: Some("ns".into()),
                uid: Some(name.into()),
                resource_version: Some(version.into()),
                labels: Some(labels.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect()),
                ..ObjectMeta::default()
            },
            ..Pod::default()
        }
    }

    fn names(registry: &Registry, labels: &[(&str, &str)]) -> Vec<String> {
        let labels = labels.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect();
        registry.select("ns", &labels).iter().map(|entry| entry.pod().name_any()).collect()
    }

    #[test]
    fn pods_are_found_by_all_their_labels() {
        let registry = Registry::default();
        registry.insert(entry("a", "1", &[("app", "odoo"), ("id", "1")]));
        registry.insert(entry("b", "1", &[("app", "odoo"), ("id", "2")]));

        assert_eq!(names(&registry, &[("app", "odoo")]), ["a", "b"]);
        assert_eq!(names(&registry, &[("app", "odoo"), ("id", "2")]), ["b"]);
        assert!(names(&registry, &[("app", "x")]).is_empty());
        assert!(names(&registry, &[]).is_empty());

        registry.remove(&pod("b", "9", &[]));
        assert_eq!(names(&registry, &[("app", "odoo")]), ["a"]);
    }

    #[test]
    fn an_older_object_is_left_out() {
        let entry = entry("a", "10", &[]);

        entry.update(Arc::new(pod("a", "9", &[])));
        assert_eq!(entry.pod().resource_version().as_deref(), Some("10"));

        entry.update(Arc::new(pod("a", "11", &[])));
        assert_eq!(entry.pod().resource_version().as_deref(), Some("11"));
    }
}
