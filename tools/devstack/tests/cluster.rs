//! The real control plane, started, cut off, brought back and ended. Builds it when that was not done before,
//! which takes minutes.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use devstack::cluster::{ControlPlane, Options, Part, binary};
use devstack::process::alive;
use devstack::progress::Progress;

fn program() -> std::path::PathBuf {
    let module = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../infrastructure/devcluster");
    let cache = std::env::home_dir().expect("a home folder").join(".cache/saasodoo");
    binary::ensure(&module, &cache, &Progress::new(std::io::stderr())).expect("the control plane is built")
}

/// Output of kubectl, or what it complained about.
fn kubectl(control_plane: &ControlPlane, words: &[&str]) -> Result<String, String> {
    let output = Command::new(control_plane.kubectl())
        .args(["--request-timeout=10s", "--kubeconfig"])
        .arg(control_plane.kubeconfig())
        .args(words)
        .output()
        .expect("kubectl runs");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
}

#[test]
fn objects_outlive_the_api_server_and_the_whole_control_plane() {
    let dir = tempfile::tempdir().expect("a folder");
    let options = Options::new(dir.path(), program());
    let mut control_plane = ControlPlane::start(options.clone()).expect("it starts");
    let url = control_plane.api_url();
    kubectl(&control_plane, &["create", "configmap", "kept", "--from-literal=a=b"])
        .expect("it takes objects");

    control_plane.stop_api_server().expect("it can be cut off");
    kubectl(&control_plane, &["get", "configmap", "kept"]).expect_err("it is away");
    control_plane.start_api_server().expect("it comes back");
    kubectl(&control_plane, &["get", "configmap", "kept"]).expect("the object is there");

    let processes = control_plane.processes();
    assert_eq!(processes.len(), Part::ALL.len());
    control_plane.stop().expect("it ends");
    let left: Vec<_> = processes.into_iter().filter(|(_, pid)| alive(*pid)).collect();
    assert!(left.is_empty(), "{left:?}");

    let again = ControlPlane::start(options).expect("it starts again");
    assert_eq!(again.api_url(), url);
    kubectl(&again, &["get", "configmap", "kept"]).expect("the object is still there");
}

#[test]
fn rights_and_policies_hold_as_on_a_real_cluster() {
    let dir = tempfile::tempdir().expect("a folder");
    let control_plane = ControlPlane::start(Options::new(dir.path(), program())).expect("it starts");
    let run = |words: &[&str]| kubectl(&control_plane, words);

    let mode = std::fs::metadata(control_plane.kubeconfig()).expect("a kubeconfig").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let version = run(&["version", "-o", "json"]).expect("a version");
    assert!(version.contains(&format!("\"gitVersion\": \"{}\"", binary::KUBERNETES_VERSION)), "{version}");

    let stranger = "--as=system:serviceaccount:default:default";
    assert_eq!(run(&["auth", "can-i", "list", "secrets"]).as_deref(), Ok("yes"));
    run(&["auth", "can-i", "list", "secrets", stranger]).expect_err("strangers may not");

    let kinds = run(&["api-resources", "-o", "name"]).expect("a list of kinds");
    assert!(kinds.contains("validatingadmissionpolicies"), "{kinds}");
    run(&["create", "namespace", "strict"]).expect("a namespace");
    run(&["label", "namespace", "strict", "pod-security.kubernetes.io/enforce=restricted"]).expect("a label");
    let refused = run(&["-n", "strict", "create", "deployment", "x", "--image=x", "--dry-run=server"]);
    assert!(refused.is_ok(), "a Deployment is only warned about: {refused:?}");
    let refused = run(&["-n", "strict", "run", "x", "--image=x"]).expect_err("a pod is refused");
    assert!(refused.contains("violates PodSecurity") || refused.contains("service account"), "{refused}");
}
