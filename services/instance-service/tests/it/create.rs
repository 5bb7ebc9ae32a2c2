//! Creating instances (INS-01…14, INS-42).

use contracts::instance::v1 as wire;
use contracts::services::USER;
use instance_service::app::create::{CreateInput, create};
use runtime::identity::Role;
use sqlx::PgPool;
use tonic::Code;
use uuid::Uuid;

use crate::support::{World, order, refusal, refused};

/// INS-01, INS-41: one transaction makes the row, its operation with all steps, the event and the
/// announcements.
#[sqlx::test(migrator = "instance::MIGRATIONS")]
async fn an_order_is_accepted_with_everything_that_belongs_to_it(pool: PgPool) {
    let world = World::start(pool).await;
    let owner = world.customer();

    let answer = world.try_create(&owner, order("My first shop")).await.unwrap();

    let (instance, operation) = (answer.instance.unwrap(), answer.operation.unwrap());
    assert_eq!((instance.status.as_str(), instance.desired_state.as_str()), ("creating", "running"));
    assert_eq!(instance.subdomain, "my-first-shop");
    assert_eq!(instance.external_url, "http://my-first-shop.example.org:8081");
    assert_eq!((instance.cpu_millis, instance.memory_mib, instance.storage_mib), (1000, 2048, 10240));
    assert_eq!((instance.odoo_version.as_str(), instance.admin_email.as_str()), ("17", "owner@example.org"));
    assert_eq!((instance.plan.as_str(), instance.billing_status.as_str()), ("basic-monthly", "trial"));
    assert_eq!(
        (operation.kind.as_str(), operation.state.as_str(), operation.progress),
        ("create", "queued", 0)
    );
    let steps: Vec<&str> = operation.steps.iter().map(|step| step.name.as_str()).collect();
    assert_eq!(steps, ["billing", "database", "secret", "volume", "workload", "route", "ready"]);
    assert_eq!(instance.current_operation.unwrap().id, operation.id);
    let topics: Vec<String> = world
        .scalar("SELECT array_agg(topic ORDER BY topic) FROM outbox WHERE aggregate_id = $1", &instance.id)
        .await;
    assert_eq!(topics, ["instance.created.v1", "instance.operation.requested.v1"]);
    let names: Vec<String> = world
        .scalar("SELECT ARRAY[deployment_name, service_name, internal_url, plan_tier, db_tier] FROM instances WHERE id = $1", &instance.id)
        .await;
    let name = format!("odoo-{}", instance.id);
    let url = format!("http://{name}.odoo-instances.svc.cluster.local:8069");
    assert_eq!(names, [name.clone(), name, url, "basic".into(), "starter".into()]);
}

/// INS-03
#[sqlx::test(migrator = "instance::MIGRATIONS")]
async fn a_name_of_any_script_is_kept_as_display_text(pool: PgPool) {
    let world = World::start(pool).await;
    let owner = world.customer();
    let instance = world.create(&owner, "  Ünïcode / test ").await;
    assert_eq!(instance.name, "Ünïcode / test");
    assert_eq!(instance.subdomain, "unicode-test");
    let nothing = world.create(&owner, "日本").await;
    assert!(nothing.subdomain.starts_with("odoo-") && nothing.subdomain.len() == 9, "{}", nothing.subdomain);
    let outcome = world.try_create(&owner, order(&"x".repeat(101))).await;
    assert_eq!(refusal(outcome).fields[0].field, "name");
}

/// INS-04, INS-05: all bad fields are named at once.
#[sqlx::test(migrator = "instance::MIGRATIONS")]
async fn bad_fields_are_named_together(pool: PgPool) {
    let world = World::start(pool).await;
    let bad = wire::CreateInstanceRequest {
        odoo_version: Some("99".into()),
        admin_email: Some("x".into()),
        instance_type: Some("toy".into()),
        database_name: Some("Bad Name".into()),
        cpu_millis: Some(50),
        description: "d".repeat(501),
        ..order("shop one")
    };

    let refusal = refusal(world.try_create(&world.customer(), bad).await);

    assert_eq!((refusal.code, refusal.reason.as_str()), (Code::InvalidArgument, "validation_failed"));
    let mut fields: Vec<&str> = refusal.fields.iter().map(|field| field.field.as_str()).collect();
    fields.sort_unstable();
    assert_eq!(
        fields,
        ["admin_email", "cpu_limit", "database_name", "description", "instance_type", "odoo_version"]
    );
    assert!(world.fakes.state().placed.is_empty(), "nothing was ordered");
}

