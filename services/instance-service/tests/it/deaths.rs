//! The process dies anywhere while it reacts to a word of billing, and the word is told again (REL-01,
//! REL-06). A death is a future that is not polled any more: at each place where it waits for SQL or for
//! another service, one after the other, until one reaction lives to its end. The rows, the operations, the
//! events and the announcements are always those of a reaction without a death.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::Poll;

use contracts::events::{SubscriptionFact, topics};
use contracts::instance::v1 as wire;
use instance::domain::ActorKind;
use instance_service::app::caller::Caller;
use instance_service::app::news;
use instance_service::app::reactivate::{Reactivated, bring_back};
use instance_service::consumer::Subscriptions;
use instance_service::error::Error;
use instance_service::sweep;
use messaging::{Handler as _, Message};
use runtime::identity::Role;
use sqlx::PgPool;
use uuid::Uuid;

use crate::messages::fact;
use crate::support::{Person, World};

/// More places than a reaction has.
const MOST: usize = 500;
/// Fewer would mean that some writes were not waited for.
const LEAST: usize = 6;

/// The work until it waits for the `places`-th time. `None`: it died there.
async fn dies_after<T>(world: &World, places: usize, mut work: impl Future<Output = T> + Unpin) -> Option<T> {
    sqlx::query("INSERT INTO slowness DEFAULT VALUES").execute(&world.pool).await.unwrap();
    let mut left = places;
    let outcome = poll_fn(|context| {
        if left == 0 {
            return Poll::Ready(None);
        }
        left -= 1;
        Pin::new(&mut work).poll(context).map(Some)
    })
    .await;
    drop(work);
    sqlx::query("DELETE FROM slowness").execute(&world.pool).await.unwrap();
    outcome
}

/// SQL that takes its time while somebody may die ([`dies_after`]), so that the process waits at each write,
/// and at the commit.
async fn slow(pool: PgPool) -> World {
    let world = World::start(pool).await;
    for statement in [
        "CREATE TABLE slowness ()",
        "CREATE FUNCTION slowly() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
             IF EXISTS (SELECT FROM slowness) THEN PERFORM pg_sleep(0.003); END IF;
             RETURN NULL;
         END $$",
    ] {
        sqlx::query(statement).execute(&world.pool).await.unwrap();
    }
    for table in ["instances", "operations", "instance_events", "outbox", "audit_log"] {
        for statement in [
            format!(
                "CREATE TRIGGER slowly AFTER INSERT OR UPDATE ON {table} FOR EACH STATEMENT EXECUTE FUNCTION slowly()"
            ),
            format!(
                "CREATE CONSTRAINT TRIGGER slowly_at_last AFTER INSERT OR UPDATE ON {table} DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION slowly()"
            ),
        ] {
            sqlx::query(sqlx::AssertSqlSafe(statement)).execute(&world.pool).await.unwrap();
        }
    }
    world
}

/// A message with its transaction, as the consumer does it.
async fn hear(world: &World, topic: &str, fact: &SubscriptionFact) {
    let message =
        Message { id: Uuid::now_v7(), topic: topic.into(), body: serde_json::to_vec(fact).unwrap() };
    let mut tx = world.pool.begin().await.unwrap();
    Subscriptions.handle(&mut tx, &message).await.unwrap();
    tx.commit().await.unwrap();
    // What a dead process has taken is due again after some seconds.
    loop {
        news::round(&world.app).await.unwrap();
        let left =
            sqlx::query("UPDATE billing_news SET not_before = now()").execute(&world.pool).await.unwrap();
        if left.rows_affected() == 0 {
            return;
        }
    }
}

/// All that SQL says of an instance, without ids and times.
async fn summary(world: &World, id: &str) -> Vec<String> {
    let sql = "SELECT array_agg(line ORDER BY line) FROM (
            SELECT format('row %s %s %s %s', status, desired_state, billing_status, purge_after IS NOT NULL) AS line FROM instances WHERE id = $1
            UNION ALL SELECT format('operation %s %s', kind, state) FROM operations WHERE instance_id = $1
            UNION ALL SELECT format('event %s', type) FROM instance_events WHERE instance_id = $1
            UNION ALL SELECT format('announced %s', topic) FROM outbox WHERE payload ->> 'instance_id' = $1::text) AS lines";
    world.scalar(sql, id).await
}

/// What billing says from now on.
fn billing_says(world: &World, may_run: bool, ended: bool) {
    let mut state = world.fakes.state();
    state.may_run = may_run;
    state.ended = ended;
}

/// A reaction: how the instance is before it, and what is told.
struct Reaction {
    topic: &'static str,
    status: &'static str,
    after: &'static str,
}

impl Reaction {
    async fn before(&self, world: &World, owner: &Person) -> wire::Instance {
        billing_says(world, true, false);
        let instance = world.running(owner, "Acme").await;
        if self.topic == topics::SUBSCRIPTION_RESUMED {
            billing_says(world, false, false);
            hear(world, topics::SUBSCRIPTION_SUSPENDED, &fact(&instance, "payment_required")).await;
            world.finish(&instance.id).await;
        }
        billing_says(
            world,
            self.topic == topics::SUBSCRIPTION_RESUMED,
            self.topic == topics::SUBSCRIPTION_ENDED,
        );
        world.get(owner, &instance.id).await
    }

