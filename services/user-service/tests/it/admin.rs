//! Operators and administrators.

use contracts::user::v1::{
    EndSessionsRequest, ForcePasswordResetRequest, GetCustomerDetailRequest, ListAuditRequest,
    ListCustomersRequest, SetCustomerActiveRequest, SetQuotaRequest, SetRoleRequest,
};
use runtime::identity::Role;
use sqlx::PgPool;
use tonic::{Code, Status};
use uuid::Uuid;

use crate::world::{PASSWORD, Person, World, fields, reason};

const WHY: &str = "abuse report 12";

/// Calls every method of the service on an account; method, least role, outcome.
async fn all_methods(
    world: &World,
    person: &Person,
    id: Uuid,
) -> Vec<(&'static str, Role, Result<(), Status>)> {
    let (customer_id, reason) = (id.to_string(), WHY.to_owned());
    let (mut admin, id, why) = (world.admin(), || customer_id.clone(), || reason.clone());
    vec![
        (
            "ListCustomers",
            Role::Operator,
            admin.list_customers(person.asks(ListCustomersRequest::default())).await.map(drop),
        ),
        (
            "GetCustomerDetail",
            Role::Operator,
            admin
                .get_customer_detail(person.asks(GetCustomerDetailRequest { customer_id: id() }))
                .await
                .map(drop),
        ),
        (
            "SetCustomerActive",
            Role::Admin,
            admin
                .set_customer_active(person.asks(SetCustomerActiveRequest {
                    customer_id: id(),
                    active: false,
                    reason: why(),
                }))
                .await
                .map(drop),
        ),
        (
            "ForcePasswordReset",
            Role::Admin,
            admin
                .force_password_reset(
                    person.asks(ForcePasswordResetRequest { customer_id: id(), reason: why() }),
                )
                .await
                .map(drop),
        ),
        (
            "EndSessions",
            Role::Admin,
            admin
                .end_sessions(person.asks(EndSessionsRequest { customer_id: id(), reason: why() }))
                .await
                .map(drop),
        ),
        (
            "SetRole",
            Role::SuperAdmin,
            admin
                .set_role(person.asks(SetRoleRequest {
                    customer_id: id(),
                    role: "operator".into(),
                    reason: why(),
                }))
                .await
                .map(drop),
        ),
        (
            "SetQuota",
            Role::Admin,
            admin
                .set_quota(person.asks(SetQuotaRequest {
                    customer_id: id(),
                    max_instances: 1,
                    reason: why(),
                }))
                .await
                .map(drop),
        ),
        (
            "ListAudit",
            Role::Admin,
            admin.list_audit(person.asks(ListAuditRequest::default())).await.map(drop),
        ),
    ]
}

/// USR-22: all methods × all roles; what is not allowed is denied.
#[sqlx::test(migrations = "./migrations")]
async fn a_role_reaches_its_methods_and_no_others(pool: PgPool) {
    let world = World::new(&pool).await;
    for role in Role::ALL {
        let person = world.person(role).await;
        for (method, least, outcome) in all_methods(&world, &person, Uuid::now_v7()).await {
            let code = outcome.map_or_else(|status| status.code(), |()| Code::Ok);
            if role >= least {
                assert!(matches!(code, Code::Ok | Code::NotFound), "{role} {method}: {code:?}");
            } else {
                assert_eq!(code, Code::PermissionDenied, "{role} {method}");
            }
        }
    }
}

/// USR-22: a role that was taken away counts at once, whatever the token says.
#[sqlx::test(migrations = "./migrations")]
async fn a_lost_role_counts_before_its_token_ends(pool: PgPool) {
    let world = World::new(&pool).await;
    let admin = world.person(Role::SuperAdmin).await;
    world.run("UPDATE users SET role = 'customer' WHERE id = $1", admin.id).await;
    for (method, _, outcome) in all_methods(&world, &admin, Uuid::now_v7()).await {
        assert_eq!(outcome.unwrap_err().code(), Code::PermissionDenied, "{method}");
    }
}

