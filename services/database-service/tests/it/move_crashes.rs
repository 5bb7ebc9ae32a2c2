//! The process dies at every place of `failpoint::MOVES` while a tenant's database moves (REL-06, DBS-33). At
//! the end always: allocation rows and held slots = databases on the servers = counters, the data is whole,
//! and no orphan is left.

use contracts::database::v1::{BeginCopyResponse, CopyEnd};
use database_service::app::App;
use database_service::app::allocate::{Outcome, Wanted};
use database_service::app::moves::{End, Ends, Reserved, Synced, Wish};
use database_service::domain::names::ExternalId;
use database_service::failpoint;
use secrecy::ExposeSecret as _;
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use crate::crashes::{Lives, consistent, two_servers};
use crate::moves::copy;
use crate::pool_server::PoolServer;
use crate::world::settings;

fn end(end: &End) -> CopyEnd {
    CopyEnd {
        pool_id: end.server.id.to_string(),
        host: end.server.host.clone(),
        port: u32::try_from(end.server.port).unwrap(),
        database: end.name.clone(),
        user: end.user.clone(),
        password: end.password.expose_secret().to_owned(),
    }
}

fn copied(ends: &Ends) {
    copy(&BeginCopyResponse {
        source: Some(end(&ends.source)),
        target: Some(end(&ends.target)),
        image: String::new(),
        ca_certificates: String::new(),
    });
}

/// Databases and roles of tenants.
async fn made(server: &PoolServer) -> (i64, i64) {
    sqlx::query_as(
        "SELECT (SELECT count(*) FROM pg_database WHERE datname LIKE 'odoo\\_%'), (SELECT count(*) FROM pg_roles WHERE rolname LIKE 'odoo\\_%')",
    )
    .fetch_one(&mut server.admin().await)
    .await
    .unwrap()
}

async fn rows(lives: &Lives, server: &PoolServer) -> i64 {
    sqlx::query_scalar("SELECT count(*) FROM t").fetch_one(&mut tenant(lives, server).await).await.unwrap()
}

/// A session with the credentials of now.
async fn tenant(lives: &Lives, server: &PoolServer) -> PgConnection {
    let request = contracts::database::v1::GetCredentialsRequest { instance_id: "mover".into() };
    let found = lives.world.allocations().get_credentials(request).await.unwrap().into_inner();
    let allocation = found.allocation.unwrap();
    server.try_connect(&allocation.db_user, &found.password, &allocation.db_name).await.unwrap()
}

async fn reserve(lives: &mut Lives, id: Uuid) -> Reserved {
    let instance = ExternalId::try_new("mover").unwrap();
    lives
        .call(move |app| {
            let instance = instance.clone();
            async move { app.reserve_move(id, &instance, &Wish::default()).await }
        })
        .await
}

/// As the worker does it: begin, copy, compare, let the tenant write a row, copy what changed, compare.
async fn copy_and_compare(lives: &mut Lives, first: &PoolServer, id: Uuid) {
    let ends = lives.call(move |app| async move { app.begin_copy(id).await }).await;
    copied(&ends);
    until(lives, "the comparison beside the work", move |app| async move { app.compare_copy(id).await })
        .await;
    assert_eq!(
        sqlx::query("INSERT INTO t SELECT max(n) + 1 FROM t")
            .execute(&mut tenant(lives, first).await)
            .await
            .unwrap()
            .rows_affected(),
        1
    );
    until(lives, "the last tables", move |app| async move {
        let synced = app.sync_copy(id).await?;
        assert_ne!(synced, Synced::CopyAgain, "nothing but one table changed");
        Ok(synced == Synced::Yes)
    })
    .await;
    until(lives, "the comparison", move |app| async move { app.verify_copy(id).await }).await;
}

/// On a busy machine work goes on in the background, as with a large database: asked again, as the worker
/// does.
async fn until<F>(lives: &mut Lives, what: &str, work: impl Fn(App) -> F)
where
    F: Future<Output = Result<bool, database_service::error::Error>> + Send + 'static,
{
    let mut asked = 0;
    while !lives.call(&work).await {
        asked += 1;
        assert!(asked < 600, "{what} does not end");
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
}

async fn sweep(lives: &mut Lives) {
    sqlx::query("UPDATE moves SET updated_at = now() - interval '1 hour'")
        .execute(&lives.world.pool)
        .await
        .unwrap();
    lives.call(|app| async move { Ok(app.sweep().await?) }).await;
}

/// A whole copy that is given up.
async fn give_up(lives: &mut Lives, first: &PoolServer, second: &PoolServer, id: Uuid) {
    assert!(matches!(reserve(lives, id).await, Reserved::Held(_)));
    copy_and_compare(lives, first, id).await;
    assert_eq!(lives.call(move |app| async move { app.abort_move(id).await }).await, "aborted");
    consistent(&lives.world.pool, &[]).await;
    assert_eq!((made(first).await, made(second).await), ((1, 1), (0, 0)));
    assert_eq!(rows(lives, first).await, 301, "as it was");
}

/// How a life goes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Course {
    /// A move, then the end of its source.
    Moves,
    /// A whole copy is given up.
    GivesUp,
    /// The one after the other.
    GivesUpAndMoves,
}

