//! A running stack: stopping and starting single parts, telling how they are, starting again what ended,
//! stopping all.

use std::sync::{Arc, Mutex, MutexGuard, TryLockError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};

use super::{Stack, joined, lock};
use crate::cluster::Part;
use crate::control::Action;
use crate::ports::Ports;
use crate::unit::{Overlay, State, Unit};
use crate::{process, rabbitmq, services};

impl Stack {
    fn unit(&self, name: &str) -> Option<Arc<Mutex<Unit>>> {
        lock(&self.units).get(name).cloned()
    }

    /// Does something to one part; `false` when there is no such part.
    pub fn act(&self, name: &str, action: Action) -> Result<bool> {
        if let Some(unit) = self.unit(name) {
            match action {
                Action::Start(overlay) => Unit::start_with(&unit, overlay)?,
                Action::Stop => lock(&unit).stop()?,
                Action::Kill => lock(&unit).kill_for_good()?,
                Action::Crash => lock(&unit).crash()?,
            }
            return Ok(true);
        }
        let Some(part) = part(name) else { return Ok(false) };
        let mut cluster = lock(&self.cluster);
        let Some(control_plane) = cluster.as_mut().and_then(|cluster| cluster.control_plane.as_mut()) else {
            return Ok(false);
        };
        match (action, part) {
            (Action::Start(overlay), _) if overlay != Overlay::default() => {
                bail!("{name} is a part of the control plane, which takes no other environment");
            }
            (Action::Start(_), _) => control_plane.start_part(part)?,
            // All its watches shall break at once, whatever the caller calls it.
            (_, Part::ApiServer) => control_plane.stop_api_server()?,
            _ => control_plane.stop_part(part)?,
        }
        Ok(true)
    }

    /// Starts or stops a second copy of a service, on ports of its own; `false` when there is no such
    /// service.
    pub fn replica(&self, name: &str, start: bool) -> Result<bool> {
        let Some(service) = services::find(name) else { return Ok(false) };
        let replica = format!("{name}-replica");
        if !start {
            let unit = lock(&self.units).remove(&replica);
            unit.map_or(Ok(()), |unit| lock(&unit).stop())?;
            return Ok(true);
        }
        if self.unit(&replica).is_some_and(|unit| lock(&unit).state() == State::Running) {
            return Ok(true);
        }
        let mut ports = Ports::load(&self.plan.layout.dir.join("replica-ports.json"));
        let (http, grpc) =
            (ports.choose(&format!("{replica}-http"))?, ports.choose(&format!("{replica}-grpc"))?);
        let admin = if service.is_public() { ports.choose(&format!("{replica}-admin"))? } else { http };
        let mut env = self.environment(service)?;
        env.extend([
            ("HTTP_PORT".to_owned(), http.to_string()),
            ("ADMIN_PORT".to_owned(), admin.to_string()),
            ("GRPC_PORT".to_owned(), grpc.to_string()),
            ("WORKER_ID".to_owned(), replica.clone()),
        ]);
        let unit = self.service_unit(&replica, service, env, admin);
        self.launch(&replica, unit)?;
        Ok(true)
    }

    /// Empties every queue of our broker.
    pub fn purge_queues(&self) -> Result<()> {
        let unit = self.unit("rabbitmq").context("the broker is not ours")?;
        let env = lock(&unit).env().clone();
        rabbitmq::purge(&env)
    }

    /// State of one part.
    pub fn describe_one(&self, name: &str) -> Option<Value> {
        if let Some(unit) = self.unit(name) {
            return Some(describe(&unit));
        }
        self.describe().get(name).cloned()
    }

    /// All parts with their state, for people and scripts. Nobody waits here for a part that starts or stops.
    pub fn describe(&self) -> Value {
        let mut parts = serde_json::Map::new();
        let units = lock(&self.units).clone();
        for (name, unit) in units {
            parts.insert(name, describe(&unit));
        }
        let Some(cluster) = soon(&self.cluster) else {
            parts.extend(Part::ALL.map(|part| (part_name(part).to_owned(), busy())));
            return Value::Object(parts);
        };
        if let Some(control_plane) = cluster.as_ref().and_then(|cluster| cluster.control_plane.as_ref()) {
            let running = control_plane.processes();
            for part in Part::ALL {
                let pid = running.iter().find(|(other, _)| *other == part).map(|(_, pid)| *pid);
                let state = if pid.is_some() { State::Running } else { State::Stopped };
                let entry = json!({
                    "state": state.to_string(), "running": pid.is_some(), "ready": pid.is_some(), "pid": pid,
                    "restarts": 0,
                });
                parts.insert(part_name(part).to_owned(), entry);
            }
        }
        Value::Object(parts)
    }

