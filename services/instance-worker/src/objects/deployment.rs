//! Deployment `odoo-<uuid>` (K8S-07…11).

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::{Deployment, DeploymentSpec, DeploymentStrategy};
use k8s_openapi::api::core::v1::{
    Capabilities, Container, ContainerPort, EnvVar, EnvVarSource, HTTPGetAction,
    PersistentVolumeClaimVolumeSource, PodSecurityContext, PodSpec, PodTemplateSpec, Probe,
    ResourceRequirements, SeccompProfile, SecretKeySelector, SecurityContext, Volume, VolumeMount,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::catalogue::Flavour;
use super::names::Name;
use super::secret::keys;
use super::service::{HTTP, WEBSOCKET};
use super::settings::Settings;
use super::tenant::Tenant;
use super::{meta, quantity};

/// ServiceAccount of tenant pods: no rights, no token (K8S-11).
pub const SERVICE_ACCOUNT: &str = "odoo-tenant";
/// Name of the container.
pub const CONTAINER: &str = "odoo";
const VOLUME: &str = "odoo-data";
/// Logs and temporary files of a pod.
const EPHEMERAL_MIB: u64 = 2048;

/// The form of the pod template. It grows whenever a release makes another template of the same row: every
/// instance is then started anew, some at a time, and a worker of the former release leaves those alone that
/// have the new form.
pub const TEMPLATE: u32 = 1;

/// The form that a stored Deployment has; 0 before there were any.
pub fn template_of(deployment: &Deployment) -> u32 {
    let annotations = deployment.metadata.annotations.as_ref();
    annotations.and_then(|all| all.get(meta::TEMPLATE)?.parse().ok()).unwrap_or(0)
}

/// The wanted Deployment.
pub fn deployment(tenant: &Tenant, settings: &Settings) -> Deployment {
    let template = ObjectMeta {
        labels: Some(meta::labels(tenant)),
        annotations: template_annotations(tenant),
        ..ObjectMeta::default()
    };
    let mut metadata = meta::of_tenant(tenant, &Name::tenant(tenant.id), &settings.tenants);
    metadata.annotations.get_or_insert_default().insert(meta::TEMPLATE.to_owned(), TEMPLATE.to_string());
    Deployment {
        metadata,
        spec: Some(DeploymentSpec {
            replicas: Some(i32::from(tenant.running)),
            revision_history_limit: Some(3),
            // Never two Odoos on one volume.
            strategy: Some(DeploymentStrategy {
                type_: Some("Recreate".into()),
                ..DeploymentStrategy::default()
            }),
            selector: LabelSelector {
                match_labels: Some(meta::selector(tenant.id)),
                ..LabelSelector::default()
            },
            template: PodTemplateSpec { metadata: Some(template), spec: Some(pod(tenant, settings)) },
            ..DeploymentSpec::default()
        }),
        ..Deployment::default()
    }
}

fn template_annotations(tenant: &Tenant) -> Option<BTreeMap<String, String>> {
    let at = tenant.restarted_at.as_ref()?;
    Some(meta::pairs([(meta::RESTARTED_AT, at.clone())]))
}

fn pod(tenant: &Tenant, settings: &Settings) -> PodSpec {
    PodSpec {
        service_account_name: Some(SERVICE_ACCOUNT.into()),
        automount_service_account_token: Some(false),
        enable_service_links: Some(false),
        restart_policy: Some("Always".into()),
        termination_grace_period_seconds: Some(30),
        security_context: Some(PodSecurityContext {
            run_as_non_root: Some(true),
            run_as_user: Some(settings.run_as_user),
            run_as_group: Some(settings.run_as_user),
            fs_group: Some(settings.run_as_user),
            // A full walk of a large filestore at each start would take minutes.
            fs_group_change_policy: Some("OnRootMismatch".into()),
            seccomp_profile: Some(SeccompProfile {
                type_: "RuntimeDefault".into(),
                ..SeccompProfile::default()
            }),
            ..PodSecurityContext::default()
        }),
        containers: vec![container(tenant, settings)],
        volumes: Some(vec![Volume {
            name: VOLUME.into(),
            persistent_volume_claim: Some(PersistentVolumeClaimVolumeSource {
                claim_name: Name::volume(tenant.id).to_string(),
                ..PersistentVolumeClaimVolumeSource::default()
            }),
            ..Volume::default()
        }]),
        ..PodSpec::default()
    }
}

fn container(tenant: &Tenant, settings: &Settings) -> Container {
    let image = settings.catalogue.image(&tenant.version);
    let port = |name: &str, number: i32| ContainerPort {
        name: Some(name.to_owned()),
        container_port: number,
        protocol: Some("TCP".into()),
        ..ContainerPort::default()
    };
    Container {
        name: CONTAINER.into(),
        image: Some(image.reference),
        args: args(tenant, image.flavour),
        env: Some(env(tenant, image.flavour)),
        ports: Some(vec![port("http", HTTP), port("websocket", WEBSOCKET)]),
        resources: Some(resources(tenant, settings)),
        startup_probe: Some(probe(settings, 2, 5, 300)),
        readiness_probe: Some(probe(settings, 5, 5, 3)),
        liveness_probe: Some(probe(settings, 30, 5, 6)),
        volume_mounts: Some(vec![VolumeMount {
            name: VOLUME.into(),
            mount_path: image.flavour.data_path().into(),
            ..VolumeMount::default()
        }]),
        security_context: Some(SecurityContext {
            allow_privilege_escalation: Some(false),
            capabilities: Some(Capabilities { drop: Some(vec!["ALL".into()]), ..Capabilities::default() }),
            run_as_non_root: Some(true),
            ..SecurityContext::default()
        }),
        ..Container::default()
    }
}

/// Passwords come by reference only (K8S-06, K8S-08).
fn env(tenant: &Tenant, flavour: Flavour) -> Vec<EnvVar> {
    let plain =
        |name: &str, value: String| EnvVar { name: name.to_owned(), value: Some(value), ..EnvVar::default() };
    let secret = |name: &str, key: &str| EnvVar {
        name: name.to_owned(),
        value_from: Some(EnvVarSource {
            secret_key_ref: Some(SecretKeySelector {
                name: Name::tenant(tenant.id).to_string(),
                key: key.to_owned(),
                ..SecretKeySelector::default()
            }),
            ..EnvVarSource::default()
        }),
        ..EnvVar::default()
    };
    // The server takes nothing else (DBS-35); this one is for everything in the pod that speaks PostgreSQL by
    // itself.
    let tls = plain("PGSSLMODE", "require".into());
    match flavour {
        Flavour::Bitnami => vec![
            tls,
            secret("ODOO_DATABASE_HOST", keys::HOST),
            secret("ODOO_DATABASE_PORT_NUMBER", keys::PORT),
            secret("ODOO_DATABASE_NAME", keys::NAME),
            secret("ODOO_DATABASE_USER", keys::USER),
            secret("ODOO_DATABASE_PASSWORD", keys::PASSWORD),
            secret("ODOO_EMAIL", keys::ADMIN_EMAIL),
            secret("ODOO_PASSWORD", keys::ADMIN_PASSWORD),
            plain("ODOO_LOAD_DEMO_DATA", if tenant.demo_data { "yes" } else { "no" }.into()),
            plain("ODOO_DATABASE_FILTER", filter(tenant)),
            plain("ODOO_LIST_DB", "no".into()),
        ],
        Flavour::Official => vec![
            tls,
            secret("HOST", keys::HOST),
            secret("PORT", keys::PORT),
            secret("USER", keys::USER),
            secret("PASSWORD", keys::PASSWORD),
            secret("ODOO_DATABASE_NAME", keys::NAME),
            secret("ODOO_EMAIL", keys::ADMIN_EMAIL),
            secret("ODOO_PASSWORD", keys::ADMIN_PASSWORD),
            plain("ODOO_LOAD_DEMO_DATA", if tenant.demo_data { "yes" } else { "no" }.into()),
        ],
    }
}

/// Exactly the own database (K8S-08).
fn filter(tenant: &Tenant) -> String {
    format!("^{}$", tenant.database.name)
}

fn args(tenant: &Tenant, flavour: Flavour) -> Option<Vec<String>> {
    match flavour {
        Flavour::Bitnami => None,
        Flavour::Official => {
            let mut args = vec![
                "odoo".to_owned(),
                "--database=$(ODOO_DATABASE_NAME)".to_owned(),
                format!("--db-filter={}", filter(tenant)),
                "--no-database-list".to_owned(),
                "--db_sslmode=require".to_owned(),
                "--proxy-mode".to_owned(),
                "--init=base".to_owned(),
            ];
            if !tenant.demo_data {
                args.push("--without-demo=all".to_owned());
            }
            Some(args)
        }
    }
}

fn resources(tenant: &Tenant, settings: &Settings) -> ResourceRequirements {
    let limits = BTreeMap::from([
        ("cpu".to_owned(), quantity::cpu(tenant.cpu_millis)),
        ("memory".to_owned(), quantity::mebibytes(tenant.memory_mib)),
        ("ephemeral-storage".to_owned(), quantity::mebibytes(EPHEMERAL_MIB)),
    ]);
    let requests: BTreeMap<String, Quantity> = BTreeMap::from([
        ("cpu".to_owned(), quantity::cpu_share(tenant.cpu_millis, settings.cpu_ratio)),
        ("memory".to_owned(), quantity::memory_share(tenant.memory_mib, settings.memory_ratio)),
    ]);
    ResourceRequirements { limits: Some(limits), requests: Some(requests), ..ResourceRequirements::default() }
}

/// K8S-09. Without an initial delay: the start-up probe alone covers a first boot of ten minutes.
fn probe(settings: &Settings, period: i32, timeout: i32, failures: i32) -> Probe {
    Probe {
        http_get: Some(HTTPGetAction {
            path: Some(settings.probe_path.clone()),
            port: IntOrString::Int(HTTP),
            ..HTTPGetAction::default()
        }),
        period_seconds: Some(period),
        timeout_seconds: Some(timeout),
        failure_threshold: Some(failures),
        ..Probe::default()
    }
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret as _;

    use super::*;
    use crate::objects::catalogue::Catalogue;
    use crate::objects::{settings::tests::settings, tenant::tests::tenant};

    /// K8S-07…11
    #[test]
    fn the_bitnami_deployment_is_as_agreed() {
        insta::assert_yaml_snapshot!(deployment(&tenant(), &settings()));
    }

    /// K8S-07
    #[test]
    fn the_official_deployment_is_as_agreed() {
        let settings = Settings {
            catalogue: Catalogue::try_new("odoo:{version}.0", None, &[]).unwrap(),
            run_as_user: 101,
            ..settings()
        };
        insta::assert_yaml_snapshot!(deployment(&tenant(), &settings));
    }

    /// A template that changes under its number would be fought over by two releases, and start every
    /// instance at once.
    #[test]
    fn another_template_has_another_number() {
        let official =
            Settings { catalogue: Catalogue::try_new("odoo:{version}.0", None, &[]).unwrap(), ..settings() };
        let templates =
            [settings(), official].map(|settings| deployment(&tenant(), &settings).spec.unwrap().template);
        let text = serde_json::to_vec(&templates).unwrap();
        let hash = hex::encode(&<sha2::Sha256 as sha2::Digest>::digest(&text)[..8]);
        assert_eq!(
            (TEMPLATE, hash.as_str()),
            (1, "310d5195644d7e48"),
            "let TEMPLATE grow, and write the new pair here"
        );
    }

    /// K8S-06
    #[test]
    fn no_password_stands_in_the_pod() {
        let content = crate::objects::secret::tests::content();
        let text = serde_json::to_string(&deployment(&tenant(), &settings())).unwrap();
        for secret in [&content.database_password, &content.admin_password] {
            assert!(!text.contains(secret.expose_secret()));
        }
    }

    /// INS-22, INS-23
    #[test]
    fn a_stopped_instance_has_no_replica_and_a_restart_changes_the_template() {
        let stopped = deployment(&Tenant { running: false, ..tenant() }, &settings());
        assert_eq!(stopped.spec.unwrap().replicas, Some(0));
        let restarted = deployment(
            &Tenant { restarted_at: Some("2026-11-01T00:00:00Z".into()), ..tenant() },
            &settings(),
        );
        let annotations = restarted.spec.unwrap().template.metadata.unwrap().annotations.unwrap();
        assert_eq!(annotations[meta::RESTARTED_AT], "2026-11-01T00:00:00Z");
    }
}
