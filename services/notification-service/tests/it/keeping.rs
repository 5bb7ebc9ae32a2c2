//! What is kept, and for how long: retention, and the erasure of persons.

use notification_service::store::{Outcome, RETENTION, Rate, claim, settle};
use notification_service::sweep::erase_all;
use runtime::retention::{not_covered, prune};
use sqlx::PgPool;
use std::time::Duration;
use test_kit::search::rows_with;
use uuid::Uuid;

use crate::world::World;

const EVERY: Rate = Rate { per_minute: 1_000, per_hour: 1_000 };

/// Every table of the database says how long its rows are kept.
#[sqlx::test(migrations = "./migrations")]
async fn every_table_has_its_retention(pool: PgPool) {
    assert_eq!(not_covered(&pool, RETENTION).await.unwrap(), Vec::<String>::new());
}

async fn mail(pool: &PgPool, status: &str, days: i32) -> Uuid {
    let id = Uuid::now_v7();
    sqlx::query(
        "INSERT INTO emails (id, dedupe_key, template_name, customer_id, subject, switchable, status,
                             priority, message_id, created_at, sent_at, lease_token)
         VALUES ($1, $1::text, 'welcome', $1, 'Hello', false, $2, 10, $1::text,
                 now() - make_interval(days => $3), CASE WHEN $2 = 'sent' THEN now() END,
                 CASE WHEN $2 = 'sending' THEN $1 END)",
    )
    .bind(id)
    .bind(status)
    .bind(days)
    .execute(pool)
    .await
    .unwrap();
    sqlx::query(
        "INSERT INTO email_events (email_id, kind, at) VALUES ($1, 'queued', now() - interval '1 year')",
    )
    .bind(id)
    .execute(pool)
    .await
    .unwrap();
    id
}

/// Old mails go with what happened to them; young ones and those that wait stay, however old.
#[sqlx::test(migrations = "./migrations")]
async fn old_mails_go_and_waiting_ones_stay(pool: PgPool) {
    let mut kept = vec![
        mail(&pool, "sent", 179).await,
        mail(&pool, "queued", 400).await,
        mail(&pool, "sending", 400).await,
    ];
    for status in ["sent", "failed", "cancelled"] {
        mail(&pool, status, 181).await;
    }
    sqlx::query("INSERT INTO send_log (at) VALUES (now() - interval '2 days'), (now())")
        .execute(&pool)
        .await
        .unwrap();
    sqlx::query(
        "INSERT INTO inbox (consumer, message_id, processed_at)
         VALUES ('c', gen_random_uuid(), now() - interval '29 days'), ('c', gen_random_uuid(), now())",
    )
    .execute(&pool)
    .await
    .unwrap();

    assert_eq!(prune(&pool, RETENTION).await.unwrap(), 5);

    kept.sort();
    let left: Vec<Uuid> =
        sqlx::query_scalar("SELECT id FROM emails ORDER BY id").fetch_all(&pool).await.unwrap();
    assert_eq!(left, kept);
    let left: Vec<Uuid> = sqlx::query_scalar("SELECT email_id FROM email_events ORDER BY email_id")
        .fetch_all(&pool)
        .await
        .unwrap();
    assert_eq!(left, kept);
    assert_eq!(prune(&pool, RETENTION).await.unwrap(), 0);
}

/// USR-20: what names an erased person is nowhere in the database: not in mails that wait, that are on their
/// way, or that failed with the mail server's words. Nobody else loses anything.
#[sqlx::test(migrations = "./migrations")]
async fn nothing_names_an_erased_person(pool: PgPool) {
    let needle = "ada.lovelace@example.com";
    let world = World::start(&pool, 1).await;
    let (ada, bob) = (world.directory.add(needle, true), world.directory.add("bob@example.com", true));
    let told = |name: &str| {
        format!(r#"{{"name": "{name}", "url": "http://x", "admin_email": "{name}", "instance_id": "{ada}"}}"#)
    };
    for (customer, name) in [(ada, needle), (bob, "bob@example.com")] {
        for key in ["waits", "fails", "is-sent", "goes"] {
            world.order(customer, "instance_ready", key, &told(name)).await.unwrap();
        }
    }
    let claimed = claim(&pool, 6, EVERY, Duration::from_mins(1)).await.unwrap();
    let goes = claimed.iter().find(|mail| mail.customer_id == ada).unwrap().clone();
    for mail in &claimed {
        let error = format!("550 <{}> is not here", if mail.customer_id == ada { needle } else { "bob" });
        let outcome = match mail.customer_id {
            _ if mail.id == goes.id => continue,
            id if id == ada => Outcome::Failed { error: &error },
            _ => Outcome::Sent { recipient: "bob@example.com" },
        };
        assert!(settle(&pool, mail, outcome, true).await.unwrap());
    }
    sqlx::query("UPDATE emails SET recipient = $1 WHERE customer_id = $2")
        .bind(needle)
        .bind(ada)
        .execute(&pool)
        .await
        .unwrap();
    let before = rows_with(&pool, needle).await;
    assert!(before.len() >= 4, "{before:?}");
    let bobs = rows_with(&pool, "bob@example.com").await;

    world.directory.erase(Uuid::nil());
    world.directory.erase(ada);
    erase_all(&pool, &world.customers).await.unwrap();

    assert_eq!(rows_with(&pool, needle).await, Vec::<String>::new());
    assert_eq!(rows_with(&pool, "bob@example.com").await, bobs);
    assert!(!settle(&pool, &goes, Outcome::Sent { recipient: needle }, true).await.unwrap());
    assert_eq!(rows_with(&pool, needle).await, Vec::<String>::new());
    let open: i64 =
        sqlx::query_scalar("SELECT count(*) FROM emails WHERE customer_id = $1 AND status <> 'cancelled'")
            .bind(ada)
            .fetch_one(&pool)
            .await
            .unwrap();
    assert_eq!(open, 0);
    erase_all(&pool, &world.customers).await.unwrap();
}
