//! Closing an account, to the erasure of the person.

use std::sync::atomic::Ordering;

use contracts::user::v1::CloseAccountRequest;
use contracts::user::v1::customer_directory_service_client::CustomerDirectoryServiceClient;
use contracts::user::v1::{
    CompletePasswordResetRequest, GetCustomerRequest, ListErasedCustomersRequest,
    RequestPasswordResetRequest, SetQuotaRequest, UpdateProfileRequest,
};
use runtime::identity::Role;
use sqlx::PgPool;
use test_kit::eventually;
use test_kit::search::rows_with;
use tonic::{Code, Status};
use user_service::background;
use uuid::Uuid;

use crate::world::{PASSWORD, Person, SOON, World, reason};

async fn close(world: &World, person: &Person, password: &str, force: bool) -> Result<i64, Status> {
    let body = CloseAccountRequest { password: password.into(), force_terminate: force };
    let answer = world.account().close_account(person.asks(body)).await?.into_inner();
    Ok(answer.erase_after.unwrap().seconds)
}

/// USR-20: what stands in the way.
#[sqlx::test(migrations = "./migrations")]
async fn debts_and_live_instances_keep_an_account_open(pool: PgPool) {
    let world = World::new(&pool).await;
    let person = world.person(Role::Customer).await;
    let wrong = close(&world, &person, "Wrong-Horse-7", true).await.unwrap_err();
    assert_eq!((wrong.code(), reason(&wrong).as_str()), (Code::InvalidArgument, "wrong_password"));

    world.neighbours.instances.lock().unwrap().insert(person.id.to_string(), 1);
    let live = close(&world, &person, PASSWORD, false).await.unwrap_err();
    assert_eq!((live.code(), reason(&live).as_str()), (Code::FailedPrecondition, "live_instances"));
    world.neighbours.standing.lock().unwrap().unpaid_invoices = 1;
    let unpaid = close(&world, &person, PASSWORD, false).await.unwrap_err();
    assert_eq!((unpaid.code(), reason(&unpaid).as_str()), (Code::FailedPrecondition, "unpaid_invoices"));
    world.neighbours.directory_away.store(true, Ordering::SeqCst);
    let unknown = close(&world, &person, PASSWORD, false).await.unwrap_err();
    assert_eq!((unknown.code(), reason(&unknown).as_str()), (Code::Unavailable, "unavailable"));
    assert!(world.is_live(&person.access).await);

    close(&world, &person, PASSWORD, true).await.unwrap();
    assert!(!world.is_live(&person.access).await);
    assert_eq!(reason(&world.login(&person.email, PASSWORD).await.unwrap_err()), "invalid_credentials");
    assert_eq!(world.events(person.id).await.last().unwrap(), "customer.closed.v1");
    assert!(world.neighbours.terminated.lock().unwrap().is_empty());

    // instance-service comes back: the termination was not lost.
    world.neighbours.directory_away.store(false, Ordering::SeqCst);
    eventually("the instances are terminated", SOON, || async {
        world.neighbours.terminated.lock().unwrap().contains(&person.id.to_string()).then_some(())
    })
    .await;
}

/// USR-20: after the period the row names nobody; what refers to it still finds it.
#[sqlx::test(migrations = "./migrations")]
async fn a_closed_account_is_pseudonymised_after_its_period(pool: PgPool) {
    let world = World::new(&pool).await;
    let person = world.person(Role::Customer).await;
    let erase_after = close(&world, &person, PASSWORD, false).await.unwrap();
    let days = (erase_after - runtime::clock::now().unix_timestamp() + 60) / 86_400;
    assert_eq!(days, 30);
    eventually("the termination is done", SOON, || async {
        (world.count("SELECT count(*) FROM closures WHERE terminated_at IS NOT NULL").await == 1)
            .then_some(())
    })
    .await;

    background::clean(&world.app).await.unwrap();
    let email = || async {
        let email: String = sqlx::query_scalar("SELECT email FROM users WHERE id = $1")
            .bind(person.id)
            .fetch_one(&pool)
            .await
            .unwrap();
        email
    };
    assert_eq!(email().await, person.email, "not before its time");

    world.run("UPDATE closures SET erase_after = now() WHERE user_id = $1", person.id).await;
    assert_eq!(background::clean(&world.app).await.unwrap(), 1);
    assert_eq!(background::clean(&world.app).await.unwrap(), 0);
    assert_eq!(email().await, format!("erased-{}@erased.invalid", person.id));
    let left: String = sqlx::query_scalar("SELECT u::text FROM users u WHERE id = $1")
        .bind(person.id)
        .fetch_one(&pool)
        .await
        .unwrap();
    assert!(!left.contains("Ada") && !left.contains(&person.email));
    assert_eq!(world.count("SELECT count(*) FROM sessions").await, 0);
    assert_eq!(world.audited(person.id).await.last().unwrap(), "account.erased");
    let mut directory = CustomerDirectoryServiceClient::new(world.server.channel_as("billing-service"));
    let gone =
        directory.get_customer(GetCustomerRequest { customer_id: person.id.to_string() }).await.unwrap_err();
    assert_eq!(gone.code(), Code::NotFound);
}

