//! The probes of one run of a container: what they say becomes its state, and a failed one ends the run.

use std::time::Duration;

use k8s_openapi::api::core::v1::Probe;
use tokio::time::Instant;

use super::container::{Life, until};
use super::state::ContainerState;
use crate::faults::Kind;
use crate::kubelet_api::exec;
use crate::probes::{Counter, Prober, Question, Timing, question};
use crate::process::Run;

/// First wait between early attempts; see [`Life::attempt_period`].
const EAGER_FIRST: Duration = Duration::from_millis(20);
/// Longest wait between early attempts.
const EAGER_MAX: Duration = Duration::from_millis(400);

/// Which probe asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asks {
    Startup,
    Readiness,
    Liveness,
}

impl Asks {
    fn word(self) -> &'static str {
        match self {
            Self::Startup => "startup",
            Self::Readiness => "readiness",
            Self::Liveness => "liveness",
        }
    }
}

impl Life {
    /// Asks the probes without end; ends only when the container must be started again, with the reason.
    pub(super) async fn probe(&self, run: &Run) -> String {
        if run.is_simulated() && !self.starter.finite {
            tokio::time::sleep(self.starter.context.config.simulate_delay).await;
        }
        if let Some(probe) = &self.container().startup_probe
            && !self.startup(probe, run).await
        {
            return format!("{} probe", Asks::Startup.word());
        }
        self.note(|container| container.started = true);
        let readiness = async {
            match &self.container().readiness_probe {
                Some(probe) => self.readiness(probe, run).await,
                None => self.ready_without_probe().await,
            }
        };
        let liveness = async {
            match &self.container().liveness_probe {
                Some(probe) => self.liveness(probe, run).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = liveness => format!("{} probe", Asks::Liveness.word()),
            () = readiness => std::future::pending().await,
        }
    }

    /// Whether the container has started.
    async fn startup(&self, probe: &Probe, run: &Run) -> bool {
        let timing = Timing::of(probe);
        let mut counter = Counter::new(timing);
        tokio::time::sleep(timing.initial_delay).await;
        loop {
            let success = self.attempt_period(Asks::Startup, probe, timing, run).await;
            if let Some(verdict) = counter.observe(success) {
                return verdict;
            }
        }
    }

    async fn readiness(&self, probe: &Probe, run: &Run) {
        let timing = Timing::of(probe);
        let mut counter = Counter::new(timing);
        let mut changes = self.starter.context.faults.changes();
        self.wait_at_first(timing).await;
        let mut ever = false;
        loop {
            let success = if ever {
                self.ask(Asks::Readiness, probe, timing, run).await
            } else {
                self.attempt_period(Asks::Readiness, probe, timing, run).await
            };
            if let Some(verdict) = counter.observe(success) {
                self.note(|container| container.ready = verdict);
            }
            ever |= success;
            if ever {
                tokio::select! {
                    () = tokio::time::sleep(timing.period) => {}
                    _ = changes.changed() => {}
                }
            }
        }
    }

    /// A container without a readiness probe is ready when it runs, unless a fault says otherwise.
    async fn ready_without_probe(&self) {
        let (context, entry) = (&self.starter.context, &self.starter.entry);
        let mut changes = context.faults.changes();
        loop {
            let fault = context.faults.lasting(Kind::NeverReady, &entry.pod(), self.name());
            self.note(|container| container.ready = fault.is_none());
            tokio::select! {
                _ = changes.changed() => {}
                () = until(fault.and_then(|fault| fault.until)) => {}
            }
        }
    }

    /// Ends when the container no longer lives.
    async fn liveness(&self, probe: &Probe, run: &Run) {
        let timing = Timing::of(probe);
        let mut counter = Counter::new(timing);
        self.wait_at_first(timing).await;
        while counter.observe(self.ask(Asks::Liveness, probe, timing, run).await) != Some(false) {
            tokio::time::sleep(timing.period).await;
        }
    }

    /// The first wait of a probe that no startup probe has held back already.
    async fn wait_at_first(&self, timing: Timing) {
        if self.container().startup_probe.is_none() {
            tokio::time::sleep(timing.initial_delay).await;
        }
    }

    /// One period of a probe that has not succeeded yet. A failure counts once a period as it should, but is
    /// found to be over early: the question is asked again after short waits, so that a process which needs
    /// 50 ms is not seen only after 2 s.
    async fn attempt_period(&self, asks: Asks, probe: &Probe, timing: Timing, run: &Run) -> bool {
        let end = Instant::now() + timing.period;
        let mut wait = EAGER_FIRST;
        loop {
            let result = self.attempt(asks, probe, timing, run).await;
            let Err(error) = result else { return true };
            if Instant::now() + wait >= end {
                self.tell_failure(asks, &error);
                tokio::time::sleep_until(end).await;
                return false;
            }
            tokio::time::sleep(wait).await;
            wait = wait.saturating_mul(2).min(EAGER_MAX);
        }
    }

    async fn ask(&self, asks: Asks, probe: &Probe, timing: Timing, run: &Run) -> bool {
        let result = self.attempt(asks, probe, timing, run).await;
        if let Err(error) = &result {
            self.tell_failure(asks, error);
        }
        result.is_ok()
    }

    async fn attempt(&self, asks: Asks, probe: &Probe, timing: Timing, run: &Run) -> Result<(), String> {
        let (context, entry) = (&self.starter.context, &self.starter.entry);
        let pod = entry.pod();
        let fault = |kind| context.faults.lasting(kind, &pod, self.name()).is_some();
        if asks != Asks::Liveness && fault(Kind::NeverReady) {
            return Err("fault switch: never ready".to_owned());
        }
        if run.is_simulated() {
            return if fault(Kind::Hang) { Err("fault switch: hang".to_owned()) } else { Ok(()) };
        }
        match question(probe, self.container(), entry.ip) {
            Question::Http { address, path, headers } => {
                context.prober.http(address, &path, &headers, timing.timeout).await
            }
            Question::Tcp(address) => Prober::tcp(address, timing.timeout).await,
            Question::Exec(command) => {
                let shell = entry.runtime(self.name(), |runtime| runtime.shell.clone());
                let Some(shell) = shell else { return Ok(()) };
                exec::run(&shell, &command, timing.timeout).await
            }
            Question::Nothing => Ok(()),
        }
    }

    fn tell_failure(&self, asks: Asks, error: &str) {
        let (context, entry) = (&self.starter.context, &self.starter.entry);
        let (first, rest) = asks.word().split_at(1);
        let message = format!("{}{rest} probe failed: {error}", first.to_uppercase());
        context.events.warning(&entry.pod(), Some(self.name()), "Unhealthy", message);
    }

    fn note(&self, change: impl FnOnce(&mut ContainerState)) {
        self.starter.entry.change(|state| {
            if let Some(container) = state.container_mut(self.name()) {
                change(container);
            }
        });
    }
}