/// INS-06
#[sqlx::test(migrator = "instance::MIGRATIONS")]
async fn limits_above_the_plan_are_refused_and_absent_ones_are_the_plans(pool: PgPool) {
    let world = World::start(pool).await;
    let owner = world.customer();
    let above = wire::CreateInstanceRequest { cpu_millis: Some(7500), ..order("above") };
    let outcome = refusal(world.try_create(&owner, above).await);
    assert_eq!((outcome.reason.as_str(), outcome.fields[0].field.as_str()), ("exceeds_plan", "cpu_limit"));
    let premium = wire::CreateInstanceRequest {
        plan: Some("premium-monthly".into()),
        cpu_millis: Some(3500),
        ..order("big")
    };
    let instance = world.try_create(&owner, premium).await.unwrap().instance.unwrap();
    assert_eq!(
        (instance.cpu_millis, instance.memory_mib, instance.db_type.as_str()),
        (3500, 8192, "dedicated")
    );
    let fallback = wire::CreateInstanceRequest { plan: Some("free-monthly".into()), ..order("small") };
    let instance = world.try_create(&owner, fallback).await.unwrap().instance.unwrap();
    assert_eq!((instance.cpu_millis, instance.memory_mib, instance.storage_mib), (1000, 2048, 10240));
}

/// BIL-04
#[sqlx::test(migrator = "instance::MIGRATIONS")]
async fn a_plan_that_is_not_sold_cannot_be_ordered(pool: PgPool) {
    let world = World::start(pool).await;
    for plan in ["old-monthly", "nonsense", "basic\0monthly"] {
        let order = wire::CreateInstanceRequest { plan: Some(plan.into()), ..order("shop two") };
        let outcome = refused(world.try_create(&world.customer(), order).await);
        assert_eq!(outcome, (Code::InvalidArgument, "plan_unavailable".into()));
    }
}

/// INS-07, INS-08
#[sqlx::test(migrator = "instance::MIGRATIONS")]
async fn a_chosen_host_name_is_that_one_or_none_and_a_made_one_gets_a_suffix(pool: PgPool) {
    let world = World::start(pool).await;
    let owner = world.customer();
    let chosen = |text: &str| wire::CreateInstanceRequest { subdomain: Some(text.into()), ..order("x") };
    world.try_create(&owner, chosen("acme")).await.unwrap();

    let outcome = refused(world.try_create(&world.customer(), chosen("acme")).await);
    assert_eq!(outcome, (Code::AlreadyExists, "subdomain_taken".into()));
    for reserved in ["www", "shop"] {
        let outcome = refused(world.try_create(&owner, chosen(reserved)).await);
        assert_eq!(outcome, (Code::InvalidArgument, "subdomain_reserved".into()));
    }
    for bad in ["ab", "xn--abc", "-abc", "A.b"] {
        assert_eq!(
            refusal(world.try_create(&owner, chosen(bad)).await).fields[0].field,
            "subdomain",
            "{bad}"
        );
    }
    let made = world.create(&owner, "Acme").await;
    assert!(made.subdomain.starts_with("acme-") && made.subdomain.len() == 9, "{}", made.subdomain);
}