/// USR-24, SEC-17
#[sqlx::test(migrations = "./migrations")]
async fn a_customer_is_turned_off_and_on_with_a_reason(pool: PgPool) {
    let world = World::new(&pool).await;
    let admin = world.person(Role::Admin).await;
    let customer = world.person(Role::Customer).await;
    let set = |active: bool, reason: &str| SetCustomerActiveRequest {
        customer_id: customer.id.to_string(),
        active,
        reason: reason.into(),
    };
    let refused = world.admin().set_customer_active(admin.asks(set(false, "no"))).await.unwrap_err();
    assert_eq!(fields(&refused), ["reason"]);

    world.admin().set_customer_active(admin.asks(set(false, WHY))).await.unwrap();
    assert!(!world.is_live(&customer.access).await);
    assert_eq!(reason(&world.login(&customer.email, PASSWORD).await.unwrap_err()), "account_disabled");
    let twice = world.admin().set_customer_active(admin.asks(set(false, WHY))).await.unwrap_err();
    assert_eq!((twice.code(), reason(&twice).as_str()), (Code::FailedPrecondition, "invalid_state"));

    world.admin().set_customer_active(admin.asks(set(true, WHY))).await.unwrap();
    world.login(&customer.email, PASSWORD).await.unwrap();
    let row: (String, String, String, String) = sqlx::query_as(
        "SELECT actor, reason, request_id, ip FROM audit WHERE action = 'customer.deactivated' AND customer_id = $1",
    )
    .bind(customer.id)
    .fetch_one(&pool)
    .await
    .unwrap();
    assert_eq!(row, (admin.id.to_string(), WHY.into(), "request-2".into(), "198.51.100.7".into()));
}

/// USR-24: a forced reset makes the password useless until a new one is set by mail.
#[sqlx::test(migrations = "./migrations")]
async fn a_forced_reset_needs_a_new_password(pool: PgPool) {
    use contracts::user::v1::CompletePasswordResetRequest;
    let world = World::new(&pool).await;
    let admin = world.person(Role::Admin).await;
    let customer = world.person(Role::Customer).await;
    let body = ForcePasswordResetRequest { customer_id: customer.id.to_string(), reason: WHY.into() };
    world.admin().force_password_reset(admin.asks(body)).await.unwrap();
    assert!(!world.is_live(&customer.access).await);
    assert_eq!(reason(&world.login(&customer.email, PASSWORD).await.unwrap_err()), "invalid_credentials");

    let token = world.mailed_token(customer.id, "password_reset", 1).await;
    let new = "Battery-Staple-9";
    let body = CompletePasswordResetRequest { token, new_password: new.into(), confirm_password: new.into() };
    world.auth().complete_password_reset(body).await.unwrap();
    world.login(&customer.email, new).await.unwrap();
}

/// USR-24
#[sqlx::test(migrations = "./migrations")]
async fn sessions_of_a_customer_are_ended(pool: PgPool) {
    let world = World::new(&pool).await;
    let admin = world.person(Role::Admin).await;
    let customer = world.person(Role::Customer).await;
    let detail = GetCustomerDetailRequest { customer_id: customer.id.to_string() };
    let before = world.admin().get_customer_detail(admin.asks(detail.clone())).await.unwrap().into_inner();
    assert_eq!((before.sessions, before.profile.unwrap().email), (1, customer.email.clone()));
    let body = EndSessionsRequest { customer_id: customer.id.to_string(), reason: WHY.into() };
    world.admin().end_sessions(admin.asks(body)).await.unwrap();
    assert!(!world.is_live(&customer.access).await);
    assert_eq!(world.admin().get_customer_detail(admin.asks(detail)).await.unwrap().into_inner().sessions, 0);
}

/// USR-22: roles are given by super_admins, the last of whom stays.
#[sqlx::test(migrations = "./migrations")]
async fn the_last_super_admin_stays(pool: PgPool) {
    let world = World::new(&pool).await;
    let first = world.person(Role::SuperAdmin).await;
    let second = world.person(Role::Customer).await;
    let set = |id: Uuid, role: &str| SetRoleRequest {
        customer_id: id.to_string(),
        role: role.into(),
        reason: WHY.into(),
    };
    let refused = world.admin().set_role(first.asks(set(first.id, "admin"))).await.unwrap_err();
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::FailedPrecondition, "last_super_admin"));
    let unknown = world.admin().set_role(first.asks(set(second.id, "root"))).await.unwrap_err();
    assert_eq!(fields(&unknown), ["role"]);

    world.admin().set_role(first.asks(set(second.id, "super_admin"))).await.unwrap();
    assert!(!world.is_live(&second.access).await, "a token with the old role ends");
    let second = world.sign_in(second.id, &second.email).await;
    let both =
        tokio::join!(async { world.admin().set_role(first.asks(set(second.id, "customer"))).await }, async {
            world.admin().set_role(second.asks(set(first.id, "customer"))).await
        });
    assert!(!(both.0.is_ok() && both.1.is_ok()), "two at once cannot remove each other");
    assert_eq!(world.count("SELECT count(*) FROM users WHERE role = 'super_admin'").await, 1);
}

/// USR-22: an admin has no power over a super_admin.
#[sqlx::test(migrations = "./migrations")]
async fn nobody_acts_on_a_higher_rank(pool: PgPool) {
    let world = World::new(&pool).await;
    let top = world.person(Role::SuperAdmin).await;
    let admin = world.person(Role::Admin).await;
    for (method, _, outcome) in all_methods(&world, &admin, top.id).await {
        if method.starts_with("List") || method.starts_with("Get") {
            outcome.unwrap();
        } else {
            assert_eq!(outcome.unwrap_err().code(), Code::PermissionDenied, "{method}");
        }
    }
    assert!(world.is_live(&top.access).await);
}

