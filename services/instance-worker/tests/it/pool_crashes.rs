//! The leading worker dies at every place of `failpoint::POOLS`, once, and the next one goes on (REL-06,
//! DBS-27): one of each object, the volume stays as long as it shall and no longer.

use std::time::Duration;

use contracts::database::v1::PoolSpec;
use instance_worker::failpoint::{self, FailPoint};
use instance_worker::operations::Wake;
use instance_worker::reconcile::Pools;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{ConfigMap, PersistentVolumeClaim, Secret, Service};
use kube::Api;
use sqlx::PgPool;
use test_kit::eventually;
use tokio::task::JoinHandle;
use uuid::Uuid;

use crate::stack::Stack;

const PATIENCE: Duration = Duration::from_mins(1);

/// The pools' part of a leader that dies once, and the one that comes after it.
struct Lives {
    stack: Stack,
    wake: Wake,
    now: JoinHandle<()>,
    dead: bool,
}

impl Lives {
    fn run(stack: &Stack, wake: &Wake, fail: FailPoint) -> JoinHandle<()> {
        let worker = instance_worker::worker::Worker { fail, ..stack.worker.clone() };
        let pools = Pools::new(worker, wake.clone());
        tokio::spawn(async move { pools.run().await })
    }

    /// Wants the pool so and waits for a report; whoever dies meanwhile is followed by another.
    async fn until(&mut self, spec: &PoolSpec, observed: &str) {
        self.stack.doubles.with(|known| {
            known.pools = vec![spec.clone()];
            known.reports.remove(&spec.id);
        });
        self.wake.now();
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            if self.now.is_finished() && !self.dead {
                self.dead = true;
                self.now = Self::run(&self.stack, &self.wake, FailPoint::default());
            }
            let reported = self.stack.doubles.with(|known| {
                known.reports.get(&spec.id).and_then(|all| all.last()).map(|last| last.observed.clone())
            });
            if reported.as_deref() == Some(observed) {
                return;
            }
            assert!(tokio::time::Instant::now() < deadline, "{observed} was not reported, but {reported:?}");
            self.wake.now();
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    /// StatefulSet, Service, ConfigMap, Secret, volume claim of a pool: which are there?
    async fn there(&self, name: &str) -> [bool; 5] {
        let (client, namespace) = (&self.stack.client, &self.stack.platform);
        let sets: Api<StatefulSet> = Api::namespaced(client.clone(), namespace);
        let services: Api<Service> = Api::namespaced(client.clone(), namespace);
        let maps: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
        let secrets: Api<Secret> = Api::namespaced(client.clone(), namespace);
        let claims: Api<PersistentVolumeClaim> = Api::namespaced(client.clone(), namespace);
        [
            sets.get_opt(name).await.unwrap().is_some(),
            services.get_opt(name).await.unwrap().is_some(),
            maps.get_opt(name).await.unwrap().is_some(),
            secrets.get_opt(name).await.unwrap().is_some(),
            claims.get_opt(&format!("data-{name}-0")).await.unwrap().is_some(),
        ]
    }
}

fn spec(number: usize) -> PoolSpec {
    PoolSpec {
        id: Uuid::now_v7().to_string(),
        name: format!("postgres-pool-{number}"),
        server_type: "shared".into(),
        desired: "present".into(),
        image: "simulated/database:15".into(),
        storage: "1Gi".into(),
        cpu_request: "50m".into(),
        cpu_limit: "1".into(),
        memory_request: "64Mi".into(),
        memory_limit: "1024Mi".into(),
        config: "max_connections = 100\n".into(),
        admin_user: "pool_admin".into(),
        secret_hash: "hash-1".into(),
        generation: 1,
        status: "provisioning".into(),
        ..PoolSpec::default()
    }
}

/// DBS-20, DBS-27, REL-06
#[sqlx::test(migrator = "instance::MIGRATIONS")]
async fn a_pool_is_made_and_removed_whole_although_the_worker_died_anywhere(database: PgPool) {
    let stack = Stack::start(database).await;
    let wake = Wake::default();
    let now = tokio::spawn(async {});
    let mut lives = Lives { stack, wake, now, dead: false };
    for (number, place) in failpoint::POOLS.into_iter().enumerate() {
        let mut spec = spec(number + 1);
        lives.now.abort();
        lives.dead = false;
        let fail = FailPoint::new(place, || panic!("the worker dies here"));
        lives.now = Lives::run(&lives.stack, &lives.wake, fail);

        lives.until(&spec, "ready").await;
        assert_eq!(lives.there(&spec.name).await, [true; 5], "{place}");
        spec.desired = "absent".into();
        spec.status = "deprovisioning".into();
        lives.until(&spec, "removed").await;
        assert_eq!(lives.there(&spec.name).await, [false, false, false, false, true], "{place}");
        spec.desired = "no_volume".into();
        spec.status = "deprovisioned".into();
        lives.until(&spec, "volume_removed").await;
        eventually("nothing is left", PATIENCE, || async {
            (lives.there(&spec.name).await == [false; 5]).then_some(())
        })
        .await;
        assert!(lives.dead, "nothing died at {place}");
    }
    lives.now.abort();
    lives.stack.end().await;
}
