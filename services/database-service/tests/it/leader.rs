//! One replica leads the background work; what one row, one kind of work or one lost node cannot do is stop
//! it (DBS-25, REL-06).

use std::sync::Arc;
use std::time::Duration;

use contracts::database::v1::{ReleaseRequest, ReserveMoveRequest};
use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;
use test_kit::eventually;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use uuid::Uuid;

use crate::world::{World, settings};

/// A line that passes bytes on, is silent, or is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Line {
    Up,
    /// As to a node without power: nothing is closed.
    Silent,
    Gone,
}

/// Connections by way of a line.
async fn frail_line(pool: &PgPool) -> (PgPool, watch::Sender<Line>) {
    let options = Arc::unwrap_or_clone(pool.connect_options());
    let there = (options.get_host().to_owned(), options.get_port());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (state, line) = watch::channel(Line::Up);
    tokio::spawn(async move {
        while let Ok((mut here, _)) = listener.accept().await {
            let (there, mut line) = (there.clone(), line.clone());
            tokio::spawn(async move {
                let mut there = TcpStream::connect((there.0.as_str(), there.1)).await.unwrap();
                let silent = async { line.wait_for(|line| *line > Line::Up).await.map(drop) };
                tokio::select! {
                    _ = tokio::io::copy_bidirectional(&mut here, &mut there) => return,
                    _ = silent => {}
                }
                line.wait_for(|line| *line == Line::Gone).await.map(drop).unwrap_or_default();
            });
        }
    });
    let lazy = PgPoolOptions::new().max_connections(10).acquire_timeout(Duration::from_secs(2));
    (lazy.connect_lazy_with(options.host("127.0.0.1").port(port)), state)
}

async fn leader(pool: &PgPool) -> Option<i32> {
    sqlx::query_scalar(
        "SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND granted AND classid =
            x'53414153'::bigint::oid AND objid = x'44425f31'::bigint::oid
             AND database = (SELECT oid FROM pg_database WHERE datname = current_database())",
    )
    .fetch_optional(pool)
    .await
    .unwrap()
}

/// REL-06: the leader's node goes away without a word; its session is ended by the server, and another
/// replica leads within seconds.
#[sqlx::test(migrations = "./migrations")]
async fn another_replica_leads_when_the_leaders_node_goes_silent(pool: PgPool) {
    let (through, line) = frail_line(&pool).await;
    let _first = World::alive(&through, settings(2)).await;
    let soon = Duration::from_secs(15);
    let first = eventually("a leader", soon, || async { leader(&pool).await }).await;

    line.send(Line::Silent).unwrap();
    let _second = World::alive(&pool, settings(2)).await;

    eventually("another leader", Duration::from_secs(40), || async {
        leader(&pool).await.filter(|pid| *pid != first)
    })
    .await;
    line.send(Line::Gone).unwrap();
}

async fn age(pool: &PgPool) {
    sqlx::raw_sql(
        "UPDATE db_servers SET created_at = created_at - interval '1 hour'; UPDATE waiting SET
        last_asked_at = last_asked_at - interval '1 hour'",
    )
    .execute(pool)
    .await
    .unwrap();
}

async fn dedicated(pool: &PgPool) -> Vec<String> {
    sqlx::query_scalar(
        "SELECT status FROM db_servers WHERE server_type = 'dedicated' ORDER BY created_at, id",
    )
    .fetch_all(pool)
    .await
    .unwrap()
}

