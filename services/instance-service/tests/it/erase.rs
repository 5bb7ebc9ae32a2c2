//! Whoever user-service has erased is erased here: by its fact, and by the round when the fact was lost
//! (USR-20).

use contracts::events::{CustomerFact, topics};
use contracts::instance::v1 as wire;
use instance_service::app::erase;
use instance_service::consumer::Customers;
use messaging::{Handler as _, Message};
use runtime::identity::Role;
use sqlx::PgPool;
use test_kit::search::rows_with;
use uuid::Uuid;

use crate::support::{Person, World, order, wish};

/// In every text that a customer, an operator or the worker can write.
const NEEDLE: &str = "zuse";

/// A purged instance and one that is kept, with the person's name wherever there is room for it.
async fn plant(world: &World, owner: &Person) -> [String; 2] {
    let admin = world.person(Role::Admin);
    let mut ids = Vec::new();
    for (number, subdomain) in [(1, None), (2, Some("shop-two".to_owned()))] {
        let wanted = wire::CreateInstanceRequest {
            idempotency_key: format!("{NEEDLE}-{number}"),
            admin_email: Some(format!("konrad@{NEEDLE}.example")),
            description: format!("the shop of {NEEDLE}"),
            labels: [("owner".to_owned(), NEEDLE.to_owned())].into(),
            database_name: Some(NEEDLE.to_owned()),
            subdomain,
            ..order(&format!("{NEEDLE} {number}"))
        };
        let instance = world.try_create(owner, wanted).await.unwrap().instance.unwrap();
        world.finish(&instance.id).await;
        let reason = Some(format!("{NEEDLE} asked for it"));
        let suspend = wire::ActOnInstanceRequest { reason: reason.clone(), ..wish(&instance.id, "suspend") };
        world.try_act(&admin, suspend).await.unwrap();
        world.fail(&instance.id).await;
        let end = wire::ActOnInstanceRequest {
            reason,
            final_backup: Some(false),
            ..wish(&instance.id, "terminate")
        };
        world.try_act(&admin, end).await.unwrap();
        world.finish(&instance.id).await;
        ids.push(instance.id);
    }
    let purged = "UPDATE instances SET status = 'purged', error_message = 'zuse', suspended_reason = 'zuse'
                  WHERE id = $1";
    world.sql(purged, &ids[0]).await;
    for id in &ids {
        for sql in [
            "UPDATE operations SET error_message = 'zuse', internal_error = 'zuse', trace = '{\"a\": \"zuse\"}',
                 steps = '[{\"name\": \"x\", \"detail\": \"zuse\"}]' WHERE instance_id = $1",
            "UPDATE outbox SET sent_at = now() WHERE aggregate_id = $1 AND topic LIKE 'operation%'",
            "UPDATE audit_log SET details = '{\"a\": \"zuse\"}' WHERE instance_id = $1",
            "INSERT INTO billing_news (instance_id, subscription_id, reason, not_before)
             VALUES ($1, gen_random_uuid(), 'zuse', now())",
        ] {
            world.sql(sql, id).await;
        }
    }
    [ids.remove(0), ids.remove(0)]
}

#[sqlx::test(migrator = "instance::MIGRATIONS")]
async fn nothing_of_a_person_is_left_after_their_erasure(pool: PgPool) {
    let world = World::start(pool).await;
    let (owner, other) = (world.customer(), world.customer());
    plant(&world, &owner).await;
    let neighbour = world.running(&other, "neighbour").await;
    assert!(rows_with(&world.pool, NEEDLE).await.len() > 12, "it is everywhere before");

    let fact = CustomerFact { customer_id: owner.id, occurred_at: runtime::clock::now(), detail: None };
    let message = Message {
        id: Uuid::now_v7(),
        topic: topics::CUSTOMER_ERASED.into(),
        body: serde_json::to_vec(&fact).unwrap(),
    };
    let mut tx = world.pool.begin().await.unwrap();
    Customers.handle(&mut tx, &message).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(rows_with(&world.pool, NEEDLE).await, Vec::<String>::new());
    assert_eq!(world.get(&other, &neighbour.id).await.admin_email, neighbour.admin_email);
    let rows: i64 =
        sqlx::query_scalar("SELECT count(*) FROM operations").fetch_one(&world.pool).await.unwrap();
    assert_eq!(rows, 7, "what happened stays, without the person");
}

#[sqlx::test(migrator = "instance::MIGRATIONS")]
async fn a_lost_fact_of_an_erasure_is_made_up_for(pool: PgPool) {
    let world = World::start(pool).await;
    let owner = world.customer();
    let [_, kept] = plant(&world, &owner).await;
    world.fakes.state().erased = vec![Uuid::now_v7(), owner.id];
    assert!(erase::round(&world.app).await.unwrap() > 0);
    assert_eq!(rows_with(&world.pool, NEEDLE).await, Vec::<String>::new());
    assert_eq!(erase::round(&world.app).await.unwrap(), 0, "again changes nothing");

    // What is written later is found by the next round.
    world.sql("UPDATE instances SET error_message = 'zuse' WHERE id = $1", &kept).await;
    erase::round(&world.app).await.unwrap();
    assert_eq!(rows_with(&world.pool, NEEDLE).await, Vec::<String>::new());
}