/// INS-07: the name of a terminated instance stays taken until the purge.
#[sqlx::test(migrator = "instance::MIGRATIONS")]
async fn a_host_name_is_free_again_only_after_the_purge(pool: PgPool) {
    let world = World::start(pool).await;
    let chosen = wire::CreateInstanceRequest { subdomain: Some("acme".into()), ..order("x") };
    let instance = world.try_create(&world.customer(), chosen.clone()).await.unwrap().instance.unwrap();
    world
        .sql("UPDATE instances SET status = 'terminated', purge_after = now() WHERE id = $1", &instance.id)
        .await;
    let outcome = refused(world.try_create(&world.customer(), chosen.clone()).await);
    assert_eq!(outcome.1, "subdomain_taken");
    world.sql("UPDATE instances SET status = 'purged' WHERE id = $1", &instance.id).await;
    world.try_create(&world.customer(), chosen).await.unwrap();
}

/// INS-09
#[sqlx::test(migrator = "instance::MIGRATIONS")]
async fn a_host_name_can_be_asked_for_without_reserving_it(pool: PgPool) {
    let world = World::start(pool).await;
    let owner = world.customer();
    world.create(&owner, "Taken one").await;
    for (text, reason) in [("api", "reserved"), ("taken-one", "taken"), ("x", "invalid"), ("free-one", "")] {
        let request = wire::CheckSubdomainRequest { subdomain: text.into() };
        let answer = world.client().check_subdomain(owner.ask(request)).await.unwrap().into_inner();
        assert_eq!((answer.available, answer.reason.as_str()), (reason.is_empty(), reason), "{text}");
        assert_eq!(answer.suggestion.is_empty(), answer.available);
    }
    // What a create would refuse is not called available; what comes nearest is offered.
    let request = wire::CheckSubdomainRequest { subdomain: "ABCx".into() };
    let answer = world.client().check_subdomain(owner.ask(request)).await.unwrap().into_inner();
    assert_eq!((answer.reason.as_str(), answer.suggestion.as_str()), ("invalid", "abcx"));
}

/// INS-10: twenty parallel creates with the same host name: one wins, the others have ordered nothing.
#[sqlx::test(migrator = "instance::MIGRATIONS")]
async fn one_of_twenty_parallel_creates_gets_the_host_name(pool: PgPool) {
    let world = World::start(pool).await;
    let creates = (0..20).map(|_| {
        let person = world.customer();
        let order = wire::CreateInstanceRequest { subdomain: Some("rush".into()), ..order("Rush") };
        let world = &world;
        async move { world.try_create(&person, order).await }
    });

    let outcomes = futures::future::join_all(creates).await;

    let (won, lost): (Vec<_>, Vec<_>) = outcomes.into_iter().partition(Result::is_ok);
    assert_eq!((won.len(), lost.len()), (1, 19));
    for outcome in lost {
        assert_eq!(refused(outcome), (Code::AlreadyExists, "subdomain_taken".into()));
    }
    let winner = won.into_iter().next().unwrap().unwrap().instance.unwrap().id;
    let state = world.fakes.state();
    let placed: Vec<&str> = state.placed.iter().map(|order| order.instance_id.as_str()).collect();
    assert_eq!((placed, state.cancelled.len()), (vec![winner.as_str()], 0));
}

/// INS-11
#[sqlx::test(migrator = "instance::MIGRATIONS")]
async fn a_database_name_of_the_client_is_a_label_only(pool: PgPool) {
    let world = World::start(pool).await;
    let order = wire::CreateInstanceRequest { database_name: Some("postgres".into()), ..order("label") };
    let instance = world.try_create(&world.customer(), order).await.unwrap().instance.unwrap();
    assert_eq!((instance.database_name.as_str(), instance.db_name.as_str()), ("postgres", ""));
    let real: Option<String> =
        world.scalar("SELECT db_name FROM instances WHERE id = $1", &instance.id).await;
    assert_eq!(real, None);
}

