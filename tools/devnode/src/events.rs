//! Kubernetes Events about pods. Written in the background; they never hold up a pod, and a flood is dropped.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Event, EventSource, ObjectReference, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client, ResourceExt as _};
use serde_json::json;
use tokio::sync::mpsc;

/// How many events may wait; more are dropped.
const QUEUE: usize = 2_000;
/// How many kinds of events are remembered for counting.
const REMEMBERED: usize = 5_000;

/// Takes events from everywhere in this program.
#[derive(Debug, Clone)]
pub struct Events {
    sender: Option<mpsc::Sender<Note>>,
}

#[derive(Debug)]
struct Note {
    object: ObjectReference,
    reason: &'static str,
    message: String,
    warning: bool,
}

impl Events {
    /// Starts the writer.
    pub fn start(client: Client, node: &str) -> Self {
        let (sender, receiver) = mpsc::channel(QUEUE);
        tokio::spawn(write(client, node.to_owned(), receiver));
        Self { sender: Some(sender) }
    }

    /// Drops all events: for scale tests, where they would be most of the load.
    pub fn silent() -> Self {
        Self { sender: None }
    }

    /// Something usual happened.
    pub fn normal(
        &self,
        pod: &Pod,
        container: Option<&str>,
        reason: &'static str,
        message: impl Into<String>,
    ) {
        self.send(pod, container, reason, message.into(), false);
    }

    /// Something went wrong.
    pub fn warning(
        &self,
        pod: &Pod,
        container: Option<&str>,
        reason: &'static str,
        message: impl Into<String>,
    ) {
        self.send(pod, container, reason, message.into(), true);
    }

    fn send(&self, pod: &Pod, container: Option<&str>, reason: &'static str, message: String, warning: bool) {
        let Some(sender) = &self.sender else { return };
        let object = ObjectReference {
            api_version: Some("v1".to_owned()),
            kind: Some("Pod".to_owned()),
            name: Some(pod.name_any()),
            namespace: pod.namespace(),
            uid: pod.uid(),
            resource_version: pod.resource_version(),
            field_path: container.map(|name| format!("spec.containers{{{name}}}")),
        };
        if sender.try_send(Note { object, reason, message, warning }).is_err() {
            tracing::debug!(reason, "event dropped: too many are waiting");
        }
    }
}

async fn write(client: Client, node: String, mut notes: mpsc::Receiver<Note>) {
    let mut seen: HashMap<u64, (String, i32)> = HashMap::new();
    while let Some(note) = notes.recv().await {
        let namespace = note.object.namespace.clone().unwrap_or_default();
        let api: Api<Event> = Api::namespaced(client.clone(), &namespace);
        let key = key_of(&note);
        let now = Timestamp::now();
        if let Some((name, count)) = seen.get_mut(&key) {
            *count += 1;
            let change = json!({ "count": *count, "lastTimestamp": Time(now) });
            if api.patch(name, &PatchParams::default(), &Patch::Merge(change)).await.is_ok() {
                continue;
            }
        }
        let name = format!(
            "{}.{:x}{:04x}",
            note.object.name.as_deref().unwrap_or_default(),
            now.as_microsecond(),
            rand::random::<u16>()
        );
        let event = event(note, &name, &node, now);
        if let Err(error) = api.create(&PostParams::default(), &event).await {
            tracing::debug!(%error, "event not written");
            continue;
        }
        if seen.len() >= REMEMBERED {
            seen.clear();
        }
        seen.insert(key, (name, 1));
    }
}

fn key_of(note: &Note) -> u64 {
    let mut hasher = DefaultHasher::new();
    (&note.object.uid, &note.object.field_path, note.reason, &note.message).hash(&mut hasher);
    hasher.finish()
}

fn event(note: Note, name: &str, node: &str, now: Timestamp) -> Event {
    Event {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            namespace: note.object.namespace.clone(),
            ..ObjectMeta::default()
        },
        involved_object: note.object,
        reason: Some(note.reason.to_owned()),
        message: Some(note.message),
        type_: Some(if note.warning { "Warning" } else { "Normal" }.to_owned()),
        source: Some(EventSource { component: Some("devnode".to_owned()), host: Some(node.to_owned()) }),
        first_timestamp: Some(Time(now)),
        last_timestamp: Some(Time(now)),
        count: Some(1),
        ..Event::default()
    }
}
