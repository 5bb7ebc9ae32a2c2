//! Accounts and sessions (part 1 of the API).

use contracts::scalars::timestamp;
use contracts::user::v1::{
    AuditEntry, CloseAccountRequest, Customer, GetPreferencesRequest, GetPreferencesResponse,
    GetProfileRequest, GetProfileResponse, ListAuditRequest, ListAuditResponse, ListCustomersRequest,
    LoginRequest, LoginResponse, NotificationSwitches, Preferences, Profile, RegisterRequest,
    RegisterResponse, RequestPasswordResetRequest, RevokeSessionsRequest, SetCustomerActiveRequest,
    SetRoleRequest, Tokens, UpdatePreferencesRequest, UpdatePreferencesResponse, UpdateProfileRequest,
    UpdateProfileResponse, VerifyEmailRequest, VerifyEmailResponse,
};
use runtime::grpc::Refusal;
use runtime::identity::Role;
use serde_json::json;
use tonic::Code;
use uuid::Uuid;

use crate::world::{World, send};

fn rpc(method: &str) -> String {
    format!("saasodoo.user.v1.{method}")
}

/// USR-02, USR-03, USR-05
#[tokio::test]
async fn registering_answers_one_shape() {
    let world = World::start().await;
    world.fake.on(&rpc("AuthService/Register"), |request: RegisterRequest| {
        Ok(RegisterResponse {
            customer_id: Uuid::now_v7().to_string(),
            email: request.email.trim().to_lowercase(),
            first_name: request.first_name,
            last_name: request.last_name,
        })
    });
    let body = json!({"email": " Ada@Example.com", "password": "Correct-Horse-7", "first_name": "Ada", "last_name": "T", "accept_terms": true});
    let answer = world.post_public("/user/auth/register", &body).await;
    assert_eq!(answer.status, 201, "{answer:?}");
    let shown = answer.json();
    assert_eq!(shown["customer"]["email"], "ada@example.com");
    assert_eq!(
        (&shown["success"], &shown["customer"]["requires_verification"]),
        (&true.into(), &true.into())
    );
    for terms in [json!({}), json!({"accept_terms": false})] {
        let mut body = body.clone();
        body.as_object_mut().unwrap().remove("accept_terms");
        body.as_object_mut().unwrap().extend(terms.as_object().unwrap().clone());
        assert_eq!(world.post_public("/user/auth/register", &body).await.fields(), ["accept_terms"]);
    }
    let refusal = Refusal::invalid("password", "must have a digit");
    world.fake.on(&rpc("AuthService/Register"), move |_: RegisterRequest| -> Result<RegisterResponse, _> {
        Err(refusal.clone().into())
    });
    let answer = world.post_public("/user/auth/register", &body).await;
    assert_eq!((answer.problem().0, answer.fields()), (422, vec!["password".to_owned()]));
}

