//! Registration and verification.

use contracts::user::v1::customer_directory_service_client::CustomerDirectoryServiceClient;
use contracts::user::v1::{BatchGetCustomersRequest, GetCustomerRequest};
use contracts::user::v1::{CompletePasswordResetRequest, RegisterRequest, ResendVerificationRequest};
use runtime::identity::Role;
use sqlx::{PgPool, Row as _};
use tonic::Code;
use uuid::Uuid;

use crate::world::{PASSWORD, World, fields, reason, registration, token_of, variables};

/// USR-01: every sent field is in the row, with the terms' version and time.
#[sqlx::test(migrations = "./migrations")]
async fn a_registration_stores_every_field(pool: PgPool) {
    let world = World::new(&pool).await;
    let body = RegisterRequest {
        marketing_consent: true,
        phone: Some("+263771234567".into()),
        company: Some("Engine Ltd".into()),
        country: Some("Zimbabwe".into()),
        timezone: Some("Africa/Harare".into()),
        language: Some("en".into()),
        ..registration("  Ada@Example.com ")
    };
    let answer = world.auth().register(body).await.unwrap().into_inner();
    assert_eq!((answer.email.as_str(), answer.first_name.as_str()), ("ada@example.com", "Ada"));

    let row = sqlx::query("SELECT * FROM users WHERE id = $1::uuid")
        .bind(answer.customer_id)
        .fetch_one(&pool)
        .await
        .unwrap();
    for (column, value) in [
        ("email", "ada@example.com"),
        ("first_name", "Ada"),
        ("last_name", "Test"),
        ("phone", "+263771234567"),
        ("company", "Engine Ltd"),
        ("country", "Zimbabwe"),
        ("timezone", "Africa/Harare"),
        ("language", "en"),
        ("role", "customer"),
    ] {
        assert_eq!(row.get::<String, _>(column), value, "{column}");
    }
    assert!(row.get::<bool, _>("marketing_consent"));
    assert!(!row.get::<String, _>("terms_version").is_empty());
    assert!(row.get::<time::OffsetDateTime, _>("terms_accepted_at") > time::OffsetDateTime::UNIX_EPOCH);
    // USR-04
    assert!(row.get::<String, _>("password_hash").starts_with("$argon2id$"));
}

/// USR-02: same shape, one row, and the owner gets a mail.
#[sqlx::test(migrations = "./migrations")]
async fn a_second_registration_looks_like_the_first_and_tells_the_owner(pool: PgPool) {
    let world = World::new(&pool).await;
    let first = world.auth().register(registration("ada@example.com")).await.unwrap().into_inner();
    let owner: Uuid = first.customer_id.parse().unwrap();
    world.mailed_token(owner, "email_verification", 1).await;
    world.mails_settled().await;

    let second = world.auth().register(registration("ADA@example.com")).await.unwrap().into_inner();
    assert_ne!(second.customer_id, first.customer_id);
    assert_eq!(
        (second.email, second.first_name, second.last_name),
        (first.email, first.first_name, first.last_name)
    );
    assert_eq!(world.count("SELECT count(*) FROM users").await, 1);
    let again = world.mailed_token(owner, "email_verification", 2).await;

    world.verify(&again).await.unwrap();
    world.register("ada@example.com").await;
    world.mailed_token(owner, "password_reset", 1).await;
}

/// USR-02, USR-07: whoever registers a foreign address first gets nothing of the account that its owner
/// confirms.
#[sqlx::test(migrations = "./migrations")]
async fn the_newest_registration_of_an_unproven_address_is_the_one_that_is_confirmed(pool: PgPool) {
    let world = World::new(&pool).await;
    let foreign = RegisterRequest {
        password: "Attacker-Pw-1!".into(),
        first_name: "Mallory".into(),
        marketing_consent: true,
        phone: Some("+263771234567".into()),
        ..registration("ada@example.com")
    };
    let first = world.auth().register(foreign).await.unwrap().into_inner();
    let id: Uuid = first.customer_id.parse().unwrap();
    let old = world.mailed_token(id, "email_verification", 1).await;
    world.mails_settled().await;

    world.auth().register(registration("ada@example.com")).await.unwrap();
    let new = world.mailed_token(id, "email_verification", 2).await;

    assert_eq!(reason(&world.verify(&old).await.unwrap_err()), "invalid_token");
    world.verify(&new).await.unwrap();
    let refused = world.login("ada@example.com", "Attacker-Pw-1!").await.unwrap_err();
    assert_eq!(reason(&refused), "invalid_credentials");
    let row = sqlx::query("SELECT * FROM users WHERE id = $1").bind(id).fetch_one(&pool).await.unwrap();
    assert_eq!((row.get::<&str, _>("first_name"), row.get::<&str, _>("phone")), ("Ada", ""));
    assert!(!row.get::<bool, _>("marketing_consent"), "consents are the owner's");
}

