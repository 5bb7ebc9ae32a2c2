//! Profile, preferences, own audit.

use std::sync::atomic::Ordering;

use contracts::billing::v1::GetCustomerStandingResponse;
use contracts::user::v1::customer_directory_service_client::CustomerDirectoryServiceClient;
use contracts::user::v1::{
    GetCustomerRequest, GetPreferencesRequest, GetProfileRequest, ListOwnAuditRequest, NotificationSwitches,
    Preferences, Profile, UpdatePreferencesRequest, UpdateProfileRequest,
};
use runtime::identity::Role;
use sqlx::PgPool;
use tonic::{Code, Status};

use crate::world::{Person, World, fields, reason};

async fn profile(world: &World, person: &Person) -> Profile {
    world
        .account()
        .get_profile(person.asks(GetProfileRequest {}))
        .await
        .unwrap()
        .into_inner()
        .profile
        .unwrap()
}

async fn update(world: &World, person: &Person, change: UpdateProfileRequest) -> Result<Profile, Status> {
    Ok(world.account().update_profile(person.asks(change)).await?.into_inner().profile.unwrap())
}

/// USR-17: instances and plan come from their owners.
#[sqlx::test(migrations = "./migrations")]
async fn a_profile_has_the_real_instance_count_and_plan(pool: PgPool) {
    let world = World::new(&pool).await;
    let person = world.person(Role::Customer).await;
    let none = profile(&world, &person).await;
    assert_eq!(
        (none.instance_count, none.subscription_plan, none.subscription_status.as_str()),
        (0, None, "none")
    );

    world.neighbours.instances.lock().unwrap().insert(person.id.to_string(), 3);
    *world.neighbours.standing.lock().unwrap() = GetCustomerStandingResponse {
        highest_plan: Some("premium-annual".into()),
        status: "active".into(),
        unpaid_invoices: 0,
    };
    let some = profile(&world, &person).await;
    assert_eq!(some.id, person.id.to_string());
    assert_eq!((some.instance_count, some.subscription_plan.as_deref()), (3, Some("premium-annual")));
    assert!(some.is_verified && some.last_login_at.is_some());

    // Both away: the last known answer is shown.
    world.neighbours.directory_away.store(true, Ordering::SeqCst);
    let known = profile(&world, &person).await;
    assert_eq!((known.instance_count, known.subscription_plan.as_deref()), (3, Some("premium-annual")));
    assert_eq!(known.subscription_status, "active");
}

/// USR-18
#[sqlx::test(migrations = "./migrations")]
async fn an_update_changes_what_it_names_and_nothing_else(pool: PgPool) {
    let world = World::new(&pool).await;
    let person = world.person(Role::Customer).await;
    let before = profile(&world, &person).await;
    let change = UpdateProfileRequest {
        first_name: Some(" Grace ".into()),
        country: Some("zw".into()),
        timezone: Some("Africa/Harare".into()),
        avatar_url: Some("https://cdn.example.com/g.png".into()),
        ..UpdateProfileRequest::default()
    };
    let after = update(&world, &person, change).await.unwrap();
    assert_eq!(
        (after.first_name.as_str(), after.country.as_str(), after.timezone.as_str()),
        ("Grace", "ZW", "Africa/Harare")
    );
    assert_eq!((after.last_name, after.email, after.role), (before.last_name, before.email, before.role));
    assert_eq!(after.version, before.version + 1);

    let wrong = UpdateProfileRequest {
        country: Some("Narnia".into()),
        phone: Some("abc".into()),
        ..UpdateProfileRequest::default()
    };
    assert_eq!(fields(&update(&world, &person, wrong).await.unwrap_err()), ["phone", "country"]);
    let cleared = UpdateProfileRequest { country: Some(String::new()), ..UpdateProfileRequest::default() };
    assert_eq!(update(&world, &person, cleared).await.unwrap().country, "");
}

