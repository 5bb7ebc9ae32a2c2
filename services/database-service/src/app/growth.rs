//! Ordering servers, inside the transaction that found the need (DBS-24, DBS-25, DBS-34).

use sqlx::PgConnection;
use time::{Duration, OffsetDateTime};
use uuid::Uuid;

use super::App;
use crate::domain::growth::must_order;
use crate::domain::names::ExternalId;
use crate::domain::server::Server;
use crate::error::Error;
use crate::secrets::{generate_password, secret_hash};
use crate::store;
use crate::store::servers::{self, Order};

/// After an order that came to nothing, the next one waits: a cluster that cannot make pools shall not get an
/// endless row of them.
const PAUSE_AFTER_FAILURE: Duration = Duration::minutes(10);

/// `provisioned_by` of a server that nobody asked for.
const AUTOMATIC: &str = "automatic";

impl App {
    /// Orders shared pools while more are needed than are there and coming. One decision at a time over all
    /// replicas.
    pub(super) async fn grow(&self, connection: &mut PgConnection, now: OffsetDateTime) -> Result<(), Error> {
        self.grow_beside(connection, None, now).await
    }

    /// The same for somebody who cannot use what `except` has: a tenant that shall move away from it.
    pub(super) async fn grow_beside(
        &self,
        connection: &mut PgConnection,
        except: Option<Uuid>,
        now: OffsetDateTime,
    ) -> Result<(), Error> {
        let min_free = self.settings.min_free;
        if !must_order(servers::supply(connection, except).await?, min_free) {
            return Ok(());
        }
        servers::lock_growth(connection).await?;
        if let Some(failed) = servers::last_failed_order(connection).await?
            && now < failed + PAUSE_AFTER_FAILURE
        {
            return Ok(());
        }
        // Read again under the lock: somebody else may have ordered meanwhile.
        while must_order(servers::supply(connection, except).await?, min_free) {
            for mut booked in servers::lock_open_in_the_making(connection).await? {
                booked.booked_out = true;
                servers::save(connection, &booked).await?;
            }
            self.order(connection, self.settings.max_instances, None, AUTOMATIC, now).await?;
        }
        Ok(())
    }

    /// Orders a tenant's own server; the caller has seen that there is none.
    pub(super) async fn order_dedicated(
        &self,
        connection: &mut PgConnection,
        instance: &ExternalId,
        now: OffsetDateTime,
    ) -> Result<Server, Error> {
        self.order(connection, 1, Some(instance), AUTOMATIC, now).await
    }

    /// Row, secret and announcement of a server.
    pub(super) async fn order(
        &self,
        connection: &mut PgConnection,
        max_instances: i32,
        instance: Option<&ExternalId>,
        by: &str,
        now: OffsetDateTime,
    ) -> Result<Server, Error> {
        let order = Order {
            max_instances,
            image: &self.settings.image,
            resources: &self.settings.resources,
            instance,
            by,
        };
        let server = servers::insert(connection, &order, now).await?;
        let password = generate_password()?;
        let sealed = self.vault.seal(server.id, &password)?;
        store::secrets::put_server(connection, server.id, &sealed, &secret_hash(server.id, &password))
            .await?;
        self.issue_certificate(connection, &server, now).await?;
        self.fail.at("order.before_commit");
        self.metrics.ordered.inc();
        tracing::info!(server.name = server.name, server.r#type = %server.server_type, "server ordered");
        Ok(server)
    }
}