/// INS-12
#[sqlx::test(migrator = "instance::MIGRATIONS")]
async fn a_key_gives_the_first_answer_again_and_refuses_another_request(pool: PgPool) {
    let world = World::start(pool).await;
    let owner = world.customer();
    let keyed = |name: &str| {
        let labels = [("b".into(), "2".into()), ("a".into(), "1".into())].into();
        wire::CreateInstanceRequest { idempotency_key: "key-1".into(), labels, ..order(name) }
    };
    let first = world.try_create(&owner, keyed("once")).await.unwrap();
    let again = world.try_create(&owner, keyed("once")).await.unwrap();
    assert_eq!(first.instance.unwrap().id, again.instance.unwrap().id);
    assert_eq!(first.operation.unwrap().id, again.operation.unwrap().id);
    let outcome = refused(world.try_create(&owner, keyed("other")).await);
    assert_eq!(outcome, (Code::AlreadyExists, "idempotency_mismatch".into()));
    assert_eq!(world.fakes.state().placed.len(), 1, "a repetition orders nothing");
    world.try_create(&world.customer(), keyed("other")).await.expect("keys are per customer");
    let long = wire::CreateInstanceRequest { idempotency_key: "k".repeat(201), ..order("long") };
    assert_eq!(refused(world.try_create(&owner, long).await).1, "validation_failed");
}

/// INS-12: also when both come at once.
#[sqlx::test(migrator = "instance::MIGRATIONS")]
async fn parallel_repetitions_make_one_instance(pool: PgPool) {
    let world = World::start(pool).await;
    let owner = world.customer();
    let keyed = wire::CreateInstanceRequest { idempotency_key: "key-1".into(), ..order("once") };
    let outcomes = futures::future::join_all((0..8).map(|_| world.try_create(&owner, keyed.clone()))).await;
    let ids: std::collections::HashSet<String> =
        outcomes.into_iter().map(|outcome| outcome.unwrap().instance.unwrap().id).collect();
    assert_eq!(ids.len(), 1);
    let state = world.fakes.state();
    assert_eq!(
        (state.placed.len(), state.cancelled.len()),
        (1, 0),
        "no order, no invoice, no mail of a loser"
    );
}

/// INS-12: a call that died between its order and its row is made again, and finds its order.
#[sqlx::test(migrator = "instance::MIGRATIONS")]
async fn a_request_that_was_cut_off_goes_on_with_its_order(pool: PgPool) {
    let world = World::start(pool).await;
    let owner = world.customer();
    let keyed = |name: &str| wire::CreateInstanceRequest { idempotency_key: "key-1".into(), ..order(name) };
    // The row cannot be written, and the answer to the commit is lost with it.
    sqlx::raw_sql(
        "CREATE FUNCTION lost() RETURNS trigger LANGUAGE plpgsql AS
             $$BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NULL; END$$;
         CREATE CONSTRAINT TRIGGER lost AFTER INSERT ON instances DEFERRABLE INITIALLY DEFERRED
             FOR EACH ROW EXECUTE FUNCTION lost();",
    )
    .execute(&world.pool)
    .await
    .unwrap();
    refused(world.try_create(&owner, keyed("once")).await);
    sqlx::raw_sql("DROP TRIGGER lost ON instances").execute(&world.pool).await.unwrap();
    assert!(world.fakes.state().cancelled.is_empty(), "nobody knows that it is not there");
    let other = wire::CreateInstanceRequest { subdomain: Some("once".into()), ..order("x") };

    let made = world.try_create(&owner, keyed("once")).await.unwrap().instance.unwrap();

    let placed: Vec<String> =
        world.fakes.state().placed.iter().map(|order| order.instance_id.clone()).collect();
    assert_eq!(placed, [made.id.clone(), made.id], "the same order, placed again");
    assert_eq!(refused(world.try_create(&owner, other).await).1, "subdomain_taken");
}

