//! The flags of each part, as pure functions of folder, ports and certificates.

use std::path::Path;

use super::certificates::Certificates;
use super::{Options, Ports};

/// Addresses of Services. Nothing routes to them on the local node; clients only need them to exist.
const SERVICE_RANGE: &str = "10.96.0.0/16";

/// The controllers that would write the loopback addresses of pods into EndpointSlices, which the API
/// refuses.
const CONTROLLERS: &str =
    "*,-endpoints-controller,-endpointslice-controller,-endpointslice-mirroring-controller";

/// Client-side rate limits far above what a machine of two cores can do.
const CLIENT_RATE: [&str; 2] = ["--kube-api-qps=500", "--kube-api-burst=1000"];

pub(super) fn etcd(options: &Options, ports: Ports, certificates: &Certificates) -> Vec<String> {
    let client = format!("https://127.0.0.1:{}", ports.etcd_client);
    let peer = format!("http://127.0.0.1:{}", ports.etcd_peer);
    let mut flags = vec![
        "--name=dev".to_owned(),
        format!("--data-dir={}", options.dir.join("etcd").display()),
        format!("--listen-client-urls={client}"),
        format!("--advertise-client-urls={client}"),
        format!("--listen-peer-urls={peer}"),
        format!("--initial-advertise-peer-urls={peer}"),
        format!("--initial-cluster=dev={peer}"),
        "--client-cert-auth".to_owned(),
        format!("--trusted-ca-file={}", certificates.path("ca.crt")),
        format!("--cert-file={}", certificates.path("server.crt")),
        format!("--key-file={}", certificates.path("server.key")),
        "--log-level=warn".to_owned(),
    ];
    if !options.durable {
        flags.push("--unsafe-no-fsync".to_owned());
    }
    flags
}

pub(super) fn api_server(options: &Options, ports: Ports, certificates: &Certificates) -> Vec<String> {
    let mut flags = vec![
        format!("--etcd-servers=https://127.0.0.1:{}", ports.etcd_client),
        format!("--etcd-cafile={}", certificates.path("ca.crt")),
        format!("--etcd-certfile={}", certificates.path("server.crt")),
        format!("--etcd-keyfile={}", certificates.path("server.key")),
        "--bind-address=127.0.0.1".to_owned(),
        "--advertise-address=127.0.0.1".to_owned(),
        format!("--secure-port={}", ports.api_server),
        format!("--tls-cert-file={}", certificates.path("server.crt")),
        format!("--tls-private-key-file={}", certificates.path("server.key")),
        format!("--client-ca-file={}", certificates.path("ca.crt")),
        format!("--kubelet-client-certificate={}", certificates.path("kubelet-client.crt")),
        format!("--kubelet-client-key={}", certificates.path("kubelet-client.key")),
        "--kubelet-preferred-address-types=InternalIP".to_owned(),
        "--service-account-issuer=https://kubernetes.default.svc".to_owned(),
        format!("--service-account-key-file={}", certificates.path("service-account.pub")),
        format!("--service-account-signing-key-file={}", certificates.path("service-account.key")),
        format!("--service-cluster-ip-range={SERVICE_RANGE}"),
        "--authorization-mode=RBAC".to_owned(),
        "--enable-admission-plugins=PodSecurity,ResourceQuota,LimitRanger,ValidatingAdmissionPolicy"
            .to_owned(),
        "--endpoint-reconciler-type=none".to_owned(),
        // An outage in a test must end when the server is back, not after a grace time.
        "--shutdown-delay-duration=0s".to_owned(),
    ];
    flags.extend(options.api_server_flags.iter().cloned());
    flags
}

pub(super) fn controller_manager(
    options: &Options,
    kubeconfig: &Path,
    certificates: &Certificates,
) -> Vec<String> {
    let mut flags = own_kubeconfig(kubeconfig);
    flags.extend([
        format!("--controllers={CONTROLLERS}"),
        format!("--root-ca-file={}", certificates.path("ca.crt")),
        format!("--service-account-private-key-file={}", certificates.path("service-account.key")),
        "--use-service-account-credentials=true".to_owned(),
        format!("--node-monitor-grace-period={}s", options.node_grace.as_secs()),
        "--node-monitor-period=2s".to_owned(),
        // The binder takes one claim at a time and may miss its turn; with the usual 15 s, a burst of new
        // claims waits for rounds.
        "--pvclaimbinder-sync-period=2s".to_owned(),
    ]);
    flags.extend(options.controller_manager_flags.iter().cloned());
    flags
}

pub(super) fn scheduler(kubeconfig: &Path) -> Vec<String> {
    own_kubeconfig(kubeconfig)
}

/// What the clients of the API server share: one replica each, and no port of their own.
fn own_kubeconfig(kubeconfig: &Path) -> Vec<String> {
    let mut flags = vec![
        format!("--kubeconfig={}", kubeconfig.display()),
        "--leader-elect=false".to_owned(),
        "--secure-port=0".to_owned(),
    ];
    flags.extend(CLIENT_RATE.map(str::to_owned));
    flags
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_address_is_loopback() {
        let dir = tempfile::tempdir().unwrap();
        let certificates = Certificates::ensure(dir.path()).unwrap();
        let options = Options::new(dir.path(), "devcluster");
        let ports = Ports { etcd_client: 1, etcd_peer: 2, api_server: 3 };

        let flags =
            [etcd(&options, ports, &certificates), api_server(&options, ports, &certificates)].concat();

        let open: Vec<_> = flags.iter().filter(|flag| flag.contains("0.0.0.0")).collect();
        assert!(open.is_empty(), "{open:?}");
        assert!(flags.iter().any(|flag| flag == "--bind-address=127.0.0.1"));
    }

    #[test]
    fn only_a_durable_control_plane_syncs_to_the_disk() {
        let dir = tempfile::tempdir().unwrap();
        let certificates = Certificates::ensure(dir.path()).unwrap();
        let ports = Ports { etcd_client: 1, etcd_peer: 2, api_server: 3 };
        let mut options = Options::new(dir.path(), "devcluster");

        options.durable = true;

        assert!(!etcd(&options, ports, &certificates).contains(&"--unsafe-no-fsync".to_owned()));
    }
}
