//! A devnode process with a namespace of its own, and kubectl.

use std::fmt::Debug;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use k8s_openapi::api::core::v1::{Namespace, Pod};
use kube::api::{DeleteParams, PostParams};
use kube::{Api, Client};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tempfile::TempDir;
use test_kit::eventually;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// Longest wait for anything that a test expects.
pub const SOON: Duration = Duration::from_secs(30);

/// A node, its namespace, and a client.
pub struct Node {
    pub client: Client,
    pub name: String,
    /// Port of the Ingress listener.
    pub ingress: u16,
    faults: u16,
    process: Option<Child>,
    arguments: Vec<String>,
    dir: TempDir,
}

impl Node {
    /// Starts a node with more arguments.
    pub async fn start(arguments: &[&str]) -> Self {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let client = Client::try_default().await.unwrap();
        let name = format!("node-test-{:08x}", rand::random::<u32>());
        let namespace = Namespace {
            metadata: kube::core::ObjectMeta { name: Some(name.clone()), ..Default::default() },
            ..Default::default()
        };
        Api::all(client.clone()).create(&PostParams::default(), &namespace).await.unwrap();
        let mut node = Self {
            client,
            name,
            ingress: 0,
            faults: 0,
            process: None,
            arguments: arguments.iter().map(|word| (*word).to_owned()).collect(),
            dir: tempfile::Builder::new().prefix("devnode").tempdir().unwrap(),
        };
        node.launch().await;
        node
    }

    /// Starts the process; after [`Node::kill`] it is the same node again.
    pub async fn launch(&mut self) {
        let ready_file = self.dir.path().join("ready.json");
        let _ = std::fs::remove_file(&ready_file);
        let process = Command::new(env!("CARGO_BIN_EXE_devnode"))
            .args(["--kubeconfig", &test_kit::environment::kubeconfig(), "--node-name", &self.name])
            .args(["--node-taint", &format!("devnode-test={}", self.name), "--storage-class", &self.name])
            .args(["--on-stop", "delete", "--log-level", "warn", "--restart-backoff", "300ms"])
            .arg("--data-dir")
            .arg(self.dir.path())
            .arg("--ready-file")
            .arg(&ready_file)
            .args(&self.arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        self.process = Some(process);
        let ready: Value = eventually("the node is ready", SOON, || async {
            serde_json::from_slice(&std::fs::read(&ready_file).ok()?).ok()
        })
        .await;
        let port = |name: &str| u16::try_from(ready[name].as_u64().unwrap()).unwrap();
        (self.ingress, self.faults) = (port("ingress"), port("faults"));
    }

    /// Ends the process without a chance to clean up.
    pub fn kill(&mut self) {
        let mut process = self.process.take().unwrap();
        process.kill().unwrap();
        process.wait().unwrap();
    }

    /// The node's folder.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// An API of the namespace.
    pub fn api<K>(&self) -> Api<K>
    where
        K: kube::Resource<Scope = kube::core::NamespaceResourceScope>,
        K::DynamicType: Default,
    {
        Api::namespaced(self.client.clone(), &self.name)
    }

    /// Makes an object in the namespace.
    pub async fn create<K>(&self, object: Value) -> K
    where
        K: kube::Resource<Scope = kube::core::NamespaceResourceScope>
            + Clone
            + Debug
            + Serialize
            + DeserializeOwned,
        K::DynamicType: Default,
    {
        let object: K = serde_json::from_value(object).unwrap();
        self.api().create(&PostParams::default(), &object).await.unwrap()
    }

    /// A pod's spec with what binds it to this node.
    pub fn placed(&self, mut spec: Value) -> Value {
        spec["nodeSelector"] = json!({ "kubernetes.io/hostname": self.name });
        spec["tolerations"] = json!([{ "key": "devnode-test", "operator": "Exists" }]);
        spec["automountServiceAccountToken"] = json!(false);
        spec
    }

    /// A pod of this node.
    pub async fn pod(&self, name: &str, spec: Value) -> Pod {
        self.create(json!({
            "metadata": { "name": name, "labels": { "app": name } },
            "spec": self.placed(spec),
        }))
        .await
    }

    /// A pod that runs a shell script with the programs of this machine.
    pub async fn script(&self, name: &str, policy: &str, script: &str) -> Pod {
        let container =
            json!({ "name": "main", "image": "saasodoo/tools:1", "command": ["sh", "-c", script] });
        self.pod(
            name,
            json!({ "restartPolicy": policy, "terminationGracePeriodSeconds": 2, "containers": [container] }),
        )
        .await
    }

    /// Waits until a pod is as `wanted` says.
    pub async fn pod_is<T>(&self, name: &str, what: &str, wanted: impl Fn(&Pod) -> Option<T>) -> T {
        let pods: Api<Pod> = self.api();
        let what = format!("pod {name} {what}");
        eventually(&what, SOON, || async { pods.get(name).await.ok().as_ref().and_then(&wanted) }).await
    }

    /// Waits until a pod is ready.
    pub async fn ready(&self, name: &str) -> Pod {
        self.pod_is(name, "is ready", |pod| is_ready(pod).then(|| pod.clone())).await
    }

    /// Waits until the object of a pod is gone.
    pub async fn gone(&self, name: &str) {
        let pods: Api<Pod> = self.api();
        let what = format!("pod {name} is gone");
        eventually(&what, SOON, || async { pods.get_opt(name).await.ok()?.is_none().then_some(()) }).await;
    }

    /// A kubectl command in the namespace.
    pub fn kubectl(&self, words: &[&str]) -> Command {
        let mut command = Command::new(test_kit::environment::kubectl());
        command.env("KUBECONFIG", test_kit::environment::kubeconfig()).args(["-n", &self.name]).args(words);
        command
    }

    /// Runs kubectl to its end, with an input.
    pub async fn run(&self, words: &[&str], input: &str) -> Output {
        let mut command = tokio::process::Command::from(self.kubectl(words));
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).await.unwrap();
        tokio::time::timeout(SOON, child.wait_with_output()).await.expect("kubectl ends").unwrap()
    }

