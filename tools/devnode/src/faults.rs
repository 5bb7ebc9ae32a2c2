//! Faults on request: what is asked for, which containers it hits and how often. The fault switch is its HTTP
//! side.

pub mod server;

use std::collections::{BTreeMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::time::Instant;

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// The process is killed.
    Crash,
    /// The process stops in its tracks.
    Hang,
    /// No readiness or startup probe succeeds.
    NeverReady,
    /// The image cannot be pulled; hits containers that start.
    PullError,
    /// The process starts late; hits containers that start.
    SlowStart,
    /// The process is killed for its memory.
    Oom,
    /// The node evicts the pod.
    Evict,
}

impl Kind {
    /// Whether it happens at a moment, and so has a number of times, rather than lasting.
    pub fn is_blow(self) -> bool {
        matches!(self, Self::Crash | Self::Oom | Self::Evict)
    }
}

/// Which pods a fault is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// Pods with these labels.
    Labels(Vec<Requirement>),
    /// The pod of this name, or the pods of the workload of this name.
    Name(String),
}

/// One condition of a label selector.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Requirement {
    /// `key=value`
    Is(String, String),
    /// `key!=value`
    IsNot(String, String),
    /// `key`
    Has(String),
    /// `!key`
    HasNot(String),
}

impl Target {
    /// Parses `key=value,…`, `namespace/name` or `name`; gives the namespace as well.
    ///
    /// # Errors
    /// What is wrong with the text.
    pub fn parse(text: &str) -> Result<(Option<String>, Self), String> {
        let text = text.trim();
        if text.is_empty() {
            return Err("the selector is empty".to_owned());
        }
        if !text.contains(['=', ',', '!']) {
            return Ok(match text.split_once('/') {
                Some((namespace, name)) => (Some(namespace.to_owned()), Self::Name(name.to_owned())),
                None => (None, Self::Name(text.to_owned())),
            });
        }
        let requirement = |part: &str| {
            let part = part.trim();
            let pair = |(key, value): (&str, &str)| (key.trim().to_owned(), value.trim().to_owned());
            if let Some((key, value)) = part.split_once("!=").map(pair) {
                return Requirement::IsNot(key, value);
            }
            if let Some((key, value)) = part.split_once("==").or_else(|| part.split_once('=')).map(pair) {
                return Requirement::Is(key, value);
            }
            match part.strip_prefix('!') {
                Some(key) => Requirement::HasNot(key.trim().to_owned()),
                None => Requirement::Has(part.to_owned()),
            }
        };
        Ok((None, Self::Labels(text.split(',').map(requirement).collect())))
    }

    fn matches(&self, name: &str, labels: &BTreeMap<String, String>) -> bool {
        match self {
            Self::Name(wanted) => name
                .strip_prefix(wanted.as_str())
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('-')),
            Self::Labels(requirements) => requirements.iter().all(|requirement| match requirement {
                Requirement::Is(key, value) => labels.get(key) == Some(value),
                Requirement::IsNot(key, value) => labels.get(key) != Some(value),
                Requirement::Has(key) => labels.contains_key(key),
                Requirement::HasNot(key) => !labels.contains_key(key),
            }),
        }
    }
}

/// One fault.
#[derive(Debug, Clone)]
pub struct Fault {
    /// Number for looking at it and taking it back.
    pub id: u64,
    /// What goes wrong.
    pub kind: Kind,
    /// Which pods.
    pub target: Target,
    /// Only pods of this namespace.
    pub namespace: Option<String>,
    /// Only this container.
    pub container: Option<String>,
    /// How often it still happens; without an end when absent.
    pub left: Option<u32>,
    /// Falls on each pod once; those that it fell on.
    pub once: Option<HashSet<String>>,
    /// Until when it lasts; without an end when absent.
    pub until: Option<Instant>,
    /// Exit code that a crash reports.
    pub exit_code: i32,
    /// How late a slow start is.
    pub delay: Duration,
}

impl Fault {
    fn is_over(&self, now: Instant) -> bool {
        self.left == Some(0) || self.until.is_some_and(|until| now >= until)
    }

    /// Whether it is for this pod and container.
    pub fn hits(&self, pod: &Pod, container: &str) -> bool {
        let namespace = pod.metadata.namespace.as_deref();
        self.namespace.as_deref().is_none_or(|wanted| namespace == Some(wanted))
            && self.container.as_deref().is_none_or(|wanted| wanted == container || container.is_empty())
            && self.target.matches(&pod.name_any(), pod.labels())
    }
}

/// The faults of this node.
#[derive(Debug)]
pub struct Faults {
    list: Mutex<Vec<Fault>>,
    changed: watch::Sender<u64>,
    lost: watch::Sender<bool>,
}

impl Default for Faults {
    fn default() -> Self {
        Self { list: Mutex::default(), changed: watch::channel(0).0, lost: watch::channel(false).0 }
    }
}

impl Faults {
    /// Adds a fault and gives its number. Those that it concerns are woken.
    pub fn add(&self, mut fault: Fault) -> u64 {
        let mut next = 0;
        self.changed.send_modify(|number| {
            *number += 1;
            next = *number;
        });
        fault.id = next;
        self.lock().push(fault);
        self.changed.send_modify(|_| {});
        next
    }

