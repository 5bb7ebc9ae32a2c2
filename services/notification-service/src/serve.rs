//! Wires the process together: connections, tasks, servers.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context as _;
use contracts::services::NOTIFICATION;
use lettre::message::Mailbox;
use messaging::Broker;
use runtime::admin::{self, Health};
use runtime::database;
use runtime::grpc::{Dialer, Server};
use runtime::identity::{ServiceKeys, ServiceSigner, UserVerifier};
use runtime::process::Process;

use crate::MIGRATIONS;
use crate::app::MailQueue;
use crate::clients::Customers;
use crate::config::{Config, Migrate, OWNED};
use crate::consumer::{CONSUMER, Mails};
use crate::grpc::{Api, POLICIES, routes};
use crate::metrics::MailMetrics;
use crate::sender::{Sender, Throttle};
use crate::smtp::Mailer;
use crate::store::Rate;
use crate::sweep;
use crate::templates::Page;

/// `notification-service migrate`.
pub async fn migrate(config: Migrate) -> anyhow::Result<()> {
    let process = Process::try_new(NOTIFICATION, &config.common)?;
    database::migrate(&config.postgres, OWNED, process.name(), &MIGRATIONS).await
}

/// `notification-service redrive`.
pub async fn redrive(config: messaging::Redrive) -> anyhow::Result<()> {
    config.run(NOTIFICATION, &[CONSUMER]).await
}

/// `notification-service serve`.
pub async fn serve(config: Config) -> anyhow::Result<()> {
    config.check()?;
    let process = Process::try_new(NOTIFICATION, &config.common)?;
    let pool = database::pool(&config.postgres, OWNED, NOTIFICATION);
    let health = Health::new(NOTIFICATION).with_database(&pool);
    let metrics = process.metrics().clone();
    let stop = process.stopping();

    let dialer =
        Dialer::try_new(ServiceSigner::try_new(NOTIFICATION, &config.identity)?, &config.common.grpc_tls)?;
    let queue = queue(&config)?;
    let mailer = mailer(&config, &queue.page)?;
    let customers = Customers::try_new(&dialer, &config.user_service_url)?;
    let sender = Sender::new(
        &pool,
        customers.clone(),
        mailer.clone(),
        queue.page.clone(),
        throttle(&config),
        MailMetrics::new(&metrics),
    );
    process.spawn("sender", sender.run(stop.clone()));
    process.spawn("sweep", sweep::run(pool.clone(), customers, stop.clone()));

    let broker = Broker::new(&config.rabbit, NOTIFICATION);
    let mails = Mails { queue: queue.clone() };
    process.spawn("consumer", CONSUMER.run(broker, pool.clone(), mails, metrics.clone(), stop.clone()));

    let server = Server::try_new(
        &config.common,
        POLICIES,
        ServiceKeys::try_new(NOTIFICATION, &config.identity)?,
        Some(UserVerifier::try_new(&config.users, config.common.environment)?),
        &health,
        &metrics,
    )?;
    let api = Api { pool, queue, mailer };
    process.spawn("grpc", server.serve(config.common.grpc_address(), routes(&api), stop.clone()));
    let address = SocketAddr::new(config.common.bind_address, config.http_port);
    process.spawn("http", admin::serve(address, admin::router(&health, &metrics), stop));
    process.run(&health).await
}

/// What orders need.
pub fn queue(config: &Config) -> anyhow::Result<MailQueue> {
    let from = config.from_email();
    let (_, mail_domain) = from.rsplit_once('@').context("DEFAULT_FROM_EMAIL is no mail address")?;
    Ok(MailQueue {
        page: Page {
            brand: config.sending.default_from_name.clone(),
            frontend_url: config.frontend_url.trim_end_matches('/').to_owned(),
        },
        mail_domain: mail_domain.to_owned(),
    })
}

/// The mail server.
pub fn mailer(config: &Config, page: &Page) -> anyhow::Result<Mailer> {
    let address = config.from_email().parse().context("DEFAULT_FROM_EMAIL is no mail address")?;
    let from = Mailbox::new(Some(config.sending.default_from_name.clone()), address);
    Mailer::try_new(&config.smtp, from, &page.frontend_url)
}

/// Limits and pauses.
pub fn throttle(config: &Config) -> Throttle {
    Throttle {
        rate: Rate {
            per_minute: i64::from(config.sending.max_emails_per_minute),
            per_hour: i64::from(config.sending.max_emails_per_hour),
        },
        at_once: usize::try_from(config.smtp.smtp_connections).unwrap_or(1),
        retry_base: time::Duration::seconds(i64::from(config.smtp.smtp_retry_base_seconds)),
        // Longer than an attempt can take: the look-up, and the whole dialogue with the mail server.
        lease: config.smtp.timeout() * 2 + Duration::from_secs(15),
    }
}
