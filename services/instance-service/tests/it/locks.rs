//! Locks are taken in one order, the operation before its instance: whoever acts and whoever sees the cluster
//! at the same moment never wait for each other.

use contracts::instance::v1 as wire;
use instance::store::observe::{Sight, sighting};
use sqlx::PgPool;
use uuid::Uuid;

use crate::support::{World, wish};

fn sight(restarts: i32) -> Sight {
    Sight {
        phase: "failed",
        ready: false,
        restarts,
        reason: "Error".into(),
        node: "node-1".into(),
        pod_ip: String::new(),
        started_at: None,
    }
}

/// Both hold what they have locked for a while, so that a wrong order meets each time.
async fn slow(pool: &PgPool) {
    let statements = [
        "CREATE FUNCTION slowly() RETURNS trigger LANGUAGE plpgsql
         AS 'BEGIN PERFORM pg_sleep(0.1); RETURN NULL; END'",
        "CREATE TRIGGER slowly AFTER UPDATE ON instances FOR EACH ROW EXECUTE FUNCTION slowly()",
        "CREATE TRIGGER slowly AFTER UPDATE ON operations FOR EACH ROW EXECUTE FUNCTION slowly()",
    ];
    for statement in statements {
        sqlx::query(statement).execute(pool).await.unwrap();
    }
}

#[sqlx::test(migrator = "instance::MIGRATIONS")]
async fn an_action_and_a_sighting_at_once_both_come_through(pool: PgPool) {
    let world = World::start(pool).await;
    let owner = world.customer();
    let mut instances = Vec::new();
    for number in 0..3 {
        let instance = world.running(&owner, &format!("number {number}")).await;
        world.act(&owner, &instance.id, "stop").await;
        let waits = "UPDATE operations SET state = 'running', parked_for = 'ready', attempts = 1,
                         not_before = now() + interval '1 h' WHERE instance_id = $1 AND state = 'queued'";
        world.sql(waits, &instance.id).await;
        instances.push(instance);
    }
    slow(&world.pool).await;
    for (instance, restarts) in instances.iter().zip(1..) {
        let end = wire::ActOnInstanceRequest {
            confirm: Some(instance.subdomain.clone()),
            ..wish(&instance.id, "terminate")
        };
        let seen = async {
            let mut tx = world.pool.begin().await?;
            sighting(&mut tx, Uuid::parse_str(&instance.id).unwrap(), &sight(restarts)).await?;
            tx.commit().await
        };
        let (ended, seen) = tokio::join!(world.try_act(&owner, end), seen);
        seen.expect("the sighting is written");
        assert_eq!(ended.expect("the end is accepted").status, "terminating");
    }
}
