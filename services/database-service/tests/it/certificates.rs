//! TLS to the tenants' servers (DBS-35): nobody without it, nobody with a stranger's certificate, renewals
//! that nobody notices.

use std::time::Duration;

use contracts::database::v1::{GetCredentialsRequest, PoolSpec};
use sqlx::postgres::PgSslMode;
use sqlx::{Connection as _, PgPool};
use test_kit::eventually;
use uuid::Uuid;

use crate::pool_server::{PoolServer, Tls};
use crate::world::{World, settings};

const SOON: Duration = Duration::from_secs(30);

async fn row(pool: &PgPool) -> (String, String, bool) {
    sqlx::query_as("SELECT fingerprint, served, enforced FROM server_certificates")
        .fetch_one(pool)
        .await
        .unwrap()
}

async fn sweep(world: &World) {
    world.app.sweep_certificates(runtime::clock::now()).await.unwrap();
}

/// The look of the next hour.
async fn look_again(world: &World) {
    let later = runtime::clock::now() + time::Duration::minutes(61);
    // A server that cannot be told is no failure of the sweep.
    world.app.sweep_certificates(later).await.unwrap();
}

fn id(spec: &PoolSpec) -> Uuid {
    Uuid::parse_str(&spec.id).unwrap()
}

/// DBS-35
#[sqlx::test(migrations = "./migrations")]
async fn platform_and_tenants_speak_tls_and_nobody_gets_in_without(pool: PgPool) {
    let world = World::still(&pool, settings(50)).await;
    let (spec, server) = world.first_pool().await;
    world.allocate("i", "c", "starter").await.unwrap();
    let request = GetCredentialsRequest { instance_id: "i".into() };
    let found = world.allocations().get_credentials(request).await.unwrap().into_inner();
    let allocation = found.allocation.unwrap();

    let mut admin = server.admin().await;
    let ours: (i64, bool) = sqlx::query_as(
        "SELECT count(*), bool_and(ssl) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE application_name = 'database-service'",
    )
    .fetch_one(&mut admin)
    .await
    .unwrap();
    assert!(ours.0 > 0 && ours.1, "{ours:?}");

    for (user, password, database) in [
        (allocation.db_user.as_str(), found.password, allocation.db_name.as_str()),
        (
            "pool_admin",
            secrecy::ExposeSecret::expose_secret(&world.pool_password(&spec).await).to_owned(),
            "postgres",
        ),
    ] {
        let refused = server.connect_by(PgSslMode::Disable, user, &password, database).await.unwrap_err();
        assert!(refused.to_string().contains("no encryption"), "{refused}");
        let mut good = server.connect_by(PgSslMode::Require, user, &password, database).await.unwrap();
        let version: String =
            sqlx::query_scalar("SELECT version FROM pg_stat_ssl WHERE pid = pg_backend_pid()")
                .fetch_one(&mut good)
                .await
                .unwrap();
        assert_eq!(version, "TLSv1.3");
    }
    let secret = world.pool_secret(&spec).await.1;
    assert!(!server.log().contains("PRIVATE KEY"));
    let stored: Vec<u8> =
        sqlx::query_scalar("SELECT sealed FROM server_certificates").fetch_one(&pool).await.unwrap();
    assert!(!stored.windows(11).any(|part| part == b"PRIVATE KEY"), "encrypted at rest");
    assert!(secret.key.contains("PRIVATE KEY"));
}