/// USR-20: the other services hear of the erasure, and can ask for all of them later.
#[sqlx::test(migrations = "./migrations")]
async fn an_erasure_is_announced_and_listed(pool: PgPool) {
    let world = World::new(&pool).await;
    let mut erased = Vec::new();
    for _ in 0..3 {
        let person = world.person(Role::Customer).await;
        close(&world, &person, PASSWORD, false).await.unwrap();
        erased.push(person.id);
    }
    let open = world.person(Role::Customer).await;
    erased.sort();
    let mut directory = CustomerDirectoryServiceClient::new(world.server.channel_as("billing-service"));
    let mut page = async |after: &str, limit: u32| {
        let request = ListErasedCustomersRequest { after: after.into(), limit };
        directory.list_erased_customers(request).await.unwrap().into_inner().customers
    };
    assert_eq!(page("", 0).await, [], "closed is not erased");

    for &id in &erased {
        erase(&world, id).await;
    }

    assert!(world.events(erased[0]).await.ends_with(&["customer.erased.v1".to_owned()]));
    assert!(!world.events(open.id).await.contains(&"customer.erased.v1".to_owned()));
    let first = page("", 2).await;
    let ids: Vec<&str> = first.iter().map(|customer| customer.customer_id.as_str()).collect();
    assert_eq!(ids, [erased[0].to_string(), erased[1].to_string()]);
    assert!(first.iter().all(|customer| customer.erased_at.is_some()));
    assert_eq!(page(ids[1], 2).await.len(), 1);
    assert_eq!(page(&erased[2].to_string(), 5000).await, []);
    let mut gateway = CustomerDirectoryServiceClient::new(world.server.channel());
    let refused = gateway.list_erased_customers(ListErasedCustomersRequest::default()).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);
}

/// USR-20: nothing is left anywhere of what tells who somebody was or where they came from; what was done, and
/// by whom, stays.
#[sqlx::test(migrations = "./migrations")]
async fn an_erased_person_is_found_in_no_table(pool: PgPool) {
    let world = World::new(&pool).await;
    let staff = world.person(Role::SuperAdmin).await;
    let person = world.person(Role::Operator).await;
    let change = UpdateProfileRequest {
        first_name: Some("Zebediah".into()),
        last_name: Some("Quillfeather".into()),
        phone: Some("+15550142".into()),
        company: Some("Featherworks".into()),
        ..UpdateProfileRequest::default()
    };
    world.account().update_profile(person.asks(change)).await.unwrap();
    for _ in 0..5 {
        let _ = world.login_from("203.0.113.77", &person.email, "Wrong-Horse-7").await.unwrap_err();
    }
    let reset = RequestPasswordResetRequest { email: person.email.clone() };
    world.auth().request_password_reset(reset).await.unwrap();
    let reset = CompletePasswordResetRequest {
        token: world.mailed_token(person.id, "password_reset", 1).await,
        new_password: PASSWORD.into(),
        confirm_password: PASSWORD.into(),
    };
    world.auth().complete_password_reset(reset).await.unwrap();
    let person = world.sign_in(person.id, &person.email).await;
    let quota = SetQuotaRequest {
        customer_id: person.id.to_string(),
        max_instances: 3,
        reason: format!("Zebediah Quillfeather <{}> asked on +15550142", person.email),
    };
    world.admin().set_quota(staff.asks(quota)).await.unwrap();
    let email = person.email.as_str();
    let traces = [email, "Zebediah", "Quillfeather", "+15550142", "Featherworks", "203.0.113.77"];
    for trace in traces {
        assert!(!rows_with(&pool, trace).await.is_empty(), "{trace} was not planted");
    }

    close(&world, &person, PASSWORD, false).await.unwrap();
    erase(&world, person.id).await;

    for trace in traces {
        assert_eq!(rows_with(&pool, trace).await, [] as [&str; 0], "{trace}");
    }
    let own = "SELECT count(*) FROM audit WHERE actor = $1 AND ip <> ''";
    let left: i64 = sqlx::query_scalar(own).bind(person.id.to_string()).fetch_one(&pool).await.unwrap();
    assert_eq!(left, 0);
    let (reason, ip): (String, String) =
        sqlx::query_as("SELECT reason, ip FROM audit WHERE actor = $1 AND target = $2")
            .bind(staff.id.to_string())
            .bind(person.id.to_string())
            .fetch_one(&pool)
            .await
            .unwrap();
    assert_eq!((reason.as_str(), ip.as_str()), ("erased", "198.51.100.7"), "staff are not erased with them");
    assert!(world.audited(person.id).await.contains(&"profile.changed".to_owned()));
    assert!(rows_with(&pool, &staff.email).await.contains(&"users.email".to_owned()));
}