/// USR-24
#[sqlx::test(migrations = "./migrations")]
async fn a_quota_is_set_within_its_limits(pool: PgPool) {
    let world = World::new(&pool).await;
    let admin = world.person(Role::Admin).await;
    let customer = world.person(Role::Customer).await;
    let set = |max_instances| SetQuotaRequest {
        customer_id: customer.id.to_string(),
        max_instances,
        reason: WHY.into(),
    };
    world.admin().set_quota(admin.asks(set(10_000))).await.unwrap();
    assert_eq!(
        fields(&world.admin().set_quota(admin.asks(set(10_001))).await.unwrap_err()),
        ["max_instances"]
    );
    let list = ListCustomersRequest { query: customer.email.clone(), ..Default::default() };
    let found = world.admin().list_customers(admin.asks(list)).await.unwrap().into_inner().customers;
    assert_eq!(found[0].customer.as_ref().unwrap().max_instances, Some(10_000));
}

/// USR-24, SEC-05: search, filters, pages; LIKE's signs and quotes are ordinary text.
#[sqlx::test(migrations = "./migrations")]
async fn customers_are_listed_searched_and_paged(pool: PgPool) {
    let world = World::new(&pool).await;
    let operator = world.person(Role::Operator).await;
    for number in 0..5 {
        world.register(&format!("customer_{number}@example.com")).await;
    }
    let off = world.person(Role::Customer).await;
    world.run("UPDATE users SET is_active = false WHERE id = $1", off.id).await;
    world.neighbours.instances.lock().unwrap().insert(off.id.to_string(), 2);
    let list = |query: &str, status: &str, page: u32, page_size: u32| {
        let request = ListCustomersRequest { query: query.into(), status: status.into(), page, page_size };
        let (mut admin, request) = (world.admin(), operator.asks(request));
        async move {
            let answer = admin.list_customers(request).await?.into_inner();
            Ok::<_, Status>((answer.customers, answer.total))
        }
    };
    let (all, total) = list("", "", 1, 3).await.unwrap();
    assert_eq!((all.len(), total), (3, 7));
    assert_eq!(
        (all[0].customer.as_ref().unwrap().id.clone(), all[0].instance_count),
        (off.id.to_string(), 2)
    );
    assert_eq!(list("", "", 3, 3).await.unwrap().0.len(), 1);
    assert_eq!(list("CUSTOMER_3", "", 0, 0).await.unwrap().1, 1);
    assert_eq!(list("", "unverified", 0, 0).await.unwrap().1, 5);
    assert_eq!(list("", "inactive", 0, 0).await.unwrap().1, 1);
    assert_eq!(list("", "active", 0, 0).await.unwrap().1, 6);
    for nothing in ["customer%3", "c_stomer", "' OR 1=1 --", "\\"] {
        assert_eq!(list(nothing, "", 0, 0).await.unwrap().1, 0, "{nothing}");
    }
    assert_eq!(fields(&list("", "gone", 0, 0).await.unwrap_err()), ["status"]);
}

/// USR-27: filters of the platform's audit log.
#[sqlx::test(migrations = "./migrations")]
async fn the_audit_log_is_filtered(pool: PgPool) {
    let world = World::new(&pool).await;
    let admin = world.person(Role::Admin).await;
    let customer = world.person(Role::Customer).await;
    let body = EndSessionsRequest { customer_id: customer.id.to_string(), reason: WHY.into() };
    world.admin().end_sessions(admin.asks(body)).await.unwrap();
    let count = |filter: ListAuditRequest| {
        let (mut client, request) = (world.admin(), admin.asks(filter));
        async move { client.list_audit(request).await.unwrap().into_inner().total }
    };
    let all = ListAuditRequest::default();
    assert_eq!(count(all.clone()).await, 5);
    assert_eq!(count(ListAuditRequest { action: "customer.sessions_ended".into(), ..all.clone() }).await, 1);
    assert_eq!(count(ListAuditRequest { target: customer.id.to_string(), ..all.clone() }).await, 3);
    assert_eq!(count(ListAuditRequest { actor: admin.id.to_string(), ..all.clone() }).await, 3);
    let later = contracts::scalars::timestamp(runtime::clock::now() + time::Duration::hours(1));
    assert_eq!(count(ListAuditRequest { from: Some(later), ..all.clone() }).await, 0);
    assert_eq!(count(ListAuditRequest { to: Some(later), ..all }).await, 5);
}