/// INS-10: a claim that a dead process left behind ends by itself, and its name is free.
#[sqlx::test(migrator = "instance::MIGRATIONS")]
async fn a_claim_that_nobody_ends_ends_by_itself(pool: PgPool) {
    let world = World::start(pool).await;
    let chosen = wire::CreateInstanceRequest { subdomain: Some("acme".into()), ..order("x") };
    let claim =
        "INSERT INTO create_claims (instance_id, token, customer_id, subdomain, request_hash, expires_at)
                 VALUES ($1, $1, $1, 'acme', '', now() + interval '1 minute')";
    world.sql(claim, &Uuid::now_v7().to_string()).await;
    let outcome = refused(world.try_create(&world.customer(), chosen.clone()).await);
    assert_eq!(outcome.1, "subdomain_taken");
    assert!(world.fakes.state().placed.is_empty());
    sqlx::query("UPDATE create_claims SET expires_at = now()").execute(&world.pool).await.unwrap();
    world.try_create(&world.customer(), chosen).await.unwrap();
    let left: i64 =
        sqlx::query_scalar("SELECT count(*) FROM create_claims").fetch_one(&world.pool).await.unwrap();
    assert_eq!(left, 0);
}

/// What ended keeps its volume and its name for the retention, and so has a limit of its own.
#[sqlx::test(migrator = "instance::MIGRATIONS")]
async fn what_is_kept_of_ended_instances_has_a_limit(pool: PgPool) {
    let mut world = World::start(pool).await;
    let rules = instance_service::rules::Rules { max_kept: 1, ..crate::support::rules() };
    world.app.rules = std::sync::Arc::new(rules);
    let owner = world.customer();
    let first = world.running(&owner, "first").await;
    world.act(&world.person(Role::Admin), &first.id, "terminate").await;
    world.finish(&first.id).await;
    let caller = instance_service::app::caller::Caller {
        user: Some(owner.id),
        kind: instance::domain::ActorKind::Customer,
        ..instance_service::app::caller::Caller::platform()
    };
    let input = || CreateInput { name: "second".into(), ..CreateInput::default() };
    let refused = create(&world.app, &caller, input(), "").await.unwrap_err();
    assert_eq!(refused.reason(), "quota_exceeded");
    assert!(refused.to_string().contains("retention"), "{refused}");
    world.sql("UPDATE instances SET status = 'purged' WHERE id = $1", &first.id).await;
    create(&world.app, &caller, input(), "").await.unwrap();
}

/// USR-20: a create that asked for the account just before it was closed makes nothing.
#[sqlx::test(migrator = "instance::MIGRATIONS")]
async fn a_closed_account_gets_nothing_more(pool: PgPool) {
    let world = World::start(pool).await;
    let owner = world.customer();
    let ended = world.running(&owner, "before").await;
    let close = wire::TerminateAllRequest { customer_id: owner.id.to_string(), reason: String::new() };
    let count = world.directory_as(USER).terminate_all(close).await.unwrap().into_inner().count;
    assert_eq!(count, 1);
    world.finish(&ended.id).await;
    assert_eq!(refused(world.try_create(&owner, order("after")).await).1, "forbidden");
    let back = wire::ReactivateInstanceRequest {
        instance_id: ended.id,
        plan_name: "basic-monthly".into(),
        coupon: String::new(),
    };
    assert_eq!(refused(world.client().reactivate_instance(owner.ask(back)).await).1, "forbidden");
    // Opened again long after.
    sqlx::query("UPDATE closed_customers SET closed_at = now() - interval '1 hour'")
        .execute(&world.pool)
        .await
        .unwrap();
    world.try_create(&owner, order("later")).await.unwrap();
}

/// INS-13
#[sqlx::test(migrator = "instance::MIGRATIONS")]
async fn the_quota_holds_also_in_a_rush(pool: PgPool) {
    let world = World::start(pool).await;
    world.fakes.state().max_instances = Some(3);
    let owner = world.customer();
    let names: Vec<String> = (0..10).map(|number| format!("quota {number}")).collect();
    let outcomes =
        futures::future::join_all(names.iter().map(|name| world.try_create(&owner, order(name)))).await;
    let (won, lost): (Vec<_>, Vec<_>) = outcomes.into_iter().partition(Result::is_ok);
    assert_eq!(won.len(), 3);
    for outcome in lost {
        assert_eq!(refused(outcome), (Code::AlreadyExists, "quota_exceeded".into()));
    }
    let id = won.into_iter().next().unwrap().unwrap().instance.unwrap().id;
    world.sql("UPDATE instances SET status = 'terminated', purge_after = now() WHERE id = $1", &id).await;
    world.try_create(&owner, order("room again")).await.expect("a terminated one does not count");
}