/// Lets the time of an erasure come, and the erasure happen.
async fn erase(world: &World, id: Uuid) {
    eventually("the termination is done", SOON, || async {
        let done = "SELECT count(*) FROM closures WHERE terminated_at IS NULL";
        (world.count(done).await == 0).then_some(())
    })
    .await;
    world.run("UPDATE closures SET erase_after = now() WHERE user_id = $1", id).await;
    background::clean(&world.app).await.unwrap();
}

/// USR-20, USR-02: the address of a closed account is free again, for another account.
#[sqlx::test(migrations = "./migrations")]
async fn a_closed_address_can_register_anew(pool: PgPool) {
    let world = World::new(&pool).await;
    let person = world.person(Role::Customer).await;
    close(&world, &person, PASSWORD, false).await.unwrap();
    let anew = world.register(&person.email).await;
    let token = world.mailed_token(anew, "email_verification", 1).await;
    world.verify(&token).await.unwrap();
    let customer = world.login(&person.email, PASSWORD).await.unwrap().customer.unwrap();
    assert_eq!(customer.id, anew.to_string());
}

/// USR-22
#[sqlx::test(migrations = "./migrations")]
async fn the_last_super_admin_cannot_leave(pool: PgPool) {
    let world = World::new(&pool).await;
    let person = world.person(Role::SuperAdmin).await;
    assert_eq!(reason(&close(&world, &person, PASSWORD, false).await.unwrap_err()), "last_super_admin");
    world.person(Role::SuperAdmin).await;
    close(&world, &person, PASSWORD, false).await.unwrap();
}

/// USR-20: what came up at the same moment as the closing, or later, is terminated a minute afterwards and
/// before the erasure.
#[sqlx::test(migrations = "./migrations")]
async fn instances_are_terminated_again_after_a_minute_and_before_the_erasure(pool: PgPool) {
    let world = World::new(&pool).await;
    let person = world.person(Role::Customer).await;
    close(&world, &person, PASSWORD, false).await.unwrap();
    let asked = || world.neighbours.terminated.lock().unwrap().len();
    eventually("the first termination", SOON, || async { (asked() == 1).then_some(()) }).await;

    world
        .run(
            "UPDATE closures SET created_at = created_at - interval '1 minute',
                    next_try = next_try - interval '1 minute' WHERE user_id = $1",
            person.id,
        )
        .await;
    eventually("the second termination", SOON, || async { (asked() == 2).then_some(()) }).await;

    world.run("UPDATE closures SET erase_after = now() WHERE user_id = $1", person.id).await;
    world.neighbours.directory_away.store(true, Ordering::SeqCst);
    let erased = background::clean(&world.app).await.unwrap();
    assert_eq!(erased, 0, "nobody is erased whose instances may run");
    world.neighbours.directory_away.store(false, Ordering::SeqCst);
    background::clean(&world.app).await.unwrap();
    assert_eq!(asked(), 3);
    assert_eq!(world.count("SELECT count(*) FROM closures WHERE erased_at IS NOT NULL").await, 1);
}