/// DBS-10: a create that is given up takes the server with it that was ordered for it, whether it says so or
/// only stops asking.
#[sqlx::test(migrations = "./migrations")]
async fn a_dedicated_server_that_nobody_waits_for_any_more_goes(pool: PgPool) {
    let world = World::still(&pool, settings(2)).await;
    assert_eq!(world.allocate("told", "c", "premium").await.unwrap().status, "provisioning");
    let request = ReleaseRequest { instance_id: "told".into(), mode: "purge".into(), reason: String::new() };
    assert_eq!(world.allocations().release(request).await.unwrap().into_inner().status, "absent");
    assert_eq!(dedicated(&pool).await, ["deprovisioning"]);

    assert_eq!(world.allocate("silent", "c", "premium").await.unwrap().status, "provisioning");
    world.app.sweep().await.unwrap();
    assert_eq!(dedicated(&pool).await, ["deprovisioning", "provisioning"], "somebody waits");
    age(&pool).await;
    world.app.sweep().await.unwrap();
    assert_eq!(dedicated(&pool).await, ["deprovisioning", "deprovisioning"]);
}

/// DBS-10, DBS-33: a server that a move waits for stays; one that it was ordered for and does not want any
/// more goes.
#[sqlx::test(migrations = "./migrations")]
async fn a_dedicated_server_stays_as_long_as_a_move_waits_for_it(pool: PgPool) {
    let world = World::still(&pool, settings(2)).await;
    let (_spec, _server) = world.first_pool().await;
    assert_eq!(world.allocate("i", "c", "starter").await.unwrap().status, "allocated");
    let ask = ReserveMoveRequest {
        move_id: Uuid::now_v7().to_string(),
        instance_id: "i".into(),
        dedicated: true,
        ..ReserveMoveRequest::default()
    };
    let asked = async || world.moves().reserve_move(ask.clone()).await.unwrap().into_inner().status;
    assert_eq!(asked().await, "provisioning");
    age(&pool).await;
    assert_eq!(asked().await, "provisioning");
    world.app.sweep().await.unwrap();
    assert_ne!(dedicated(&pool).await, ["deprovisioning"], "it was asked for just now");

    age(&pool).await;
    world.app.sweep().await.unwrap();

    assert_eq!(dedicated(&pool).await, ["deprovisioning"]);
}

/// REL-06: a row that this release cannot read, and a kind of work that fails, keep nothing else from being
/// done.
#[sqlx::test(migrations = "./migrations")]
async fn one_bad_row_or_kind_of_work_stops_no_other(pool: PgPool) {
    let world = World::still(&pool, settings(2)).await;
    for instance in ["a", "b", "c"] {
        world.allocate(instance, "c", "premium").await.unwrap();
    }
    sqlx::raw_sql(
        "ALTER TABLE db_servers DROP CONSTRAINT db_servers_health_status_check;
         UPDATE db_servers SET health_status = 'of another release' WHERE instance_id = 'a';
         UPDATE db_servers SET memory_limit = 'x' WHERE instance_id = 'b';
         UPDATE server_certificates SET not_after = now()",
    )
    .execute(&pool)
    .await
    .unwrap();
    let fingerprints = async || -> Vec<String> {
        sqlx::query_scalar(
            "SELECT fingerprint FROM server_certificates c JOIN db_servers s ON s.id =
            c.db_server_id WHERE instance_id <> 'a' ORDER BY 1",
        )
        .fetch_all(&pool)
        .await
        .unwrap()
    };
    let before = fingerprints().await;

    assert_eq!(world.specs().await.len(), 1, "what can be told is told");
    world.app.sweep().await.unwrap();

    let after = fingerprints().await;
    assert!(after.len() == 2 && before.iter().all(|old| !after.contains(old)), "certificates were renewed");

    sqlx::raw_sql("ALTER TABLE moves RENAME TO elsewhere; UPDATE server_certificates SET not_after = now()")
        .execute(&pool)
        .await
        .unwrap();
    age(&pool).await;
    let failed = format!("{:#}", world.app.sweep().await.unwrap_err());
    assert!(failed.contains("moves"), "{failed}");
    assert!(fingerprints().await.iter().all(|new| !after.contains(new)), "certificates were renewed again");
    let waiting: i64 = sqlx::query_scalar("SELECT count(*) FROM waiting").fetch_one(&pool).await.unwrap();
    assert_eq!(waiting, 0, "and the others were looked at");
}
