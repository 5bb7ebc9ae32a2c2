//! Changing the key that encrypts at rest (SEC-12): every value is read with the key that it names and
//! written with the one of today, some at a time. What is interrupted goes on where it was; what is done is
//! left alone. The service may run meanwhile, when it knows both keys.

use anyhow::Context as _;
use sqlx::PgPool;

use crate::secrets::Vault;
use crate::store::rekey::{self, PLACES, Place};

/// Values of one transaction: an interruption loses no more than this.
pub const BATCH: i64 = 100;

/// Writes at most `limit` values of a place anew; their number.
pub async fn rotate_some(pool: &PgPool, vault: &Vault, place: Place, limit: i64) -> anyhow::Result<usize> {
    let mut tx = pool.begin().await?;
    let values = rekey::of_other_keys(&mut tx, place, vault.key_id(), limit).await?;
    for value in &values {
        let secret = vault
            .open(value.bound_to, &value.sealed)
            .with_context(|| ["a value of ", place.name].concat())?;
        rekey::put(&mut tx, place, value.row, &vault.seal(value.bound_to, &secret)?).await?;
    }
    tx.commit().await?;
    Ok(values.len())
}

/// All values of all places. Ends when none of another key is left; the number that was written.
pub async fn rotate(pool: &PgPool, vault: &Vault) -> anyhow::Result<usize> {
    let mut all = 0;
    for place in PLACES {
        let mut done = 0;
        loop {
            let written = rotate_some(pool, vault, place, BATCH).await?;
            if written == 0 {
                break;
            }
            done += written;
            tracing::info!(table = place.name, written = done, "values are encrypted with the key of today");
        }
        all += done;
    }
    // A service that still wrote with the key of before would show here.
    for place in PLACES {
        let mut connection = pool.acquire().await?;
        let left = rekey::of_other_keys(&mut connection, place, vault.key_id(), 1).await?;
        anyhow::ensure!(
            left.is_empty(),
            "{} has values of another key again: a service still writes with the key of before",
            place.name
        );
    }
    tracing::info!(key_id = vault.key_id(), written = all, left = 0, "no value of another key is left");
    Ok(all)
}
