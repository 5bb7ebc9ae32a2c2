//! The gRPC server denies by default (SEC-02, GTW-05, GTW-16), with a real server on port 0.

use contracts::notification::v1 as api;
use contracts::notification::v1::notification_service_client::NotificationServiceClient;
use contracts::notification::v1::notification_service_server::{
    NotificationService, NotificationServiceServer,
};
use contracts::services::{BILLING, GATEWAY, INSTANCE, NOTIFICATION, USER};
use runtime::grpc::{Allow, MethodPolicy, Needs, Refusal, undeclared_methods};
use runtime::identity::{Caller, Role};
use test_kit::grpc::{Running, serve};
use test_kit::identity::Keyring;
use tonic::service::Routes;
use tonic::{Code, Request, Response, Status};
use uuid::Uuid;

const POLICIES: &[MethodPolicy] = &[MethodPolicy {
    method: "/saasodoo.notification.v1.NotificationService/SendTemplate",
    allow: &[
        Allow { caller: USER, needs: Needs::Nothing },
        Allow { caller: GATEWAY, needs: Needs::User(Role::Admin) },
        Allow { caller: GATEWAY, needs: Needs::Origin(&[BILLING]) },
    ],
}];

/// Answers who called, as the handler sees it.
struct Echo;

#[tonic::async_trait]
impl NotificationService for Echo {
    async fn send_template(
        &self,
        request: Request<api::SendTemplateRequest>,
    ) -> Result<Response<api::SendTemplateResponse>, Status> {
        Ok(Response::new(api::SendTemplateResponse { email_id: Caller::of(&request)?.actor() }))
    }
}

async fn server() -> Running {
    let routes = Routes::new(NotificationServiceServer::new(Echo));
    serve(NOTIFICATION, POLICIES, &Keyring::new(), routes).await
}

async fn call(running: &Running, service: &'static str, token: Option<&str>) -> Result<String, Status> {
    let mut client = NotificationServiceClient::new(running.channel_as(service));
    let request = runtime::grpc::on_behalf_of(api::SendTemplateRequest::default(), token, "r-1", None);
    Ok(client.send_template(request).await?.into_inner().email_id)
}

/// SEC-02
#[tokio::test]
async fn a_listed_service_is_let_in_and_another_is_not() {
    let running = server().await;

    assert_eq!(call(&running, USER, None).await.unwrap(), USER);

    let refused = call(&running, BILLING, None).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);
    assert_eq!(Refusal::from_status(&refused).reason, "forbidden");
}

/// SEC-02: the user token is needed, must be good, and must have the role.
#[tokio::test]
async fn a_user_method_needs_a_user_of_the_role() {
    let running = server().await;
    let user = Uuid::now_v7();
    let admin = running.keys.user_token(user, Role::SuperAdmin);
    let customer = running.keys.user_token(user, Role::Customer);

    assert_eq!(call(&running, GATEWAY, Some(&admin)).await.unwrap(), user.to_string());
    assert_eq!(call(&running, GATEWAY, Some(&customer)).await.unwrap_err().code(), Code::PermissionDenied);
    assert_eq!(call(&running, GATEWAY, None).await.unwrap_err().code(), Code::Unauthenticated);
    assert_eq!(call(&running, GATEWAY, Some("x.y.z")).await.unwrap_err().code(), Code::Unauthenticated);
}

/// SEC-02, GTW-05: what a service asks of the gateway is done in that service's name, when the method lists
/// it; its token proves it.
#[tokio::test]
async fn a_relayed_call_is_the_asking_services_and_needs_its_token() {
    let running = server().await;
    let relayed = async |through: &'static str, token: String| {
        let mut client = NotificationServiceClient::new(running.channel_as(through));
        let message = api::SendTemplateRequest::default();
        let request = runtime::grpc::relayed_for(message, &token, "r-1", None);
        client.send_template(request).await.map(|answer| answer.into_inner().email_id)
    };
    let keys = &running.keys;

    let token = keys.service_token(BILLING, GATEWAY, 300);
    assert_eq!(relayed(GATEWAY, token.clone()).await.unwrap(), BILLING);

    let unlisted = relayed(GATEWAY, keys.service_token(INSTANCE, GATEWAY, 300)).await.unwrap_err();
    assert_eq!(unlisted.code(), Code::PermissionDenied);
    // A listed caller cannot pass for another one, nor use what was made for the gateway.
    assert_eq!(relayed(USER, token).await.unwrap_err().code(), Code::Unauthenticated);
    let to_user = keys.service_token(BILLING, USER, 300);
    assert_eq!(relayed(USER, to_user).await.unwrap_err().code(), Code::PermissionDenied);
    for bad in [
        keys.service_token(BILLING, GATEWAY, -120),
        keys.service_token(BILLING, NOTIFICATION, 300),
        keys.service_token("nobody", GATEWAY, 300),
        Keyring::new().service_token(BILLING, GATEWAY, 300),
        keys.user_token(Uuid::now_v7(), Role::SuperAdmin),
    ] {
        assert_eq!(relayed(GATEWAY, bad).await.unwrap_err().code(), Code::Unauthenticated);
    }
    // The gateway alone is not enough.
    assert_eq!(call(&running, GATEWAY, None).await.unwrap_err().code(), Code::Unauthenticated);
}

/// GTW-16
#[tokio::test]
async fn a_call_without_a_service_token_is_unauthenticated() {
    let running = server().await;
    let channel =
        tonic::transport::Endpoint::from_shared(running.url.clone()).unwrap().connect().await.unwrap();

    let refused = NotificationServiceClient::new(channel)
        .send_template(api::SendTemplateRequest::default())
        .await
        .unwrap_err();

    assert_eq!(refused.code(), Code::Unauthenticated);
}

/// GTW-05: a method without a policy is found by the test that every service has.
#[test]
fn undeclared_methods_are_found() {
    let missing = undeclared_methods(contracts::DESCRIPTOR_SET, "saasodoo.notification.v1", POLICIES);
    assert!(missing.contains(&"/saasodoo.notification.v1.NotificationAdminService/ListEmails".to_owned()));
    assert!(!missing.contains(&"/saasodoo.notification.v1.NotificationService/SendTemplate".to_owned()));
}
