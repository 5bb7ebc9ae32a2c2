//! The pod of a pool: one PostgreSQL server with its files, its probes and its limits.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    Capabilities, ConfigMapVolumeSource, Container, ContainerPort, EmptyDirVolumeSource, EnvVar,
    EnvVarSource, ExecAction, KeyToPath, PodSecurityContext, PodSpec, Probe, ResourceRequirements,
    SeccompProfile, SecretKeySelector, SecretVolumeSource, SecurityContext, Volume, VolumeMount,
};

use super::super::quantity;
use super::{CONFIG_FILE, DATA, PASSWORD_KEY, PORT, Pool, RULES_FILE, TLS_KEYS};

const DATA_PATH: &str = "/var/lib/postgresql/data";
const CONFIG: &str = "config";
const CONFIG_PATH: &str = "/etc/postgresql";
const TLS: &str = "tls";
const TLS_PATH: &str = "/etc/postgresql-tls";
const RUN: &str = "run";

/// What the pod of a pool runs.
pub(super) fn pod(pool: &Pool) -> PodSpec {
    PodSpec {
        automount_service_account_token: Some(false),
        enable_service_links: Some(false),
        termination_grace_period_seconds: Some(60),
        security_context: Some(PodSecurityContext {
            run_as_non_root: Some(true),
            run_as_user: Some(pool.uid()),
            run_as_group: Some(pool.uid()),
            fs_group: Some(pool.uid()),
            fs_group_change_policy: Some("OnRootMismatch".into()),
            seccomp_profile: Some(SeccompProfile {
                type_: "RuntimeDefault".into(),
                ..SeccompProfile::default()
            }),
            ..PodSecurityContext::default()
        }),
        containers: vec![container(pool)],
        volumes: Some(vec![
            Volume {
                name: CONFIG.into(),
                config_map: Some(ConfigMapVolumeSource {
                    name: pool.name.to_string(),
                    ..ConfigMapVolumeSource::default()
                }),
                ..Volume::default()
            },
            certificate(pool),
            Volume {
                name: RUN.into(),
                empty_dir: Some(EmptyDirVolumeSource::default()),
                ..Volume::default()
            },
        ]),
        ..PodSpec::default()
    }
}

/// The certificate as files: a changed Secret arrives in them without a restart. Owned by root and readable
/// for the group, as PostgreSQL wants it.
fn certificate(pool: &Pool) -> Volume {
    let item = |key: &str| KeyToPath { key: key.to_owned(), path: key.to_owned(), ..KeyToPath::default() };
    Volume {
        name: TLS.into(),
        secret: Some(SecretVolumeSource {
            secret_name: Some(pool.name.to_string()),
            items: Some(TLS_KEYS.map(item).into()),
            default_mode: Some(0o440),
            ..SecretVolumeSource::default()
        }),
        ..Volume::default()
    }
}

fn container(pool: &Pool) -> Container {
    let mount = |name: &str, path: &str| VolumeMount {
        name: name.to_owned(),
        mount_path: path.to_owned(),
        ..VolumeMount::default()
    };
    let plain = |name: &str, value: &str| EnvVar {
        name: name.to_owned(),
        value: Some(value.to_owned()),
        ..EnvVar::default()
    };
    Container {
        name: "postgres".into(),
        image: Some(pool.image.clone()),
        args: Some(arguments()),
        env: Some(vec![
            plain("POSTGRES_USER", &pool.admin_user),
            EnvVar {
                name: "POSTGRES_PASSWORD".into(),
                value_from: Some(EnvVarSource {
                    secret_key_ref: Some(SecretKeySelector {
                        name: pool.name.to_string(),
                        key: PASSWORD_KEY.into(),
                        ..SecretKeySelector::default()
                    }),
                    ..EnvVarSource::default()
                }),
                ..EnvVar::default()
            },
            plain("POSTGRES_DB", "postgres"),
            plain("PGDATA", &format!("{DATA_PATH}/pgdata")),
        ]),
        ports: Some(vec![ContainerPort {
            name: Some("postgres".into()),
            container_port: PORT,
            protocol: Some("TCP".into()),
            ..ContainerPort::default()
        }]),
        resources: Some(resources(pool)),
        startup_probe: Some(probe(pool, 2, 150)),
        readiness_probe: Some(probe(pool, 5, 3)),
        liveness_probe: Some(probe(pool, 10, 6)),
        volume_mounts: Some(vec![
            mount(DATA, DATA_PATH),
            mount(CONFIG, CONFIG_PATH),
            mount(TLS, TLS_PATH),
            mount(RUN, "/var/run/postgresql"),
        ]),
        security_context: Some(SecurityContext {
            allow_privilege_escalation: Some(false),
            capabilities: Some(Capabilities { drop: Some(vec!["ALL".into()]), ..Capabilities::default() }),
            ..SecurityContext::default()
        }),
        ..Container::default()
    }
}

/// What the configuration of database-service leaves to the pod: places of files.
fn arguments() -> Vec<String> {
    let [certificate, key, _] = TLS_KEYS;
    let settings = [
        format!("config_file={CONFIG_PATH}/{CONFIG_FILE}"),
        format!("hba_file={CONFIG_PATH}/{RULES_FILE}"),
        "listen_addresses=*".to_owned(),
        "ssl=on".to_owned(),
        format!("ssl_cert_file={TLS_PATH}/{certificate}"),
        format!("ssl_key_file={TLS_PATH}/{key}"),
    ];
    let settings = settings.into_iter().flat_map(|setting| ["-c".to_owned(), setting]);
    std::iter::once("postgres".to_owned()).chain(settings).collect()
}

fn resources(pool: &Pool) -> ResourceRequirements {
    let map = |cpu: &str, memory: &str| {
        BTreeMap::from([
            ("cpu".to_owned(), quantity::canonical(cpu)),
            ("memory".to_owned(), quantity::canonical(memory)),
        ])
    };
    ResourceRequirements {
        requests: Some(map(&pool.cpu_request, &pool.memory_request)),
        limits: Some(map(&pool.cpu_limit, &pool.memory_limit)),
        ..ResourceRequirements::default()
    }
}

fn probe(pool: &Pool, period: i32, failures: i32) -> Probe {
    let command = ["pg_isready", "-U", &pool.admin_user, "-d", "postgres"];
    Probe {
        exec: Some(ExecAction { command: Some(command.iter().map(|&word| word.to_owned()).collect()) }),
        period_seconds: Some(period),
        timeout_seconds: Some(5),
        failure_threshold: Some(failures),
        ..Probe::default()
    }
}