    /// Output of a kubectl command that must succeed.
    pub async fn output(&self, words: &[&str]) -> String {
        let output = self.run(words, "").await;
        assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// A request to the fault switch.
    pub async fn switch(&self, method: &str, path: &str, body: Value) -> Value {
        let (status, _, content) = http(self.faults, method, path, "localhost", &body.to_string()).await;
        assert!((200..300).contains(&status), "{method} {path}: {status} {content}");
        serde_json::from_str(&content).unwrap()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = kill(Pid::from_raw(i32::try_from(process.id()).unwrap()), Signal::SIGTERM);
            let _ = process.wait();
        }
        // The runtime of the test may be ending: kubectl has none.
        for kind in ["namespace", "storageclass"] {
            let mut command = self.kubectl(&["delete", kind, &self.name, "--wait=false"]);
            let _ = command.stdout(Stdio::null()).stderr(Stdio::null()).status();
        }
        let volumes = format!("saasodoo.io/devnode={}", self.name);
        let mut command = self.kubectl(&["delete", "pv", "--selector", &volumes, "--wait=false"]);
        let _ = command.stdout(Stdio::null()).stderr(Stdio::null()).status();
    }
}

/// Whether a pod's condition Ready holds.
pub fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_ref());
    conditions.into_iter().flatten().any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

/// Reason of a waiting container.
pub fn waiting_reason(pod: &Pod) -> Option<String> {
    let status = pod.status.as_ref()?.container_statuses.as_ref()?.first()?;
    status.state.as_ref()?.waiting.as_ref()?.reason.clone()
}

/// Phase of a pod.
pub fn phase(pod: &Pod) -> Option<&str> {
    pod.status.as_ref()?.phase.as_deref()
}

/// One plain HTTP request; status, headers and body.
pub async fn http(port: u16, method: &str, path: &str, host: &str, body: &str) -> (u16, String, String) {
    let mut stream = tokio::net::TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let length = body.len();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nhost: {host}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    tokio::time::timeout(SOON, stream.read_to_string(&mut answer)).await.unwrap().unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split_whitespace().nth(1).unwrap().parse().unwrap();
    (status, head.to_ascii_lowercase(), body.to_owned())
}

/// Deletes a pod as a user would.
pub async fn delete(node: &Node, name: &str) {
    node.api::<Pod>().delete(name, &DeleteParams::default()).await.unwrap();
}
