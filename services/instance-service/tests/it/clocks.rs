//! All moments of rows are those of the database: a replica whose own clock is wrong decides and writes the
//! same.

use std::path::Path;

use contracts::instance::v1 as wire;
use contracts::scalars::timestamp;
use instance_service::sweep;
use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;
use time::{Duration, OffsetDateTime};

use crate::support::{World, wish};

/// How far the database is ahead of this process: more than any retention.
const AHEAD: Duration = Duration::days(400);

/// The same database with another clock, which is the same as a process whose own is wrong.
async fn ahead(pool: &PgPool) -> PgPool {
    for name in ["now", "clock_timestamp", "statement_timestamp", "transaction_timestamp"] {
        let function = format!(
            "CREATE FUNCTION public.{name}() RETURNS timestamptz STABLE LANGUAGE sql
             AS $$ SELECT pg_catalog.{name}() + interval '400 days' $$"
        );
        sqlx::query(sqlx::AssertSqlSafe(function)).execute(pool).await.unwrap();
    }
    let options = pool.connect_options().as_ref().clone();
    let options = options.options([("search_path", "public,pg_catalog")]);
    PgPoolOptions::new().max_connections(5).connect_with(options).await.unwrap()
}

fn near(seconds: Option<i64>, expected: OffsetDateTime) -> bool {
    (seconds.expect("a moment") - timestamp(expected).seconds).abs() < 120
}

#[sqlx::test(migrator = "instance::MIGRATIONS")]
async fn a_wrong_clock_of_the_process_moves_no_deadline(pool: PgPool) {
    let world = World::start(ahead(&pool).await).await;
    let owner = world.customer();
    let there = runtime::clock::now() + AHEAD;
    let instance = world.running(&owner, "Acme").await;
    assert!(near(instance.created_at.as_ref().map(|at| at.seconds), there), "{instance:?}");
    let revealed = wire::RevealCredentialsRequest { instance_id: instance.id.clone() };
    world.client().reveal_credentials(owner.ask(revealed)).await.expect("its 7 days began there");

    let confirm = Some(instance.subdomain.clone());
    let end =
        wire::ActOnInstanceRequest { confirm, final_backup: Some(false), ..wish(&instance.id, "terminate") };
    let ended = world.try_act(&owner, end).await.unwrap();
    assert!(near(ended.purge_after.as_ref().map(|at| at.seconds), there + Duration::days(30)), "{ended:?}");
    world.finish(&instance.id).await;
    sweep::once(&world.app).await.unwrap();
    let kept = world.get(&owner, &instance.id).await;
    assert_eq!(
        (kept.status.as_str(), kept.current_operation),
        ("terminated", None),
        "its retention has just begun"
    );
}

/// Nothing else may bring the process's clock back in: metrics alone tell it.
#[test]
fn no_use_case_reads_the_clock_of_the_process() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut folders = vec![source];
    let mut found = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if std::fs::read_to_string(&path).unwrap().contains("clock::now()") {
                found.push(path.file_name().unwrap().to_owned());
            }
        }
    }
    assert_eq!(found, ["metrics.rs"]);
}
