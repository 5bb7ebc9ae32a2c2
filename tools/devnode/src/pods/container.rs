//! The life of one container: pull, start, end, back-off, start again; and what faults do to it. Its probes
//! are in `probing`.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Container;
use nix::sys::signal::Signal;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::backoff::RestartBackoff;
use super::start::{Failure, Starter};
use super::state::{Ended, Phase};
use crate::faults::Kind;
use crate::kubelet_api::exec;
use crate::process::{Exit, Run};
use crate::status::RestartPolicy;

/// How soon a container is tried again that lacks something of its configuration.
const CONFIG_RETRY: Duration = Duration::from_secs(1);

/// How a pod wants its containers to end: with the grace time once it is asked to.
#[derive(Debug, Clone)]
pub struct Ending {
    /// Set when the pod ends.
    pub token: CancellationToken,
    /// The grace time, which may be shortened.
    pub grace: watch::Receiver<Duration>,
}

/// One container and the way it is run.
#[derive(Debug, Clone)]
pub struct Life {
    /// How it is started.
    pub starter: Starter,
    /// When it is started again.
    pub policy: RestartPolicy,
    /// How it ends with its pod.
    pub ending: Ending,
}

/// Why a run is over.
enum Over {
    Exited(Exit),
    Oom,
    Unhealthy(String),
    PodEnds,
}

impl Life {
    /// Runs it until it ended for good. Gives its exit code, none when its pod ended before it ran.
    pub async fn run(self) -> Option<i32> {
        let config = &self.starter.context.config;
        let mut backoff = RestartBackoff::new(config.restart_backoff, config.restart_backoff_max);
        loop {
            self.wait_for_image().await?;
            let run = self.start().await?;
            let since = Timestamp::now();
            let began = Instant::now();
            self.set(Phase::Running { since });
            let over = self.live(&run).await;
            if self.starter.context.stopping.is_cancelled() {
                return std::future::pending().await;
            }
            let ended = self.finish(&run, over, since).await;
            let code = ended.code;
            self.set(Phase::Ended(ended));
            if self.ending.token.is_cancelled() || !self.policy.restarts(code) {
                return Some(code);
            }
            if !self.back_off(backoff.after_run(began.elapsed())).await {
                return Some(code);
            }
        }
    }

    pub(super) fn container(&self) -> &Container {
        &self.starter.container
    }

    pub(super) fn name(&self) -> &str {
        &self.starter.container.name
    }

    fn set(&self, phase: Phase) {
        self.starter.entry.change(|state| {
            if let Some(container) = state.container_mut(self.name()) {
                if !matches!(phase, Phase::Running { .. }) {
                    container.ready = false;
                    container.started = false;
                }
                container.phase = phase;
            }
        });
    }