/// USR-18: If-Match.
#[sqlx::test(migrations = "./migrations")]
async fn a_stale_version_is_refused(pool: PgPool) {
    let world = World::new(&pool).await;
    let person = world.person(Role::Customer).await;
    let version = profile(&world, &person).await.version;
    let change = |expected| UpdateProfileRequest {
        company: Some("Engine Ltd".into()),
        expected_version: Some(expected),
        ..UpdateProfileRequest::default()
    };
    update(&world, &person, change(version)).await.unwrap();
    let refused = update(&world, &person, change(version)).await.unwrap_err();
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::Aborted, "version_mismatch"));
}

/// USR-19: PUT, then GET equal; the directory tells notification-service.
#[sqlx::test(migrations = "./migrations")]
async fn preferences_are_kept_and_told_to_notification_service(pool: PgPool) {
    let world = World::new(&pool).await;
    let person = world.person(Role::Customer).await;
    let wanted = Preferences {
        language: "de".into(),
        theme: "dark".into(),
        notifications: Some(NotificationSwitches { instance: true, backup: false, product: false }),
    };
    let put = UpdatePreferencesRequest { preferences: Some(wanted.clone()) };
    let answer = world.account().update_preferences(person.asks(put)).await.unwrap().into_inner();
    assert_eq!(answer.preferences.as_ref(), Some(&wanted));
    let read =
        world.account().get_preferences(person.asks(GetPreferencesRequest {})).await.unwrap().into_inner();
    assert_eq!(read.preferences.as_ref(), Some(&wanted));

    let mut directory = CustomerDirectoryServiceClient::new(world.server.channel_as("notification-service"));
    let request = GetCustomerRequest { customer_id: person.id.to_string() };
    let customer = directory.get_customer(request).await.unwrap().into_inner().customer.unwrap();
    assert_eq!((customer.preferences, customer.language.as_str()), (Some(wanted), "de"));

    let pink = UpdatePreferencesRequest {
        preferences: Some(Preferences { theme: "pink".into(), ..Preferences::default() }),
    };
    let refused = world.account().update_preferences(person.asks(pink)).await.unwrap_err();
    assert_eq!(fields(&refused), ["theme"]);
}

/// USR-27: own entries, with request id and address; nobody else's.
#[sqlx::test(migrations = "./migrations")]
async fn a_customer_reads_the_own_part_of_the_audit_log(pool: PgPool) {
    let world = World::new(&pool).await;
    let person = world.person(Role::Customer).await;
    let stranger = world.person(Role::Customer).await;
    update(&world, &person, UpdateProfileRequest { company: Some("X".into()), ..Default::default() })
        .await
        .unwrap();
    let page = ListOwnAuditRequest { page: 1, page_size: 2 };
    let answer = world.account().list_own_audit(person.asks(page)).await.unwrap().into_inner();
    assert_eq!((answer.total, answer.entries.len()), (3, 2));
    let newest = &answer.entries[0];
    assert_eq!((newest.action.as_str(), newest.actor.clone()), ("profile.changed", person.id.to_string()));
    assert_eq!((newest.request_id.as_str(), newest.ip.as_str()), ("request-2", "198.51.100.7"));
    assert!(answer.entries.iter().all(|entry| entry.customer_id != stranger.id.to_string()));
    let beyond = ListOwnAuditRequest { page: 1, page_size: 101 };
    assert_eq!(
        fields(&world.account().list_own_audit(person.asks(beyond)).await.unwrap_err()),
        ["page_size"]
    );
}

/// USR-27: no statement changes or removes an entry, not even of the table's owner.
#[sqlx::test(migrations = "./migrations")]
async fn the_audit_log_is_append_only(pool: PgPool) {
    let world = World::new(&pool).await;
    world.register("ada@example.com").await;
    for statement in ["UPDATE audit SET reason = 'x'", "DELETE FROM audit", "TRUNCATE audit"] {
        let error = sqlx::query(statement).execute(&pool).await.unwrap_err();
        let error = error.as_database_error().unwrap();
        assert_eq!(error.code().as_deref(), Some("42501"), "{statement}");
        assert!(error.message().starts_with("permission denied"), "{statement}");
    }
    assert_eq!(world.count("SELECT count(*) FROM audit").await, 1);
}