/// A tenant whose move ends, or is given up.
async fn life(lives: &mut Lives, first: &mut PoolServer, second: &mut PoolServer, course: Course) {
    let wanted = Wanted::parse("mover", "customer", "starter", false).unwrap();
    assert_eq!(lives.world.app.allocate(wanted.clone()).await.unwrap(), Outcome::Provisioning);
    let spec = lives.world.specs().await.pop().unwrap();
    lives.world.build_from(&spec, first).await;
    lives.bring_up(&spec, first).await;
    let Outcome::Allocated(allocation, _) = lives.world.app.allocate(wanted).await.unwrap() else {
        panic!("no database")
    };
    sqlx::raw_sql(
        "CREATE TABLE t AS SELECT n FROM generate_series(1, 300) n; ALTER TABLE t ADD PRIMARY KEY (n)",
    )
    .execute(&mut {
        let request = contracts::database::v1::GetCredentialsRequest { instance_id: "mover".into() };
        let found = lives.world.allocations().get_credentials(request).await.unwrap().into_inner();
        first.try_connect(&allocation.db_user, &found.password, &allocation.db_name).await.unwrap()
    })
    .await
    .unwrap();

    let id = Uuid::now_v7();
    assert_eq!(reserve(lives, id).await, Reserved::Provisioning, "no other pool is there yet");
    let other = lives.world.specs().await.into_iter().find(|other| other.id != spec.id).unwrap();
    lives.world.build_from(&other, second).await;
    lives.bring_up(&other, second).await;

    if course == Course::Moves {
        lives.call(move |app| async move { app.abort_move(id).await }).await;
    } else {
        give_up(lives, first, second, id).await;
    }
    if course != Course::GivesUp {
        move_over(lives, first, second, &other.id).await;
    }
    assert_eq!(lives.world.statuses().await.len(), 2, "no server more than it takes");
    let purge = database_service::domain::ReleaseMode::Purge;
    lives.world.app.release(&ExternalId::try_new("mover").unwrap(), purge).await.unwrap();
    assert_eq!((made(first).await, made(second).await), ((0, 0), (0, 0)));
}

/// A move to the other server, until its source is dropped in its time.
async fn move_over(lives: &mut Lives, first: &PoolServer, second: &PoolServer, target: &str) {
    let written = rows(lives, first).await;

    let id = Uuid::now_v7();
    assert!(matches!(reserve(lives, id).await, Reserved::Held(_)));
    copy_and_compare(lives, first, id).await;
    let (_, server, _) = lives.call(move |app| async move { app.switch_move(id).await }).await;
    assert_eq!(server.id.to_string(), target);
    sweep(lives).await;
    consistent(&lives.world.pool, &[]).await;
    assert_eq!((made(first).await, made(second).await), ((1, 1), (1, 1)), "the source is kept");
    let closed: bool = sqlx::query_scalar("SELECT closed_at IS NOT NULL FROM moves WHERE id = $1")
        .bind(id)
        .fetch_one(&lives.world.pool)
        .await
        .unwrap();
    assert!(closed, "nobody logs in to the source any more");
    assert_eq!(rows(lives, second).await, written + 1);

    sqlx::query("UPDATE moves SET drop_after = now() - interval '1 minute' WHERE state = 'switched'")
        .execute(&lives.world.pool)
        .await
        .unwrap();
    sweep(lives).await;
    consistent(&lives.world.pool, &[]).await;
    assert_eq!((made(first).await, made(second).await), ((0, 0), (1, 1)));
    assert_eq!(rows(lives, second).await, written + 1);
}

/// REL-06, DBS-33: the worker asks again, however often the process dies: at every place on the way.
#[sqlx::test(migrations = "./migrations")]
async fn a_death_anywhere_in_a_move_is_mended_by_the_next_call(pool: PgPool) {
    let (mut first, mut second) = two_servers().await;
    let mut lives = Lives::new(&pool, settings(1), failpoint::MOVES, false).await;
    life(&mut lives, &mut first, &mut second, Course::GivesUpAndMoves).await;
    assert_eq!(lives.fail.left(), [""; 0], "nobody died there");

    let mut lives = Lives::new(&pool, settings(1), failpoint::MOVES, false).await;
    life(&mut lives, &mut first, &mut second, Course::Moves).await;
    assert_eq!(lives.fail.left(), ["move.aborting"], "nobody gives up a copy here");
}

/// REL-06, DBS-33: the sweep comes first, and the call finds what it left.
#[sqlx::test(migrations = "./migrations")]
async fn a_death_anywhere_in_a_move_is_no_trouble_for_the_sweep(pool: PgPool) {
    let (mut first, mut second) = two_servers().await;
    for &place in failpoint::MOVES {
        let course = match place {
            // Only a move that ends comes to these.
            "move.before_switch" | "move.switched" | "move.source_closed" => Course::Moves,
            "move.aborting" => Course::GivesUpAndMoves,
            _ => Course::GivesUp,
        };
        let mut lives = Lives::new(&pool, settings(1), &[place], true).await;
        life(&mut lives, &mut first, &mut second, course).await;
        assert_eq!(lives.fail.left(), [""; 0], "nobody died there");
    }
}
