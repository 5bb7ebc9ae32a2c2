//! What all tenants of a server share and one of them fills (DBS-29): the table of locks, the slots of
//! connections, the notification queue. What is taken stays taken in these tests: nobody closes it but the
//! server.

use std::sync::Arc;
use std::time::Duration;

use contracts::database::v1::GetCredentialsRequest;
use database_service::certificates::full_name;
use database_service::tenants::{As, MemoryLimits, SharedLimits, Target, Tenants};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use secrecy::SecretString;
use sqlx::{PgConnection, PgPool};
use test_kit::eventually;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use uuid::Uuid;

use crate::pool_server::{PoolServer, Tls};
use crate::world::{World, settings};

struct Login {
    name: String,
    password: String,
}

impl Login {
    async fn new(world: &World, instance: &str) -> Self {
        eventually("a database", Duration::from_secs(30), || async {
            (world.allocate(instance, "c", "starter").await.ok()?.status == "allocated").then_some(())
        })
        .await;
        let request = GetCredentialsRequest { instance_id: instance.into() };
        let found = world.allocations().get_credentials(request).await.unwrap().into_inner();
        Self { name: found.allocation.unwrap().db_name, password: found.password }
    }

    async fn connect(&self, server: &PoolServer) -> sqlx::Result<PgConnection> {
        server.try_connect(&self.name, &self.password, &self.name).await
    }
}

/// The server as its administrator reaches it.
pub fn target(server: &PoolServer, password: SecretString, tls: &Tls) -> Target {
    Target {
        id: Uuid::now_v7(),
        name: "postgres-pool-1".into(),
        host: "127.0.0.1".into(),
        port: server.port(),
        user: "pool_admin".into(),
        session: As::Administrator,
        password,
        secret_hash: String::new(),
        authorities: Some(tls.authorities.clone()),
    }
}

/// DBS-29: nobody logs in while the table is full, the administrator neither; the guard that is there already
/// ends whoever filled it.
#[sqlx::test(migrations = "./migrations")]
async fn whoever_fills_the_table_of_locks_is_ended(pool: PgPool) {
    let world = World::alive(&pool, settings(3)).await;
    let (_spec, server) = world.first_pool().await;
    let (a, b) = (Login::new(&world, "a").await, Login::new(&world, "b").await);
    let guards = "SELECT count(*) FROM pg_stat_activity
        WHERE usename = 'pool_admin' AND state LIKE 'idle in transaction%'";
    let mut admin = server.admin().await;
    eventually("a guard", Duration::from_secs(20), || async {
        let found: i64 = sqlx::query_scalar(guards).fetch_one(&mut server.admin().await).await.unwrap();
        (found > 0).then_some(())
    })
    .await;

    let mut greedy = a.connect(&server).await.unwrap();
    let full = sqlx::query("SELECT count(pg_advisory_lock(g)) FROM generate_series(1, 2000000) AS g")
        .execute(&mut greedy)
        .await
        .unwrap_err();
    assert!(
        full.to_string().contains("out of shared memory") || full.to_string().contains("terminating"),
        "{full}"
    );

    eventually("the neighbour logs in", Duration::from_secs(20), || async { b.connect(&server).await.ok() })
        .await;
    assert!(sqlx::query("SELECT 1").execute(&mut greedy).await.is_err(), "its session was ended");
    let kept: i64 = sqlx::query_scalar("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'")
        .fetch_one(&mut admin)
        .await
        .unwrap();
    assert_eq!(kept, 0);
}

/// DBS-29: a listener in a long transaction holds the queue of all; within the limits nobody is ended.
#[sqlx::test(migrations = "./migrations")]
async fn whoever_holds_the_notification_queue_is_ended(pool: PgPool) {
    let world = World::still(&pool, settings(3)).await;
    let (spec, server) = world.first_pool().await;
    let a = Login::new(&world, "a").await;
    let mut holds = a.connect(&server).await.unwrap();
    sqlx::raw_sql("LISTEN imbus; BEGIN; SELECT 1").execute(&mut holds).await.unwrap();
    let mut listens = a.connect(&server).await.unwrap();
    sqlx::raw_sql("LISTEN imbus").execute(&mut listens).await.unwrap();
    let (password, tls) = world.pool_secret(&spec).await;
    let mut guard = Tenants::guard(&target(&server, password, &tls)).await.unwrap();
    let limits = |queue, transaction| SharedLimits { locks: 0.25, queue, transaction, memory: None };

    assert_eq!(guard.look(limits(0.25, Duration::ZERO)).await.unwrap(), 0, "the queue is empty");
    assert_eq!(guard.look(limits(0.0, Duration::from_hours(1))).await.unwrap(), 0, "nobody is long in one");
    assert_eq!(guard.look(limits(0.0, Duration::ZERO)).await.unwrap(), 1);

    assert!(sqlx::query("SELECT 1").execute(&mut holds).await.is_err());
    sqlx::query("SELECT 1").execute(&mut listens).await.unwrap();
}

