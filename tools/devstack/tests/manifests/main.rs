//! The platform's manifests against a real API server, and against the programs that they start: what is set
//! exists, what has to be set is set, and no pod has more than it needs. No image is pulled and no pod runs
//! here.

mod pods;
mod settings;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use devstack::cluster::{ControlPlane, Options, binary};
use devstack::progress::Progress;
use serde_json::Value;

/// Everything that can be applied with `-k`, below `infrastructure/orchestration`.
const FOLDERS: [&str; 4] = ["kubernetes", "overlays/local", "overlays/single-node", "overlays/production"];

/// One of [`FOLDERS`] as the API server understood it.
struct Rendered {
    folder: &'static str,
    objects: Vec<Value>,
}

impl Rendered {
    /// Objects of a kind, with their names.
    fn of(&self, kind: &str) -> impl Iterator<Item = (&str, &Value)> {
        self.objects.iter().filter(move |object| object["kind"] == kind).map(|object| (name(object), object))
    }

    /// Keys of the data of all Secrets and ConfigMaps of the platform's namespace.
    fn keys(&self, kind: &str) -> BTreeMap<&str, BTreeSet<&str>> {
        self.of(kind)
            .map(|(name, object)| {
                let data = object["data"].as_object();
                (name, data.into_iter().flatten().map(|(key, _)| key.as_str()).collect())
            })
            .collect()
    }

    /// The settings of all programs.
    fn config(&self) -> &Value {
        self.of("ConfigMap")
            .find(|(name, _)| *name == "saasodoo-config")
            .map_or(&Value::Null, |(_, map)| &map["data"])
    }
}

fn name(object: &Value) -> &str {
    object["metadata"]["name"].as_str().unwrap_or_default()
}

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// A copy of the manifests with fresh secrets; the tree itself may hold those of a developer.
fn copy_with_secrets(to: &Path) -> PathBuf {
    let source = workspace().join("infrastructure/orchestration");
    run(Command::new("cp").arg("-a").arg(source).arg(to));
    let root = to.join("orchestration");
    let folder = root.join("kubernetes/infrastructure");
    for file in ["secrets.env", "00-secrets.yaml"] {
        drop(fs::remove_file(folder.join(file)));
    }
    run(&mut Command::new(folder.join("make-secrets.sh")));
    root
}

fn run(command: &mut Command) -> Output {
    let output = command.output().expect("the program starts");
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    output
}

fn control_plane(dir: &Path) -> ControlPlane {
    let module = workspace().join("infrastructure/devcluster");
    let cache = std::env::home_dir().expect("a home folder").join(".cache/saasodoo");
    let program = binary::ensure(&module, &cache, &Progress::new(std::io::stderr()))
        .expect("the control plane is built");
    ControlPlane::start(Options::new(dir, program)).expect("it starts")
}

fn kubectl(control_plane: &ControlPlane) -> Command {
    let mut command = Command::new(control_plane.kubectl());
    command.arg("--kubeconfig").arg(control_plane.kubeconfig());
    command
}

fn apply(control_plane: &ControlPlane, file: &Path) {
    run(kubectl(control_plane).arg("apply").arg("-f").arg(file));
}

/// What the server would store. A pod that breaks the restricted standard is told by a warning.
fn dry_run(control_plane: &ControlPlane, root: &Path, folder: &'static str) -> Rendered {
    let output = run(kubectl(control_plane)
        .args(["apply", "--dry-run=server", "-o", "json", "-k"])
        .arg(root.join(folder)));
    let warnings = String::from_utf8_lossy(&output.stderr);
    assert!(!warnings.contains("Warning"), "{folder}: {warnings}");
    let list: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let objects = list["items"].as_array().expect("a list").clone();
    assert!(objects.len() > 70, "{folder} has {} objects", objects.len());
    Rendered { folder, objects }
}

