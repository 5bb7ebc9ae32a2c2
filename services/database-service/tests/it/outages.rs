//! The platform's own PostgreSQL goes away under allocations (REL-06): a server of its own, restarted for
//! real, twice.

use std::time::Duration;

use futures::future::join_all;
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};
use test_kit::eventually;

use crate::pool_server::PoolServer;
use crate::world::{World, settings};

const TENANTS: usize = 24;

/// REL-06, DBS-08, DBS-23: clients that ask again get one database each; rows, databases and counters are the
/// same in the end.
#[tokio::test]
async fn allocations_go_on_over_restarts_of_the_platforms_database() {
    let password = database_service::secrets::generate_password().unwrap();
    let mut platform = PoolServer::start(&password, "max_connections = 60\n").await;
    let options = PgConnectOptions::new_without_pgpass()
        .host("127.0.0.1")
        .port(platform.port())
        .username("pool_admin")
        .password(secrecy::ExposeSecret::expose_secret(&password))
        .database("postgres");
    let pool: PgPool = PgPoolOptions::new()
        .max_connections(12)
        .acquire_timeout(Duration::from_secs(5))
        .connect_with(options)
        .await
        .unwrap();
    database_service::MIGRATIONS.run(&pool).await.unwrap();
    let world = World::alive(&pool, settings(50)).await;
    assert_eq!(world.allocate("first", "c", "starter").await.unwrap().status, "provisioning");
    let spec = world.specs().await.pop().unwrap();
    let server = world.build(&spec).await;
    world.report(&spec.id, "applied", None).await;
    world.report(&spec.id, "ready", Some(&server)).await;
    let allocated = async |name: String| {
        eventually("a database", Duration::from_mins(2), || async {
            let answer = world.allocate(&name, "c", "starter").await.ok()?;
            (answer.status == "allocated").then_some(())
        })
        .await;
    };
    allocated("first".into()).await;

    let storm = join_all((0..TENANTS).map(|number| allocated(format!("tenant-{number}"))));
    let restarts = async {
        for at in [3, 9] {
            eventually("some of them", Duration::from_mins(1), || async {
                let made: i64 =
                    sqlx::query_scalar("SELECT count(*) FROM pg_database WHERE datname LIKE 'odoo\\_%'")
                        .fetch_one(&mut server.admin().await)
                        .await
                        .ok()?;
                (made >= at).then_some(())
            })
            .await;
            platform.stop();
            platform.resume().await;
        }
    };
    tokio::join!(storm, restarts);

    // What lost its last transaction with the server is finished by the next call or by the sweep.
    eventually("every row is at its end", Duration::from_mins(2), || async {
        for number in 0..TENANTS {
            let _ = world.allocate(&format!("tenant-{number}"), "c", "starter").await;
        }
        let open: i64 = sqlx::query_scalar("SELECT count(*) FROM allocations WHERE state <> 'allocated'")
            .fetch_one(&pool)
            .await
            .ok()?;
        (open == 0).then_some(())
    })
    .await;
    crate::crashes::consistent(&pool, &[&server]).await;
    let rows: i64 = sqlx::query_scalar("SELECT count(*) FROM allocations").fetch_one(&pool).await.unwrap();
    assert_eq!(usize::try_from(rows).unwrap(), TENANTS + 1);
}
