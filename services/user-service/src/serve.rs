//! The running service: connections, tasks, servers.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context as _;
use contracts::services::USER;
use messaging::{Broker, Relay};
use runtime::admin::Health;
use runtime::config::require_strong;
use runtime::grpc::{Dialer, Server};
use runtime::identity::{ServiceKeys, ServiceSigner};
use runtime::process::Process;

use crate::app::{App, Wake};
use crate::clients::Clients;
use crate::config::Config;
use crate::guard::LoginGuard;
use crate::metrics::UserMetrics;
use crate::passwords::{Cost, Passwords};
use crate::tokens::AccessSigner;
use crate::{OWNED, background, grpc};

/// Refuses weak secrets with the name of the setting (SEC-03).
fn check_secrets(config: &Config) -> anyhow::Result<()> {
    let environment = config.common.environment;
    require_strong(environment, "DB_SERVICE_PASSWORD", &config.postgres.db_service_password)?;
    require_strong(environment, "RABBITMQ_PASSWORD", &config.rabbit.rabbitmq_password)?;
    require_strong(environment, "REDIS_PASSWORD", &config.redis.redis_password)?;
    Ok(())
}

/// Serves until a signal.
pub async fn serve(config: Config) -> anyhow::Result<()> {
    check_secrets(&config)?;
    let Config {
        common,
        http_port,
        postgres,
        rabbit,
        redis,
        user_tokens,
        jwt_private_key,
        identity,
        billing_service_url,
        instance_service_url,
        notification_service_url,
        rules,
    } = config;
    let (signer, verifier) = AccessSigner::try_new(
        &user_tokens,
        jwt_private_key.as_ref(),
        common.environment,
        rules.access_life(),
    )?;
    let keys = ServiceKeys::try_new(USER, &identity)?;
    let dialer = Dialer::try_new(ServiceSigner::try_new(USER, &identity)?, &common.grpc_tls)?;
    let process = Process::try_new(USER, &common)?;
    let pool = runtime::database::pool(&postgres, OWNED, USER);
    let guard = LoginGuard::try_new(
        LoginGuard::client(&redis).context("REDIS_HOST")?,
        &rules.redis_key_prefix,
        rules.login_max_failures,
        rules.login_max_failures_per_address,
    )
    .context("REDIS_HOST")?;
    let app = App {
        pool: pool.clone(),
        passwords: Passwords::try_new(Cost::STANDARD)?,
        guard,
        signer,
        clients: Clients::try_new(
            &dialer,
            &instance_service_url,
            &billing_service_url,
            &notification_service_url,
        )?,
        rules: Arc::new(rules),
        metrics: UserMetrics::new(process.metrics()),
        wake: Arc::new(Wake::default()),
    };
    // Redis is no part of readiness: without it only log-in is closed (REL-07).
    let health = Health::new(USER).with_database(&pool);
    let server = Server::try_new(&common, grpc::POLICIES, keys, Some(verifier), &health, process.metrics())?;
    let relay = Relay::new(&pool, &Broker::new(&rabbit, USER), process.metrics());
    let stop = process.stopping();
    process.spawn("outbox", relay.run(stop.clone()));
    process.spawn("mails", background::mails(app.clone(), stop.clone()));
    process.spawn("closures", background::closures(app.clone(), stop.clone()));
    process.spawn("cleaning", background::cleaning(app.clone(), stop.clone()));
    process.spawn("grpc", server.serve(common.grpc_address(), grpc::routes(&app), stop.clone()));
    let http = SocketAddr::new(common.bind_address, http_port);
    process
        .spawn("http", runtime::admin::serve(http, runtime::admin::router(&health, process.metrics()), stop));
    process.run(&health).await
}
