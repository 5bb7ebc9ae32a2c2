//! The program itself: its commands, its start, its pages.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use secrecy::ExposeSecret as _;
use sqlx::PgPool;
use test_kit::eventually;
use test_kit::identity::Keyring;

use crate::world::PASSWORD;

/// The program without anything of our own environment.
fn program(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_user-service"));
    command.env_clear().args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn with_database(mut command: Command, pool: &PgPool) -> Command {
    let options = pool.connect_options();
    command
        .env("POSTGRES_HOST", options.get_host())
        .env("POSTGRES_PORT", options.get_port().to_string())
        .env("POSTGRES_DB", options.get_database().unwrap())
        .env("DB_SERVICE_USER", options.get_username())
        // The test server trusts loopback, or takes the password of the tests' own URL.
        .env("DB_SERVICE_PASSWORD", database_password());
    command
}

fn database_password() -> String {
    let url = test_kit::environment::database_url();
    let login = url.split("://").nth(1).and_then(|rest| rest.split('@').next()).unwrap_or_default();
    login.split_once(':').map_or_else(|| "unused".to_owned(), |(_, password)| password.to_owned())
}

async fn run(mut command: Command) -> Output {
    tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
}

fn errors(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// USR-23: once, by a command; verified, active and able to sign in; a second run refuses.
#[sqlx::test(migrations = "./migrations")]
async fn the_first_super_admin_is_created_once(pool: PgPool) {
    let create = |email: &str| with_database(program(&["admin", "create", "--email", email]), &pool);
    let mut first = create("root@example.com");
    first.env("ADMIN_PASSWORD", PASSWORD);
    let first = run(first).await;
    assert!(first.status.success(), "{}", errors(&first));
    let row: (String, bool, bool, bool) = sqlx::query_as(
        "SELECT role, is_active, verified_at IS NOT NULL, password_hash LIKE '$argon2id$v=19$m=19456,t=2,p=1$%' FROM users",
    )
    .fetch_one(&pool)
    .await
    .unwrap();
    assert_eq!(row, ("super_admin".into(), true, true, true));
    let said = format!("{}{}", String::from_utf8_lossy(&first.stdout), errors(&first));
    assert!(!said.contains(PASSWORD), "SEC-04");

    let mut second = create("other@example.com");
    second.env("ADMIN_PASSWORD", PASSWORD);
    let second = run(second).await;
    assert!(!second.status.success());
    assert!(errors(&second).contains("super_admin already"));
    let accounts: i64 = sqlx::query_scalar("SELECT count(*) FROM users").fetch_one(&pool).await.unwrap();
    assert_eq!(accounts, 1);
}

/// USR-23: the password may also come by standard input; without one, or with a weak one, nothing is created.
#[sqlx::test(migrations = "./migrations")]
async fn the_password_of_the_first_super_admin_comes_by_standard_input(pool: PgPool) {
    let create = || with_database(program(&["admin", "create", "--email", "root@example.com"]), &pool);
    let none = run(create()).await;
    assert!(!none.status.success() && errors(&none).contains("ADMIN_PASSWORD"));
    let mut weak = create();
    weak.env("ADMIN_PASSWORD", "password");
    let weak = run(weak).await;
    assert!(!weak.status.success() && errors(&weak).contains("password must"));

    let mut command = create();
    let done = tokio::task::spawn_blocking(move || {
        let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(format!("{PASSWORD}\n").as_bytes()).unwrap();
        child.wait_with_output().unwrap()
    });
    let done = done.await.unwrap();
    assert!(done.status.success(), "{}", errors(&done));
}

/// Everything that `serve` needs, with servers that are not there.
fn serve(keys: &Keyring, http: u16, grpc: u16) -> Command {
    let mut command = program(&["serve"]);
    command
        .env("BIND_ADDRESS", "127.0.0.1")
        .env("HTTP_PORT", http.to_string())
        .env("GRPC_PORT", grpc.to_string())
        .env("SERVICE_TOKEN_PRIVATE_KEY", keys.identity.service_token_private_key.expose_secret())
        .env("SERVICE_TOKEN_PUBLIC_KEYS", &keys.identity.service_token_public_keys)
        .env("JWT_SECRET_KEY", "a-secret-of-the-tests-with-40-characters");
    for (host, port) in
        [("POSTGRES_HOST", "POSTGRES_PORT"), ("REDIS_HOST", "REDIS_PORT"), ("RABBITMQ_HOST", "RABBITMQ_PORT")]
    {
        command.env(host, "127.0.0.1").env(port, free_port().to_string());
    }
    for secret in ["DB_SERVICE_PASSWORD", "REDIS_PASSWORD", "RABBITMQ_PASSWORD"] {
        command.env(secret, "b7e1c0a94f2d4e55");
    }
    command
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Status line of a page; nothing while nobody listens.
fn page(port: u16, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
    stream
        .write_all(format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").as_bytes())
        .ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    answer.lines().next().map(str::to_owned)
}

/// Ends with the test.
struct Served(Child);

impl Drop for Served {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// USR-29, REL-06, REL-16: without its servers the process lives and says so; it stops when it is told to.
#[tokio::test]
async fn without_its_database_the_process_is_alive_and_not_ready() {
    let (http, grpc) = (free_port(), free_port());
    let mut served = Served(
        serve(&Keyring::new(), http, grpc).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap(),
    );
    eventually("the page is there", Duration::from_secs(20), || async { page(http, "/health") }).await;
    assert!(page(http, "/health").unwrap().contains("200"));
    let database =
        tokio::task::spawn_blocking(move || (page(http, "/health/database"), page(http, "/health/ready")));
    let (database, ready) = database.await.unwrap();
    assert!(database.unwrap().contains("503") && ready.unwrap().contains("503"));
    assert!(page(http, "/metrics").unwrap().contains("200"));

    let id = served.0.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
    let status = eventually("the process stopped", Duration::from_secs(20), || {
        let status = served.0.try_wait().unwrap();
        async move { status }
    })
    .await;
    assert!(status.success());
}

/// SEC-03: a missing or weak secret stops the start with its name.
#[tokio::test]
async fn a_missing_or_weak_secret_stops_the_start_and_is_named() {
    let keys = Keyring::new();
    let start = || serve(&keys, free_port(), free_port());
    let mut missing = start();
    missing.env_remove("JWT_SECRET_KEY");
    let mut weak_jwt = start();
    weak_jwt.env("ENVIRONMENT", "staging").env("JWT_SECRET_KEY", "change_me_change_me_change_me_change_me");
    let mut weak_redis = start();
    weak_redis.env("ENVIRONMENT", "staging").env("REDIS_PASSWORD", "change_me");
    let mut weak_database = start();
    weak_database.env("ENVIRONMENT", "staging").env("DB_SERVICE_PASSWORD", "password");
    let mut no_private_key = start();
    no_private_key.env("ENVIRONMENT", "production");
    for (command, name) in [
        (missing, "JWT_SECRET_KEY"),
        (weak_jwt, "JWT_SECRET_KEY"),
        (weak_redis, "REDIS_PASSWORD"),
        (weak_database, "DB_SERVICE_PASSWORD"),
        (no_private_key, "JWT_PRIVATE_KEY"),
    ] {
        let output = run(command).await;
        assert_eq!(output.status.code(), Some(1), "{name}");
        assert!(errors(&output).contains(name), "{}", errors(&output));
    }
}

/// USR-06, REL-02: the whole program on its real servers; a registration through its port reaches the broker.
#[sqlx::test(migrations = "./migrations")]
async fn the_program_serves_and_announces_a_registration(pool: PgPool) {
    use contracts::user::v1::auth_service_client::AuthServiceClient;
    let keys = Keyring::new();
    let (http, grpc) = (free_port(), free_port());
    let amqp = url_parts(&test_kit::environment::amqp_url());
    let redis = url_parts(&test_kit::environment::redis_url());
    let mut command = with_database(serve(&keys, http, grpc), &pool);
    command
        .env("RABBITMQ_HOST", amqp.host)
        .env("RABBITMQ_PORT", amqp.port)
        .env("RABBITMQ_USER", amqp.user)
        .env("RABBITMQ_PASSWORD", amqp.password)
        .env("RABBITMQ_VHOST", amqp.path)
        .env("REDIS_HOST", redis.host)
        .env("REDIS_PORT", redis.port);
    if !redis.password.is_empty() {
        command.env("REDIS_PASSWORD", redis.password);
    }
    let _served = Served(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
    eventually("the program is ready", Duration::from_secs(20), || async {
        page(http, "/health/ready").filter(|line| line.contains("200"))
    })
    .await;

    let url = format!("http://127.0.0.1:{grpc}");
    let channel = keys.dialer("gateway").channel("user-service", &url, Duration::from_secs(10)).unwrap();
    let answer = AuthServiceClient::new(channel)
        .register(crate::world::registration("ada@example.com"))
        .await
        .unwrap();
    let id: uuid::Uuid = answer.into_inner().customer_id.parse().unwrap();
    eventually("the broker has the event", Duration::from_secs(20), || async {
        sqlx::query_scalar::<_, bool>("SELECT sent_at IS NOT NULL FROM outbox WHERE aggregate_id = $1")
            .bind(id)
            .fetch_one(&pool)
            .await
            .unwrap()
            .then_some(())
    })
    .await;
}

struct UrlParts {
    user: String,
    password: String,
    host: String,
    port: String,
    path: String,
}

/// `scheme://user:password@host:port/path`, all but host and port optional.
fn url_parts(url: &str) -> UrlParts {
    let rest = url.split_once("://").unwrap().1;
    let (login, rest) = rest.split_once('@').unwrap_or(("", rest));
    let (user, password) = login.split_once(':').unwrap_or((login, ""));
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let (host, port) = authority.split_once(':').unwrap();
    let decode = |text: &str| text.replace("%2F", "/").replace("%2f", "/");
    UrlParts {
        user: decode(user),
        password: decode(password),
        host: host.into(),
        port: port.into(),
        path: decode(path),
    }
}
