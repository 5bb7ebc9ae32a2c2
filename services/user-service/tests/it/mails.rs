//! The durable way of mails with links.

use std::sync::atomic::Ordering;

use sqlx::PgPool;
use test_kit::eventually;

use crate::world::{SOON, World, token_of};

/// USR-07: notification-service may be away; the mail comes when it is back, and its token works.
#[sqlx::test(migrations = "./migrations")]
async fn a_mail_waits_for_notification_service(pool: PgPool) {
    let world = World::new(&pool).await;
    world.neighbours.mail_away.store(true, Ordering::SeqCst);
    let id = world.register("ada@example.com").await;
    eventually("two tries", SOON, || async {
        (world.count("SELECT count(*) FROM mail_tokens").await >= 2).then_some(())
    })
    .await;
    assert!(world.mails(id, "email_verification").is_empty());

    world.neighbours.mail_away.store(false, Ordering::SeqCst);
    let token = world.mailed_token(id, "email_verification", 1).await;
    world.verify(&token).await.unwrap();
}

/// USR-07: the mail arrived but its answer was lost. The repetition makes another token; the mailed one stays
/// good, and there is one mail.
#[sqlx::test(migrations = "./migrations")]
async fn a_lost_answer_neither_doubles_the_mail_nor_kills_its_token(pool: PgPool) {
    let world = World::new(&pool).await;
    world.neighbours.mail_answer_lost.store(true, Ordering::SeqCst);
    let id = world.register("ada@example.com").await;
    world.mails_settled().await;
    assert_eq!(world.count("SELECT count(*) FROM mail_tokens").await, 2);
    let mails = world.mails(id, "email_verification");
    assert_eq!(mails.len(), 1);
    world.verify(&token_of(&mails[0])).await.unwrap();
}

/// SEC-04: no token is stored or announced as it is.
#[sqlx::test(migrations = "./migrations")]
async fn a_token_is_nowhere_but_in_the_mail(pool: PgPool) {
    let world = World::new(&pool).await;
    let id = world.register("ada@example.com").await;
    let token = world.mailed_token(id, "email_verification", 1).await;
    world.mails_settled().await;
    let stored: String = sqlx::query_scalar(
        "SELECT concat((SELECT string_agg(t::text, '') FROM mail_tokens t), (SELECT string_agg(m::text, '') FROM mail_requests m),
                       (SELECT string_agg(o::text, '') FROM outbox o), (SELECT string_agg(u::text, '') FROM users u),
                       (SELECT string_agg(a::text, '') FROM audit a))",
    )
    .fetch_one(&pool)
    .await
    .unwrap();
    assert!(stored.contains(&id.to_string()) && !stored.contains(&token));
    let by_hash: i64 =
        sqlx::query_scalar("SELECT count(*) FROM mail_tokens WHERE token_hash = sha256($1::bytea)")
            .bind(token.as_bytes())
            .fetch_one(&pool)
            .await
            .unwrap();
    assert_eq!(by_hash, 1);
}

/// Several replicas send at once: nobody gets a mail twice.
#[sqlx::test(migrations = "./migrations")]
async fn senders_at_once_share_the_work(pool: PgPool) {
    let world = World::new(&pool).await;
    let mut ids = Vec::new();
    for number in 0..12 {
        ids.push(world.register(&format!("p{number}@example.com")).await);
    }
    let senders = (0..4).map(|_| world.app.send_due_mails());
    for sent in futures::future::join_all(senders).await {
        sent.unwrap();
    }
    world.mails_settled().await;
    assert!(ids.iter().all(|id| world.mails(*id, "email_verification").len() == 1));
    assert_eq!(world.count("SELECT count(*) FROM mail_tokens").await, 12);
}

/// A mail that could not be sent in its life is given up, one that lost its use is dropped.
#[sqlx::test(migrations = "./migrations")]
async fn a_mail_without_use_is_not_sent(pool: PgPool) {
    let world = World::new(&pool).await;
    world.neighbours.mail_away.store(true, Ordering::SeqCst);
    let late = world.register("late@example.com").await;
    let verified = world.register("verified@example.com").await;
    world.run("UPDATE users SET verified_at = now() WHERE id = $1", verified).await;
    world.run("UPDATE mail_requests SET expires_at = now(), next_try = now() WHERE user_id = $1", late).await;
    world.run("UPDATE mail_requests SET next_try = now() WHERE user_id = $1", verified).await;
    world.mails_settled().await;
    let states: Vec<String> = sqlx::query_scalar("SELECT state FROM mail_requests ORDER BY created_at")
        .fetch_all(&pool)
        .await
        .unwrap();
    assert_eq!(states, ["expired", "dropped"]);
    assert!(world.mails(late, "email_verification").is_empty());
}
