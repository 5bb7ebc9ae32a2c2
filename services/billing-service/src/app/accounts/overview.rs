//! All about a customer's money, from the local rows alone (BIL-34).

use runtime::page::Page;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::app::App;
use crate::app::invoices::charges;
use crate::app::provider::sync;
use crate::domain::account::Account;
use crate::domain::dunning::DunningState;
use crate::domain::invoice::{Invoice, InvoiceFilter};
use crate::domain::money::{Currency, Money};
use crate::domain::subscription::Status;
use crate::domain::subscription::Subscription;
use crate::error::Error;
use crate::store::credits;
use crate::store::customers::{self};
use crate::store::invoices::{self};
use crate::store::subscriptions::{self};

/// What the overview shows.
#[derive(Debug, Clone)]
pub struct Overview {
    /// The account.
    pub account: Account,
    /// Live subscriptions that may run or were suspended.
    pub active: Vec<Subscription>,
    /// Orders that wait for their payment.
    pub pending: Vec<Subscription>,
    /// Open invoices, the newest 100.
    pub outstanding: Vec<Invoice>,
    /// What is owed in the account's currency, over all of them. Offers among them are owed by nobody.
    pub total: Money,
    /// What we owe the customer.
    pub credit: Money,
    /// The next charge.
    pub next: Option<(OffsetDateTime, Money)>,
    /// The worst step of all subscriptions.
    pub dunning: DunningState,
}

/// Of a customer; an account that was never opened is opened.
pub async fn overview(app: &App, customer: Uuid) -> Result<Overview, Error> {
    let mut account = account(app, customer).await?;
    account.stale_since = sync::stale_since(app, &account).await?;
    let currency: Currency =
        account.currency.parse().map_err(|error| Error::Internal(anyhow::Error::new(error)))?;
    let live = subscriptions::live(&app.pool, customer).await?;
    let dunning = live.iter().map(|row| row.dunning).max().unwrap_or(DunningState::None);
    let next = live
        .iter()
        .filter(|row| row.cancel_at.is_none() && row.status != Status::Pending)
        .filter_map(|row| row.current_period_end.map(|end| (end, row.id, row.price)))
        .min_by_key(|(end, ..)| *end);
    let next = match next {
        Some((end, subscription, price)) => {
            let mut connection = app.pool.acquire().await?;
            Some((end, charges::next_period(&mut connection, customer, subscription, price, end).await?))
        }
        None => None,
    };
    let (pending, active) = live.into_iter().partition(|row| row.status == Status::Pending);
    let filter = InvoiceFilter {
        customer_id: Some(customer),
        status: Some("open".into()),
        ..InvoiceFilter::default()
    };
    let page = Page::try_new(1, Page::MAX_SIZE).map_err(|_| Error::Conflict)?;
    let (outstanding, _) = invoices::list(&app.pool, &filter, page).await?;
    let debts = invoices::outstanding(&app.pool, customer).await?.into_iter().map(|(_, sum)| sum);
    let total = debts.into_iter().find(|sum| sum.currency() == currency).unwrap_or(Money::zero(currency));
    let credit = credits::left(&app.pool, customer, currency.as_str()).await?;
    Ok(Overview {
        account,
        active,
        pending,
        outstanding,
        total,
        credit: Money::new(credit, currency),
        next,
        dunning,
    })
}

/// The account of a customer; opened when it is not there yet.
pub async fn account(app: &App, customer: Uuid) -> Result<Account, Error> {
    if let Some(account) = customers::account(&app.pool, customer).await? {
        return Ok(account);
    }
    customers::open(&app.pool, customer, None).await?;
    customers::account(&app.pool, customer).await?.ok_or(Error::NotFound("account"))
}