    /// Starts again what ended by itself; called every now and then. Returns what happened.
    pub fn tend(&self) -> Vec<String> {
        if process::ending() {
            return Vec::new();
        }
        let units: Vec<_> = lock(&self.units).values().cloned().collect();
        // One that is being started or stopped right now is left alone.
        let mut events: Vec<String> = units
            .iter()
            .filter_map(|unit| unit.try_lock().ok().and_then(|mut unit| unit.tend(Instant::now())))
            .collect();
        if let Ok(mut cluster) = self.cluster.try_lock()
            && let Some(control_plane) = cluster.as_mut().and_then(|cluster| cluster.control_plane.as_mut())
        {
            for part in control_plane.ended_parts() {
                let outcome = control_plane.start_part(part);
                let how = outcome.map_or_else(
                    |error| format!("could not be started: {error:#}"),
                    |()| "started again".to_owned(),
                );
                events.push(format!("{} ended; {how}", part_name(part)));
            }
        }
        events
    }

    /// Stops all: services, then the node, then the servers. With `at_once` nothing is asked, all is killed.
    pub fn stop(&self, at_once: bool) -> Result<()> {
        let services: Vec<&str> = services::ALL.iter().map(|service| service.name).collect();
        let mut first =
            self.stop_units(at_once, |name| services.contains(&name.trim_end_matches("-replica")));
        for error in [
            self.stop_units(at_once, |name| name == "devnode"),
            thread::scope(|scope| {
                let cluster = scope.spawn(|| self.stop_cluster(at_once));
                let units = self.stop_units(at_once, |name| name != "epmd");
                joined(cluster).and(units)
            }),
            self.stop_units(at_once, |_| true),
        ] {
            first = first.and(error);
        }
        first
    }

    fn stop_units(&self, at_once: bool, which: impl Fn(&str) -> bool) -> Result<()> {
        let mut stopping = Vec::new();
        lock(&self.units).retain(|name, unit| {
            let take = which(name);
            if take {
                stopping.push(Arc::clone(unit));
            }
            !take
        });
        thread::scope(|scope| {
            let stops: Vec<_> = stopping
                .iter()
                .map(|unit| {
                    scope.spawn(move || {
                        let mut unit = lock(unit);
                        if at_once { unit.kill_for_good() } else { unit.stop() }
                    })
                })
                .collect();
            // All are joined before the first error is told.
            let outcomes: Vec<Result<()>> = stops.into_iter().map(joined).collect();
            outcomes.into_iter().collect()
        })
    }

    fn stop_cluster(&self, at_once: bool) -> Result<()> {
        let control_plane = lock(&self.cluster).as_mut().and_then(|cluster| cluster.control_plane.take());
        let Some(mut control_plane) = control_plane else { return Ok(()) };
        if at_once {
            control_plane.stop_api_server()?;
        }
        control_plane.stop()
    }
}

/// How long a look at a part waits for whoever is at work on it.
const PATIENCE: Duration = Duration::from_millis(200);

/// What is locked, unless somebody holds it for longer than a moment.
fn soon<T>(mutex: &Mutex<T>) -> Option<MutexGuard<'_, T>> {
    let end = Instant::now() + PATIENCE;
    loop {
        match mutex.try_lock() {
            Ok(guard) => return Some(guard),
            Err(TryLockError::Poisoned(poisoned)) => return Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) if Instant::now() >= end => return None,
            Err(TryLockError::WouldBlock) => thread::sleep(Duration::from_millis(5)),
        }
    }
}

fn describe(unit: &Mutex<Unit>) -> Value {
    let Some(mut unit) = soon(unit) else { return busy() };
    let state = unit.state();
    let (pid, restarts, probe) = (unit.pid(), unit.restarts(), unit.probe());
    drop(unit);
    let running = state == State::Running;
    json!({
        "state": state.to_string(), "running": running, "ready": running && probe(), "pid": pid,
        "restarts": restarts,
    })
}

/// A part at which somebody is at work, which is nearly always its stop: it lives as long as that lasts.
fn busy() -> Value {
    json!({ "state": "busy", "running": true, "ready": false, "pid": null, "restarts": null })
}

fn part_name(part: Part) -> &'static str {
    match part {
        Part::Etcd => "etcd",
        Part::ApiServer => "apiserver",
        Part::ControllerManager => "controller-manager",
        Part::Scheduler => "scheduler",
    }
}

fn part(name: &str) -> Option<Part> {
    Part::ALL.into_iter().find(|part| part_name(*part) == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_look_at_a_part_waits_for_nobody() {
        let folder = tempfile::tempdir().unwrap();
        let spec = process::Spec::new("unit", "/bin/sh", folder.path());
        let unit = Mutex::new(Unit::new(spec, Duration::from_secs(5), || true));
        assert_eq!(describe(&unit)["state"], "stopped");

        let held = lock(&unit);
        let begun = Instant::now();
        let seen = describe(&unit);
        drop(held);

        assert_eq!(seen["state"], "busy");
        assert!(begun.elapsed() < Duration::from_secs(5));
    }

    #[test]
    fn parts_of_the_control_plane_have_short_names() {
        assert_eq!(part("apiserver"), Some(Part::ApiServer));
        assert_eq!(part("kube"), None);
    }
}