/// DBS-29: a tenant gives its sessions as much memory as it likes; when the server's is nearly gone, whoever
/// has most of it is ended, and neither its small sessions nor its neighbour.
#[sqlx::test(migrations = "./migrations")]
async fn whoever_holds_the_memory_of_all_is_ended(pool: PgPool) {
    const MIB: i64 = 1024 * 1024;
    let world = World::still(&pool, settings(3)).await;
    let (spec, server) = world.first_pool().await;
    let (a, b) = (Login::new(&world, "a").await, Login::new(&world, "b").await);
    let mut hoards = a.connect(&server).await.unwrap();
    sqlx::query("SELECT length(set_config('it.is', repeat('x', 200000000), false))")
        .execute(&mut hoards)
        .await
        .unwrap();
    let mut small = a.connect(&server).await.unwrap();
    let mut neighbour = b.connect(&server).await.unwrap();
    let (password, tls) = world.pool_secret(&spec).await;
    let mut guard = Tenants::guard(&target(&server, password, &tls)).await.unwrap();
    let limits = |all, each| SharedLimits {
        locks: 0.25,
        queue: 0.25,
        transaction: Duration::from_mins(1),
        memory: Some(MemoryLimits { all, each }),
    };

    assert_eq!(guard.look(limits(4096 * MIB, 0)).await.unwrap(), 0, "there is enough for all");
    assert_eq!(guard.look(limits(0, 4096 * MIB)).await.unwrap(), 0, "nobody has so much");
    assert_eq!(guard.look(limits(0, 100 * MIB)).await.unwrap(), 1);

    assert!(sqlx::query("SELECT 1").execute(&mut hoards).await.is_err());
    sqlx::query("SELECT 1").execute(&mut small).await.unwrap();
    sqlx::query("SELECT 1").execute(&mut neighbour).await.unwrap();
    assert_eq!(guard.look(limits(0, 100 * MIB)).await.unwrap(), 0, "the guard goes on");
}

/// A log-in that says who it is and then nothing more. `None`: the server has no slot for it.
async fn half_log_in(server: &PoolServer, tls: &TlsConnector) -> Option<TlsStream<TcpStream>> {
    let mut stream = TcpStream::connect(("127.0.0.1", server.port())).await.unwrap();
    stream.write_all(&[0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f]).await.unwrap();
    (stream.read_u8().await.ok()? == b'S').then_some(())?;
    let name = ServerName::try_from(full_name("postgres-pool-1", "saasodoo")).unwrap();
    let mut session = tls.connect(name, stream).await.ok()?;
    let words = b"user\0nobody_at_all\0database\0postgres\0\0";
    session.write_i32(i32::try_from(words.len()).unwrap() + 8).await.unwrap();
    session.write_i32(196_608).await.unwrap();
    session.write_all(words).await.unwrap();
    session.flush().await.unwrap();
    // It asks for the password, or says that there are too many.
    (session.read_u8().await.ok()? == b'R').then_some(session)
}

/// DBS-29: log-ins of nobody, held open, take every slot; the server takes the slots back by itself, and the
/// sockets are still held.
#[sqlx::test(migrations = "./migrations")]
async fn half_log_ins_keep_nobody_out_for_long(pool: PgPool) {
    let world = World::still(&pool, settings(2)).await;
    let (spec, server) = world.first_pool().await;
    let b = Login::new(&world, "b").await;
    let mut works = b.connect(&server).await.unwrap();
    let mut roots = RootCertStore::empty();
    for authority in CertificateDer::pem_slice_iter(world.pool_secret(&spec).await.1.authorities.as_bytes()) {
        roots.add(authority.unwrap()).unwrap();
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let tls = TlsConnector::from(Arc::new(config));

    let mut held = Vec::new();
    loop {
        let more = futures::future::join_all((0..16).map(|_| half_log_in(&server, &tls))).await;
        let refused = more.iter().any(Option::is_none);
        held.extend(more.into_iter().flatten());
        if refused {
            break;
        }
        assert!(held.len() < 500, "no end of slots");
    }
    assert!(held.len() > 80, "{} took all slots: there is no room beside those for work", held.len());
    assert!(b.connect(&server).await.is_err(), "every slot is taken");

    sqlx::query("SELECT 1").execute(&mut works).await.unwrap();
    eventually("the tenant logs in", Duration::from_secs(25), || async { b.connect(&server).await.ok() })
        .await;
    drop(held);
}
