//! One leader by a Lease (K8S-24, REL-05).
//!
//! Times are compared by this process' own clock: a lease counts as ended when its renewal has not changed
//! for its whole life here. The leader gives up well before the others may take over; what it writes to rows
//! is fenced by the generation of the monitoring row.

use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use kube::api::PostParams;
use kube::{Api, Client};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::cluster::FIELD_MANAGER;
use crate::lead::Lead;

/// Name of the Lease.
pub const LEASE: &str = "instance-worker-leader";

/// Numbers of the election.
#[derive(Debug, Clone, Copy)]
pub struct Times {
    /// Life of the lease.
    pub life: Duration,
    /// Between renewals.
    pub renew: Duration,
    /// Between looks of those that do not lead.
    pub look: Duration,
    /// The leader gives up when the last renewal is this old.
    pub give_up: Duration,
}

impl Default for Times {
    fn default() -> Self {
        Self {
            life: Duration::from_secs(10),
            renew: Duration::from_millis(2500),
            look: Duration::from_millis(1500),
            give_up: Duration::from_secs(7),
        }
    }
}

/// A candidate.
#[derive(Debug)]
pub struct Election {
    /// Namespace of the Lease.
    pub namespace: String,
    /// Name of this worker.
    pub identity: String,
    /// Numbers.
    pub times: Times,
}

/// What a candidate saw last.
#[derive(Debug, Default)]
struct Seen {
    renewal: Option<(String, String)>,
    since: Option<Instant>,
}

impl Election {
    /// A candidate with the usual times.
    pub fn new(namespace: &str, identity: &str) -> Self {
        Self { namespace: namespace.to_owned(), identity: identity.to_owned(), times: Times::default() }
    }

    /// Stands for election until `stop`; leads whenever it is elected.
    pub async fn run(self, lead: Lead, stop: CancellationToken) -> anyhow::Result<()> {
        let client = tokio::select! {
            client = lead.worker.cluster.connected() => client,
            () = stop.cancelled() => return Ok(()),
        };
        let api: Api<Lease> = Api::namespaced(client.clone(), &self.namespace);
        let mut seen = Seen::default();
        loop {
            match self.acquire(&api, &mut seen).await {
                Ok(true) => {
                    self.lead(&client, &api, &lead, &stop).await?;
                    seen = Seen::default();
                }
                Ok(false) => {}
                Err(error) => tracing::warn!(error = %error, "cannot look at the leader's lease"),
            }
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                () = tokio::time::sleep(self.times.look) => {}
            }
        }
    }

    /// Leads until the lease is lost or the process stops.
    async fn lead(
        &self,
        client: &Client,
        api: &Api<Lease>,
        lead: &Lead,
        stop: &CancellationToken,
    ) -> anyhow::Result<()> {
        tracing::info!(leader = self.identity, "this worker leads: monitoring is its task now");
        let lost = CancellationToken::new();
        let work = tokio::spawn(lead.clone().run(client.clone(), self.identity.clone(), lost.clone()));
        let mut renewed = Instant::now();
        let mut ended = std::pin::pin!(work);
        let outcome = loop {
            tokio::select! {
                () = stop.cancelled() => break None,
                outcome = &mut ended => break Some(outcome),
                () = tokio::time::sleep(self.times.renew) => {}
            }
            let asked = Instant::now();
            match tokio::time::timeout(self.times.renew * 2, self.renew(api)).await {
                Ok(Ok(true)) => renewed = asked,
                Ok(Ok(false)) => {
                    tracing::warn!("another worker leads now");
                    break None;
                }
                Ok(Err(error)) => tracing::warn!(error = %error, "the leader's lease was not renewed"),
                Err(_) => tracing::warn!("the renewal of the leader's lease got no answer in time"),
            }
            if renewed.elapsed() > self.times.give_up {
                tracing::warn!("the leader's lease could not be renewed: giving up the lead");
                break None;
            }
        };
        lost.cancel();
        let outcome = match outcome {
            Some(outcome) => outcome,
            None => ended.await,
        };
        lead.status.set_leading(false);
        lead.worker.cluster.cache().clear();
        if stop.is_cancelled()
            && let Err(error) = self.release(api).await
        {
            tracing::warn!(error = %error, "the leader's lease was not given up; it ends by itself");
        }
        outcome?
    }

    /// Takes the lease when it is free or ended.
    async fn acquire(&self, api: &Api<Lease>, seen: &mut Seen) -> kube::Result<bool> {
        let Some(mut lease) = api.get_opt(LEASE).await? else {
            let lease = Lease {
                metadata: ObjectMeta {
                    name: Some(LEASE.to_owned()),
                    namespace: Some(self.namespace.clone()),
                    ..ObjectMeta::default()
                },
                spec: Some(self.spec(0, true)),
            };
            return won(api.create(&Self::parameters(), &lease).await);
        };
        let spec = lease.spec.take().unwrap_or_default();
        let holder = spec.holder_identity.clone().unwrap_or_default();
        let renewal =
            (holder.clone(), spec.renew_time.as_ref().map(|time| time.0.to_string()).unwrap_or_default());
        if seen.renewal.as_ref() != Some(&renewal) {
            *seen = Seen { renewal: Some(renewal), since: Some(Instant::now()) };
        }
        let ended = seen.since.is_some_and(|since| since.elapsed() > self.times.life);
        if !holder.is_empty() && holder != self.identity && !ended {
            return Ok(false);
        }
        let transitions = spec.lease_transitions.unwrap_or(0) + i32::from(holder != self.identity);
        lease.spec = Some(self.spec(transitions, true));
        // The resource version of what was read makes this fail when somebody else was faster.
        won(api.replace(LEASE, &Self::parameters(), &lease).await)
    }

    async fn renew(&self, api: &Api<Lease>) -> kube::Result<bool> {
        let mut lease = api.get(LEASE).await?;
        let spec = lease.spec.take().unwrap_or_default();
        if spec.holder_identity.as_deref() != Some(&self.identity) {
            return Ok(false);
        }
        lease.spec =
            Some(LeaseSpec { renew_time: Some(MicroTime(k8s_openapi::jiff::Timestamp::now())), ..spec });
        won(api.replace(LEASE, &Self::parameters(), &lease).await)
    }

    async fn release(&self, api: &Api<Lease>) -> kube::Result<()> {
        let mut lease = api.get(LEASE).await?;
        let spec = lease.spec.take().unwrap_or_default();
        if spec.holder_identity.as_deref() == Some(&self.identity) {
            lease.spec = Some(LeaseSpec { holder_identity: None, ..spec });
            api.replace(LEASE, &Self::parameters(), &lease).await?;
        }
        Ok(())
    }

    fn spec(&self, transitions: i32, held: bool) -> LeaseSpec {
        let now = MicroTime(k8s_openapi::jiff::Timestamp::now());
        LeaseSpec {
            holder_identity: held.then(|| self.identity.clone()),
            lease_duration_seconds: i32::try_from(self.times.life.as_secs()).ok(),
            acquire_time: Some(now.clone()),
            renew_time: Some(now),
            lease_transitions: Some(transitions),
            ..LeaseSpec::default()
        }
    }

    fn parameters() -> PostParams {
        PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() }
    }
}

/// A conflict is a lost race; every other error is one.
fn won(answer: kube::Result<Lease>) -> kube::Result<bool> {
    match answer {
        Ok(_) => Ok(true),
        Err(kube::Error::Api(status)) if status.code == 409 => Ok(false),
        Err(error) => Err(error),
    }
}