    /// Takes one fault back, or all; tells how many there were.
    pub fn remove(&self, id: Option<u64>) -> usize {
        let mut list = self.lock();
        let before = list.len();
        list.retain(|fault| id.is_some_and(|id| fault.id != id));
        let removed = before - list.len();
        drop(list);
        self.changed.send_modify(|_| {});
        removed
    }

    /// The faults that are not over.
    pub fn list(&self) -> Vec<Fault> {
        let mut list = self.lock();
        let now = Instant::now();
        list.retain(|fault| !fault.is_over(now));
        list.clone()
    }

    /// A fault of this kind that lasts for the container now.
    pub fn lasting(&self, kind: Kind, pod: &Pod, container: &str) -> Option<Fault> {
        let now = Instant::now();
        let list = self.lock();
        list.iter()
            .find(|fault| fault.kind == kind && !fault.is_over(now) && fault.hits(pod, container))
            .cloned()
    }

    /// Takes one blow of this kind for the container, which counts.
    pub fn take_blow(&self, kinds: &[Kind], pod: &Pod, container: &str) -> Option<Fault> {
        let now = Instant::now();
        let mut list = self.lock();
        let id = format!("{}/{container}", pod.metadata.uid.as_deref().unwrap_or_default());
        let fault = list.iter_mut().find(|fault| {
            kinds.contains(&fault.kind)
                && !fault.is_over(now)
                && fault.once.as_ref().is_none_or(|fell_on| !fell_on.contains(&id))
                && fault.hits(pod, container)
        })?;
        fault.left = fault.left.map(|left| left.saturating_sub(1));
        if let Some(fell_on) = &mut fault.once {
            fell_on.insert(id);
        }
        Some(fault.clone())
    }

    /// Wakes at each change of the list.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// Whether the node is cut off, and changes of that.
    pub fn node_lost(&self) -> watch::Receiver<bool> {
        self.lost.subscribe()
    }

    /// Cuts the node off, or brings it back.
    pub fn set_node_lost(&self, lost: bool) {
        self.lost.send_replace(lost);
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Fault>> {
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

    fn pod(name: &str, labels: &[(&str, &str)]) -> Pod {
        Pod {
            metadata: ObjectMeta {
                name: Some(name.into()),
                namespace: Some("ns".into()),
                labels: Some(labels.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect()),
                ..ObjectMeta::default()
            },
            ..Pod::default()
        }
    }

    fn fault(kind: Kind, selector: &str, left: Option<u32>) -> Fault {
        let (namespace, target) = Target::parse(selector).unwrap();
        Fault {
            id: 0,
            kind,
            target,
            namespace,
            container: None,
            left,
            once: None,
            until: None,
            exit_code: 137,
            delay: Duration::ZERO,
        }
    }

    fn hits(selector: &str, pod: &Pod) -> bool {
        fault(Kind::Crash, selector, None).hits(pod, "main")
    }

    #[test]
    fn pods_are_chosen_by_labels_or_names() {
        let pod = pod("odoo-1-abc-x", &[("app", "odoo"), ("saasodoo.io/instance-id", "1")]);

        for selector in
            ["app=odoo", "app==odoo,saasodoo.io/instance-id=1", "app!=x,!absent", "odoo-1", "ns/odoo-1-abc-x"]
        {
            assert!(hits(selector, &pod), "{selector}");
        }
        for selector in ["app=x", "app=odoo,absent=1", "!app", "odoo-1-ab", "other/odoo-1-abc-x"] {
            assert!(!hits(selector, &pod), "{selector}");
        }
    }

    #[test]
    fn a_blow_is_used_up() {
        let faults = Faults::default();
        faults.add(fault(Kind::Crash, "a", Some(1)));
        let pod = pod("a", &[]);

        assert!(faults.take_blow(&[Kind::Crash], &pod, "main").is_some());
        assert!(faults.take_blow(&[Kind::Crash], &pod, "main").is_none());
        assert!(faults.list().is_empty());
    }

    #[test]
    fn a_blow_for_each_pod_falls_on_none_twice() {
        let faults = Faults::default();
        faults.add(Fault { once: Some(HashSet::new()), ..fault(Kind::Crash, "a", Some(2)) });
        let mut one = pod("a-1", &[]);
        one.metadata.uid = Some("1".into());

        assert!(faults.take_blow(&[Kind::Crash], &one, "main").is_some());
        assert!(faults.take_blow(&[Kind::Crash], &one, "main").is_none());
        assert!(faults.take_blow(&[Kind::Crash], &pod("a-2", &[]), "main").is_some());
    }

    #[test]
    fn a_lasting_fault_ends_with_its_time() {
        let faults = Faults::default();
        let pod = pod("a", &[]);
        let now = Instant::now();

        faults.add(Fault { until: Some(now), ..fault(Kind::NeverReady, "a", None) });
        assert!(faults.lasting(Kind::NeverReady, &pod, "main").is_none());

        faults.add(Fault { until: Some(now + Duration::from_mins(1)), ..fault(Kind::NeverReady, "a", None) });
        assert!(faults.lasting(Kind::NeverReady, &pod, "main").is_some());
    }

    #[test]
    fn taking_one_back_leaves_the_others() {
        let faults = Faults::default();
        let first = faults.add(fault(Kind::Hang, "a", None));
        faults.add(fault(Kind::Hang, "b", None));

        assert_eq!(faults.remove(Some(first)), 1);
        assert_eq!(faults.list().len(), 1);
        assert_eq!(faults.remove(None), 1);
    }
}
