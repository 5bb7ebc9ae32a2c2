//! The tenant's database: connection with retries, the small schema that is made once, and the check of a
//! login.

use std::time::Duration;

use anyhow::{Context as _, bail};
use aws_lc_rs::{pbkdf2, rand};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use secrecy::ExposeSecret as _;
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};
use sqlx::{PgConnection, Row as _};
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use crate::config::Config;
use crate::filestore::Filestore;
use crate::log;

/// Wrong credentials or no such database are not waited for longer than this: waiting seldom mends them.
const REFUSED_DEADLINE: Duration = Duration::from_secs(5);
/// SQLSTATEs of a server that answers and refuses.
const REFUSED: [&str; 4] = ["28P01", "28000", "3D000", "42501"];
const ROUNDS: std::num::NonZeroU32 = std::num::NonZeroU32::new(25_000).unwrap();
/// Any number that stand-ins agree on: one of them makes the schema.
const SCHEMA_LOCK: i64 = 0x0d00;

const SCHEMA: [&str; 6] = [
    "CREATE TABLE ir_config_parameter (id serial PRIMARY KEY, key text UNIQUE NOT NULL, value text NOT NULL)",
    "CREATE TABLE ir_module_module (id serial PRIMARY KEY, name text UNIQUE NOT NULL, state text NOT NULL, \
     demo boolean NOT NULL DEFAULT false)",
    "CREATE TABLE res_partner (id serial PRIMARY KEY, name text NOT NULL, email text, create_date timestamp \
     NOT NULL DEFAULT now())",
    "CREATE TABLE res_users (id serial PRIMARY KEY, login text UNIQUE NOT NULL, password text, active \
     boolean NOT NULL DEFAULT true, partner_id integer REFERENCES res_partner, create_date timestamp NOT \
     NULL DEFAULT now())",
    "CREATE TABLE ir_attachment (id serial PRIMARY KEY, name text NOT NULL, store_fname text NOT NULL, \
     file_size integer NOT NULL, checksum text NOT NULL, mimetype text NOT NULL)",
    "CREATE TABLE mail_message (id serial PRIMARY KEY, subject text, body text, author_id integer \
     REFERENCES res_partner, date timestamp NOT NULL DEFAULT now())",
];

/// Connects; tries again while the server does not answer, until the deadline.
pub async fn connect(config: &Config) -> anyhow::Result<PgPool> {
    let options = PgConnectOptions::new_without_pgpass()
        .host(&config.host)
        .port(config.port)
        .database(&config.database_name)
        .username(&config.user)
        .password(config.db_password.expose_secret())
        .application_name("odoo");
    let pool = PgPoolOptions::new()
        .max_connections(2)
        .acquire_timeout(Duration::from_secs(2))
        .idle_timeout(Duration::from_secs(30))
        .connect_lazy_with(options);
    let begun = Instant::now();
    let deadline = Duration::from_secs(config.start_deadline_seconds);
    let mut pause = Duration::from_millis(100);
    loop {
        let Err(error) = pool.acquire().await else { return Ok(pool) };
        let code = error.as_database_error().and_then(sqlx::error::DatabaseError::code);
        let refused = code.is_some_and(|code| REFUSED.contains(&&*code));
        let limit = if refused { deadline.min(REFUSED_DEADLINE) } else { deadline };
        if begun.elapsed() + pause > limit {
            bail!("the database does not accept us: {error}");
        }
        let text = format!("Connection to the database failed, trying again: {error}");
        log::line(log::Level::Warning, &config.database_name, "odoo.sql_db", &text);
        sleep(pause).await;
        pause = (pause * 2).min(Duration::from_secs(2));
    }
}

/// Whether the database answers.
pub async fn answers(pool: &PgPool) -> bool {
    sqlx::query("SELECT 1").execute(pool).await.is_ok()
}

/// Makes schema, first user and files in a new database; tells whether it was new. An existing one is left as
/// it is.
pub async fn initialise(pool: &PgPool, config: &Config, files: &Filestore) -> anyhow::Result<bool> {
    let mut tx = pool.begin().await.context("begin")?;
    sqlx::query("SELECT pg_advisory_xact_lock($1)").bind(SCHEMA_LOCK).execute(&mut *tx).await?;
    let present: bool = sqlx::query("SELECT to_regclass('public.ir_module_module') IS NOT NULL")
        .fetch_one(&mut *tx)
        .await?
        .get(0);
    if present {
        return Ok(false);
    }
    for statement in SCHEMA {
        sqlx::query(statement).execute(&mut *tx).await.context("make the schema")?;
    }
    fill(&mut tx, config).await.context("fill the new database")?;
    for (name, mimetype, content) in attachments(config.demo) {
        let stored = files.put(content.as_bytes())?;
        sqlx::query(
            "INSERT INTO ir_attachment (name, store_fname, file_size, checksum, mimetype) VALUES \
            ($1, $2, $3, $4, $5)",
        )
        .bind(name)
        .bind(stored.name)
        .bind(i32::try_from(content.len())?)
        .bind(stored.checksum)
        .bind(mimetype)
        .execute(&mut *tx)
        .await
        .context("store an attachment")?;
    }
    tx.commit().await.context("commit the new database")?;
    Ok(true)
}

