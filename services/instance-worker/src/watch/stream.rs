//! One watch stream: list, then events, into a store; resumed by resource version, listed anew when that is
//! too old, and never given up (K8S-21).
//!
//! Silence is no news: a store is fresh only after a list, an event or a bookmark, and stays so only while
//! one of them comes in time.

use std::collections::BTreeMap;
use std::fmt;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use k8s_openapi::api::core::v1::Node;
use kube::api::{ListParams, WatchEvent, WatchParams};
use kube::{Api, Resource, ResourceExt as _};
use serde::de::DeserializeOwned;
use tokio::sync::mpsc::UnboundedSender;
use tokio::time::{Instant, timeout};
use uuid::Uuid;

use super::status::Status;
use crate::cluster::Store;
use crate::objects::{Name, meta};

const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// Objects of one page of a list.
const PAGE: u32 = 500;
/// A watch that the server ends so soon is a fault of something in between: the next one is not begun at
/// once.
const TOO_SHORT: Duration = Duration::from_secs(1);

/// How long a stream believes what it does not hear.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// Server-side time-out of a watch, in seconds; the stream is resumed after it. The server sends
    /// bookmarks before.
    pub server: u32,
    /// A stream without a word for so long is dead, whatever its connection looks like.
    pub idle: Duration,
    /// A resumed stream without a word for so long proves nothing: everything is listed.
    pub quiet: Duration,
    /// Longest wait for a page of a list, or for the beginning of a watch.
    pub answer: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            server: 240,
            idle: Duration::from_secs(250),
            quiet: Duration::from_secs(2),
            answer: Duration::from_secs(20),
        }
    }
}

/// What a stream saw.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// Which stream.
    pub kind: &'static str,
    /// Whose object; `None`: everything may have changed, after a list or a gap.
    pub subject: Option<Subject>,
}

/// Whose object it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subject {
    /// An instance.
    Instance(Uuid),
    /// A pool, by name.
    Pool(String),
    /// A machine, by name.
    Node(String),
    /// Nobody we know.
    Foreign,
}

/// Whose an object is: by its labels, or by its name when somebody took the labels away.
fn subject<K: Resource<DynamicType = ()>>(object: &K) -> Subject {
    if K::kind(&()) == <Node as Resource>::kind(&()) {
        return Subject::Node(object.name_any());
    }
    let pool = object.meta().labels.as_ref().and_then(|labels| labels.get(meta::POOL));
    let instance = meta::instance_of(object.meta());
    match (instance.or_else(|| Name::instance_in(&object.name_any())), pool) {
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
    /// What silence means.
    pub patience: Patience,
}

impl<K, T> fmt::Debug for Follow<'_, K, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Follow({})", self.kind)
    }
}

/// How a watch ended.
enum End {
    /// By the server, in its time; it goes on from here.
    Served(String),
    /// By an error; it goes on from here, if nothing is lost.
    Broken(String, String),
    /// What happened since is not known: everything is listed. With the reason, when it is a fault.
    Unknown(Option<String>),
}

impl<K, T> Follow<'_, K, T>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + fmt::Debug + Send + 'static,
{
    /// Follows for ever.
    pub async fn run(self, api: Api<K>, status: &Status, seen: &UnboundedSender<Seen>) {
        let kind = self.kind;
        status.begin(kind);
        tracing::info!(kind, timeout_seconds = self.patience.server, "watch stream opens");
        let mut pause = FIRST_PAUSE;
        let mut position = None;
        let mut sure = true;
        loop {
            let from = if let Some(version) = position.take() {
                version
            } else {
                match self.list(&api, status, seen).await {
                    Ok(version) => {
                        (sure, pause) = (true, FIRST_PAUSE);
                        version
                    }
                    Err(why) => {
                        self.lost(status, &why, &mut pause).await;
                        continue;
                    }
                }
            };
            match self.watch(&api, from, sure, status, seen).await {
                End::Served(version) => (position, sure, pause) = (Some(version), true, FIRST_PAUSE),
                End::Broken(version, why) => {
                    (position, sure) = (Some(version), false);
                    self.lost(status, &why, &mut pause).await;
                }
                End::Unknown(Some(why)) => self.lost(status, &why, &mut pause).await,
                End::Unknown(None) => self.trust(status, false),
            }
        }
    }

