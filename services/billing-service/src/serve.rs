//! Wires the process together: catalogue, connections, tasks, servers.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context as _;
use backon::{ConstantBuilder, Retryable as _};
use contracts::services::BILLING;
use messaging::{Broker, Relay};
use runtime::admin::{self, Health};
use runtime::database;
use runtime::grpc::{Dialer, Server};
use runtime::identity::{ServiceKeys, ServiceSigner, UserVerifier};
use runtime::process::Process;
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;

use crate::MIGRATIONS;
use crate::app::App;
use crate::app::catalogue::{apply_catalogue, check_catalogue};
use crate::app::clock::{BillingClock, check_clock};
use crate::app::wakeup::Wakeup;
use crate::app::{audit, payments, subscriptions, upkeep, webhooks};
use crate::clients::Clients;
use crate::config::{Config, Migrate, OWNED};
use crate::consumer::{CONSUMER, Facts};
use crate::domain::catalogue::Catalogue;
use crate::grpc::{Api, POLICIES, routes};
use crate::metrics::BillingMetrics;
use crate::provider::killbill::KillBill;
use crate::provider::ledger::Ledger;
use crate::provider::{Name, WithDeadline};
use crate::sweep;

/// `billing-service migrate`: the tables, then the catalogue.
pub async fn migrate(config: Migrate) -> anyhow::Result<()> {
    let process = Process::try_new(BILLING, &config.common)?;
    let catalogue = config.selling.catalogue()?;
    database::migrate(&config.postgres, OWNED, process.name(), &MIGRATIONS).await?;
    let pool = database::pool(&config.postgres, OWNED, BILLING);
    apply_catalogue(&pool, &catalogue, true).await?;
    check_catalogue(&pool).await?;
    pool.close().await;
    Ok(())
}

/// `billing-service redrive`.
pub async fn redrive(config: messaging::Redrive) -> anyhow::Result<()> {
    config.run(BILLING, &[CONSUMER]).await
}

/// `billing-service serve`.
pub async fn serve(config: Config) -> anyhow::Result<()> {
    config.check()?;
    let catalogue = config.selling.catalogue()?;
    let process = Process::try_new(BILLING, &config.common)?;
    let pool = database::pool(&config.postgres, OWNED, BILLING);
    prepare(&pool, &catalogue).await?;
    check_clock(&pool, config.common.is_production()).await?;
    let health = Health::new(BILLING).with_database(&pool);
    let metrics = process.metrics().clone();
    let stop = process.stopping();

    let app = app(&config, &pool, BillingMetrics::new(&metrics))?;
    let broker = Broker::new(&config.rabbit, BILLING);
    process.spawn("relay", Relay::new(&pool, &broker, &metrics).run(stop.clone()));
    let facts = Facts { app: app.clone() };
    process.spawn("consumer", CONSUMER.run(broker, pool.clone(), facts, metrics.clone(), stop.clone()));
    let pause = Duration::from_secs(config.orders.order_sweep_seconds.into());
    process.spawn("provider", greet(app.provider.clone(), stop.clone()));
    let look = Duration::from_secs(config.paying.paynow_poll_seconds.into());
    process.spawn("payments", payments::poll::run(app.clone(), look, stop.clone()));
    process.spawn("audit", audit::run::run(app.clone(), config.audit_hour, stop.clone()));
    process.spawn("instances", subscriptions::instances::run(app.clone(), stop.clone()));
    process.spawn("upkeep", upkeep::run(app.clone(), stop.clone()));
    process.spawn("sweep", sweep::run(app.clone(), pause, stop.clone()));
    process.spawn("inbox", webhooks::webhook_inbox::run(app.clone(), stop.clone()));

    let server = Server::try_new(
        &config.common,
        POLICIES,
        ServiceKeys::try_new(BILLING, &config.identity)?,
        Some(UserVerifier::try_new(&config.users, config.common.environment)?),
        &health,
        &metrics,
    )?;
    process.spawn("grpc", server.serve(config.common.grpc_address(), routes(&Api { app }), stop.clone()));
    let address = SocketAddr::new(config.common.bind_address, config.http_port);
    process.spawn("http", admin::serve(address, admin::router(&health, &metrics), stop));
    process.run(&health).await
}

/// Applies a changed catalogue and refuses to sell from a broken one. Waits for the database up to a minute.
async fn prepare(pool: &PgPool, catalogue: &Catalogue) -> anyhow::Result<()> {
    let reach = || database::ping(pool);
    reach
        .retry(ConstantBuilder::default().with_delay(Duration::from_secs(1)).with_max_times(60))
        .await
        .context("cannot reach the database")?;
    apply_catalogue(pool, catalogue, false).await?;
    check_catalogue(pool).await
}

fn provider(config: &Config, pool: &PgPool) -> anyhow::Result<WithDeadline> {
    Ok(match config.billing_provider {
        Name::Ledger => WithDeadline::new(Ledger::new(pool)),
        Name::Killbill => {
            let settings = &config.killbill;
            let provider = KillBill::try_new(settings.access(), pool, settings.callback())?;
            WithDeadline::new(provider.with_hook_tokens(settings.hook_tokens()))
        }
    })
}

/// A provider that is set up at the first use is used at the start, and again until it answers; nothing waits
/// for it (BIL-35).
async fn greet(provider: WithDeadline, stop: CancellationToken) -> anyhow::Result<()> {
    while let Err(error) = provider.health().await {
        tracing::warn!(error = format!("{error:#}"), "the billing provider does not work yet");
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            () = tokio::time::sleep(Duration::from_secs(5)) => {}
        }
    }
    tracing::info!(provider = provider.name().as_str(), "the billing provider works");
    stop.cancelled().await;
    Ok(())
}

fn app(config: &Config, pool: &PgPool, metrics: BillingMetrics) -> anyhow::Result<App> {
    let signer = ServiceSigner::try_new(BILLING, &config.identity)?;
    let dialer = Dialer::try_new(signer, &config.common.grpc_tls)?;
    Ok(App {
        pool: pool.clone(),
        provider: provider(config, pool)?,
        gateways: config.paying.gateways(config.common.environment)?,
        clients: Clients::try_new(&dialer, &config.user_service_url, &config.instance_service_url)?,
        policy: config.provision_policy(),
        confirm_within: time::Duration::minutes(config.orders.order_confirm_minutes.into()),
        give_up_after: time::Duration::hours(config.orders.give_up_after_hours.into()),
        cooling_off: time::Duration::hours(config.orders.cooling_off_hours.into()),
        pay_within: time::Duration::days(config.orders.order_payment_days.into()),
        trial_days: config.selling.default_trial_days,
        settings: config.billing_settings(),
        documents: config.invoicing.documents()?,
        clock: BillingClock::default(),
        fail: config.paying.fail_point(config.common.environment)?,
        wakeup: Wakeup::default(),
        metrics,
    })
}
