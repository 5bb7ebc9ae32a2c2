//! The billing account of a customer.

use time::OffsetDateTime;
use uuid::Uuid;

/// A billing account.
#[derive(Debug, Clone)]
pub struct Account {
    /// Customer.
    pub id: Uuid,
    /// Company.
    pub company: String,
    /// Tax id.
    pub tax_id: String,
    /// Address for invoices.
    pub billing_email: String,
    /// street, city, postal_code, region.
    pub address: serde_json::Value,
    /// ISO 3166-1 alpha-2, or empty.
    pub country: String,
    /// ISO 4217.
    pub currency: String,
    /// The provider could not be read since then.
    pub stale_since: Option<OffsetDateTime>,
    /// When it was opened.
    pub created_at: OffsetDateTime,
}
