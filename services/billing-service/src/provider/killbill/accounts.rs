//! Customers (BIL-07): one account each, in UTC, that nobody charges by itself and whose overdue states are
//! ours to keep.

use reqwest::Method;
use serde_json::json;
use uuid::Uuid;

use super::KillBill;
use super::client::Body;
use super::fault::{Fault, code};
use super::model::{Account, Tag};
use crate::provider::ProviderError;
use crate::store::{customers, plans};

/// Payments are recorded, never made by Kill Bill.
const AUTO_PAY_OFF: Uuid = Uuid::from_u128(1);
/// The ladder is ours (BIL-14).
const OVERDUE_ENFORCEMENT_OFF: Uuid = Uuid::from_u128(3);

const TAGS: [Uuid; 2] = [AUTO_PAY_OFF, OVERDUE_ENFORCEMENT_OFF];

impl KillBill {
    /// The account of a customer, made when it is not there. The tags come before anything that could be
    /// charged. It needs no payment method: Kill Bill makes that of payments by hand with the first of them.
    /// Asked for only while our row knows of none, so that it is made first and looked for when Kill Bill has
    /// it already.
    pub(super) async fn ensure_account(&self, customer: Uuid) -> Result<Uuid, ProviderError> {
        let (account, is_new) = self.make_account(customer).await?;
        let missing = if is_new { TAGS.to_vec() } else { self.missing_tags(account).await? };
        if !missing.is_empty() {
            let path = format!("/accounts/{account}/tags");
            self.client.call(Method::POST, &path, &[], Body::Json(json!(missing).to_string())).await?;
        }
        Ok(account)
    }

    /// The account, and whether this call made it.
    async fn make_account(&self, customer: Uuid) -> Result<(Uuid, bool), ProviderError> {
        let currency =
            plans::list(&self.pool, true).await.map_err(|error| ProviderError::Unavailable(error.into()))?;
        let currency =
            currency.first().map_or_else(|| "USD".to_owned(), |plan| plan.price.currency().to_string());
        // No name and no address: Kill Bill mails nobody.
        let body = json!({
            "externalKey": customer, "name": customer, "currency": currency, "timeZone": "UTC", "locale": "en_US",
        });
        match self.client.call(Method::POST, "/accounts", &[], Body::Json(body.to_string())).await {
            Ok(answer) => Ok((parse(&answer.id()?)?, true)),
            // Made before, or made although the answer says something else.
            Err(fault) => match self.account_by_key(customer).await? {
                Some(account) => Ok((account.account_id, false)),
                None if fault.is(code::ACCOUNT_EXISTS) => {
                    Err(Fault::Nonsense("an account that is there and is not".into()).into())
                }
                None => Err(fault.into()),
            },
        }
    }

    async fn missing_tags(&self, account: Uuid) -> Result<Vec<Uuid>, Fault> {
        let tags: Vec<Tag> = self.get(&format!("/accounts/{account}/tags"), &[]).await?;
        let has = |wanted: &Uuid| tags.iter().any(|tag| tag.tag_definition_id == *wanted);
        Ok(TAGS.into_iter().filter(|tag| !has(tag)).collect())
    }

    /// By our key.
    pub(super) async fn account_by_key(&self, customer: Uuid) -> Result<Option<Account>, Fault> {
        let key = customer.to_string();
        let query = [("externalKey", key.as_str()), ("accountWithBalanceAndCBA", "true")];
        self.find("/accounts", &query, code::NO_ACCOUNT).await
    }

    /// The account of a customer: as our row says, else made.
    pub(super) async fn account_of(&self, customer: Uuid) -> Result<Uuid, ProviderError> {
        let known = customers::provider_account(&self.pool, customer).await;
        let known = known.map_err(|error| ProviderError::Unavailable(error.into()))?;
        match known.and_then(|id| id.parse().ok()) {
            Some(id) => Ok(id),
            None => self.ensure_account(customer).await,
        }
    }
}

pub(super) fn parse(id: &str) -> Result<Uuid, Fault> {
    id.parse().map_err(|_| Fault::Nonsense("an id that is no UUID".into()))
}