/// DBS-35: who stands between the platform and a server, or took its address over, gets no password.
#[sqlx::test(migrations = "./migrations")]
async fn a_server_with_a_strangers_certificate_is_not_spoken_to(pool: PgPool) {
    let world = World::still(&pool, settings(50)).await;
    let (spec, server) = world.first_pool().await;
    sweep(&world).await;
    let (wanted, served, _) = row(&pool).await;
    assert_eq!(wanted, served);
    let good = world.pool_secret(&spec).await.1;
    let stranger = Tls::of_a_stranger();
    server.place_certificate(&stranger);
    server.read_certificate(&stranger).await;

    let checked = world.app.check(id(&spec)).await.unwrap();
    assert_eq!(checked.health.as_str(), "degraded");
    assert!(checked.last_error.contains("certificate"), "{}", checked.last_error);
    look_again(&world).await;
    assert_eq!(row(&pool).await.1, "", "not taken for ours, and the alert's metric says so");

    server.place_certificate(&good);
    server.read_certificate(&good).await;
    assert_eq!(world.app.check(id(&spec)).await.unwrap().health.as_str(), "healthy");
    sweep(&world).await;
    let (wanted, served, _) = row(&pool).await;
    assert_eq!(wanted, served);
}

/// DBS-35: by name the platform checks the name too.
#[sqlx::test(migrations = "./migrations")]
async fn by_name_another_servers_certificate_is_refused(pool: PgPool) {
    let world = World::still(&pool, settings(50)).await;
    let (spec, server) = world.first_pool().await;
    let host = |name: &'static str| {
        sqlx::query("UPDATE db_servers SET platform_host = $1").bind(name).execute(&pool)
    };
    host("localhost").await.unwrap();
    assert_eq!(world.app.check(id(&spec)).await.unwrap().last_error, "", "the certificate names it");

    let now = runtime::clock::now();
    let authority = {
        let mut conn = pool.acquire().await.unwrap();
        let row =
            database_service::store::certificates::youngest_authority(&mut conn).await.unwrap().unwrap();
        database_service::certificates::Authority {
            id: row.id,
            key: world.app.vault.open(row.id, &row.sealed).unwrap(),
            certificate: row.certificate,
            not_before: row.not_before,
            not_after: row.not_after,
        }
    };
    let other = ["postgres-pool-2.saasodoo.svc.cluster.local".to_owned()];
    let made = database_service::certificates::server(&authority, &other, now).unwrap();
    let others = Tls {
        certificate: made.certificate,
        key: secrecy::ExposeSecret::expose_secret(&made.key).to_owned(),
        authorities: authority.certificate,
    };
    server.place_certificate(&others);
    server.read_certificate(&others).await;
    eventually("the other's certificate is served and refused", SOON, || async {
        (world.app.check(id(&spec)).await.unwrap().last_error.contains("certificate")).then_some(())
    })
    .await;
    // An address tells no name: the look of its own does.
    host("127.0.0.1").await.unwrap();
    assert_eq!(world.app.check(id(&spec)).await.unwrap().last_error, "");
    sweep(&world).await;
    let seen: bool =
        sqlx::query_scalar("SELECT seen_at IS NOT NULL AND served = '' FROM server_certificates")
            .fetch_one(&pool)
            .await
            .unwrap();
    assert!(seen, "looked at and refused");
}

/// DBS-35: the row is renewed, the worker told, the Secret changed, the files read; sessions go on, and no
/// check fails meanwhile.
#[sqlx::test(migrations = "./migrations")]
async fn a_renewed_certificate_is_served_without_a_restart(pool: PgPool) {
    let world = World::still(&pool, settings(50)).await;
    let (spec, server) = world.first_pool().await;
    sweep(&world).await;
    let (first, served, enforced) = row(&pool).await;
    assert!(first == served && enforced);
    let mut session = server.admin().await;

    sqlx::query("UPDATE server_certificates SET not_after = now() + interval '29 days'")
        .execute(&pool)
        .await
        .unwrap();
    sqlx::query("DELETE FROM outbox").execute(&pool).await.unwrap();
    sweep(&world).await;
    let (second, served, _) = row(&pool).await;
    assert!(second != first && served == first, "wanted, and not there yet");
    let told: i64 =
        sqlx::query_scalar("SELECT count(*) FROM outbox WHERE topic = 'database.pool.requested.v1'")
            .fetch_one(&pool)
            .await
            .unwrap();
    assert_eq!(told, 1);
    let renewed = world.specs().await.pop().unwrap();
    assert_ne!(renewed.secret_hash, spec.secret_hash, "the worker writes the Secret again");
    assert_eq!(renewed.config, spec.config, "the pod is not restarted");
    assert_eq!(
        world.app.check(id(&spec)).await.unwrap().health.as_str(),
        "healthy",
        "the old one is good meanwhile"
    );

    server.place_certificate(&world.pool_secret(&spec).await.1);
    eventually("the renewed certificate is served", SOON, || async {
        sweep(&world).await;
        (row(&pool).await.1 == second).then_some(())
    })
    .await;
    session.ping().await.unwrap();
    assert_eq!(world.app.check(id(&spec)).await.unwrap().health.as_str(), "healthy");
    sweep(&world).await;
    assert_eq!(row(&pool).await.0, second, "once");
}