/// INS-14
#[sqlx::test(migrator = "instance::MIGRATIONS")]
async fn ten_parallel_creates_of_one_customer_succeed(pool: PgPool) {
    let world = World::start(pool).await;
    let owner = world.customer();
    let outcomes =
        futures::future::join_all((0..10).map(|_| world.try_create(&owner, order("Same name")))).await;
    let names: std::collections::HashSet<String> =
        outcomes.into_iter().map(|outcome| outcome.unwrap().instance.unwrap().subdomain).collect();
    assert_eq!(names.len(), 10);
    assert!(world.fakes.state().plan_calls <= 10, "plans are kept");
    world.create(&owner, "Another").await;
    let calls = world.fakes.state().plan_calls;
    world.create(&owner, "One more").await;
    assert_eq!(world.fakes.state().plan_calls, calls, "a known plan is not asked for again");
}

/// INS-42
#[sqlx::test(migrator = "instance::MIGRATIONS")]
async fn a_subscription_has_one_live_instance(pool: PgPool) {
    let world = World::start(pool).await;
    world.fakes.state().subscription = Some(Uuid::now_v7());
    let owner = world.customer();
    world.create(&owner, "first").await;
    assert_eq!(refused(world.try_create(&owner, order("second")).await).0, Code::Internal);
    assert_eq!(world.fakes.state().cancelled.len(), 1);
    let count: i64 =
        sqlx::query_scalar("SELECT count(*) FROM instances").fetch_one(&world.pool).await.unwrap();
    assert_eq!(count, 1);
}

/// INS-01, BIL-13: an order that must be paid first waits without an operation.
#[sqlx::test(migrator = "instance::MIGRATIONS")]
async fn an_order_that_waits_for_a_payment_makes_nothing(pool: PgPool) {
    let world = World::start(pool).await;
    world.fakes.state().wait_for_payment = true;
    let owner = world.customer();
    let answer = world.try_create(&owner, order("unpaid")).await.unwrap();
    let instance = answer.instance.unwrap();
    assert_eq!(
        (instance.status.as_str(), instance.billing_status.as_str()),
        ("pending_payment", "payment_required")
    );
    assert_eq!(answer.operation, None);
    let topics: Vec<String> =
        world.scalar("SELECT array_agg(topic) FROM outbox WHERE aggregate_id = $1", &instance.id).await;
    assert_eq!(topics, ["instance.created.v1"]);
}

/// INS-01: customers order for themselves, admins for others.
#[sqlx::test(migrator = "instance::MIGRATIONS")]
async fn only_an_admin_orders_for_somebody_else(pool: PgPool) {
    let world = World::start(pool).await;
    let (owner, admin) = (world.customer(), world.person(Role::Admin));
    let for_owner =
        |name: &str| wire::CreateInstanceRequest { customer_id: Some(owner.id.to_string()), ..order(name) };
    let outcome = refused(world.try_create(&world.customer(), for_owner("theirs")).await);
    assert_eq!(outcome, (Code::PermissionDenied, "forbidden".into()));
    world.try_create(&owner, for_owner("own")).await.expect("naming oneself is fine");
    let instance = world.try_create(&admin, for_owner("given")).await.unwrap().instance.unwrap();
    assert_eq!(instance.customer_id, owner.id.to_string());
    let audited: i64 =
        world.scalar("SELECT count(*) FROM audit_log WHERE instance_id = $1", &instance.id).await;
    assert_eq!(audited, 1);
    let unknown =
        wire::CreateInstanceRequest { customer_id: Some(Uuid::nil().to_string()), ..order("nobody's") };
    assert_eq!(refusal(world.try_create(&admin, unknown).await).fields[0].field, "customer_id");
}