/// INF-01, INF-02, INF-04, INF-05, INF-11, INF-12, INF-13, INF-14, INF-24, REL-11
#[test]
fn a_real_api_server_takes_every_overlay_and_nothing_in_it_is_missing() {
    let dir = tempfile::tempdir().expect("a folder");
    let root = copy_with_secrets(dir.path());
    let control_plane = control_plane(&dir.path().join("cluster"));
    apply(&control_plane, &root.join("kubernetes/00-namespace.yaml"));
    // Stand-ins without a schema for the kinds of Traefik, cert-manager and K3s.
    apply(
        &control_plane,
        Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/manifests/custom-kinds.yaml")),
    );
    run(kubectl(&control_plane).args([
        "wait",
        "--for=condition=Established",
        "crd",
        "--all",
        "--timeout=30s",
    ]));

    let services = settings::read_all(&workspace());
    for folder in FOLDERS {
        let rendered = dry_run(&control_plane, &root, folder);
        let mut faults = pods::faults(&rendered);
        faults.extend(settings::faults(&rendered, &services));
        faults.extend(pods::network_faults(&rendered, &services));
        faults.extend(pods::connection_faults(&rendered));
        if folder == "kubernetes" {
            faults.extend(pods::size_faults(&rendered));
        }
        assert!(faults.is_empty(), "{}:\n{}", rendered.folder, faults.join("\n"));
    }

    // File by file, in the order of the operations manual.
    let mut by_hand = kubectl(&control_plane);
    by_hand.args(["apply", "--dry-run=server"]);
    for path in [
        "00-namespace.yaml",
        "infrastructure/00-secrets.yaml",
        "infrastructure/00-configmap.yaml",
        "infrastructure/redis/",
        "infrastructure/rabbitmq/",
        "infrastructure/postgres/",
        "services/instance-service/",
        "services/database-service/",
    ] {
        by_hand.arg("-f").arg(root.join("kubernetes").join(path));
    }
    run(&mut by_hand);
}

/// INF-04, SEC-03
#[test]
fn secrets_are_made_once_fit_the_programs_and_only_the_owner_reads_them() {
    use std::os::unix::fs::PermissionsExt as _;

    let dir = tempfile::tempdir().expect("a folder");
    let script = workspace().join("infrastructure/orchestration/kubernetes/infrastructure/make-secrets.sh");
    let (file, output) = (dir.path().join("secrets.env"), dir.path().join("00-secrets.yaml"));
    let make = || run(Command::new(&script).arg(dir.path()));
    make();
    let first = fs::read_to_string(&file).expect("secrets");
    let manifests = fs::read_to_string(&output).expect("manifests");
    make();
    assert_eq!(first, fs::read_to_string(&file).expect("secrets"), "nothing is made twice");
    for path in [&file, &output] {
        assert_eq!(fs::metadata(path).expect("a file").permissions().mode() & 0o777, 0o600);
    }

    let values: BTreeMap<&str, &str> = first.lines().filter_map(|line| line.split_once('=')).collect();
    assert!(values.values().collect::<BTreeSet<_>>().len() > values.len() - 2, "two secrets are equal");
    assert_eq!(STANDARD.decode(values["DATA_KEY"]).expect("base64").len(), 32);
    for (name, value) in &values {
        if name.starts_with("SERVICE_KEY_") || *name == "JWT_PRIVATE_KEY" {
            let der = STANDARD.decode(value).expect("base64");
            let pair = Ed25519KeyPair::from_pkcs8(&der).expect("a key");
            let public = URL_SAFE_NO_PAD.encode(pair.public_key());
            assert!(manifests.contains(&public), "the public half of {name} is not there");
        } else if name.ends_with("PASSWORD") || name.contains("_API_") || name.ends_with("TOKEN") {
            assert!(value.len() >= 32, "{name} is short");
        }
    }

    fs::write(&file, format!("{first}SMTP_USERNAME=mailer\nSMTP_PASSWORD=p: a'ss\"\n")).expect("written");
    make();
    let manifests = fs::read_to_string(&output).expect("manifests");
    assert!(manifests.contains("name: smtp-credentials"));
    assert!(manifests.contains(&STANDARD.encode("p: a'ss\"")), "values are encoded whatever they hold");
}

/// INF-02: git holds no Secret, and of the platform's programs the local stack deploys only the page of hosts
/// that are off; the others are its processes.
#[test]
fn no_secret_is_in_the_tree_and_the_local_stack_starts_the_off_page_alone() {
    let folder = workspace().join("infrastructure/orchestration/kubernetes");
    let tracked = run(Command::new("git").args(["ls-files", "infrastructure"]).current_dir(workspace()));
    for file in String::from_utf8_lossy(&tracked.stdout).lines() {
        let text = fs::read_to_string(workspace().join(file)).unwrap_or_default();
        let secret = text.lines().any(|line| line == "kind: Secret");
        assert!(!secret && !text.contains(":latest"), "{file}");
    }
    for file in devstack::manifests::list(&folder).expect("a list") {
        let path = file.strip_prefix(&folder).expect("below").display().to_string();
        let folders = ["services/instance-worker/", "services/instance-off/"];
        let is_account = path.ends_with("/00-service-account.yaml");
        let known = !path.contains('/') || folders.iter().any(|start| path.starts_with(start));
        assert!(known || is_account, "{path}");
    }
}
