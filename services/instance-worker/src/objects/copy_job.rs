//! The job that copies a database to another server (DBS-33, K8S-25): dump into a folder of the pod, then
//! restore, both by several processes. A restore that broke off leaves parts behind, so that no pod is tried
//! again: the worker makes a new job onto an empty target. Programs with arguments, no shell; passwords come
//! by reference only.

mod pod;

use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use k8s_openapi::api::batch::v1::{Job, JobSpec};
use k8s_openapi::api::core::v1::{PodTemplateSpec, Secret};
use k8s_openapi::api::networking::v1::{
    NetworkPolicy, NetworkPolicyEgressRule, NetworkPolicyPeer, NetworkPolicyPort, NetworkPolicySpec,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta, OwnerReference};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use secrecy::{ExposeSecret as _, SecretString};
use uuid::Uuid;

use super::meta;
use super::names::{InvalidName, Name};
use super::settings::Settings;

/// Key and file of the authorities.
const AUTHORITIES: &str = "ca.crt";
/// Less than the time limit of the operation.
const ACTIVE_SECONDS: i64 = 90 * 60;

/// One end of the copy.
#[derive(Debug, Clone)]
pub struct End {
    /// The pool.
    pub pool: Uuid,
    /// Host, as a pod reaches it.
    pub host: String,
    /// Port.
    pub port: u16,
    /// Database.
    pub database: String,
    /// Role.
    pub user: String,
    /// Its password.
    pub password: SecretString,
}

/// A copy.
#[derive(Debug, Clone)]
pub struct Copy {
    /// Names the objects: the operation.
    pub operation: Uuid,
    /// Whose database.
    pub instance: Uuid,
    /// Image with the tools.
    pub image: String,
    /// From.
    pub source: End,
    /// To.
    pub target: End,
    /// What both are checked against, in PEM (DBS-35); empty: one of them is from before TLS.
    pub authorities: String,
    /// How many processes dump, and restore.
    pub processes: Processes,
}

/// How hard a copy works.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Processes {
    /// The instance runs meanwhile, and its role has a limit of connections: two, with one more connection
    /// each.
    BesideWork,
    /// It is off and waits: four.
    All,
}

/// Name of job, Secret and policy.
pub fn name(operation: Uuid) -> Result<Name, InvalidName> {
    Name::try_new(format!("move-{operation}"))
}

/// The same of the copy that is made anew when the instance is off.
pub fn name_when_off(operation: Uuid) -> Result<Name, InvalidName> {
    Name::try_new(format!("move-{operation}-off"))
}

impl Copy {
    fn labels(&self) -> BTreeMap<String, String> {
        let mut labels = self.selector();
        labels.extend(meta::pairs([
            (meta::MANAGED, "true".to_owned()),
            ("app.kubernetes.io/name", meta::ODOO_JOB.to_owned()),
            ("app.kubernetes.io/managed-by", "saasodoo".to_owned()),
        ]));
        labels
    }

    /// Never those of a tenant's pod: its Service, its watch and the end of a stop select by them.
    fn selector(&self) -> BTreeMap<String, String> {
        meta::pairs([
            (meta::APP, meta::ODOO_JOB.to_owned()),
            (meta::JOB_INSTANCE_ID, self.instance.to_string()),
        ])
    }

    fn metadata(&self, name: &Name, settings: &Settings, owner: Option<&str>) -> ObjectMeta {
        ObjectMeta {
            name: Some(name.to_string()),
            namespace: Some(settings.tenants.clone()),
            labels: Some(self.labels()),
            owner_references: owner.map(|uid| {
                vec![OwnerReference {
                    api_version: "batch/v1".into(),
                    kind: "Job".into(),
                    name: name.to_string(),
                    uid: uid.to_owned(),
                    ..OwnerReference::default()
                }]
            }),
            ..ObjectMeta::default()
        }
    }
}

/// The passwords of both ends, and what the servers are checked against. With the job's identity as owner it
/// goes with the job, whoever forgets it.
pub fn secret(copy: &Copy, name: &Name, settings: &Settings, owner: Option<&str>) -> Secret {
    let text = |secret: &SecretString| ByteString(secret.expose_secret().as_bytes().to_vec());
    Secret {
        metadata: copy.metadata(name, settings, owner),
        type_: Some("Opaque".into()),
        data: Some(BTreeMap::from([
            ("source".to_owned(), text(&copy.source.password)),
            ("target".to_owned(), text(&copy.target.password)),
            (AUTHORITIES.to_owned(), ByteString(copy.authorities.as_bytes().to_vec())),
        ])),
        ..Secret::default()
    }
}

