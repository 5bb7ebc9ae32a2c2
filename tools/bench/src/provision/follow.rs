//! One instance after the other, seen from outside: when its last object was applied, and how long after its
//! pod was ready the API said so.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use e2e::Customer;
use futures::StreamExt as _;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::networking::v1::Ingress;
use kube::api::Api;
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Client, ResourceExt as _};

use super::NAMESPACE;
use crate::figures::Figures;

const INSTANCE: &str = "saasodoo.io/instance-id";

/// When something was first seen, by instance.
type Seen = Arc<Mutex<HashMap<String, Instant>>>;

/// Creates `count` instances one after the other.
pub async fn measure(
    customer: &Customer,
    cluster: &Client,
    count: usize,
    figures: &mut Figures,
) -> anyhow::Result<()> {
    let ingresses: Seen = Seen::default();
    let ready: Seen = Seen::default();
    let watches = [
        tokio::spawn(watch::<Ingress>(cluster.clone(), Arc::clone(&ingresses), |_| true)),
        tokio::spawn(watch::<Pod>(cluster.clone(), Arc::clone(&ready), is_ready)),
    ];
    let (mut applied, mut visible) = (Vec::new(), Vec::new());
    for i in 0..count {
        let start = Instant::now();
        let id = customer.create(&format!("Follow {i}")).await?;
        let operations = customer.get(&format!("/instance/instances/{id}/operations")).await?.expect(200)?;
        let operation = operations["operations"][0]["id"].as_str().context("operation")?.to_owned();
        // The stream ends with the final state: the moment at which a customer sees `running`.
        customer.stream(&format!("/instance/instances/{id}/operations/{operation}/stream"), None).await?;
        let shown = Instant::now();
        applied.push(moment(&ingresses, &id).await?.saturating_duration_since(start));
        visible.push(shown.saturating_duration_since(moment(&ready, &id).await?));
    }
    for watch in watches {
        watch.abort();
    }
    figures.add_times("create → objects applied", &applied, [Some("≤ 150"), None]);
    figures.add_times("pod Ready → running visible", &visible, [Some("≤ 100"), Some("≤ 1000")]);
    Ok(())
}

async fn moment(seen: &Seen, id: &str) -> anyhow::Result<Instant> {
    let deadline = Instant::now() + Duration::from_secs(5);
    loop {
        if let Some(at) = seen.lock().unwrap_or_else(PoisonError::into_inner).get(id) {
            return Ok(*at);
        }
        anyhow::ensure!(Instant::now() < deadline, "the watch did not see an object of {id}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_ref());
    conditions.is_some_and(|all| {
        all.iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
    })
}

/// Notes the first time that an object of each instance satisfies `wanted`.
async fn watch<K>(cluster: Client, seen: Seen, wanted: fn(&K) -> bool)
where
    K: kube::Resource<Scope = kube::core::NamespaceResourceScope>
        + Clone
        + std::fmt::Debug
        + serde::de::DeserializeOwned
        + Send
        + 'static,
    K::DynamicType: Default,
{
    let api: Api<K> = Api::namespaced(cluster, NAMESPACE);
    let mut objects = Box::pin(
        watcher(api, watcher::Config::default().labels("app=odoo")).default_backoff().applied_objects(),
    );
    while let Some(event) = objects.next().await {
        let now = Instant::now();
        let Ok(object) = event else { continue };
        if let Some(id) = object.labels().get(INSTANCE).filter(|_| wanted(&object)) {
            seen.lock().unwrap_or_else(PoisonError::into_inner).entry(id.clone()).or_insert(now);
        }
    }
}
