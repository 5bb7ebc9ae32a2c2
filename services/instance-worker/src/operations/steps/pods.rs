//! gone and ready: what must be true of the pods. Both park; the leader's watch wakes them, a slow poll
//! stands behind it.

use std::sync::Arc;
use std::time::Duration;

use instance::domain::ParkedFor;
use instance::store::observe;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;

use super::super::context::Context;
use super::super::step::{Failure, Outcome};
use crate::cluster::{self, Target};
use crate::objects::deployment::deployment;
use crate::objects::service::HTTP;
use crate::objects::{Name, Route, Wish};
use crate::watch::facts::{self, Sighted};

/// Behind the watch.
const POLL: Duration = Duration::from_secs(15);
/// Odoo answers soon after its pod is ready.
const PROBE_AGAIN: Duration = Duration::from_secs(1);
/// The start-up probe alone may take ten minutes (K8S-09).
const READY_DEADLINE: Duration = Duration::from_mins(12);
/// The controller follows within milliseconds.
const CONTROLLER: Duration = Duration::from_millis(250);
const PROBE_DEADLINE: Duration = Duration::from_secs(5);

/// The pods of the instance as the server has them: a watch that hangs shows what was, for as long as nobody notices.
async fn at_server(context: &Context<'_>) -> Result<Vec<Arc<Pod>>, Failure> {
    let worker = context.worker;
    Ok(worker.cluster.pods_at_server(context.namespace(), context.instance.id).await?)
}

fn wants_pods(workload: &Deployment) -> bool {
    workload.spec.as_ref().is_some_and(|spec| spec.replicas != Some(0))
}

pub(super) async fn gone(context: &mut Context<'_>) -> Result<Outcome, Failure> {
    if !context.pods().await?.is_empty() && !at_server(context).await?.is_empty() {
        // Whoever scaled it up again since the step before, it shall go.
        let name = Name::tenant(context.instance.id);
        let workload =
            context.worker.cluster.look_up::<Deployment>(context.namespace(), name.as_str()).await?;
        if workload.is_some_and(|workload| wants_pods(&workload)) {
            super::workload::apply(context, false).await?;
        }
        return Ok(Outcome::Wait(ParkedFor::Gone, POLL));
    }
    // A pod of a wish that was overtaken may still be on its way: the controller must have seen the last one.
    let name = Name::tenant(context.instance.id);
    let workload: Option<Deployment> = context.worker.cluster.get(context.namespace(), name.as_str()).await?;
    let settled = workload.is_none_or(|workload| facts::is_scaled_down(&workload));
    Ok(if settled { Outcome::Done } else { Outcome::Wait(ParkedFor::Gone, CONTROLLER) })
}

pub(super) async fn ready(context: &mut Context<'_>) -> Result<Outcome, Failure> {
    let tenant = context.tenant(Wish { running: true, ..context.wish() })?;
    let wanted = deployment(&tenant, &context.worker.settings);
    let pods = context.pods().await?;
    let current = pods.iter().find(|pod| facts::is_ready(pod) && facts::runs_template(pod, &wanted));
    if let Some(pod) = current {
        return answers(context, pod).await;
    }
    let sight = facts::sight(pods.iter().map(AsRef::as_ref));
    let hopeless = facts::hopeless(&sight, seconds_in_state(context, &sight));
    let late = context.waited_longer_than(READY_DEADLINE);
    if hopeless.is_some() || late {
        // What follows may not be taken back, so the server is asked and not what was seen of it.
        let pods = at_server(context).await?;
        let current = pods.iter().find(|pod| facts::is_ready(pod) && facts::runs_template(pod, &wanted));
        if let Some(pod) = current {
            return answers(context, pod).await;
        }
    }
    if let Some(cause) = hopeless {
        return Err(Failure::permanent(cause.reason, cause.message, format!("pod: {}", sight.reason)));
    }
    if late {
        return Err(Failure::permanent(
            "start_timeout",
            "the instance did not get ready in time",
            format!("pod: {} {}", sight.phase, sight.reason),
        ));
    }
    Ok(Outcome::Wait(ParkedFor::Ready, POLL))
}

/// How long the row has said the same as is seen now.
fn seconds_in_state(context: &Context<'_>, sight: &Sighted) -> i64 {
    let observed = &context.instance.observed;
    if observed.phase != sight.phase || observed.reason != sight.reason {
        return 0;
    }
    observed.at.map_or(0, |at| (context.now - at).whole_seconds())
}

async fn answers(context: &mut Context<'_>, pod: &Pod) -> Result<Outcome, Failure> {
    let worker = context.worker;
    if worker.http_check {
        let service = Name::tenant(context.instance.id).to_string();
        let host = worker.settings.host(&context.instance.subdomain);
        let target = Target {
            namespace: context.namespace(),
            service: &service,
            pod: pod.metadata.name.as_deref().unwrap_or_default(),
            pod_ip: pod.status.as_ref().and_then(|status| status.pod_ip.as_deref()).unwrap_or_default(),
            port: u16::try_from(HTTP).unwrap_or(8069),
            host: &host,
        };
        let probe = cluster::probe(&worker.cluster, worker.addressing, &target, "/", PROBE_DEADLINE).await;
        let answer = match probe {
            Ok((200 | 302 | 303, _)) => None,
            Ok((status, _)) => Some(format!("HTTP {status}")),
            Err(error) => Some(error.to_string()),
        };
        if let Some(answer) = answer {
            if context.waited_longer_than(READY_DEADLINE) {
                return Err(Failure::permanent("no_answer", "the instance does not answer", answer));
            }
            tracing::info!(instance.id = %context.instance.id, answer, "pod is ready, Odoo does not answer yet");
            return Ok(Outcome::Wait(ParkedFor::Ready, PROBE_AGAIN));
        }
    }
    super::route::apply(context, Route::Instance).await?;
    let mut connection = worker.database.acquire().await?;
    observe::probed(&mut connection, context.instance.id).await?;
    Ok(Outcome::Done)
}
