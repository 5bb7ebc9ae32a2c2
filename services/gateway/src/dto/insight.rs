//! Status, logs, events and the first password of an instance.

use contracts::instance::v1 as pb;
use serde::Serialize;
use utoipa::ToSchema;

use super::scalars::{Time, text, time};

#[derive(Debug, Serialize, ToSchema)]
pub struct Observed {
    /// pending, running, failed, not_found
    #[schema(example = "running")]
    pub phase: String,
    pub ready: bool,
    #[schema(example = 0)]
    pub restart_count: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "CrashLoopBackOff")]
    pub reason: Option<String>,
    #[schema(example = "node-1")]
    pub node_name: Option<String>,
    /// Operators only.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "10.42.0.17")]
    pub pod_ip: Option<String>,
    pub started_at: Option<Time>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct Probe {
    pub at: Option<Time>,
    pub ok: bool,
    #[schema(example = 12)]
    pub latency_ms: u32,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct InstanceStatus {
    #[schema(format = Uuid)]
    pub instance_id: String,
    #[schema(example = "running")]
    pub status: String,
    #[schema(example = "running")]
    pub desired_state: String,
    pub observed: Option<Observed>,
    pub probe: Option<Probe>,
    pub generation: i64,
    pub observed_generation: i64,
}

impl InstanceStatus {
    /// As the caller may see it.
    pub fn shown(status: pb::GetInstanceStatusResponse, to_operator: bool) -> Self {
        Self {
            instance_id: status.instance_id,
            status: status.status,
            desired_state: status.desired_state,
            observed: status.observed.map(|observed| Observed {
                started_at: time(observed.started_at.as_ref()),
                phase: observed.phase,
                ready: observed.ready,
                restart_count: observed.restart_count,
                reason: text(observed.reason),
                node_name: text(observed.node_name),
                pod_ip: text(observed.pod_ip).filter(|_| to_operator),
            }),
            probe: status.probe.map(|probe| Probe {
                at: time(probe.at.as_ref()),
                ok: probe.ok,
                latency_ms: probe.latency_ms,
            }),
            generation: status.generation,
            observed_generation: status.observed_generation,
        }
    }
}

#[derive(Debug, Serialize, ToSchema)]
pub struct LogLine {
    #[schema(example = "2026-11-23T04:00:00.123456789Z")]
    pub time: String,
    #[schema(example = "INFO odoo: HTTP service running")]
    pub text: String,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct Logs {
    #[schema(format = Uuid)]
    pub instance_id: String,
    pub lines: Vec<LogLine>,
    pub count: usize,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct Event {
    #[schema(format = Uuid)]
    pub id: String,
    pub at: Option<Time>,
    #[serde(rename = "type")]
    #[schema(example = "status_changed")]
    pub kind: String,
    /// platform, operator, tenant, customer, billing
    #[schema(example = "platform")]
    pub cause: String,
    #[schema(example = "running")]
    pub message: String,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct EventList {
    pub events: Vec<Event>,
    pub total: u64,
    pub page: u32,
    pub page_size: u32,
}

impl From<pb::InstanceEvent> for Event {
    fn from(event: pb::InstanceEvent) -> Self {
        Self {
            at: time(event.at.as_ref()),
            id: event.id,
            kind: event.r#type,
            cause: event.cause,
            message: event.message,
        }
    }
}

#[derive(Debug, Serialize, ToSchema)]
pub struct Credentials {
    #[schema(format = Email)]
    pub admin_email: String,
    /// Shown this once.
    #[schema(example = "p4Vw…")]
    pub admin_password: String,
}
