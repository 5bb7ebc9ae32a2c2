//! Kubernetes Events on the Deployment of an instance (K8S-27), for operators with kubectl. They are notes: a
//! failure is logged and forgotten.

use k8s_openapi::api::core::v1::{Event, EventSource, ObjectReference};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use kube::Api;
use kube::api::PostParams;
use uuid::Uuid;

use super::access::{Cluster, FIELD_MANAGER};
use crate::objects::{Name, meta};

/// What there is to note.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Note {
    /// The first pod is ready.
    Provisioned,
    /// No pod is left.
    Stopped,
    /// A pod is ready again.
    Started,
    /// A deleted or edited object came back.
    RepairApplied,
}

impl Note {
    fn reason(self) -> &'static str {
        match self {
            Self::Provisioned => "Provisioned",
            Self::Stopped => "Stopped",
            Self::Started => "Started",
            Self::RepairApplied => "RepairApplied",
        }
    }
}

/// Writes an Event on the Deployment of an instance.
pub async fn notify(
    cluster: &Cluster,
    namespace: &str,
    instance: Uuid,
    uid: Option<&str>,
    note: Note,
    message: &str,
) {
    let now = k8s_openapi::jiff::Timestamp::now();
    let name = Name::tenant(instance).to_string();
    let event = Event {
        metadata: ObjectMeta {
            generate_name: Some(format!("{name}.")),
            namespace: Some(namespace.to_owned()),
            labels: Some(meta::pairs([(meta::INSTANCE_ID, instance.to_string())])),
            ..ObjectMeta::default()
        },
        involved_object: ObjectReference {
            api_version: Some("apps/v1".into()),
            kind: Some("Deployment".into()),
            name: Some(name),
            namespace: Some(namespace.to_owned()),
            uid: uid.map(str::to_owned),
            ..ObjectReference::default()
        },
        reason: Some(note.reason().into()),
        message: Some(message.to_owned()),
        type_: Some("Normal".into()),
        source: Some(EventSource { component: Some(FIELD_MANAGER.into()), ..EventSource::default() }),
        reporting_component: Some(FIELD_MANAGER.into()),
        first_timestamp: Some(Time(now)),
        last_timestamp: Some(Time(now)),
        count: Some(1),
        ..Event::default()
    };
    let written = match cluster.client() {
        Ok(client) => {
            let api: Api<Event> = Api::namespaced(client, namespace);
            let parameters =
                PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() };
            cluster.call("create", "Event", "event", api.create(&parameters, &event)).await.map(drop)
        }
        Err(error) => Err(error),
    };
    if let Err(error) = written {
        tracing::warn!(instance.id = %instance, reason = note.reason(), error = %error, "no Kubernetes event");
    }
}