    /// Waits while the image cannot be pulled; none when the pod ends meanwhile.
    async fn wait_for_image(&self) -> Option<()> {
        let Starter { context, entry, .. } = &self.starter;
        let image = self.container().image.clone().unwrap_or_default();
        let mut changes = context.faults.changes();
        let mut wait = context.config.restart_backoff;
        let mut first = true;
        while let Some(fault) = context.faults.lasting(Kind::PullError, &entry.pod(), self.name()) {
            let message = format!("failed to pull and unpack image {image:?}: not found");
            context.events.warning(
                &entry.pod(),
                Some(self.name()),
                "Failed",
                format!("Failed to pull image: {message}"),
            );
            context.events.warning(&entry.pod(), Some(self.name()), "Failed", "Error: ErrImagePull");
            self.set(Phase::waiting("ErrImagePull", Some(message)));
            // The kubelet tells the error first and the waiting after it.
            let pause = if first { Duration::from_millis(300) } else { Duration::from_secs(1) };
            first = false;
            self.sleep(pause).await?;
            let message = format!("Back-off pulling image {image:?}");
            context.events.normal(&entry.pod(), Some(self.name()), "BackOff", message.clone());
            self.set(Phase::waiting("ImagePullBackOff", Some(message)));
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                _ = changes.changed() => {}
                () = until(fault.until) => {}
                () = self.ending.token.cancelled() => return None,
            }
            wait = wait.saturating_mul(2).min(context.config.restart_backoff_max);
        }
        if let Some(fault) = context.faults.lasting(Kind::SlowStart, &entry.pod(), self.name()) {
            self.sleep(fault.delay).await?;
        }
        (!self.ending.token.is_cancelled()).then_some(())
    }

    /// Starts it, again and again while something is missing; none when the pod ends meanwhile.
    async fn start(&self) -> Option<Run> {
        let Starter { context, entry, .. } = &self.starter;
        let pod = entry.pod();
        let number = entry.state().container(self.name()).map_or(0, |container| container.restarts);
        let mut wait = CONFIG_RETRY;
        loop {
            match self.starter.start(number).await {
                Ok(run) => {
                    let image = self.container().image.as_deref().unwrap_or_default();
                    let events = &context.events;
                    events.normal(
                        &pod,
                        Some(self.name()),
                        "Pulled",
                        format!("Container image {image:?} already present on machine"),
                    );
                    events.normal(
                        &pod,
                        Some(self.name()),
                        "Created",
                        format!("Created container: {}", self.name()),
                    );
                    events.normal(
                        &pod,
                        Some(self.name()),
                        "Started",
                        format!("Started container {}", self.name()),
                    );
                    return Some(run);
                }
                Err(Failure { reason, message }) => {
                    context.events.warning(&pod, Some(self.name()), "Failed", format!("Error: {message}"));
                    self.set(Phase::waiting(reason, Some(message)));
                    self.sleep(wait).await?;
                    wait = wait.saturating_mul(2).min(Duration::from_secs(15));
                }
            }
        }
    }

    /// Watches over a run until it is over.
    async fn live(&self, run: &Run) -> Over {
        let context = &self.starter.context;
        let mut changes = context.faults.changes();
        let mut probes = std::pin::pin!(self.probe(run));
        let mut exited = std::pin::pin!(run.wait());
        let mut hanging = false;
        let mut recheck = None;
        loop {
            if let Some(over) = self.take_fault(run) {
                return over;
            }
            let hang = context.faults.lasting(Kind::Hang, &self.starter.entry.pod(), self.name());
            if hang.is_some() != hanging {
                hanging = hang.is_some();
                if hanging { run.pause() } else { run.resume() }
            }
            if let Some(fault) = &hang {
                recheck = fault.until;
            }
            tokio::select! {
                exit = &mut exited => return Over::Exited(exit),
                message = &mut probes => return Over::Unhealthy(message),
                () = self.ending.token.cancelled() => return Over::PodEnds,
                _ = changes.changed() => {}
                () = until(recheck) => recheck = None,
            }
        }
    }

    /// A fault that strikes this container now.
    fn take_fault(&self, run: &Run) -> Option<Over> {
        let Starter { context, entry, .. } = &self.starter;
        let fault = context.faults.take_blow(&[Kind::Crash, Kind::Oom], &entry.pod(), self.name())?;
        run.kill();
        Some(match fault.kind {
            Kind::Oom => Over::Oom,
            _ => Over::Exited(Exit { code: fault.exit_code }),
        })
    }

    /// Ends what still runs and says how it ended.
    async fn finish(&self, run: &Run, over: Over, started: Timestamp) -> Ended {
        let Starter { context, entry, .. } = &self.starter;
        let pod = entry.pod();
        let killing = |message: String| context.events.normal(&pod, Some(self.name()), "Killing", message);
        let (exit, reason) = match over {
            Over::Exited(exit) => {
                run.wait().await;
                (exit, None)
            }
            Over::Oom => {
                run.wait().await;
                (Exit::by(Signal::SIGKILL), Some("OOMKilled"))
            }
            Over::Unhealthy(message) => {
                killing(format!("Container {} failed {message}, will be restarted", self.name()));
                let grace =
                    pod.spec.as_ref().and_then(|spec| spec.termination_grace_period_seconds).unwrap_or(30);
                (run.end(Duration::from_secs(u64::try_from(grace).unwrap_or(0))).await, None)
            }
            Over::PodEnds => {
                killing(format!("Stopping container {}", self.name()));
                self.pre_stop().await;
                (self.end_with_pod(run).await, None)
            }
        };
        let usual = if exit.code == 0 { "Completed" } else { "Error" };
        Ended {
            code: exit.code,
            reason: reason.unwrap_or(usual).to_owned(),
            message: None,
            started,
            finished: Timestamp::now(),
        }
    }

    /// The end with its pod: the grace time counts from when the pod was asked, and may get shorter.
    async fn end_with_pod(&self, run: &Run) -> Exit {
        let began = Instant::now();
        let mut grace = self.ending.grace.clone();
        run.terminate();
        loop {
            let deadline = began + *grace.borrow_and_update();
            tokio::select! {
                exit = run.wait() => return exit,
                () = tokio::time::sleep_until(deadline) => {
                    run.kill();
                    return run.wait().await;
                }
                Ok(()) = grace.changed() => {}
            }
        }
    }

    async fn pre_stop(&self) {
        let hook = self.container().lifecycle.as_ref().and_then(|lifecycle| lifecycle.pre_stop.as_ref());
        let grace = *self.ending.grace.borrow();
        let Some(hook) = hook else { return };
        if let Some(command) = hook.exec.as_ref().and_then(|exec| exec.command.clone()) {
            let shell = self.starter.entry.runtime(self.name(), |runtime| runtime.shell.clone());
            if let Some(shell) = shell
                && let Err(error) = exec::run(&shell, &command, grace).await
            {
                let Starter { context, entry, .. } = &self.starter;
                let message = format!("PreStopHook failed: {error}");
                context.events.warning(&entry.pod(), Some(self.name()), "FailedPreStopHook", message);
            }
        } else if let Some(sleep) = &hook.sleep {
            let wait = Duration::from_secs(u64::try_from(sleep.seconds).unwrap_or(0));
            tokio::time::sleep(wait.min(grace)).await;
        }
    }

    /// Waits before the next start; false when the pod ends meanwhile.
    async fn back_off(&self, wait: Option<Duration>) -> bool {
        let Starter { context, entry, .. } = &self.starter;
        if let Some(wait) = wait {
            let message = format!(
                "back-off {} restarting failed container={}",
                humantime::format_duration(wait),
                self.name()
            );
            context.events.warning(&entry.pod(), Some(self.name()), "BackOff", message.clone());
            self.again(Phase::waiting("CrashLoopBackOff", Some(message)));
            if self.sleep(wait).await.is_none() {
                return false;
            }
            self.count_restart();
        } else {
            self.again(Phase::waiting("ContainerCreating", None));
            self.count_restart();
        }
        true
    }

    fn again(&self, phase: Phase) {
        self.starter.entry.change(|state| {
            if let Some(container) = state.container_mut(self.name()) {
                if let Phase::Ended(ended) = &container.phase {
                    container.last = Some(ended.clone());
                }
                container.phase = phase;
            }
        });
    }

    fn count_restart(&self) {
        self.starter.entry.change(|state| {
            if let Some(container) = state.container_mut(self.name()) {
                container.restarts += 1;
            }
        });
    }

    /// Sleeps; none when the pod ends meanwhile.
    async fn sleep(&self, time: Duration) -> Option<()> {
        tokio::select! {
            () = tokio::time::sleep(time) => Some(()),
            () = self.ending.token.cancelled() => None,
        }
    }
}

/// Sleeps until a moment; without end when there is none.
pub(super) async fn until(moment: Option<Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment).await,
        None => std::future::pending().await,
    }
}