/// DBS-35: a younger authority signs before the old one ends; both are trusted meanwhile, and the old one no
/// longer than it lives.
#[sqlx::test(migrations = "./migrations")]
async fn an_authority_is_renewed_before_its_end(pool: PgPool) {
    let world = World::still(&pool, settings(50)).await;
    let (spec, server) = world.first_pool().await;
    let certificates = |text: &str| text.matches("BEGIN CERTIFICATE").count();
    assert_eq!(certificates(&world.pool_secret(&spec).await.1.authorities), 1);

    sqlx::query("UPDATE authorities SET not_after = now() + interval '179 days'")
        .execute(&pool)
        .await
        .unwrap();
    sqlx::query("UPDATE server_certificates SET not_after = now() + interval '29 days'")
        .execute(&pool)
        .await
        .unwrap();
    sweep(&world).await;
    let renewed = world.pool_secret(&spec).await.1;
    assert_eq!(certificates(&renewed.authorities), 2);
    assert_eq!(world.app.check(id(&spec)).await.unwrap().health.as_str(), "healthy", "served: the old one");

    server.place_certificate(&renewed);
    eventually("the new authority's certificate is served", SOON, || async {
        sweep(&world).await;
        let (wanted, served, _) = row(&pool).await;
        (wanted == served).then_some(())
    })
    .await;
    sqlx::query(
        "UPDATE authorities SET not_after = now() WHERE not_after = (SELECT min(not_after) FROM authorities)",
    )
    .execute(&pool)
    .await
    .unwrap();
    assert_eq!(certificates(&world.pool_secret(&spec).await.1.authorities), 1);
    assert_eq!(world.app.check(id(&spec)).await.unwrap().health.as_str(), "healthy");
}

/// DBS-35: a server from before TLS works on, gets its certificate, and is insisted on once it serves it.
#[sqlx::test(migrations = "./migrations")]
async fn a_server_from_before_is_insisted_on_once_it_serves(pool: PgPool) {
    let world = World::still(&pool, settings(50)).await;
    world.allocate("i", "c", "starter").await.unwrap();
    let spec = world.specs().await.pop().unwrap();
    sqlx::query("DELETE FROM server_certificates").execute(&pool).await.unwrap();
    let mut server = PoolServer::start(&world.pool_password(&spec).await, &spec.config).await;
    world.report(&spec.id, "applied", None).await;
    world.report(&spec.id, "ready", Some(&server)).await;
    assert_eq!(world.app.check(id(&spec)).await.unwrap().status.as_str(), "active");

    sweep(&world).await;
    let (wanted, served, enforced) = row(&pool).await;
    assert!(!wanted.is_empty() && served.is_empty() && !enforced);
    assert_eq!(world.app.check(id(&spec)).await.unwrap().health.as_str(), "healthy");

    server.stop();
    let (password, tls) = world.pool_secret(&spec).await;
    drop(server);
    let server = PoolServer::start_with_tls(&password, &spec.config, &tls).await;
    world.report(&spec.id, "ready", Some(&server)).await;
    sweep(&world).await;
    assert!(row(&pool).await.2, "from here on");
    assert_eq!(world.app.check(id(&spec)).await.unwrap().health.as_str(), "healthy");
}
