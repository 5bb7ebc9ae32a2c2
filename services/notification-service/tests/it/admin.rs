//! What operators see and do.

use contracts::notification::v1 as proto;
use contracts::notification::v1::notification_admin_service_client::NotificationAdminServiceClient;
use runtime::grpc::{Authenticated, Refusal, on_behalf_of};
use runtime::identity::Role;
use sqlx::PgPool;
use test_kit::eventually;
use tonic::{Code, Request};
use uuid::Uuid;

use crate::sink::{Mood, Sink};
use crate::world::{SOON, World, running};

fn client(world: &World) -> NotificationAdminServiceClient<Authenticated> {
    NotificationAdminServiceClient::new(world.api.channel())
}

fn by<T>(world: &World, user: Uuid, role: Role, message: T) -> Request<T> {
    on_behalf_of(message, Some(&world.api.keys.user_token(user, role)), "test", None)
}

/// NTF-10, NTF-14: history shows mails with their story, secrets as `***`.
#[sqlx::test(migrations = "./migrations")]
async fn history_is_redacted(pool: PgPool) {
    let (world, _sink) = running(&pool).await;
    let ada = world.directory.add("ada@example.com", true);
    let token = r#"{"token": "very-secret-token-0123456789"}"#;
    let id = world.order(ada, "email_verification", "v", token).await.unwrap();
    world.order(ada, "welcome", "w", "").await.unwrap();
    world.reach("sent", 2).await;
    let operator = Uuid::now_v7();

    let list = proto::ListEmailsRequest { template_name: "email_verification".into(), ..Default::default() };
    let list =
        client(&world).list_emails(by(&world, operator, Role::Operator, list)).await.unwrap().into_inner();
    let request = proto::GetEmailRequest { email_id: id.clone() };
    let mail =
        client(&world).get_email(by(&world, operator, Role::Operator, request)).await.unwrap().into_inner();

    assert_eq!(list.total, 1);
    assert_eq!(list.emails[0].to, "ada@example.com");
    assert_eq!(list.emails[0].id, id);
    let variables: serde_json::Value = serde_json::from_str(&mail.variables_json).unwrap();
    assert_eq!(variables, serde_json::json!({"token": "***", "valid_hours": 24}));
    let story: Vec<_> = mail.events.iter().map(|event| event.kind.as_str()).collect();
    assert_eq!(story, ["queued", "sent"]);
    assert!(mail.message_id.ends_with("@saasodoo.example>"));
}

/// NTF-14, SEC-17: only a failed mail can be sent again, with a reason that stays.
#[sqlx::test(migrations = "./migrations")]
async fn a_failed_mail_is_sent_again_by_an_admin_with_a_reason(pool: PgPool) {
    let (world, sink) = running(&pool).await;
    let ada = world.directory.add("ada@example.com", true);
    sink.set(Mood::Refusing);
    let id = world.order(ada, "welcome", "w", "").await.unwrap();
    world.reach("failed", 1).await;
    sink.set(Mood::Kind);
    let admin = Uuid::now_v7();
    let request = |reason: &str| proto::ResendEmailRequest { email_id: id.clone(), reason: reason.into() };

    let short = client(&world).resend_email(by(&world, admin, Role::Admin, request("no"))).await.unwrap_err();
    assert_eq!(short.code(), Code::InvalidArgument);
    client(&world).resend_email(by(&world, admin, Role::Admin, request("mailbox was full"))).await.unwrap();

    world.reach("sent", 1).await;
    let story: String = sqlx::query_scalar("SELECT detail FROM email_events WHERE kind = 'resent'")
        .fetch_one(&pool)
        .await
        .unwrap();
    assert_eq!(story, format!("by {admin}: mailbox was full"));
    let again =
        client(&world).resend_email(by(&world, admin, Role::Admin, request("once more"))).await.unwrap_err();
    assert_eq!(Refusal::from_status(&again).reason, "not_resendable");
}

