//! Debts and offers where Kill Bill keeps the books.

use super::*;

/// BIL-13: an order that nobody pays was given nothing and is owed by nobody, here and there.
#[sqlx::test(migrator = "billing_service::MIGRATIONS")]
async fn an_order_that_nobody_pays_is_owed_by_nobody(pool: PgPool) {
    let (world, _) = World::killbill(&pool, ProvisionPolicy::OnPayment, Line::V24).await;
    let life = Life::begin(&world, "basic-monthly", false).await;
    life.look().await;
    let owed = || async { invoices::outstanding(&world.pool, life.customer).await.unwrap() };
    assert_eq!((life.invoices().await.len(), owed().await), (1, vec![]));

    advance(&world, 8).await;
    sweep::sweep(&world.app, world.app.now().await).await.unwrap();
    let row = life.row().await;
    assert_eq!((row.status, row.end_reason.as_deref()), (Status::Ended, Some("payment_timeout")));
    provider_commands::work(&world.app).await.unwrap();
    life.look().await;
    assert_eq!((life.invoices().await[0].status, owed().await), (InvoiceStatus::Void, vec![]));
    let there = world.app.provider.snapshot(life.customer).await.unwrap();
    assert!(there.invoices.iter().all(|invoice| invoice.void || invoice.balance.minor() <= 0), "{there:?}");
}

/// BIL-14, BIL-21: an upgrade is made there at once. While a debt suspends the instance it waits on with its
/// invoice, so that both sides go on saying the same; paid, it is given.
#[sqlx::test(migrator = "billing_service::MIGRATIONS")]
async fn a_suspension_keeps_the_upgrade_that_is_owed_there(pool: PgPool) {
    let (world, _) = World::killbill(&pool, ProvisionPolicy::OnPayment, Line::V24).await;
    let life = Life::begin(&world, "basic-monthly", false).await;
    life.look().await;
    life.pay(&life.invoices().await[0]).await;
    let now = life.now().await;
    let asked =
        change::upgrade(&world.app, Some(life.customer), life.subscription, "standard-monthly", false, now);
    let offer = asked.await.unwrap().invoice.unwrap();

    advance(&world, 15).await;
    let row = life.row().await;
    assert_eq!((row.status, row.plan_name.as_str()), (Status::Suspended, "basic-monthly"));
    assert_eq!(row.pending.and_then(|pending| pending.invoice_id), Some(offer.id));
    assert_eq!(invoices::find(&pool, offer.id).await.unwrap().unwrap().status, InvoiceStatus::Open);

    life.pay(&offer).await;
    let row = life.row().await;
    assert_eq!((row.status, row.plan_name.as_str()), (Status::Active, "standard-monthly"));
    assert_eq!(life.look().await.changes, 0);
}
