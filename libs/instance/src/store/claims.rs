//! What a create claims before it orders (INS-10, INS-12): its host name, and its `Idempotency-Key` when it
//! has one. Whoever loses the race for either has ordered nothing.

use sqlx::PgConnection;
use uuid::Uuid;

/// Seconds that a call may take between its claim and its row.
const LIFE: f64 = 120.0;
/// Seconds after its end in which the same request may go on with a claim, under the same identifier: billing
/// keeps an order that nobody confirms for longer than that.
const RESUMABLE: f64 = 300.0;

/// A claim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// Identifier of the instance that shall be.
    pub instance_id: Uuid,
    /// The call that holds it.
    pub token: Uuid,
    /// Whose.
    pub customer_id: Uuid,
    /// Host name.
    pub subdomain: String,
    /// `Idempotency-Key`.
    pub key: Option<String>,
    /// Hash of the request.
    pub request_hash: Vec<u8>,
}

/// A claim of the same customer with the same key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Former {
    /// Identifier of the instance that shall be.
    pub instance_id: Uuid,
    /// Its host name.
    pub subdomain: String,
    /// Hash of its request.
    pub request_hash: Vec<u8>,
    /// Another call is at it.
    pub is_active: bool,
    /// It ended, and the same request may go on with it.
    pub is_resumable: bool,
}

/// Looks a key up. The caller holds the customer's lock.
pub async fn of_key(
    connection: &mut PgConnection,
    customer: Uuid,
    key: &str,
) -> sqlx::Result<Option<Former>> {
    sqlx::query_as!(
        Former,
        r#"SELECT instance_id, subdomain, request_hash, expires_at > now() AS "is_active!",
                  expires_at + make_interval(secs => $3) > now() AS "is_resumable!"
           FROM create_claims WHERE customer_id = $1 AND key = $2"#,
        customer,
        key,
        RESUMABLE,
    )
    .fetch_optional(connection)
    .await
}

/// Claims a host name. An ended claim of somebody else is overwritten. False: the name is taken. The caller
/// holds the customer's lock and knows that the key is free.
pub async fn insert(connection: &mut PgConnection, claim: &Claim) -> sqlx::Result<bool> {
    let done = sqlx::query!(
        r#"INSERT INTO create_claims (instance_id, token, customer_id, subdomain, key, request_hash, expires_at)
           SELECT $1, $2, $3, $4, $5, $6, now() + make_interval(secs => $7)
           WHERE NOT EXISTS (SELECT FROM instances WHERE subdomain = $4 AND status <> 'purged')
           ON CONFLICT (subdomain) DO UPDATE SET instance_id = excluded.instance_id, token = excluded.token,
               customer_id = excluded.customer_id, key = excluded.key, request_hash = excluded.request_hash,
               expires_at = excluded.expires_at
           WHERE create_claims.expires_at <= now()"#,
        claim.instance_id,
        claim.token,
        claim.customer_id,
        claim.subdomain,
        claim.key,
        claim.request_hash,
        LIFE,
    )
    .execute(&mut *connection)
    .await?;
    if done.rows_affected() != 1 {
        return Ok(false);
    }
    // Whoever held the name may have stored its instance while we waited for its claim: the statement above
    // saw the instances as they were when it began.
    let taken = sqlx::query!(
        "DELETE FROM create_claims WHERE instance_id = $1 AND token = $2
             AND EXISTS (SELECT FROM instances WHERE subdomain = $3 AND status <> 'purged')",
        claim.instance_id,
        claim.token,
        claim.subdomain,
    )
    .execute(connection)
    .await?;
    Ok(taken.rows_affected() == 0)
}

/// Goes on with an ended claim, under another token. False: somebody else does.
pub async fn resume(connection: &mut PgConnection, instance: Uuid, token: Uuid) -> sqlx::Result<bool> {
    let done = sqlx::query!(
        "UPDATE create_claims SET token = $2, expires_at = now() + make_interval(secs => $3)
         WHERE instance_id = $1 AND expires_at <= now()",
        instance,
        token,
        LIFE,
    )
    .execute(connection)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Ends a claim by its call. False: another call has taken it over.
pub async fn release(connection: &mut PgConnection, instance: Uuid, token: Uuid) -> sqlx::Result<bool> {
    let done =
        sqlx::query!("DELETE FROM create_claims WHERE instance_id = $1 AND token = $2", instance, token,)
            .execute(connection)
            .await?;
    Ok(done.rows_affected() == 1)
}

/// Lets the same request go on at once: nobody knows how far this call came.
pub async fn leave(connection: &mut PgConnection, instance: Uuid, token: Uuid) -> sqlx::Result<()> {
    sqlx::query!(
        "UPDATE create_claims SET expires_at = now() WHERE instance_id = $1 AND token = $2",
        instance,
        token,
    )
    .execute(connection)
    .await
    .map(drop)
}

/// Removes a claim that nobody can go on with any more, so that its key is free.
pub async fn forget(connection: &mut PgConnection, instance: Uuid) -> sqlx::Result<()> {
    sqlx::query!("DELETE FROM create_claims WHERE instance_id = $1 AND expires_at <= now()", instance)
        .execute(connection)
        .await
        .map(drop)
}
