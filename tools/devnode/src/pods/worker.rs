//! The life of one pod: volumes, init containers, containers, its status in the API, its end.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, Patch, PatchParams, Preconditions};
use kube::{Api, ResourceExt as _};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::container::Ending;
use super::containers::Containers;
use super::registry::Entry;
use super::state::Verdict;
use crate::context::Shared;
use crate::faults::Kind;
use crate::process;
use crate::status::{RestartPolicy, pod_status};

/// Longest time of one request to the API.
const REQUEST: Duration = Duration::from_secs(10);
/// Longest wait before a failed report is tried again.
const RETRY_MAX: Duration = Duration::from_secs(3);

/// Runs a pod from its first sight until its object is gone.
pub async fn run(context: Shared, entry: Arc<Entry>) {
    let uid = entry.pod().uid().unwrap_or_default();
    let pod_dir = context.pods_dir.join(&uid);
    end_leftovers(&pod_dir);
    let (grace, grace_receiver) = watch::channel(Duration::from_secs(30));
    let ending = Ending { token: CancellationToken::new(), grace: grace_receiver };
    let mut worker = Worker { context, entry, pod_dir, grace, ending, retry: None };
    worker.run().await;
    let _ = fs::remove_dir_all(&worker.pod_dir);
    worker.context.addresses.give_back(worker.entry.ip);
}

fn end_leftovers(pod_dir: &std::path::Path) {
    let files = fs::read_dir(pod_dir).into_iter().flatten().flatten().map(|file| file.path());
    for file in files.filter(|file| file.extension().is_some_and(|extension| extension == "pid")) {
        process::end_leftover(&file);
    }
}

struct Worker {
    context: Shared,
    entry: Arc<Entry>,
    pod_dir: PathBuf,
    grace: watch::Sender<Duration>,
    ending: Ending,
    /// When a report that failed is tried again, and the wait after that.
    retry: Option<(Instant, Duration)>,
}

/// How a report to the API went.
enum Report {
    Done,
    Failed,
    ObjectGone,
}

impl Worker {
    async fn run(&mut self) {
        let pod = self.entry.pod();
        let finished = matches!(
            pod.status.as_ref().and_then(|status| status.phase.as_deref()),
            Some("Succeeded" | "Failed")
        );
        let lost_for_good = was_running(&pod) && RestartPolicy::of(&pod) == RestartPolicy::Never;
        let mut containers = if finished {
            None
        } else if lost_for_good {
            self.entry.change(|state| {
                state.verdict = Some(Verdict {
                    reason: "NodeLost".to_owned(),
                    message: "the node was restarted while the pod ran".to_owned(),
                });
            });
            None
        } else {
            Some(self.start())
        };
        self.follow(&mut containers, finished).await;
        if let Some(containers) = containers {
            // Its object is gone: nobody waits for a graceful end.
            self.grace.send_replace(Duration::ZERO);
            self.ending.token.cancel();
            let _ = containers.await;
        }
    }

    /// Starts the containers in a task of their own.
    fn start(&self) -> JoinHandle<()> {
        let containers = Containers {
            context: self.context.clone(),
            entry: self.entry.clone(),
            pod_dir: self.pod_dir.clone(),
            ending: self.ending.clone(),
        };
        tokio::spawn(containers.run())
    }

    /// Follows wishes of the API and changes of the containers until the object is gone.
    async fn follow(&mut self, containers: &mut Option<JoinHandle<()>>, silent: bool) {
        let mut wanted = self.entry.wanted();
        let mut faults = self.context.faults.changes();
        let mut lost = self.context.faults.node_lost();
        let deadline = self.active_deadline();
        loop {
            if self.context.stopping.is_cancelled() {
                return std::future::pending().await;
            }
            let now = wanted.borrow_and_update().clone();
            if now.gone {
                return;
            }
            let cut_off = *lost.borrow_and_update();
            if cut_off {
                self.entry.runs().iter().for_each(process::Run::pause);
            } else {
                self.strike();
                self.obey(&now.pod);
                if !silent && self.report_is_due() && self.report().await {
                    return;
                }
                if containers.is_none()
                    && now.pod.metadata.deletion_timestamp.is_some()
                    && self.delete().await
                {
                    return;
                }
            }
            let retry = self.retry.map(|(at, _)| at);
            tokio::select! {
                _ = wanted.changed() => {}
                () = self.entry.changed.notified() => {}
                _ = faults.changed() => {}
                () = self.context.stopping.cancelled() => {}
                _ = lost.changed() => if !*lost.borrow() {
                    self.entry.runs().iter().for_each(process::Run::resume);
                },
                () = ended(containers) => *containers = None,
                () = sleep_until(retry), if retry.is_some() => {}
                () = sleep_until(deadline), if deadline.is_some() && containers.is_some() => self.exceed_deadline(),
            }
        }
    }

    /// Ends the containers when the API wants the pod to end.
    fn obey(&self, pod: &Pod) {
        if pod.metadata.deletion_timestamp.is_none() {
            return;
        }
        let seconds = pod.metadata.deletion_grace_period_seconds.unwrap_or(30);
        let wanted = Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
        self.grace.send_if_modified(|grace| {
            let shorter = wanted != *grace;
            *grace = wanted;
            shorter
        });
        self.ending.token.cancel();
    }

    /// An eviction that was asked for.
    fn strike(&self) {
        if self.ending.token.is_cancelled() {
            return;
        }
        let pod = self.entry.pod();
        if self.context.faults.take_blow(&[Kind::Evict], &pod, "").is_some() {
            self.end_as("Evicted", "The node was low on resource: memory.");
            self.context.events.warning(&pod, None, "Evicted", "The node was low on resource: memory.");
        }
    }