/// USR-09, USR-10
#[tokio::test]
async fn logging_in_gives_tokens_or_says_why_not() {
    let world = World::start().await;
    let now = runtime::clock::now();
    world.fake.on(&rpc("AuthService/Login"), move |request: LoginRequest| match request.password.as_str() {
        "right" => Ok(LoginResponse {
            customer: Some(Customer {
                email: request.email,
                is_verified: true,
                role: "customer".into(),
                ..Customer::default()
            }),
            tokens: Some(Tokens {
                access_token: "a".into(),
                expires_at: Some(timestamp(now)),
                refresh_token: "r".into(),
                refresh_expires_at: Some(timestamp(now)),
            }),
        }),
        "unverified" => {
            Err(Refusal::new(Code::FailedPrecondition, "email_not_verified", "verify first").into())
        }
        "blocked" => Err(Refusal::new(Code::ResourceExhausted, "rate_limited", "too many failures")
            .with_retry_after(std::time::Duration::from_secs(30))
            .into()),
        _ => {
            Err(Refusal::new(Code::Unauthenticated, "invalid_credentials", "wrong e-mail or password").into())
        }
    });
    let login = |password: &str| {
        let body = json!({"email": "ada@example.com", "password": password});
        let request = world.request("POST", "/user/auth/login").header("user-agent", "test/1").json(&body);
        send(request)
    };
    let answer = login("right").await;
    let tokens = &answer.json()["tokens"];
    assert_eq!(
        (answer.status, &tokens["access_token"], &tokens["token_type"]),
        (200, &"a".into(), &"bearer".into())
    );
    assert!(
        tokens["expires_at"].as_str().unwrap().ends_with('Z') && tokens["refresh_expires_at"].is_string()
    );
    assert_eq!(answer.header("cache-control"), "no-store");
    assert_eq!(login("wrong").await.problem(), (401, "invalid_credentials".into()));
    assert_eq!(login("unverified").await.problem(), (403, "email_not_verified".into()));
    let blocked = login("blocked").await;
    assert_eq!((blocked.problem().0, blocked.header("retry-after")), (429, "30"));
    let calls = world.fake.calls::<LoginRequest>(&rpc("AuthService/Login"));
    assert_eq!(calls[0].1.user_agent, "test/1");
    assert!(!calls[0].0.contains_key("authorization"));
    let empty = json!({"email": "ada@example.com", "password": ""});
    assert_eq!(world.post_public("/user/auth/login", &empty).await.fields(), ["password"]);
}

/// USR-07
#[tokio::test]
async fn a_used_token_is_400() {
    let world = World::start().await;
    world.fake.on(&rpc("AuthService/VerifyEmail"), |request: VerifyEmailRequest| {
        match request.token.as_str() {
            "good" => Ok(VerifyEmailResponse {
                customer: Some(Customer { is_verified: true, ..Customer::default() }),
            }),
            other => Err(Refusal::new(Code::InvalidArgument, other, "the token is no good").into()),
        }
    });
    let verify = |token: &str| {
        let body = json!({"token": token});
        let request = world.request("POST", "/user/auth/verify-email").json(&body);
        send(request)
    };
    let answer = verify("good").await;
    assert_eq!((answer.status, &answer.json()["customer"]["is_verified"]), (200, &true.into()));
    for reason in ["invalid_token", "token_used", "token_expired"] {
        assert_eq!(verify(reason).await.problem(), (400, reason.to_owned()));
    }
}

/// USR-08: one body for known and unknown addresses.
#[tokio::test]
async fn asking_for_mail_tells_nothing() {
    let world = World::start().await;
    for path in ["/user/auth/resend-verification", "/user/auth/password-reset"] {
        let known = world.post_public(path, &json!({"email": "known@example.com"})).await;
        let unknown = world.post_public(path, &json!({"email": "unknown@example.com"})).await;
        assert_eq!((known.status, &known.text), (200, &unknown.text));
    }
    let calls = world.fake.calls::<RequestPasswordResetRequest>(&rpc("AuthService/RequestPasswordReset"));
    assert_eq!(calls[1].1.email, "unknown@example.com");
}

