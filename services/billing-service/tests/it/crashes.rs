//! The process dies at every place of `failpoint::ALL`, once; the next one, its poller and its customers end
//! what was begun (REL-06). At the end always: the invoice is paid by one payment, booked once, and Paynow
//! took the money once.

use std::future::Future;

use billing_service::app::App;
use billing_service::app::payments::pay;
use billing_service::app::payments::poll;
use billing_service::app::webhooks::handle_webhook;
use billing_service::domain::invoice::InvoiceStatus;
use billing_service::domain::payment::Method;
use billing_service::error::Error;
use billing_service::failpoint::{self, FailPoint};
use billing_service::grpc::Api;
use contracts::billing::v1::ReceiveWebhookRequest;
use contracts::billing::v1::webhook_service_server::WebhookService as _;
use runtime::clock;
use sqlx::PgPool;
use time::Duration;
use tonic::Request;

use crate::books::proof;
use crate::paynow::Case;

/// A process that dies once, and the one that comes after it.
struct Lives {
    app: App,
    dead: bool,
}

impl Lives {
    /// Does something; `None` when the process died in it.
    async fn call<T: Send + 'static, F>(&mut self, case: &Case, work: impl FnOnce(App) -> F) -> Option<T>
    where
        F: Future<Output = Result<T, Error>> + Send + 'static,
    {
        let app = if self.dead { case.world.app.clone() } else { self.app.clone() };
        match tokio::spawn(work(app)).await {
            Ok(Ok(value)) => Some(value),
            // Polls run side by side in tasks of their own: a death there is an internal error here.
            Ok(Err(Error::Internal(_))) | Err(_) => {
                self.dead = true;
                None
            }
            // Customers are told to wait.
            Ok(Err(error)) => {
                assert!(matches!(error.reason(), "payment_pending" | "invoice_not_open"), "{error:?}");
                None
            }
        }
    }
}

async fn dies_at(pool: &PgPool, place: &'static str, hooks_come: bool) {
    let case = Case::begin(pool).await;
    let dying =
        App { fail: FailPoint::new(place, || panic!("the process dies here")), ..case.world.app.clone() };
    let mut lives = Lives { app: dying, dead: false };
    for round in 0..8 {
        // The customer pays, and pays again as long as he is told that nothing was paid.
        let wish = case.wish(Method::Ecocash).await;
        lives.call(&case, move |app| async move { pay::pay(&app, &wish, clock::now()).await }).await;
        // He confirms on his phone what he is asked to confirm, once.
        if !case.sim.transactions().iter().any(|made| made.status == "Paid")
            && let Some(made) = case.sim.transactions().last()
        {
            case.sim.decide(&made.reference, "Paid", None);
        }
        for hook in case.sim.take_hooks().into_iter().filter(|_| hooks_come) {
            let request = ReceiveWebhookRequest {
                provider: "paynow".into(),
                body: hook.body.clone().into(),
                ..Default::default()
            };
            let stored = move |app: App| async move {
                Api { app }
                    .receive_webhook(Request::new(request))
                    .await
                    .map_err(|status| Error::Internal(anyhow::anyhow!("{status}")))
            };
            lives.call(&case, stored).await;
            lives
                .call(&case, move |app| async move {
                    handle_webhook::handle_webhook(&app, "paynow", hook.body.as_bytes()).await
                })
                .await;
        }
        let later = clock::now() + Duration::minutes(2 * (round + 1));
        lives.call(&case, move |app| async move { poll::poll(&app, later).await }).await;
    }
    assert!(lives.dead || (!hooks_come && place == "hook.stored"), "nothing died at {place}");
    assert_eq!(case.invoice().await.status, InvoiceStatus::Paid, "{place}");
    assert_eq!(case.world.count("payments WHERE state = 'paid'").await, 1, "{place}");
    assert_eq!(case.world.count("payments WHERE state = 'pending'").await, 0, "{place}");
    assert_eq!(case.world.count("journal_entries WHERE kind = 'payment'").await, 1, "{place}");
    let taken = case.sim.transactions().iter().filter(|made| made.status == "Paid").count();
    assert_eq!(taken, 1, "{place}");
    proof(pool).await;
    wipe(pool).await;
}

/// For the next place.
async fn wipe(pool: &PgPool) {
    sqlx::raw_sql(
        "SET session_replication_role = replica;
         DELETE FROM journal_lines; DELETE FROM journal_entries; DELETE FROM payments; DELETE FROM invoice_lines; DELETE FROM invoices;
         DELETE FROM invoice_numbers; DELETE FROM subscriptions; DELETE FROM orders; DELETE FROM customers; DELETE FROM outbox;
         DELETE FROM webhook_inbox; DELETE FROM credits; DELETE FROM audit_log;
         SET session_replication_role = origin;",
    )
    .execute(pool)
    .await
    .unwrap();
}

/// REL-06, BIL-27: results come, as they do.
#[sqlx::test(migrations = "./migrations")]
async fn a_death_between_the_gateway_and_the_books_loses_and_doubles_nothing(pool: PgPool) {
    for place in failpoint::ALL {
        dies_at(&pool, place, true).await;
    }
}

/// REL-06, BIL-27: and no result ever comes.
#[sqlx::test(migrations = "./migrations")]
async fn a_death_is_mended_by_asking_alone(pool: PgPool) {
    for place in failpoint::ALL {
        dies_at(&pool, place, false).await;
    }
}