    fn exceed_deadline(&self) {
        self.end_as("DeadlineExceeded", "Pod was active on the node longer than the specified deadline");
    }

    fn end_as(&self, reason: &str, message: &str) {
        self.entry.change(|state| {
            state.verdict.get_or_insert(Verdict { reason: reason.to_owned(), message: message.to_owned() });
        });
        self.grace.send_replace(Duration::from_secs(2));
        self.ending.token.cancel();
    }

    fn active_deadline(&self) -> Option<Instant> {
        let seconds = self.entry.pod().spec.as_ref()?.active_deadline_seconds?;
        let elapsed = Timestamp::now().duration_since(self.entry.state().since).as_secs();
        Some(Instant::now() + Duration::from_secs(u64::try_from(seconds - elapsed).unwrap_or(0)))
    }

    fn report_is_due(&self) -> bool {
        self.retry.is_none_or(|(at, _)| Instant::now() >= at)
    }

    /// Writes the status when it differs from the one that the API has. True when the object is gone.
    async fn report(&mut self) -> bool {
        let pod = self.entry.pod();
        let desired = pod_status(&pod, &self.entry.state(), Timestamp::now());
        let Ok(desired) = serde_json::to_value(desired) else { return false };
        let known = serde_json::to_value(&pod.status).unwrap_or_default();
        if !differs(&desired, &known) {
            self.retry = None;
            return false;
        }
        match self.patch(&pod, &desired).await {
            Report::Done => self.retry = None,
            Report::ObjectGone => {
                // The watch will say so; until then nothing is to be done.
                self.retry = Some((Instant::now() + RETRY_MAX, RETRY_MAX));
            }
            Report::Failed => {
                let wait = self.retry.map_or(Duration::from_millis(100), |(_, wait)| wait);
                self.retry = Some((Instant::now() + wait, wait.saturating_mul(2).min(RETRY_MAX)));
            }
        }
        false
    }

    async fn patch(&self, pod: &Pod, status: &Value) -> Report {
        let api = self.api(pod);
        let body = json!({ "metadata": { "uid": pod.uid() }, "status": status });
        let name = pod.name_any();
        let params = PatchParams::default();
        let change = Patch::Merge(&body);
        let request = api.patch_status(&name, &params, &change);
        match tokio::time::timeout(REQUEST, request).await {
            Ok(Ok(updated)) => {
                self.entry.update(Arc::new(updated));
                Report::Done
            }
            Ok(Err(kube::Error::Api(status))) if status.is_not_found() || status.is_conflict() => {
                Report::ObjectGone
            }
            Ok(Err(error)) => {
                tracing::debug!(pod = name, %error, "status not written");
                Report::Failed
            }
            Err(_) => Report::Failed,
        }
    }

    /// Deletes the object of a pod that has ended. True when the API did it or it is gone.
    async fn delete(&mut self) -> bool {
        if !self.report_is_due() {
            return false;
        }
        let pod = self.entry.pod();
        let api = self.api(&pod);
        let parameters = DeleteParams {
            grace_period_seconds: Some(0),
            preconditions: Some(Preconditions { uid: pod.uid(), ..Preconditions::default() }),
            ..DeleteParams::default()
        };
        let result = tokio::time::timeout(REQUEST, api.delete(&pod.name_any(), &parameters)).await;
        match result {
            // With finalizers the object stays for a while; it is asked for again until the watch says that
            // it is gone.
            Ok(Ok(_)) => {
                self.retry = Some((Instant::now() + RETRY_MAX, RETRY_MAX));
                false
            }
            Ok(Err(kube::Error::Api(status))) if status.is_not_found() || status.is_conflict() => {
                self.retry = Some((Instant::now() + RETRY_MAX, RETRY_MAX));
                false
            }
            _ => {
                self.retry = Some((Instant::now() + Duration::from_millis(500), RETRY_MAX));
                false
            }
        }
    }

    fn api(&self, pod: &Pod) -> Api<Pod> {
        Api::namespaced(self.context.client.clone(), &pod.namespace().unwrap_or_default())
    }
}

/// Whether the API has another value for a field that this node reports.
fn differs(desired: &Value, known: &Value) -> bool {
    match (desired, known) {
        (Value::Object(desired), known) => {
            desired.iter().any(|(field, value)| differs(value, known.get(field).unwrap_or(&Value::Null)))
        }
        (Value::Array(desired), Value::Array(known)) => {
            desired.len() != known.len() || desired.iter().zip(known).any(|(one, other)| differs(one, other))
        }
        _ => desired != known,
    }
}

fn was_running(pod: &Pod) -> bool {
    let statuses = pod.status.as_ref().and_then(|status| status.container_statuses.as_ref());
    statuses
        .into_iter()
        .flatten()
        .any(|container| container.state.as_ref().is_some_and(|state| state.running.is_some()))
}

async fn ended(containers: &mut Option<JoinHandle<()>>) {
    match containers {
        Some(handle) => drop(handle.await),
        None => std::future::pending().await,
    }
}

async fn sleep_until(moment: Option<Instant>) {
    if let Some(moment) = moment {
        tokio::time::sleep_until(moment).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_fields_that_this_node_reports_are_compared() {
        let known = json!({ "phase": "Running", "qosClass": "Burstable", "list": [{ "a": 1, "b": 2 }] });

        assert!(!differs(&json!({ "phase": "Running", "list": [{ "a": 1 }] }), &known));
        assert!(differs(&json!({ "phase": "Failed" }), &known));
        assert!(differs(&json!({ "list": [] }), &known));
        assert!(differs(&json!({ "podIP": "x" }), &known));
        assert!(differs(&json!({ "podIP": "x" }), &Value::Null));
    }
}
