//! Editing (INS-17, INS-29, INS-30).

use contracts::instance::v1 as wire;
use runtime::identity::Role;
use sqlx::PgPool;
use tonic::{Code, Status};

use crate::support::{Person, World, order, refusal, refused};

async fn update(
    world: &World,
    person: &Person,
    request: wire::UpdateInstanceRequest,
) -> Result<wire::UpdateInstanceResponse, Status> {
    Ok(world.client().update_instance(person.ask(request)).await?.into_inner())
}

fn edit(id: &str) -> wire::UpdateInstanceRequest {
    wire::UpdateInstanceRequest { instance_id: id.to_owned(), ..Default::default() }
}

/// INS-17
#[sqlx::test(migrator = "instance::MIGRATIONS")]
async fn texts_and_labels_change_at_once(pool: PgPool) {
    let world = World::start(pool).await;
    let owner = world.customer();
    let before = world.running(&owner, "Acme").await;
    let request = wire::UpdateInstanceRequest {
        name: Some(" Acme 2 ".into()),
        description: Some("of the north".into()),
        admin_email: Some("new@example.org".into()),
        labels: Some(wire::LabelMap { labels: [("team".into(), "blue".into())].into() }),
        ..edit(&before.id)
    };
    let answer = update(&world, &owner, request.clone()).await.unwrap();
    let after = answer.instance.unwrap();
    assert_eq!((after.name.as_str(), after.description.as_str()), ("Acme 2", "of the north"));
    assert_eq!((after.admin_email.as_str(), after.labels["team"].as_str()), ("new@example.org", "blue"));
    assert_eq!((after.version, answer.operation_id), (before.version + 1, None));
    assert_eq!((after.subdomain, after.status), (before.subdomain, "running".into()));
    let again = update(&world, &owner, request).await.unwrap().instance.unwrap();
    assert_eq!(again.version, after.version, "nothing to change, nothing written");
    let bad = wire::UpdateInstanceRequest {
        name: Some(String::new()),
        admin_email: Some("x".into()),
        ..edit(&before.id)
    };
    let fields: Vec<String> =
        refusal(update(&world, &owner, bad).await).fields.into_iter().map(|field| field.field).collect();
    assert_eq!(fields, ["name", "admin_email"]);
    let operator = world.person(Role::Operator);
    let request = wire::UpdateInstanceRequest { name: Some("Theirs".into()), ..edit(&before.id) };
    assert_eq!(refused(update(&world, &operator, request).await).0, Code::PermissionDenied);
}

/// INS-17, INS-30
#[sqlx::test(migrator = "instance::MIGRATIONS")]
async fn a_lost_race_is_told_and_nothing_is_overwritten(pool: PgPool) {
    let world = World::start(pool).await;
    let owner = world.customer();
    let before = world.running(&owner, "Acme").await;
    let named = |name: &str| wire::UpdateInstanceRequest {
        name: Some(name.into()),
        expected_version: Some(before.version),
        ..edit(&before.id)
    };
    let (one, two) = tokio::join!(update(&world, &owner, named("one")), update(&world, &owner, named("two")));
    let (won, lost) = if one.is_ok() { (one, two) } else { (two, one) };
    assert_eq!(refused(lost), (Code::Aborted, "version_mismatch".into()));
    assert_eq!(world.get(&owner, &before.id).await.name, won.unwrap().instance.unwrap().name);
}

/// INS-17, INS-29
#[sqlx::test(migrator = "instance::MIGRATIONS")]
async fn new_limits_are_rolled_out_within_the_plan(pool: PgPool) {
    let world = World::start(pool).await;
    let owner = world.customer();
    let small =
        wire::CreateInstanceRequest { cpu_millis: Some(500), storage_mib: Some(5120), ..order("Acme") };
    let id = world.try_create(&owner, small).await.unwrap().instance.unwrap().id;
    let request = wire::UpdateInstanceRequest { cpu_millis: Some(1000), ..edit(&id) };
    assert_eq!(refused(update(&world, &owner, request.clone()).await).1, "operation_in_progress");
    world.finish(&id).await;

    let answer = update(&world, &owner, request).await.unwrap();
    let operation = world.operation(&owner, &id, &answer.operation_id.unwrap()).await;
    assert_eq!((operation.kind.as_str(), operation.steps.len()), ("apply_resources", 3));
    let after = answer.instance.unwrap();
    assert_eq!((after.status.as_str(), after.cpu_millis), ("updating", 1000));
    world.finish(&id).await;
    assert_eq!(world.get(&owner, &id).await.status, "running");

    let above = wire::UpdateInstanceRequest { memory_mib: Some(4096), ..edit(&id) };
    assert_eq!(refused(update(&world, &owner, above).await), (Code::InvalidArgument, "exceeds_plan".into()));
    let less = wire::UpdateInstanceRequest { storage_mib: Some(4096), ..edit(&id) };
    assert_eq!(refused(update(&world, &owner, less).await), (Code::InvalidArgument, "storage_shrink".into()));

    world.act(&owner, &id, "stop").await;
    world.finish(&id).await;
    let more = wire::UpdateInstanceRequest { storage_mib: Some(8192), ..edit(&id) };
    let answer = update(&world, &owner, more).await.unwrap();
    assert_eq!(answer.instance.unwrap().status, "stopped", "nothing runs, so nothing is seen to move");
    world.finish(&id).await;
    assert_eq!(world.get(&owner, &id).await.status, "stopped");
}
