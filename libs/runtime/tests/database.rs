//! Sessions, migrations and probes against a real PostgreSQL.
#![expect(clippy::unwrap_used, reason = "a test fails where it stands")]

use std::time::Duration;

use runtime::admin::Health;
use runtime::config::Postgres;
use runtime::database::{self, Fault, Owned, clock_offset, fault};
use secrecy::SecretString;
use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::postgres::PgPoolOptions;
use sqlx::{PgPool, SqlSafeStr as _};

const OWNED: Owned = Owned { database: "nobody", role: "nobody" };

/// Settings for the database of a test.
fn settings(pool: &PgPool) -> Postgres {
    let url = test_kit::environment::database_url();
    let login = url.split_once("://").unwrap().1.split_once('@').unwrap().0;
    let (user, password) = login.split_once(':').unwrap_or((login, ""));
    let options = pool.connect_options();
    Postgres {
        postgres_host: options.get_host().to_owned(),
        postgres_port: options.get_port(),
        postgres_db: options.get_database().map(str::to_owned),
        db_service_user: Some(user.to_owned()),
        db_service_password: SecretString::from(password),
        db_pool_size: 2,
        db_max_overflow: 0,
    }
}

async fn shown(pool: &PgPool, setting: &str) -> String {
    sqlx::query_scalar("SELECT current_setting($1)").bind(setting).fetch_one(pool).await.unwrap()
}

/// REL-06: the server notices within seconds that one of our processes is gone without a word.
#[sqlx::test(migrations = false)]
async fn sessions_of_a_dead_node_end_within_seconds(pool: PgPool) {
    let ours = database::pool(&settings(&pool), OWNED, "test");

    assert_eq!(shown(&ours, "idle_in_transaction_session_timeout").await, "30s");
    let seconds = async |name: &str| shown(&ours, name).await.parse::<u32>().unwrap();
    let silence = seconds("tcp_keepalives_idle").await
        + seconds("tcp_keepalives_interval").await * seconds("tcp_keepalives_count").await;
    assert!((1..=30).contains(&silence), "{silence}");
    assert_eq!(shown(&ours, "tcp_user_timeout").await, "20000");
}

/// OPS: after a roll-back the older release starts on the newer schema.
#[sqlx::test(migrations = false)]
async fn an_older_release_accepts_a_newer_schema(pool: PgPool) {
    let one = migration(1, "CREATE TABLE one (id int)");
    let newer = Migrator::with_migrations(vec![one.clone(), migration(2, "CREATE TABLE two (id int)")]);
    database::migrate(&settings(&pool), OWNED, "test", &newer).await.unwrap();

    let older = Migrator::with_migrations(vec![one]);

    database::migrate(&settings(&pool), OWNED, "test", &older).await.unwrap();
}

fn migration(version: i64, sql: &'static str) -> Migration {
    Migration::new(version, "test".into(), MigrationType::Simple, sql.into_sql_str(), false)
}

/// REL-08: a pool that is wholly at work is busy and not away: the process stays ready, and whoever asks
/// often asks once.
#[sqlx::test(migrations = false)]
async fn a_busy_pool_is_ready(pool: PgPool) {
    let busy = PgPoolOptions::new()
        .max_connections(1)
        .acquire_timeout(Duration::from_millis(200))
        .connect_with((*pool.connect_options()).clone())
        .await
        .unwrap();
    let health = Health::new("test").with_database(&busy);
    let held = busy.acquire().await.unwrap();

    assert_eq!(fault(&busy.acquire().await.unwrap_err()), Fault::Away);
    assert_eq!(health.failing().await, [] as [&str; 0]);
    drop(held);
}

/// The database's own clock is ours here; a process elsewhere is told by how much it is wrong.
#[sqlx::test(migrations = false)]
async fn the_clocks_are_compared(pool: PgPool) {
    assert!(clock_offset(&pool).await.unwrap().abs() < time::Duration::SECOND);
}

/// What PostgreSQL says of a text with U+0000, of a deadlock's code and of a role that may not log in.
#[sqlx::test(migrations = false)]
async fn refusals_of_the_server_are_read(pool: PgPool) {
    let nul = sqlx::query("SELECT $1::text").bind("a\0b").execute(&pool).await.unwrap_err();
    assert_eq!(fault(&nul), Fault::RefusedText);
    let raise = "DO $$ BEGIN RAISE EXCEPTION 'x' USING ERRCODE = '40P01'; END $$";
    assert_eq!(fault(&sqlx::query(raise).execute(&pool).await.unwrap_err()), Fault::Conflict);
    let nobody = (*pool.connect_options()).clone().username("nobody_at_all");
    let refused = PgPoolOptions::new().max_connections(1).connect_with(nobody).await.unwrap_err();
    assert_eq!(fault(&refused), Fault::Away);
}