/// USR-02: whoever registers last, nobody's password opens an account that was registered with several, until
/// its owner chooses one by a link that is mailed after the address is proved.
#[sqlx::test(migrations = "./migrations")]
async fn of_several_passwords_for_one_address_none_opens_the_account(pool: PgPool) {
    let world = World::new(&pool).await;
    let id = world.register("ada@example.com").await;
    world.mails_settled().await;
    let foreign = RegisterRequest { password: "Attacker-Pw-1!".into(), ..registration("ada@example.com") };
    world.auth().register(foreign).await.unwrap();
    let newest = world.mailed_token(id, "email_verification", 2).await;

    world.verify(&newest).await.unwrap();

    for password in [PASSWORD, "Attacker-Pw-1!"] {
        let refused = world.login("ada@example.com", password).await.unwrap_err();
        assert_eq!(reason(&refused), "invalid_credentials");
    }
    let reset = world.mailed_token(id, "password_reset", 1).await;
    let own = String::from("Own-Password-2!");
    let chosen =
        CompletePasswordResetRequest { token: reset, new_password: own.clone(), confirm_password: own };
    world.auth().complete_password_reset(chosen).await.unwrap();
    world.login("ada@example.com", "Own-Password-2!").await.unwrap();
}

/// USR-02: the same registration once more, as after a double click, asks for nothing more.
#[sqlx::test(migrations = "./migrations")]
async fn the_same_registration_twice_is_one(pool: PgPool) {
    let world = World::new(&pool).await;
    let id = world.register("ada@example.com").await;
    world.mails_settled().await;
    world.auth().register(registration("ada@example.com")).await.unwrap();
    let newest = world.mailed_token(id, "email_verification", 2).await;
    world.verify(&newest).await.unwrap();
    world.login("ada@example.com", PASSWORD).await.unwrap();
}

/// USR-02: a proved account is not touched by registrations, and after five mails in an hour an unproven one
/// is not either.
#[sqlx::test(migrations = "./migrations")]
async fn registrations_replace_nothing_that_is_proved_and_void_no_link_without_a_newer_one(pool: PgPool) {
    let world = World::new(&pool).await;
    let again = || RegisterRequest { first_name: "Mallory".into(), ..registration("ada@example.com") };
    let id = world.register("ada@example.com").await;
    for _ in 0..6 {
        world.mails_settled().await;
        world.auth().register(again()).await.unwrap();
    }
    world.mails_settled().await;
    let sent = world.mails(id, "email_verification");
    assert_eq!(sent.len(), 5);
    world.verify(&token_of(&sent[4])).await.unwrap();

    world.auth().register(RegisterRequest { first_name: "Eve".into(), ..again() }).await.unwrap();

    let name: String = sqlx::query_scalar("SELECT first_name FROM users WHERE id = $1")
        .bind(id)
        .fetch_one(&pool)
        .await
        .unwrap();
    assert_eq!(name, "Mallory");
}

/// USR-03, USR-05
#[sqlx::test(migrations = "./migrations")]
async fn bad_fields_are_named_and_nothing_is_stored(pool: PgPool) {
    let world = World::new(&pool).await;
    let body = RegisterRequest { password: "password".into(), accept_terms: false, ..registration("nobody") };
    let refused = world.auth().register(body).await.unwrap_err();
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::InvalidArgument, "validation_failed"));
    assert_eq!(fields(&refused), ["email", "password", "accept_terms"]);
    assert_eq!(world.count("SELECT count(*) FROM users").await, 0);
}

/// USR-06: billing is not asked; an event tells it.
#[sqlx::test(migrations = "./migrations")]
async fn registration_does_not_need_billing(pool: PgPool) {
    let world = World::new(&pool).await;
    world.neighbours.directory_away.store(true, std::sync::atomic::Ordering::SeqCst);
    let id = world.register("ada@example.com").await;
    assert_eq!(world.events(id).await, ["customer.registered.v1"]);
    assert_eq!(world.neighbours.billing_calls.load(std::sync::atomic::Ordering::SeqCst), 0);
}

/// USR-07: the mail has the link and the same token; it works once.
#[sqlx::test(migrations = "./migrations")]
async fn a_verification_token_works_once(pool: PgPool) {
    let world = World::new(&pool).await;
    let id = world.register("ada@example.com").await;
    let token = world.mailed_token(id, "email_verification", 1).await;
    let mail = world.mails(id, "email_verification").remove(0);
    assert_eq!(variables(&mail), serde_json::json!({ "token": token, "valid_hours": 24 }));
    assert_eq!(token_of(&mail).len(), 43, "32 random bytes");

    assert_eq!(reason(&world.verify("nonsense").await.unwrap_err()), "invalid_token");
    world.verify(&token).await.unwrap();
    let refused = world.verify(&token).await.unwrap_err();
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::InvalidArgument, "token_used"));
    assert_eq!(world.events(id).await, ["customer.registered.v1", "customer.verified.v1"]);
    assert_eq!(world.audited(id).await, ["account.registered", "account.verified"]);
}

