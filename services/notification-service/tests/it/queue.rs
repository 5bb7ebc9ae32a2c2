//! The queue: once, retried, limited, in the right order.

use std::time::{Duration, Instant};

use runtime::grpc::Refusal;
use sqlx::PgPool;
use test_kit::eventually;
use tonic::Code;

use crate::sink::{Mood, Sink, Transport};
use crate::world::{SOON, World, running};

const TOKEN: &str = "token-0123456789-token-0123456789-token";

fn token() -> String {
    format!(r#"{{"token": "{TOKEN}"}}"#)
}

/// NTF-05, NTF-16: a verification mail arrives at once, with the headers that a mail of a machine needs.
#[sqlx::test(migrations = "./migrations")]
async fn a_verification_mail_arrives_at_once_with_its_link(pool: PgPool) {
    let (world, sink) = running(&pool).await;
    let ada = world.directory.add("ada@example.com", true);
    world.order(ada, "welcome", "warm-up", "").await.unwrap();
    world.reach("sent", 1).await;
    let start = Instant::now();

    world.order(ada, "email_verification", "v1", &token()).await.unwrap();
    let mail = eventually("the mail", SOON, || async { sink.mails().into_iter().nth(1) }).await;

    let took = start.elapsed();
    assert!(took < Duration::from_millis(500), "woken by NOTIFY, not by the sweep: {took:?}");
    assert_eq!(mail.to, "ada@example.com");
    assert!(mail.readable().contains(&format!("/verify-email?token={TOKEN}")), "{}", mail.data);
    assert_eq!(mail.header("From"), Some("SaaSOdoo <noreply@saasodoo.example>"));
    assert_eq!(mail.header("Auto-Submitted"), Some("auto-generated"));
    assert!(mail.header("Date").is_some());
    assert_eq!(mail.header("List-Unsubscribe"), None, "nobody unsubscribes from security");
    world.reach("sent", 2).await;
    let stored: String =
        sqlx::query_scalar("SELECT message_id FROM emails WHERE template_name = 'email_verification'")
            .fetch_one(&pool)
            .await
            .unwrap();
    assert_eq!(mail.header("Message-ID"), Some(stored.as_str()));
}

/// NTF-09
#[sqlx::test(migrations = "./migrations")]
async fn the_same_order_twice_is_one_mail(pool: PgPool) {
    let (world, sink) = running(&pool).await;
    let ada = world.directory.add("ada@example.com", true);

    let first = world.order(ada, "welcome", "same", "").await.unwrap();
    let again = world.order(ada, "welcome", "same", "").await.unwrap();

    assert_eq!(first, again);
    world.reach("sent", 1).await;
    assert_eq!(sink.mails().len(), 1);
}

/// NTF-01: the server is away, then back: everything arrives once.
#[sqlx::test(migrations = "./migrations")]
async fn mails_ordered_while_the_server_is_down_arrive_once_after_it_is_back(pool: PgPool) {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = free.local_addr().unwrap();
    drop(free);
    let world = World::start(&pool, address.port()).await;
    world.run_sender(1000);
    let ada = world.directory.add("ada@example.com", true);
    for key in 0..6 {
        world.order(ada, "welcome", &key.to_string(), "").await.unwrap();
    }
    let failures = "SELECT count(*) FROM email_events WHERE kind = 'deferred'";
    eventually("failed attempts", SOON, || async {
        let count: i64 = sqlx::query_scalar(failures).fetch_one(&pool).await.unwrap();
        (count >= 3).then_some(())
    })
    .await;

    let sink = Sink::start_with(Transport::Plain, &address.to_string()).await;

    world.reach("sent", 6).await;
    assert_eq!(sink.mails().len(), 6);
    let tries: i32 = sqlx::query_scalar("SELECT max(attempts) FROM emails").fetch_one(&pool).await.unwrap();
    assert!(tries < 8, "the circuit breaker spares attempts (REL-15): {tries}");
}

/// NTF-01
#[sqlx::test(migrations = "./migrations")]
async fn a_busy_server_is_asked_again_and_a_refusal_is_final(pool: PgPool) {
    let (world, sink) = running(&pool).await;
    let ada = world.directory.add("ada@example.com", true);
    sink.set(Mood::Busy);
    world.order(ada, "welcome", "busy", "").await.unwrap();
    eventually("a second attempt", SOON, || async {
        let tries: i32 = sqlx::query_scalar("SELECT attempts FROM emails").fetch_one(&pool).await.unwrap();
        (tries >= 2).then_some(())
    })
    .await;
    sink.set(Mood::Kind);
    world.reach("sent", 1).await;

    sink.set(Mood::Refusing);
    world.order(ada, "welcome", "refused", "").await.unwrap();

    world.reach("failed", 1).await;
    let (tries, error): (i32, String) =
        sqlx::query_as("SELECT attempts, last_error FROM emails WHERE dedupe_key = 'refused'")
            .fetch_one(&pool)
            .await
            .unwrap();
    assert_eq!(tries, 1);
    assert!(error.contains("no such user"), "{error}");
    assert_eq!(sink.mails().len(), 1);
}

/// NTF-12: waits instead of failing, over all replicas, and security mails go first.
#[sqlx::test(migrations = "./migrations")]
async fn the_rate_limit_holds_over_two_replicas_and_security_mails_go_first(pool: PgPool) {
    let sink = Sink::start().await;
    let world = World::start(&pool, sink.port).await;
    let ada = world.directory.add("ada@example.com", true);
    for key in 0..12 {
        world.order(ada, "welcome", &key.to_string(), "").await.unwrap();
    }
    world.order(ada, "password_reset", "urgent", &token()).await.unwrap();

    world.run_sender(5);
    world.run_sender(5);

    world.reach("sent", 4).await;
    assert!(sink.mails().iter().any(|mail| mail.readable().contains("reset-password")), "security first");
    // A fifth of the minute is kept for what somebody waits for.
    world.order(ada, "password_changed", "urgent too", r#"{"changed_at": "now"}"#).await.unwrap();
    world.reach("sent", 5).await;
    assert!(sink.mails()[4].readable().contains("password was changed"));
    for (before, after) in [(5, 9), (9, 13), (13, 14)] {
        // Each minute that passes lets four more go.
        assert_eq!(world.count("sent").await, before, "never more in a minute");
        sqlx::query("UPDATE send_log SET at = at - interval '61 seconds'").execute(&pool).await.unwrap();
        world.reach("sent", after).await;
    }
    assert_eq!(sink.mails().len(), 14);
}

/// NTF-01, REL-01: a sender that died holds its mail until the lease ends.
#[sqlx::test(migrations = "./migrations")]
async fn the_mail_of_a_killed_sender_is_sent_after_its_lease(pool: PgPool) {
    let (world, sink) = running(&pool).await;
    let ada = world.directory.add("ada@example.com", true);
    sqlx::query(
        "INSERT INTO emails (id, dedupe_key, template_name, customer_id, subject, switchable, priority, message_id, status, lease_token, lease_until, attempts)
         VALUES (gen_random_uuid(), 'held', 'welcome', $1, 's', false, 1, '<held@x>', 'sending', gen_random_uuid(), now() + interval '1 hour', 1)",
    )
    .bind(ada)
    .execute(&pool)
    .await
    .unwrap();
    world.order(ada, "welcome", "other", "").await.unwrap();
    world.reach("sent", 1).await;
    assert_eq!(world.count("sending").await, 1, "held by its lease");

    sqlx::query("UPDATE emails SET lease_until = now() - interval '1 second' WHERE status = 'sending'")
        .execute(&pool)
        .await
        .unwrap();

    world.reach("sent", 2).await;
    assert_eq!(sink.mails().len(), 2);
}

/// NTF-08, USR-28: an order needs no answer of user-service, and the mail waits for it.
#[sqlx::test(migrations = "./migrations")]
async fn a_mail_waits_while_user_service_is_away(pool: PgPool) {
    let (world, sink) = running(&pool).await;
    let ada = world.directory.add("ada@example.com", true);
    world.directory.set_away(true);
    world.order(ada, "welcome", "w", "").await.unwrap();
    eventually("a postponed mail", SOON, || async {
        let count: i64 = sqlx::query_scalar("SELECT count(*) FROM email_events WHERE kind = 'postponed'")
            .fetch_one(&pool)
            .await
            .unwrap();
        (count >= 2).then_some(())
    })
    .await;
    assert!(sink.mails().is_empty());

    world.directory.set_away(false);

    world.reach("sent", 1).await;
    let tries: i32 = sqlx::query_scalar("SELECT attempts FROM emails").fetch_one(&pool).await.unwrap();
    assert_eq!(tries, 1, "waiting for user-service is no attempt");
}

/// NTF-11: an unknown account gets nothing.
#[sqlx::test(migrations = "./migrations")]
async fn a_mail_to_an_account_that_does_not_exist_is_cancelled(pool: PgPool) {
    let (world, sink) = running(&pool).await;

    let nobody = uuid::Uuid::now_v7();
    world.order(nobody, "welcome", "w", "").await.unwrap();

    eventually("the cancelled mail", SOON, || async {
        let status: String = sqlx::query_scalar("SELECT status FROM emails").fetch_one(&pool).await.unwrap();
        (status == "cancelled").then_some(())
    })
    .await;
    assert!(sink.mails().is_empty());
}

/// NTF-02
#[sqlx::test(migrations = "./migrations")]
async fn wrong_orders_are_refused_by_name(pool: PgPool) {
    let world = World::start(&pool, 1).await;
    let ada = world.directory.add("ada@example.com", true);
    let cases = [
        ("email_verification", "k", "{}", "variables"),
        ("email_verification", "k", r#"{"token": 5}"#, "variables"),
        ("email_verification", "k", r#"{"token": "t", "to": "x@example.com"}"#, "variables"),
        ("welcome", "k", "[]", "variables"),
        ("no_such_mail", "k", "{}", "template_name"),
        ("welcome", "", "{}", "dedupe_key"),
    ];
    for (template, key, variables, field) in cases {
        let status = world.order(ada, template, key, variables).await.unwrap_err();
        let refusal = Refusal::from_status(&status);
        assert_eq!(refusal.code, Code::InvalidArgument, "{template} {variables}");
        assert_eq!(refusal.fields[0].field, field, "{template} {variables}");
    }
}

/// NTF-10, SEC-04: after the hand-over the token is nowhere in the database.
#[sqlx::test(migrations = "./migrations")]
async fn the_token_of_a_sent_mail_is_gone(pool: PgPool) {
    let (world, _sink) = running(&pool).await;
    let ada = world.directory.add("ada@example.com", true);

    world.order(ada, "password_reset", "r", &token()).await.unwrap();
    world.reach("sent", 1).await;

    let rows: Vec<String> = sqlx::query_scalar(
        "SELECT row_to_json(e)::text FROM emails e UNION ALL SELECT row_to_json(v)::text FROM email_events v",
    )
    .fetch_all(&pool)
    .await
    .unwrap();
    assert!(rows.iter().all(|row| !row.contains(TOKEN)), "{rows:?}");
}

/// NTF-12: while accounts cannot be looked up nothing is sent, so nothing of the rate is used up; afterwards
/// everything goes at once.
#[sqlx::test(migrations = "./migrations")]
async fn mails_that_wait_for_user_service_use_up_no_rate(pool: PgPool) {
    let sink = Sink::start().await;
    let world = World::start(&pool, sink.port).await;
    let ada = world.directory.add("ada@example.com", true);
    world.directory.set_away(true);
    for key in 0..4 {
        world.order(ada, "welcome", &key.to_string(), "").await.unwrap();
    }
    world.run_sender(5);
    let postponed = "SELECT count(*) FROM email_events WHERE kind = 'postponed'";
    eventually("several tries", SOON, || async {
        let tries: i64 = sqlx::query_scalar(postponed).fetch_one(&pool).await.unwrap();
        (tries >= 8).then_some(())
    })
    .await;
    let used: i64 = sqlx::query_scalar("SELECT count(*) FROM send_log").fetch_one(&pool).await.unwrap();
    assert_eq!(used, 0);

    world.directory.set_away(false);

    world.reach("sent", 4).await;
}

/// NTF-12: other mails leave a share of the rate to links that somebody waits for.
#[sqlx::test(migrations = "./migrations")]
async fn a_share_of_the_rate_is_kept_for_security_mails(pool: PgPool) {
    let sink = Sink::start().await;
    let world = World::start(&pool, sink.port).await;
    let ada = world.directory.add("ada@example.com", true);
    for key in 0..12 {
        world.order(ada, "welcome", &key.to_string(), "").await.unwrap();
    }
    world.run_sender(5);
    world.reach("sent", 4).await;

    world.order(ada, "password_reset", "urgent", &token()).await.unwrap();

    world.reach("sent", 5).await;
    assert!(sink.mails()[4].readable().contains("reset-password"));
}

/// Until an address is proved, its owner is not greeted with somebody's words.
#[sqlx::test(migrations = "./migrations")]
async fn strangers_are_greeted_without_a_name(pool: PgPool) {
    let (world, sink) = running(&pool).await;
    let ada = world.directory.add("ada@example.com", true);
    world.directory.set_unverified(ada);

    world.order(ada, "email_verification", "one", &token()).await.unwrap();

    world.reach("sent", 1).await;
    let mail = sink.mails()[0].readable();
    assert!(mail.contains("Hello,") && !mail.contains("Ada"), "{mail}");
}
