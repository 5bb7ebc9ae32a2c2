//! The pod of a copy: a container that dumps, then one that restores.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    Capabilities, Container, EmptyDirVolumeSource, EnvVar, EnvVarSource, KeyToPath, PodSecurityContext,
    PodSpec, ResourceRequirements, SeccompProfile, SecretKeySelector, SecretVolumeSource, SecurityContext,
    Volume, VolumeMount,
};

use super::super::names::Name;
use super::super::quantity;
use super::{AUTHORITIES, Copy, End, Processes};

const WORK: &str = "work";
const WORK_PATH: &str = "/work";
const TRUST: &str = "trust";
const TRUST_PATH: &str = "/trust";
const DUMP: &str = "/work/dump";
/// Dump, then restore; passwords and authorities come from the Secret `name`.
pub(super) fn pod(copy: &Copy, name: &Name) -> PodSpec {
    let jobs = match copy.processes {
        Processes::BesideWork => "--jobs=2",
        Processes::All => "--jobs=4",
    };
    let dump = container(
        copy,
        name,
        "dump",
        &copy.source,
        &[
            "pg_dump",
            "--no-password",
            "--format=directory",
            jobs,
            "--compress=1",
            "--no-owner",
            "--no-privileges",
            "--no-comments",
        ],
        &[format!("--file={DUMP}"), copy.source.database.clone()],
    );
    let restore = container(
        copy,
        name,
        "restore",
        &copy.target,
        &[
            "pg_restore",
            "--no-password",
            "--no-owner",
            "--no-privileges",
            "--no-comments",
            "--exit-on-error",
            jobs,
        ],
        &[format!("--dbname={}", copy.target.database), DUMP.to_owned()],
    );
    // User and group of the image: Alpine and Debian differ.
    let user = if copy.image.contains("alpine") { 70 } else { 999 };
    PodSpec {
        automount_service_account_token: Some(false),
        enable_service_links: Some(false),
        restart_policy: Some("Never".into()),
        security_context: Some(PodSecurityContext {
            run_as_non_root: Some(true),
            run_as_user: Some(user),
            run_as_group: Some(user),
            fs_group: Some(user),
            seccomp_profile: Some(SeccompProfile {
                type_: "RuntimeDefault".into(),
                ..SeccompProfile::default()
            }),
            ..PodSecurityContext::default()
        }),
        init_containers: Some(vec![dump]),
        containers: vec![restore],
        volumes: Some(vec![
            Volume {
                name: WORK.into(),
                empty_dir: Some(EmptyDirVolumeSource::default()),
                ..Volume::default()
            },
            Volume {
                name: TRUST.into(),
                secret: Some(SecretVolumeSource {
                    secret_name: Some(name.to_string()),
                    items: Some(vec![KeyToPath {
                        key: AUTHORITIES.into(),
                        path: AUTHORITIES.into(),
                        ..KeyToPath::default()
                    }]),
                    ..SecretVolumeSource::default()
                }),
                ..Volume::default()
            },
        ]),
        ..PodSpec::default()
    }
}

/// `secret_key` is also the container's end.
fn container(
    copy: &Copy,
    secret: &Name,
    step: &str,
    end: &End,
    command: &[&str],
    args: &[String],
) -> Container {
    let plain =
        |name: &str, value: String| EnvVar { name: name.to_owned(), value: Some(value), ..EnvVar::default() };
    let key = if step == "dump" { "source" } else { "target" };
    let password = EnvVar {
        name: "PGPASSWORD".into(),
        value_from: Some(EnvVarSource {
            secret_key_ref: Some(SecretKeySelector {
                name: secret.to_string(),
                key: key.to_owned(),
                ..SecretKeySelector::default()
            }),
            ..EnvVarSource::default()
        }),
        ..EnvVar::default()
    };
    let amounts = |cpu, memory| {
        BTreeMap::from([
            ("cpu".to_owned(), quantity::cpu(cpu)),
            ("memory".to_owned(), quantity::mebibytes(memory)),
        ])
    };
    Container {
        name: step.to_owned(),
        image: Some(copy.image.clone()),
        command: Some(command.iter().map(|&word| word.to_owned()).collect()),
        args: Some(args.to_vec()),
        env: Some(vec![
            plain("PGHOST", end.host.clone()),
            plain("PGPORT", end.port.to_string()),
            plain("PGUSER", end.user.clone()),
            plain("PGCONNECT_TIMEOUT", "10".into()),
            plain("PGAPPNAME", "saasodoo-move".into()),
            plain("PGSSLMODE", ssl_mode(copy, end).into()),
            plain("PGSSLROOTCERT", format!("{TRUST_PATH}/{AUTHORITIES}")),
            password,
        ]),
        resources: Some(ResourceRequirements {
            requests: Some(amounts(100, 128)),
            limits: Some(amounts(4000, 1024)),
            ..ResourceRequirements::default()
        }),
        volume_mounts: Some(vec![mount(WORK, WORK_PATH), mount(TRUST, TRUST_PATH)]),
        security_context: Some(SecurityContext {
            allow_privilege_escalation: Some(false),
            capabilities: Some(Capabilities { drop: Some(vec!["ALL".into()]), ..Capabilities::default() }),
            run_as_non_root: Some(true),
            ..SecurityContext::default()
        }),
        ..Container::default()
    }
}

fn mount(name: &str, path: &str) -> VolumeMount {
    VolumeMount { name: name.to_owned(), mount_path: path.to_owned(), ..VolumeMount::default() }
}

/// A certificate names no address: where pods have no DNS, the authority alone is checked.
fn ssl_mode(copy: &Copy, end: &End) -> &'static str {
    match end.host.parse::<std::net::IpAddr>() {
        _ if copy.authorities.is_empty() => "prefer",
        Ok(_) => "verify-ca",
        Err(_) => "verify-full",
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::copy;
    use super::*;

    /// DBS-35
    #[test]
    fn both_ends_are_checked_as_far_as_their_addresses_allow() {
        let copy = copy();
        assert_eq!(ssl_mode(&copy, &copy.source), "verify-full");
        assert_eq!(ssl_mode(&copy, &End { host: "10.0.0.1".into(), ..copy.source.clone() }), "verify-ca");
        let before = Copy { authorities: String::new(), ..copy.clone() };
        assert_eq!(ssl_mode(&before, &copy.source), "prefer");
    }
}
