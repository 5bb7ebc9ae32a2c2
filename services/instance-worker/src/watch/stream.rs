//! One watch stream: list, then events, into a store; resumed by resource version, listed anew when that is too old, and never given up (K8S-21).

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::BoxStream;
use kube::runtime::watcher::{self, Event};
use kube::{Api, Resource, ResourceExt as _};
use serde::de::DeserializeOwned;
use tokio::sync::mpsc::UnboundedSender;
use uuid::Uuid;

use super::status::Status;
use crate::cluster::Store;
use crate::objects::meta;

/// Server-side time-out of a watch, in seconds; the stream is resumed after it.
const TIMEOUT: u32 = 3600;
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// A resumed stream that stays quiet for so long is connected: a refused connection would have said so.
const QUIET: Duration = Duration::from_secs(6);

/// What a stream saw.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// Which stream.
    pub kind: &'static str,
    /// Whose object; `None`: a full list was read.
    pub subject: Option<Subject>,
}

/// Whose object it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subject {
    /// An instance.
    Instance(Uuid),
    /// A pool, by name.
    Pool(String),
    /// Nobody we know.
    Foreign,
}

/// Whose an object is, by its labels.
fn subject<K: Resource>(object: &K) -> Subject {
    let pool = object.meta().labels.as_ref().and_then(|labels| labels.get(meta::POOL));
    match (meta::instance_of(object.meta()), pool) {
        (_, Some(pool)) => Subject::Pool(pool.clone()),
        (Some(id), None) => Subject::Instance(id),
        (None, None) => Subject::Foreign,
    }
}

/// How to read one kind.
pub struct Follow<'a, K, T> {
    /// Name in the log and in reports.
    pub kind: &'static str,
    /// Namespace.
    pub namespace: &'a str,
    /// Label selector; all objects without one.
    pub selector: Option<&'a str>,
    /// Where the objects go.
    pub store: Option<&'a Store<T>>,
    /// What is kept.
    pub trim: fn(K) -> T,
}

impl<K, T> fmt::Debug for Follow<'_, K, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Follow({})", self.kind)
    }
}

/// Lists and watches whole objects.
pub fn whole<K>(api: Api<K>, selector: Option<&str>) -> BoxStream<'static, watcher::Result<Event<K>>>
where
    K: Resource + Clone + DeserializeOwned + fmt::Debug + Send + 'static,
{
    watcher::watcher(api, config(selector)).boxed()
}

fn config(selector: Option<&str>) -> watcher::Config {
    let config = watcher::Config::default().timeout(TIMEOUT).page_size(500);
    selector.map_or(config.clone(), |selector| config.labels(selector))
}

impl<K, T> Follow<'_, K, T>
where
    K: Resource,
{
    /// Follows for ever; ends only when the stream itself does, which it never does by itself.
    pub async fn run(
        self,
        mut stream: BoxStream<'static, watcher::Result<Event<K>>>,
        status: &Status,
        seen: &UnboundedSender<Seen>,
    ) {
        let kind = self.kind;
        status.begin(kind);
        tracing::info!(kind, timeout_seconds = TIMEOUT, "watch stream opens");
        let mut listed = BTreeMap::new();
        let mut pause = FIRST_PAUSE;
        let mut doubtful = false;
        loop {
            let next = if doubtful {
                let Ok(next) = tokio::time::timeout(QUIET, stream.next()).await else {
                    self.trust(status, true);
                    doubtful = false;
                    pause = FIRST_PAUSE;
                    tracing::info!(kind, "watch stream resumed");
                    continue;
                };
                next
            } else {
                stream.next().await
            };
            match next {
                Some(Ok(event)) => {
                    if doubtful && !matches!(event, Event::Init | Event::InitApply(_)) {
                        self.trust(status, true);
                        doubtful = false;
                        pause = FIRST_PAUSE;
                    }
                    self.take(event, &mut listed, status, seen);
                }
                Some(Err(error)) => {
                    self.trust(status, false);
                    doubtful = true;
                    tracing::warn!(kind, error = %error, pause_ms = millis(pause), "watch stream lost, reconnect follows");
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
                None => {
                    self.trust(status, false);
                    return;
                }
            }
        }
    }

    fn trust(&self, status: &Status, connected: bool) {
        if let Some(store) = self.store {
            store.set_fresh(connected);
        }
        if connected {
            status.connected(self.kind);
        } else {
            status.lost(self.kind);
        }
    }

    fn take(
        &self,
        event: Event<K>,
        listed: &mut BTreeMap<String, Arc<T>>,
        status: &Status,
        seen: &UnboundedSender<Seen>,
    ) {
        // The receiver ends only with the leader.
        let tell = |subject| drop(seen.send(Seen { kind: self.kind, subject }));
        match event {
            Event::Init => listed.clear(),
            Event::InitApply(object) => {
                listed.insert(object.name_any(), Arc::new((self.trim)(object)));
            }
            Event::InitDone => {
                let objects = listed.len();
                if let Some(store) = self.store {
                    store.replace(self.namespace, std::mem::take(listed));
                }
                status.relisted(self.kind);
                tracing::info!(kind = self.kind, objects, "watch stream connected after a full list");
                tell(None);
            }
            Event::Apply(object) => {
                status.event(self.kind, object.meta().resource_version.as_deref());
                let (name, subject) = (object.name_any(), subject(&object));
                if let Some(store) = self.store {
                    store.put(name, Arc::new((self.trim)(object)));
                }
                tell(Some(subject));
            }
            Event::Delete(object) => {
                status.event(self.kind, object.meta().resource_version.as_deref());
                if let Some(store) = self.store {
                    store.remove(&object.name_any());
                }
                tell(Some(subject(&object)));
            }
        }
    }
}

fn millis(pause: Duration) -> u64 {
    u64::try_from(pause.as_millis()).unwrap_or(u64::MAX)
}