/// USR-17, USR-18: the version is the ETag; a lost race is 412.
#[tokio::test]
async fn a_profile_is_changed_at_its_version() {
    let world = World::start().await;
    let token = world.token(Role::Customer);
    let profile =
        Profile { email: "ada@example.com".into(), instance_count: 2, version: 7, ..Profile::default() };
    let found = profile.clone();
    world.fake.on(&rpc("AccountService/GetProfile"), move |_: GetProfileRequest| {
        Ok(GetProfileResponse { profile: Some(found.clone()) })
    });
    world.fake.on(&rpc("AccountService/UpdateProfile"), move |request: UpdateProfileRequest| {
        if request.expected_version.is_some_and(|version| version != 7) {
            return Err(Refusal::new(Code::Aborted, "version_mismatch", "changed meanwhile").into());
        }
        Ok(UpdateProfileResponse { profile: Some(Profile { version: 8, ..profile.clone() }) })
    });
    for path in ["/user/auth/me", "/user/users/profile"] {
        let answer = world.get(path, &token).await;
        assert_eq!((answer.status, answer.header("etag")), (200, "\"7\""));
        assert_eq!((&answer.json()["instance_count"], &answer.json()["phone"]), (&2.into(), &json!(null)));
    }
    let put = |tag: &str| {
        let request = world.request("PUT", "/user/users/profile").bearer_auth(&token).header("if-match", tag);
        send(request.json(&json!({"company": "Engines"})))
    };
    assert_eq!(put("\"6\"").await.problem(), (412, "version_mismatch".into()));
    assert_eq!(put("\"7\"").await.header("etag"), "\"8\"");
    let long = json!({"first_name": "x".repeat(51), "last_name": "", "country": "ZWE"});
    let answer = send(world.request("PUT", "/user/users/profile").bearer_auth(&token).json(&long)).await;
    assert_eq!(answer.fields(), ["first_name", "last_name", "country"]);
}

/// USR-19: what is not given stays.
#[tokio::test]
async fn preferences_keep_what_is_not_given() {
    let world = World::start().await;
    let token = world.token(Role::Customer);
    world.fake.on(&rpc("AccountService/GetPreferences"), |_: GetPreferencesRequest| {
        let notifications = Some(NotificationSwitches { instance: true, backup: true, product: true });
        Ok(GetPreferencesResponse {
            preferences: Some(Preferences { language: "en".into(), theme: "dark".into(), notifications }),
        })
    });
    world.fake.on(&rpc("AccountService/UpdatePreferences"), |request: UpdatePreferencesRequest| {
        Ok(UpdatePreferencesResponse { preferences: request.preferences })
    });
    let body = json!({"theme": "light", "notifications": {"product": false}});
    let answer = send(world.request("PUT", "/user/users/preferences").bearer_auth(&token).json(&body)).await;
    assert_eq!(
        answer.json(),
        json!({"language": "en", "theme": "light", "notifications": {"instance": true, "backup": true, "product": false}})
    );
    let bad = json!({"theme": "pink"});
    let answer = send(world.request("PUT", "/user/users/preferences").bearer_auth(&token).json(&bad)).await;
    assert_eq!((answer.problem().0, answer.fields()), (422, vec!["theme".to_owned()]));
}

/// USR-15
#[tokio::test]
async fn sessions_are_ended_one_or_all_others() {
    let world = World::start().await;
    let token = world.token(Role::Customer);
    let id = Uuid::now_v7();
    let one = send(world.request("DELETE", &format!("/user/auth/sessions/{id}")).bearer_auth(&token)).await;
    let others = send(world.request("DELETE", "/user/auth/sessions").bearer_auth(&token)).await;
    assert_eq!((one.status, others.status, one.text.as_str()), (204, 204, ""));
    let calls = world.fake.calls::<RevokeSessionsRequest>(&rpc("AccountService/RevokeSessions"));
    assert_eq!(calls[0].1.session_id, Some(id.to_string()));
    assert_eq!(calls[1].1.session_id, None);
}

/// USR-20
#[tokio::test]
async fn closing_an_account_needs_the_word() {
    let world = World::start().await;
    let token = world.token(Role::Customer);
    let close = |word: &str| {
        let body = json!({"password": "x", "confirmation": word});
        let request = world.request("DELETE", "/user/users/account").bearer_auth(&token).json(&body);
        send(request)
    };
    assert_eq!(close("delete").await.fields(), ["confirmation"]);
    assert_eq!(close("DELETE").await.status, 202);
    assert_eq!(world.fake.calls::<CloseAccountRequest>(&rpc("AccountService/CloseAccount")).len(), 1);
}

