//! Watches that never give up: they resume, list again when they must, and back off to two seconds at most.

use std::fmt::Debug;
use std::time::Duration;

use backon::ExponentialBuilder;
use futures::{Stream, StreamExt as _};
use kube::runtime::watcher::{self, Event, ExponentialBackoff};
use kube::runtime::{WatchStreamExt as _, watcher as watch};
use kube::{Api, Resource, ResourceExt as _};
use serde::de::DeserializeOwned;

/// Changes of all objects that `config` selects, without end. Errors are logged and followed by a new try.
pub fn changes<K>(api: Api<K>, config: watcher::Config) -> impl Stream<Item = Event<K>> + Send
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
    K::DynamicType: Default,
{
    let kind = K::kind(&K::DynamicType::default()).into_owned();
    // The API server of a local stack comes back in seconds, and a test waits for it.
    let backoff = ExponentialBuilder::default()
        .with_min_delay(Duration::from_millis(100))
        .with_max_delay(Duration::from_secs(2))
        .with_jitter()
        .without_max_times();
    watch(api, config)
        .modify(|object| object.managed_fields_mut().clear())
        .backoff(ExponentialBackoff::from(backoff))
        .filter_map(move |event| {
            let event = event
                .inspect_err(|error| tracing::warn!(kind, %error, "watch stream broken, reconnect follows"))
                .ok();
            std::future::ready(event)
        })
}