/// USR-07: of several clicks at once, one verifies.
#[sqlx::test(migrations = "./migrations")]
async fn two_clicks_at_once_verify_once(pool: PgPool) {
    let world = World::new(&pool).await;
    let id = world.register("ada@example.com").await;
    let token = world.mailed_token(id, "email_verification", 1).await;
    let clicks = futures::future::join_all((0..4).map(|_| world.verify(&token))).await;
    assert_eq!(clicks.iter().filter(|click| click.is_ok()).count(), 1);
    assert_eq!(world.events(id).await.len(), 2);
}

/// USR-07
#[sqlx::test(migrations = "./migrations")]
async fn an_old_verification_token_has_expired(pool: PgPool) {
    let world = World::new(&pool).await;
    let id = world.register("ada@example.com").await;
    let token = world.mailed_token(id, "email_verification", 1).await;
    sqlx::query("UPDATE mail_tokens SET expires_at = now() - interval '1 second'")
        .execute(&pool)
        .await
        .unwrap();
    assert_eq!(reason(&world.verify(&token).await.unwrap_err()), "token_expired");
}

/// USR-08: known, verified and unknown addresses get the same answer, and none is faster than the floor.
#[sqlx::test(migrations = "./migrations")]
async fn resending_never_tells_whether_an_account_exists(pool: PgPool) {
    let world = World::new(&pool).await;
    let verified = world.person(Role::Customer).await;
    let waiting = world.register("waiting@example.com").await;
    world.mailed_token(waiting, "email_verification", 1).await;
    world.mails_settled().await;
    // The mail of the registration may have been overtaken by the verification.
    let before = world.mails(verified.id, "email_verification").len();
    for email in [verified.email.as_str(), "waiting@example.com", "nobody@example.com"] {
        let start = std::time::Instant::now();
        let body = ResendVerificationRequest { email: email.into() };
        let answer = world.auth().resend_verification(body).await.unwrap().into_inner();
        assert_eq!(format!("{answer:?}"), "ResendVerificationResponse");
        assert!(start.elapsed().as_millis() >= 55, "{email}");
    }
    world.mailed_token(waiting, "email_verification", 2).await;
    assert_eq!(world.mails(verified.id, "email_verification").len(), before);
}

/// Nobody's mailbox is flooded through us.
#[sqlx::test(migrations = "./migrations")]
async fn at_most_five_mails_of_a_kind_go_out_in_an_hour(pool: PgPool) {
    let world = World::new(&pool).await;
    let id = world.register("ada@example.com").await;
    for _ in 0..8 {
        world.mails_settled().await;
        let body = ResendVerificationRequest { email: "ada@example.com".into() };
        world.auth().resend_verification(body).await.unwrap();
    }
    world.mails_settled().await;
    assert_eq!(world.mails(id, "email_verification").len(), 5);
}

/// USR-28, SEC-02: services look customers up; the gateway cannot.
#[sqlx::test(migrations = "./migrations")]
async fn customers_are_looked_up_by_services_only(pool: PgPool) {
    let world = World::new(&pool).await;
    let id = world.register("ada@example.com").await;
    for service in ["notification-service", "instance-service", "billing-service"] {
        let mut directory = CustomerDirectoryServiceClient::new(world.server.channel_as(service));
        let found = directory.get_customer(GetCustomerRequest { customer_id: id.to_string() }).await.unwrap();
        let customer = found.into_inner().customer.unwrap();
        assert_eq!((customer.email.as_str(), customer.is_verified), ("ada@example.com", false));
        let ids = vec![id.to_string(), Uuid::now_v7().to_string(), "no id".into()];
        let batch =
            directory.batch_get_customers(BatchGetCustomersRequest { customer_ids: ids }).await.unwrap();
        assert_eq!(batch.into_inner().customers.len(), 1);
    }
    for service in ["gateway", "instance-worker", "database-service"] {
        let mut directory = CustomerDirectoryServiceClient::new(world.server.channel_as(service));
        let refused =
            directory.get_customer(GetCustomerRequest { customer_id: id.to_string() }).await.unwrap_err();
        assert_eq!(refused.code(), Code::PermissionDenied, "{service}");
    }
    let mut directory = CustomerDirectoryServiceClient::new(world.server.channel_as("billing-service"));
    let unknown =
        directory.get_customer(GetCustomerRequest { customer_id: Uuid::now_v7().to_string() }).await;
    assert_eq!(unknown.unwrap_err().code(), Code::NotFound);
}