    async fn without_a_death(&self, world: &World) -> Vec<String> {
        let owner = world.customer();
        let instance = self.before(world, &owner).await;
        hear(world, self.topic, &fact(&instance, self.status)).await;
        assert_eq!(world.get(&owner, &instance.id).await.status, self.after, "{}", self.topic);
        summary(world, &instance.id).await
    }
}

const REACTIONS: [Reaction; 3] = [
    Reaction { topic: topics::SUBSCRIPTION_SUSPENDED, status: "payment_required", after: "stopping" },
    Reaction { topic: topics::SUBSCRIPTION_RESUMED, status: "paid", after: "starting" },
    Reaction { topic: topics::SUBSCRIPTION_ENDED, status: "closed", after: "terminating" },
];

/// REL-01, REL-03, INS-21, INS-24, BIL-24: the message comes again, and counts once.
#[sqlx::test(migrator = "instance::MIGRATIONS")]
async fn a_death_in_a_reaction_to_billing_is_made_up_for_by_its_message(pool: PgPool) {
    let world = slow(pool).await;
    for reaction in REACTIONS {
        let expected = reaction.without_a_death(&world).await;
        let mut deaths = 0;
        for places in 1..MOST {
            let owner = world.customer();
            let instance = reaction.before(&world, &owner).await;
            let told = fact(&instance, reaction.status);
            let lived =
                dies_after(&world, places, Box::pin(hear(&world, reaction.topic, &told))).await.is_some();
            hear(&world, reaction.topic, &told).await;
            let found = summary(&world, &instance.id).await;
            assert_eq!(found, expected, "{} after a death at the wait {places}", reaction.topic);
            if lived {
                break;
            }
            deaths += 1;
        }
        assert!((LEAST..MOST - 1).contains(&deaths), "{}: {deaths} deaths", reaction.topic);
    }
}

/// REL-01, REL-04, INS-21, INS-24, BIL-24: the message never comes again, and the sweep finds what it said.
#[sqlx::test(migrator = "instance::MIGRATIONS")]
async fn a_death_in_a_reaction_to_billing_is_made_up_for_by_the_sweep(pool: PgPool) {
    let world = slow(pool).await;
    for reaction in REACTIONS {
        let mut deaths = 0;
        for places in 1..MOST {
            let owner = world.customer();
            let instance = reaction.before(&world, &owner).await;
            let told = fact(&instance, reaction.status);
            let lived =
                dies_after(&world, places, Box::pin(hear(&world, reaction.topic, &told))).await.is_some();
            // A round over all pages, as replicas do it.
            let mut after = Uuid::nil();
            loop {
                after = sweep::follow_billing(&world.app, after).await.unwrap();
                if after.is_nil() {
                    break;
                }
            }
            let found = world.get(&owner, &instance.id).await.status;
            assert_eq!(found, reaction.after, "{} after a death at the wait {places}", reaction.topic);
            // The next round has nothing to do with it.
            world.sql("UPDATE instances SET subscription_id = NULL WHERE id = $1", &instance.id).await;
            if lived {
                break;
            }
            deaths += 1;
        }
        assert!((LEAST..MOST - 1).contains(&deaths), "{}: {deaths} deaths", reaction.topic);
    }
}

async fn reactivate(world: &World, person: &Person, id: &str) -> Result<Reactivated, Error> {
    let caller = Caller {
        user: Some(person.id),
        kind: ActorKind::Customer,
        role: Role::Customer.as_str(),
        actor: person.id.to_string(),
        request_id: String::new(),
        client_ip: String::new(),
    };
    bring_back(&world.app, &caller, Uuid::parse_str(id).unwrap(), "basic-monthly", String::new()).await
}

async fn ended(world: &World, owner: &Person) -> wire::Instance {
    billing_says(world, true, false);
    let instance = world.running(owner, "Acme").await;
    world.act(&world.person(Role::Admin), &instance.id, "terminate").await;
    world.finish(&instance.id).await;
    world.get(owner, &instance.id).await
}

/// REL-01, BIL-25: the owner asks again, and the instance comes back once, under one subscription.
#[sqlx::test(migrator = "instance::MIGRATIONS")]
async fn a_death_in_a_reactivation_is_made_up_for_by_asking_again(pool: PgPool) {
    let world = slow(pool).await;
    let owner = world.customer();
    let instance = ended(&world, &owner).await;
    reactivate(&world, &owner, &instance.id).await.unwrap();
    let expected = summary(&world, &instance.id).await;
    assert!(expected.iter().any(|line| line.starts_with("operation undelete")), "{expected:?}");
    let mut deaths = 0;
    for places in 1..MOST {
        let owner = world.customer();
        let instance = ended(&world, &owner).await;
        let lived =
            dies_after(&world, places, Box::pin(reactivate(&world, &owner, &instance.id))).await.is_some();
        if let Err(error) = reactivate(&world, &owner, &instance.id).await {
            assert_eq!(error.reason(), "not_terminated", "after a death at the wait {places}");
        }
        let found = summary(&world, &instance.id).await;
        assert_eq!(found, expected, "after a death at the wait {places}");
        if lived {
            break;
        }
        deaths += 1;
    }
    assert!((LEAST..MOST - 1).contains(&deaths), "{deaths} deaths");
}