/// Out to DNS and both pools; in from nowhere.
pub fn policy(copy: &Copy, name: &Name, settings: &Settings, owner: Option<&str>) -> NetworkPolicy {
    let labels = |map| LabelSelector { match_labels: Some(map), ..LabelSelector::default() };
    let peer = |namespace: &str, key: &str, value: &str| NetworkPolicyPeer {
        namespace_selector: Some(labels(meta::pairs([(
            "kubernetes.io/metadata.name",
            namespace.to_owned(),
        )]))),
        pod_selector: Some(labels(meta::pairs([(key, value.to_owned())]))),
        ..NetworkPolicyPeer::default()
    };
    let port = |number: u16, protocol: &str| NetworkPolicyPort {
        port: Some(IntOrString::Int(i32::from(number))),
        protocol: Some(protocol.to_owned()),
        ..NetworkPolicyPort::default()
    };
    let pool = |end: &End| NetworkPolicyEgressRule {
        to: Some(vec![peer(&settings.platform, meta::POOL_ID, &end.pool.to_string())]),
        ports: Some(vec![port(end.port, "TCP")]),
    };
    NetworkPolicy {
        metadata: copy.metadata(name, settings, owner),
        spec: Some(NetworkPolicySpec {
            pod_selector: Some(labels(copy.selector())),
            policy_types: Some(vec!["Ingress".into(), "Egress".into()]),
            ingress: None,
            egress: Some(vec![
                NetworkPolicyEgressRule {
                    to: Some(vec![peer("kube-system", "k8s-app", "kube-dns")]),
                    ports: Some(vec![port(53, "UDP"), port(53, "TCP")]),
                },
                pool(&copy.source),
                pool(&copy.target),
            ]),
        }),
    }
}

/// The job.
pub fn job(copy: &Copy, name: &Name, settings: &Settings) -> Job {
    Job {
        metadata: copy.metadata(name, settings, None),
        spec: Some(JobSpec {
            ttl_seconds_after_finished: Some(300),
            backoff_limit: Some(0),
            active_deadline_seconds: Some(ACTIVE_SECONDS),
            template: PodTemplateSpec {
                metadata: Some(ObjectMeta { labels: Some(copy.labels()), ..ObjectMeta::default() }),
                spec: Some(pod::pod(copy, name)),
            },
            ..JobSpec::default()
        }),
        ..Job::default()
    }
}

/// How far a job is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Progress {
    /// Not ended.
    Running,
    /// It did what it should.
    Complete,
    /// It gave up; why.
    Failed(String),
}

/// From its conditions (K8S-25).
pub fn progress(job: &Job) -> Progress {
    let conditions = job.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    let holds = |kind: &str| conditions.iter().find(|found| found.type_ == kind && found.status == "True");
    if holds("Complete").is_some() {
        Progress::Complete
    } else if let Some(failed) = holds("Failed") {
        let text = |part: &Option<String>| part.clone().unwrap_or_default();
        Progress::Failed(format!("{}: {}", text(&failed.reason), text(&failed.message)))
    } else {
        Progress::Running
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::objects::settings::tests::settings;

    pub(super) fn copy() -> Copy {
        let end = |pool: u128, host: &str, password: &str| End {
            pool: Uuid::from_u128(pool),
            host: host.to_owned(),
            port: 5432,
            database: "odoo_acme_1".into(),
            user: "odoo_acme_1".into(),
            password: SecretString::from(password),
        };
        Copy {
            operation: Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_00f1),
            instance: Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0001),
            image: "postgres:15-alpine".into(),
            source: end(1, "postgres-pool-1.saasodoo.svc.cluster.local", "old-password"),
            target: end(2, "postgres-pool-2.saasodoo.svc.cluster.local", "new-password"),
            authorities: "authorities".into(),
            processes: Processes::BesideWork,
        }
    }

    /// K8S-25, DBS-33
    #[test]
    fn a_copy_is_a_restricted_job_that_names_no_password_and_is_no_pod_of_a_tenant() {
        let (copy, settings) = (copy(), settings());
        let name = name(copy.operation).unwrap();
        let job = job(&copy, &name, &settings);
        let text = serde_json::to_string(&job).unwrap();
        assert!(!text.contains("old-password") && !text.contains("new-password"));
        let spec = job.spec.as_ref().unwrap();
        assert_eq!((spec.ttl_seconds_after_finished, spec.backoff_limit), (Some(300), Some(0)));
        assert!(spec.active_deadline_seconds.is_some());
        let labels = spec.template.metadata.as_ref().unwrap().labels.as_ref().unwrap();
        assert_eq!(labels[meta::APP], "odoo-job");
        assert_eq!(labels[meta::JOB_INSTANCE_ID], copy.instance.to_string());
        assert!(!labels.contains_key(meta::INSTANCE_ID));
        let policy = serde_json::to_string(&policy(&copy, &name, &settings, Some("uid-1"))).unwrap();
        for pool in [copy.source.pool, copy.target.pool] {
            assert!(policy.contains(&pool.to_string()), "both pools are reachable");
        }
        assert!(!policy.contains("ipBlock"), "and nothing outside");
    }

    #[test]
    fn a_job_is_over_when_its_conditions_say_so() {
        use k8s_openapi::api::batch::v1::{JobCondition, JobStatus};
        let with = |kind: &str, status: &str| Job {
            status: Some(JobStatus {
                conditions: Some(vec![JobCondition {
                    type_: kind.into(),
                    status: status.into(),
                    ..JobCondition::default()
                }]),
                ..JobStatus::default()
            }),
            ..Job::default()
        };
        assert_eq!(progress(&Job::default()), Progress::Running);
        assert_eq!(progress(&with("Complete", "True")), Progress::Complete);
        assert_eq!(progress(&with("Complete", "False")), Progress::Running);
        assert!(matches!(progress(&with("Failed", "True")), Progress::Failed(_)));
    }
}
