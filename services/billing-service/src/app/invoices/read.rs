//! Invoices as people see them.

use runtime::identity::{Role, User};
use runtime::page::Page;
use time::OffsetDateTime;
use uuid::Uuid;

use super::new::first_key;
use crate::app::App;
use crate::domain::invoice::{Invoice, InvoiceFilter, InvoiceStatus, Line};
use crate::error::Error;
use crate::store::invoices;

/// An invoice with its lines, at a moment of billing time.
#[derive(Debug, Clone)]
pub struct View {
    /// The invoice.
    pub invoice: Invoice,
    /// Its lines.
    pub lines: Vec<Line>,
    /// When it was read: the days that it is overdue are counted up to then.
    pub read_at: OffsetDateTime,
}

/// An invoice with its lines.
pub async fn view(app: &App, invoice: Invoice) -> Result<View, Error> {
    let lines = invoices::lines(&app.pool, invoice.id, invoice.currency()).await?;
    Ok(View { invoice, lines, read_at: app.now().await })
}

/// A page of invoices with their lines, and how many there are.
pub async fn list(app: &App, filter: &InvoiceFilter, page: Page) -> Result<(Vec<View>, i64), Error> {
    let (rows, total) = invoices::list(&app.pool, filter, page).await?;
    let mut views = Vec::with_capacity(rows.len());
    for row in rows {
        views.push(view(app, row).await?);
    }
    Ok((views, total))
}

/// An invoice of the user; operators see all. Another customer's looks like one that does not exist, and so
/// does a draft.
pub async fn visible(app: &App, user: &User, id: Uuid) -> Result<Invoice, Error> {
    invoices::find(&app.pool, id)
        .await?
        .filter(|found| found.status != InvoiceStatus::Draft)
        .filter(|found| found.customer_id == user.id || user.role >= Role::Operator)
        .ok_or(Error::NotFound("invoice"))
}

/// The first invoice of a subscription, if it has one.
pub async fn first_of(app: &App, subscription: Uuid) -> Result<Option<View>, Error> {
    match invoices::find_by_key(&app.pool, &first_key(subscription)).await? {
        Some(invoice) => view(app, invoice).await.map(Some),
        None => Ok(None),
    }
}

/// Does a subscription owe something that is due?
pub async fn owes(app: &App, subscription: Uuid) -> Result<bool, Error> {
    Ok(invoices::oldest_due(&app.pool, subscription).await?.is_some())
}

/// How many invoices of a customer are not paid.
pub async fn unpaid_of(app: &App, customer: Uuid) -> Result<i64, Error> {
    let debts = invoices::outstanding(&app.pool, customer).await?;
    Ok(debts.iter().map(|(count, _)| count).sum())
}