/// NTF-10: a link that is dead is not mailed again.
#[sqlx::test(migrations = "./migrations")]
async fn a_failed_mail_whose_secrets_are_gone_is_not_resendable(pool: PgPool) {
    let (world, sink) = running(&pool).await;
    let ada = world.directory.add("ada@example.com", true);
    sink.set(Mood::Refusing);
    let id = world.order(ada, "password_reset", "r", r#"{"token": "t"}"#).await.unwrap();
    world.reach("failed", 1).await;
    sqlx::query("UPDATE emails SET next_attempt_at = now() - interval '25 hours'")
        .execute(&pool)
        .await
        .unwrap();

    notification_service::store::clear_secrets(&pool).await.unwrap();

    let request = proto::ResendEmailRequest { email_id: id, reason: "customer asked".into() };
    let refused =
        client(&world).resend_email(by(&world, Uuid::now_v7(), Role::Admin, request)).await.unwrap_err();
    assert_eq!(Refusal::from_status(&refused).reason, "not_resendable");
}

/// NTF-11: a test mail goes to the caller's own address and nowhere else.
#[sqlx::test(migrations = "./migrations")]
async fn a_test_mail_goes_to_the_caller(pool: PgPool) {
    let (world, sink) = running(&pool).await;
    let admin = world.directory.add("admin@example.com", false);

    let request = proto::SendTestEmailRequest { template_name: "instance_ready".into() };
    client(&world).send_test_email(by(&world, admin, Role::Admin, request)).await.unwrap();

    let mail = eventually("the mail", SOON, || async { sink.mails().into_iter().next() }).await;
    assert_eq!(mail.to, "admin@example.com");
    assert!(mail.header("Subject").unwrap().starts_with("[Test] "));
}

/// NTF-14
#[sqlx::test(migrations = "./migrations")]
async fn templates_can_be_listed_and_previewed_with_typed_variables(pool: PgPool) {
    let world = World::start(&pool, 1).await;
    let operator = Uuid::now_v7();
    let preview = |name: &str, variables: &str| {
        let request = proto::PreviewTemplateRequest { name: name.into(), variables_json: variables.into() };
        by(&world, operator, Role::Operator, request)
    };

    let list = by(&world, operator, Role::Operator, proto::ListTemplatesRequest {});
    let list = client(&world).list_templates(list).await.unwrap().into_inner().templates;
    assert!(list.len() >= 13);
    let ready = list.iter().find(|template| template.name == "instance_ready").unwrap();
    assert_eq!(ready.category, "instance");
    assert_eq!(ready.variables, ["name", "url", "admin_email", "instance_id"]);

    let shown = client(&world)
        .preview_template(preview("instance_ready", r#"{"name": "<b>Shop</b>"}"#))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(shown.subject, "<b>Shop</b> is ready");
    assert!(shown.html.contains("&#60;b&#62;Shop"));
    let unknown =
        client(&world).preview_template(preview("instance_ready", r#"{"html": "x"}"#)).await.unwrap_err();
    assert_eq!(unknown.code(), Code::InvalidArgument);
    let missing = client(&world).preview_template(preview("nothing", "")).await.unwrap_err();
    assert_eq!(missing.code(), Code::NotFound);
}

/// NTF-14, NTF-17
#[sqlx::test(migrations = "./migrations")]
async fn the_mail_server_can_be_probed(pool: PgPool) {
    let sink = Sink::start().await;
    let world = World::start(&pool, sink.port).await;
    let (admin, operator) = (Uuid::now_v7(), Uuid::now_v7());
    let health = || by(&world, operator, Role::Operator, proto::GetDetailedHealthRequest {});

    let test = by(&world, admin, Role::Admin, proto::TestConnectionRequest {});
    assert!(client(&world).test_connection(test).await.unwrap().into_inner().ok);
    let ada = world.directory.add("ada@example.com", true);
    world.order(ada, "welcome", "w", "").await.unwrap();
    let answer = client(&world).get_detailed_health(health()).await.unwrap().into_inner();
    assert!(answer.smtp_connected);
    assert_eq!(answer.queue_depth, 1);
    assert_eq!(answer.last_sent_at, None);

    let away = World::start(&pool, 1).await;
    let test = by(&away, admin, Role::Admin, proto::TestConnectionRequest {});
    let status = client(&away).test_connection(test).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    assert!(!status.message().contains("127.0.0.1"), "no settings in answers (NTF-17)");
}

/// SEC-02, NTF-11: who may do what.
#[sqlx::test(migrations = "./migrations")]
async fn customers_and_other_services_reach_nothing(pool: PgPool) {
    let world = World::start(&pool, 1).await;
    let someone = Uuid::now_v7();

    let list = by(&world, someone, Role::Customer, proto::ListEmailsRequest::default());
    assert_eq!(client(&world).list_emails(list).await.unwrap_err().code(), Code::PermissionDenied);
    let request = proto::SendTestEmailRequest { template_name: "welcome".into() };
    let test = by(&world, someone, Role::Operator, request);
    assert_eq!(client(&world).send_test_email(test).await.unwrap_err().code(), Code::PermissionDenied);
    let worker = world.api.channel_as(contracts::services::WORKER);
    let order = proto::SendTemplateRequest::default();
    let status = proto::notification_service_client::NotificationServiceClient::new(worker)
        .send_template(order)
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::PermissionDenied);
}