    async fn lost(&self, status: &Status, why: &str, pause: &mut Duration) {
        self.trust(status, false);
        let (kind, pause_ms) = (self.kind, millis(*pause));
        tracing::warn!(kind, error = why, pause_ms, "watch stream lost, reconnect follows");
        tokio::time::sleep(*pause).await;
        *pause = (*pause * 2).min(LONGEST_PAUSE);
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

    fn tell(&self, seen: &UnboundedSender<Seen>, subject: Option<Subject>) {
        // The receiver ends only with the leader.
        drop(seen.send(Seen { kind: self.kind, subject }));
    }

    /// Everything there is, into the store; the version from which a watch goes on.
    async fn list(
        &self,
        api: &Api<K>,
        status: &Status,
        seen: &UnboundedSender<Seen>,
    ) -> Result<String, String> {
        let mut listed = BTreeMap::new();
        let mut page = ListParams::default().limit(PAGE);
        if let Some(selector) = self.selector {
            page = page.labels(selector);
        }
        let version = loop {
            let found = timeout(self.patience.answer, api.list(&page)).await;
            let found = found.map_err(|_| "a list got no answer in time".to_owned())?;
            let found = found.map_err(|error| error.to_string())?;
            for object in found.items {
                listed.insert(object.name_any(), Arc::new((self.trim)(object)));
            }
            page.continue_token = found.metadata.continue_.filter(|token| !token.is_empty());
            if page.continue_token.is_none() {
                break found.metadata.resource_version.unwrap_or_default();
            }
        };
        let objects = listed.len();
        if let Some(store) = self.store {
            store.replace(self.namespace, listed);
        }
        status.relisted(self.kind);
        tracing::info!(kind = self.kind, objects, "watch stream connected after a full list");
        self.tell(seen, None);
        Ok(version)
    }

    /// Events from `version` on. `sure`: the store is known to be as of `version`, and nothing was missed
    /// since.
    async fn watch(
        &self,
        api: &Api<K>,
        mut version: String,
        sure: bool,
        status: &Status,
        seen: &UnboundedSender<Seen>,
    ) -> End {
        let mut parameters = WatchParams::default().timeout(self.patience.server);
        if let Some(selector) = self.selector {
            parameters = parameters.labels(selector);
        }
        let begun = Instant::now();
        let opened = timeout(self.patience.answer, api.watch(&parameters, &version)).await;
        let stream = match opened {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return broken(version, &error),
            Err(_) => return End::Broken(version, "a watch got no answer in time".to_owned()),
        };
        let mut stream = pin!(stream);
        let mut heard = sure;
        loop {
            let limit = if heard { self.patience.idle } else { self.patience.quiet };
            let event = match timeout(limit, stream.next()).await {
                Ok(Some(Ok(WatchEvent::Error(status)))) => {
                    return broken(version, &kube::Error::Api(status));
                }
                Ok(Some(Ok(event))) => event,
                Ok(Some(Err(error))) => return broken(version, &error),
                Ok(None) if !heard || begun.elapsed() < TOO_SHORT => {
                    return End::Broken(version, "the watch ended without a word".to_owned());
                }
                Ok(None) => return End::Served(version),
                Err(_) if heard => return End::Unknown(Some("no word within the time-out".to_owned())),
                Err(_) => return End::Unknown(None),
            };
            if !heard {
                heard = true;
                self.trust(status, true);
                tracing::info!(kind = self.kind, "watch stream resumed");
                self.tell(seen, None);
            }
            self.take(event, &mut version, status, seen);
        }
    }

    fn take(
        &self,
        event: WatchEvent<K>,
        version: &mut String,
        status: &Status,
        seen: &UnboundedSender<Seen>,
    ) {
        let (object, gone) = match event {
            WatchEvent::Added(object) | WatchEvent::Modified(object) => (object, false),
            WatchEvent::Deleted(object) => (object, true),
            WatchEvent::Bookmark(bookmark) => {
                *version = bookmark.metadata.resource_version;
                status.connected(self.kind);
                return;
            }
            WatchEvent::Error(_) => return,
        };
        if let Some(now) = object.resource_version() {
            *version = now;
        }
        status.event(self.kind, Some(version));
        let (name, subject) = (object.name_any(), subject(&object));
        if let Some(store) = self.store {
            if gone {
                store.remove(&name);
            } else {
                store.put(name, Arc::new((self.trim)(object)));
            }
        }
        self.tell(seen, Some(subject));
    }
}

/// 410: the server has forgotten what happened since `version`.
fn broken(version: String, error: &kube::Error) -> End {
    match error {
        // Told as a loss, so that the next list waits a moment: a server that forgets faster than it lists is
        // busy enough.
        kube::Error::Api(status) if status.code == 410 => {
            End::Unknown(Some("the server has forgotten this version".to_owned()))
        }
        error => End::Broken(version, error.to_string()),
    }
}

fn millis(pause: Duration) -> u64 {
    u64::try_from(pause.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
#[path = "stream_tests.rs"]
mod tests;