/// USR-24, SEC-17: no reason, no change.
#[tokio::test]
async fn admins_say_why() {
    let world = World::start().await;
    let token = world.token(Role::SuperAdmin);
    let one = format!("/user/admin/customers/{}", Uuid::now_v7());
    for action in ["deactivate", "reactivate", "force-password-reset", "end-sessions"] {
        let path = format!("{one}/{action}");
        for bad in [json!({}), json!({"reason": "no"}), json!({"reason": " ".repeat(9)})] {
            assert_eq!(world.post(&path, &token, &bad).await.fields(), ["reason"], "{action} {bad}");
        }
        let answer = world.post(&path, &token, &json!({"reason": "ticket 4711"})).await;
        assert_eq!((answer.status, answer.json()), (200, json!({"success": true})));
    }
    let calls = world.fake.calls::<SetCustomerActiveRequest>(&rpc("UserAdminService/SetCustomerActive"));
    assert_eq!((calls[0].1.active, calls[1].1.active), (false, true));
    let put = |path: &str, body: serde_json::Value| {
        let request = world.request("PUT", &format!("{one}/{path}")).bearer_auth(&token).json(&body);
        send(request)
    };
    assert_eq!(put("role", json!({"role": "root", "reason": "ticket 4711"})).await.fields(), ["role"]);
    assert_eq!(put("role", json!({"role": "super_admin", "reason": "ticket 4711"})).await.status, 200);
    assert_eq!(
        put("quota", json!({"max_instances": 10001, "reason": "x"})).await.fields(),
        ["max_instances", "reason"]
    );
    let calls = world.fake.calls::<SetRoleRequest>(&rpc("UserAdminService/SetRole"));
    assert_eq!(calls[0].1.role, "super_admin");
}

/// GTW-14
#[tokio::test]
async fn lists_are_paged_the_same_way() {
    let world = World::start().await;
    let token = world.token(Role::SuperAdmin);
    for path in [
        "/user/users/audit",
        "/user/admin/customers",
        "/user/admin/audit",
        "/instance/instances",
        "/instance/admin/all-instances",
        "/instance/admin/failed-instances",
        "/database/api/database/admin/pools",
        "/billing/api/billing/subscriptions",
        "/notification/api/v1/emails/history",
    ] {
        let answer = world.get(&format!("{path}?page=2&page_size=5"), &token).await;
        let body = answer.json();
        assert_eq!(
            (&body["page"], &body["page_size"], &body["total"]),
            (&2.into(), &5.into(), &0.into()),
            "{path}"
        );
        assert!(
            answer.header("link").contains(&format!("<{path}?page=1&page_size=5>; rel=\"prev\"")),
            "{answer:?}"
        );
        assert_eq!(
            world.get(&format!("{path}?page_size=101"), &token).await.fields(),
            ["page_size"],
            "{path}"
        );
    }
    let calls = world.fake.calls::<ListCustomersRequest>(&rpc("UserAdminService/ListCustomers"));
    assert_eq!((calls[0].1.page, calls[0].1.page_size), (2, 5));
}

/// Part 1 of the API: the audit as a table.
#[tokio::test]
async fn the_audit_is_also_a_table() {
    let world = World::start().await;
    world.fake.on(&rpc("UserAdminService/ListAudit"), |request: ListAuditRequest| {
        assert!(request.from.is_some());
        let entry = AuditEntry { actor: "=cmd".into(), action: "login".into(), ..AuditEntry::default() };
        Ok(ListAuditResponse { entries: vec![entry], total: 1 })
    });
    let token = world.token(Role::Admin);
    let answer = world.get("/user/admin/audit?format=csv&from=2026-01-01T00:00:00Z", &token).await;
    assert!(answer.header("content-type").starts_with("text/csv"));
    assert!(answer.text.contains("\"'=cmd\",\"login\""), "{}", answer.text);
    assert_eq!(world.get("/user/admin/audit?from=yesterday", &token).await.fields(), ["from"]);
}
