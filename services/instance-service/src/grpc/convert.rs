//! Between protobuf and the domain. What only operators may see is left out here for everybody else.

use contracts::instance::v1 as wire;
use contracts::scalars::timestamp;
use contracts::worker::v1::ProbeInstanceResponse;
use instance::domain::{self, Instance, Operation, Status};
use instance::store::events::TimelineEvent;
use instance::store::instances::{Current, Found};

use crate::app::App;
use crate::app::act::Acted;
use crate::app::caller::Caller;
use crate::rules::Rules;

fn failure(failure: &domain::Failure) -> wire::Failure {
    wire::Failure {
        reason: failure.reason.clone(),
        message: failure.message.clone(),
        at: failure.at.map(timestamp),
    }
}

fn current(current: &Current) -> wire::CurrentOperation {
    wire::CurrentOperation {
        id: current.id.to_string(),
        kind: current.kind.to_string(),
        progress: u32::try_from(current.progress).unwrap_or(0),
    }
}

/// An instance as `who` may see it.
pub(super) fn instance(app: &App, caller: &Caller, found: Found) -> wire::Instance {
    let Found { instance, current: active } = found;
    wire::Instance { current_operation: active.as_ref().map(current), ..row(&app.rules, caller, instance) }
}

fn row(rules: &Rules, caller: &Caller, instance: Instance) -> wire::Instance {
    let privileged = |text: String| if caller.is_privileged() { text } else { String::new() };
    let (db_name, db_host, db_port, db_server_id) =
        instance.database.map_or_else(Default::default, |database| {
            let port = u32::try_from(database.port).unwrap_or(0);
            (database.name, database.host, port, database.server_id.to_string())
        });
    // What failed once is history as soon as it moves again.
    let error = instance.error.as_ref().filter(|_| instance.status == Status::Error).map(failure);
    wire::Instance {
        id: instance.id.to_string(),
        customer_id: instance.customer_id.to_string(),
        subscription_id: instance.subscription_id.map(|id| id.to_string()).unwrap_or_default(),
        plan: instance.plan,
        plan_tier: instance.plan_tier,
        name: instance.name,
        description: instance.description,
        odoo_version: instance.odoo_version,
        instance_type: instance.instance_type,
        status: instance.status.to_string(),
        desired_state: instance.desired_state.to_string(),
        billing_status: instance.billing_status.to_string(),
        provisioning_status: instance.provisioning_status.to_string(),
        cpu_millis: instance.limits.cpu_millis,
        memory_mib: instance.limits.memory_mib,
        storage_mib: instance.limits.storage_mib,
        subdomain: instance.subdomain,
        external_url: instance.external_url,
        internal_url: privileged(instance.internal_url),
        admin_email: instance.admin_email,
        demo_data: instance.demo_data,
        database_name: instance.display_database_name,
        db_type: instance.db_type,
        db_name,
        db_host,
        db_port,
        db_server_id: privileged(db_server_id),
        deployment_name: privileged(instance.deployment_name),
        namespace: privileged(rules.addresses.namespace.clone()),
        error,
        current_operation: None,
        suspended_reason: instance.suspended_reason.unwrap_or_default(),
        purge_after: instance.purge_after.map(timestamp),
        last_health_check: instance.last_health_check.map(timestamp),
        labels: instance.labels.into_iter().collect(),
        version: instance.version,
        created_at: Some(timestamp(instance.created_at)),
        updated_at: Some(timestamp(instance.updated_at)),
        started_at: instance.started_at.map(timestamp),
    }
}

/// An operation with its steps.
pub(super) fn operation(operation: Operation) -> wire::Operation {
    let cancellable = operation.is_cancellable();
    wire::Operation {
        id: operation.id.to_string(),
        instance_id: operation.instance_id.to_string(),
        kind: operation.kind.to_string(),
        state: operation.state.to_string(),
        progress: u32::from(operation.progress),
        step: operation.step,
        steps: operation.steps.into_iter().map(step).collect(),
        attempts: u32::try_from(operation.attempts).unwrap_or(0),
        deadline: Some(timestamp(operation.deadline)),
        error: operation.error.as_ref().map(failure),
        cancellable,
        requested_by: operation.requested_by,
        created_at: Some(timestamp(operation.created_at)),
        finished_at: operation.finished_at.map(timestamp),
        revision: operation.revision,
    }
}

fn step(step: domain::Step) -> wire::OperationStep {
    wire::OperationStep {
        name: step.name,
        state: step.state.to_string(),
        started_at: step.started_at.map(timestamp),
        finished_at: step.finished_at.map(timestamp),
        attempts: step.attempts,
    }
}

/// The answer of an action.
pub(super) fn acted(acted: Acted) -> wire::ActOnInstanceResponse {
    wire::ActOnInstanceResponse {
        instance_id: acted.instance_id.to_string(),
        action: acted.action.to_string(),
        operation_id: acted.operation_id.map(|id| id.to_string()),
        status: acted.status.to_string(),
        changed: acted.changed,
        message: acted.message,
        purge_after: acted.purge_after.map(timestamp),
        timestamp: Some(timestamp(acted.at)),
    }
}

/// What was seen last, and the probe of this moment.
pub(super) fn status(
    caller: &Caller,
    instance: Instance,
    probe: Option<ProbeInstanceResponse>,
) -> wire::GetInstanceStatusResponse {
    let privileged = |text: String| if caller.is_privileged() { text } else { String::new() };
    let observed = instance.observed;
    wire::GetInstanceStatusResponse {
        instance_id: instance.id.to_string(),
        status: instance.status.to_string(),
        desired_state: instance.desired_state.to_string(),
        observed: Some(wire::ObservedState {
            phase: observed.phase,
            ready: observed.ready,
            restart_count: u32::try_from(observed.restarts).unwrap_or(0),
            reason: observed.reason,
            node_name: observed.node,
            pod_ip: privileged(observed.pod_ip),
            started_at: observed.started_at.map(timestamp),
        }),
        probe: probe.map(|probe| wire::ProbeResult {
            at: probe.at,
            ok: probe.ok,
            latency_ms: probe.latency_ms,
        }),
        generation: instance.generation,
        observed_generation: instance.observed_generation,
    }
}

/// A line of the timeline.
pub(super) fn event(event: TimelineEvent) -> wire::InstanceEvent {
    wire::InstanceEvent {
        id: event.id.to_string(),
        at: Some(timestamp(event.at)),
        r#type: event.kind,
        cause: event.cause,
        message: event.message,
    }
}
