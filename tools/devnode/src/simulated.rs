//! What answers for simulated pods: the ports of their HTTP probes say 200, so that those who ask by HTTP see
//! them run.

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::Router;
use axum::http::StatusCode;
use k8s_openapi::api::core::v1::Container;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::context::Shared;
use crate::pods::registry::Entry;
use crate::probes::port_number;
use crate::recipes::{self, Recipe};

/// The open ports of one pod; closed when dropped.
#[derive(Debug, Default)]
pub struct Responder {
    _servers: JoinSet<()>,
}

impl Responder {
    /// Opens the ports of the pod's simulated containers.
    pub async fn open(context: &Shared, entry: &Arc<Entry>, containers: &[Container]) -> Self {
        let mut servers = JoinSet::new();
        if context.config.simulate_silent {
            return Self { _servers: servers };
        }
        let simulated = containers
            .iter()
            .filter(|container| recipes::choose(container, &context.config) == Recipe::Simulated);
        let ports: BTreeSet<u16> = simulated.flat_map(probed_ports).collect();
        for port in ports {
            match TcpListener::bind((entry.ip, port)).await {
                Ok(listener) => drop(servers.spawn(serve(listener, entry.clone()))),
                Err(error) => tracing::warn!(ip = %entry.ip, port, %error, "simulated port not open"),
            }
        }
        Self { _servers: servers }
    }
}

async fn serve(listener: TcpListener, entry: Arc<Entry>) {
    let answer = move || {
        let ready = entry.is_ready();
        async move { if ready { (StatusCode::OK, "simulated\n") } else { (StatusCode::SERVICE_UNAVAILABLE, "") } }
    };
    let _ = axum::serve(listener, Router::new().fallback(answer)).await;
}

/// The ports that HTTP probes of a container ask.
fn probed_ports(container: &Container) -> BTreeSet<u16> {
    [&container.startup_probe, &container.readiness_probe, &container.liveness_probe]
        .into_iter()
        .flatten()
        .filter_map(|probe| port_number(&probe.http_get.as_ref()?.port, container))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::core::v1::{HTTPGetAction, Probe};
    use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

    #[test]
    fn each_probed_port_is_opened_once() {
        let probe = Probe {
            http_get: Some(HTTPGetAction { port: IntOrString::Int(8069), ..HTTPGetAction::default() }),
            ..Probe::default()
        };
        let container = Container {
            startup_probe: Some(probe.clone()),
            readiness_probe: Some(probe),
            ..Container::default()
        };

        assert_eq!(probed_ports(&container), BTreeSet::from([8069]));
    }
}