async fn fill(tx: &mut PgConnection, config: &Config) -> anyhow::Result<()> {
    let parameters =
        [("database.uuid", Uuid::new_v4().to_string()), ("database.secret", Uuid::new_v4().to_string())];
    for (key, value) in parameters {
        sqlx::query("INSERT INTO ir_config_parameter (key, value) VALUES ($1, $2)")
            .bind(key)
            .bind(value)
            .execute(&mut *tx)
            .await?;
    }
    for module in ["base", "web", "mail", "bus"] {
        sqlx::query("INSERT INTO ir_module_module (name, state, demo) VALUES ($1, 'installed', $2)")
            .bind(module)
            .bind(config.demo)
            .execute(&mut *tx)
            .await?;
    }
    let hash =
        config.password.as_ref().map(|password| hash_password(password.expose_secret())).transpose()?;
    sqlx::query(
        "WITH partner AS (INSERT INTO res_partner (name, email) VALUES ('Administrator', $1) RETURNING id)
         INSERT INTO res_users (login, password, partner_id) SELECT $1, $2, id FROM partner",
    )
    .bind(&config.email)
    .bind(hash)
    .execute(&mut *tx)
    .await?;
    if config.demo {
        sqlx::query(
            "INSERT INTO res_partner (name, email)
             SELECT 'Demo partner ' || n, 'partner' || n || '@example.com' FROM generate_series(1, 40) AS n",
        )
        .execute(&mut *tx)
        .await?;
        sqlx::query(
            "INSERT INTO mail_message (subject, body, author_id)
             SELECT 'Welcome ' || name, 'A message of the demonstration data', id FROM res_partner",
        )
        .execute(&mut *tx)
        .await?;
    }
    Ok(())
}

fn attachments(demo: bool) -> Vec<(String, &'static str, String)> {
    let mut files = vec![
        ("web.assets_web.min.css".to_owned(), "text/css", "body{font-family:sans-serif}\n".repeat(64)),
        ("web.assets_web.min.js".to_owned(), "text/javascript", "void 0;\n".repeat(512)),
        ("company_logo".to_owned(), "image/svg+xml", "<svg xmlns='http://www.w3.org/2000/svg'/>".to_owned()),
    ];
    if demo {
        files.extend(
            (1..=5).map(|n| (format!("demo-{n}.txt"), "text/plain", format!("document {n}\n").repeat(1000))),
        );
    }
    files
}

/// Whether login and password fit an active user.
pub async fn login(pool: &PgPool, login: &str, password: &str) -> sqlx::Result<bool> {
    let row = sqlx::query("SELECT password FROM res_users WHERE login = $1 AND active")
        .bind(login)
        .fetch_optional(pool)
        .await?;
    let hash: Option<String> = row.and_then(|row| row.get(0));
    Ok(hash.is_some_and(|hash| verify_password(&hash, password)))
}

/// A hash in the form of the library that Odoo uses: `$pbkdf2-sha512$rounds$salt$hash`.
fn hash_password(password: &str) -> anyhow::Result<String> {
    let mut salt = [0_u8; 16];
    rand::fill(&mut salt).map_err(|_| anyhow::anyhow!("no random bytes"))?;
    let mut hash = [0_u8; 64];
    pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA512, ROUNDS, &salt, password.as_bytes(), &mut hash);
    let code = |bytes: &[u8]| STANDARD_NO_PAD.encode(bytes).replace('+', ".");
    Ok(format!("$pbkdf2-sha512${ROUNDS}${}${}", code(&salt), code(&hash)))
}

fn verify_password(hash: &str, password: &str) -> bool {
    let mut parts = hash.split('$').skip(2);
    let decode = |part: Option<&str>| STANDARD_NO_PAD.decode(part?.replace('.', "+")).ok();
    let Some(rounds) = parts.next().and_then(|rounds| rounds.parse().ok()) else { return false };
    let (Some(salt), Some(expected)) = (decode(parts.next()), decode(parts.next())) else { return false };
    pbkdf2::verify(pbkdf2::PBKDF2_HMAC_SHA512, rounds, &salt, password.as_bytes(), &expected).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_fits_its_own_hash_alone() {
        let hash = hash_password("Correct-Horse-7").unwrap();
        assert!(hash.starts_with("$pbkdf2-sha512$25000$"), "{hash}");
        assert!(verify_password(&hash, "Correct-Horse-7"));
        assert!(!verify_password(&hash, "correct-horse-7"));
        assert!(!verify_password("", "x") && !verify_password("$pbkdf2-sha512$0$a$b", "x"));
    }
}
