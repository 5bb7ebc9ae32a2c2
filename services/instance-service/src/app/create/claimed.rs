//! The claim of a create: host name and key in one transaction, before anything is ordered (INS-10, INS-12).

use std::time::Duration;

use instance::store::claims::{self, Claim};
use instance::store::{self, closed, idempotency, instances};
use sqlx::PgConnection;
use tokio::time::Instant;
use uuid::Uuid;

use super::checked::{Draft, HostName};
use super::request::{Asked, Created, answer_again};
use super::stored;
use crate::app::App;
use crate::error::Error;
use crate::rules::Rules;

/// Host names that are tried before we give up; a suffix has 1.6 million values.
const SUFFIXES: usize = 8;
/// How long a repetition waits for the first request with its key, and how often it looks.
const PATIENCE: Duration = Duration::from_secs(15);
const LOOK: Duration = Duration::from_millis(100);

/// What a call has got.
pub(super) enum Taken {
    /// It may order.
    Claim(Claim),
    /// The same request made this before.
    Again(Box<Created>),
}

/// What a look gives.
enum Look {
    Taken(Taken),
    /// Another call with this key is at it.
    Busy,
}

/// Claims the host name and the key of a request. A repetition waits until the first one has ended, and gets
/// its answer.
pub(super) async fn take(app: &App, draft: &Draft, request: &Asked) -> Result<Taken, Error> {
    let until = Instant::now() + PATIENCE;
    loop {
        match look(app, draft, request).await? {
            Look::Taken(taken) => return Ok(taken),
            Look::Busy if Instant::now() < until => tokio::time::sleep(LOOK).await,
            Look::Busy => return Err(Error::Unavailable("the first request with this Idempotency-Key")),
        }
    }
}

async fn look(app: &App, draft: &Draft, request: &Asked) -> Result<Look, Error> {
    let mut tx = app.pool.begin().await?;
    instances::lock_customer(&mut tx, draft.customer).await?;
    if let Some(key) = &request.key {
        let now = store::now(&mut tx).await?;
        if let Some(remembered) = idempotency::find(&mut tx, draft.customer, key, now).await? {
            let created = answer_again(&mut tx, draft.customer, &request.hash, &remembered).await?;
            return Ok(Look::Taken(Taken::Again(Box::new(created))));
        }
        if let Some(look) = former(&mut tx, draft, request, key).await? {
            tx.commit().await?;
            return Ok(look);
        }
    }
    if closed::is_closing(&mut tx, draft.customer).await? {
        return Err(Error::Forbidden);
    }
    stored::check_room(&mut tx, &app.rules, draft, Uuid::nil()).await?;
    let claim = insert(&mut tx, &app.rules, draft, request).await?;
    tx.commit().await?;
    Ok(Look::Taken(Taken::Claim(claim)))
}

/// An earlier call with the same key that made no row, or not yet. `None`: there is none to go on with.
async fn former(
    connection: &mut PgConnection,
    draft: &Draft,
    request: &Asked,
    key: &str,
) -> Result<Option<Look>, Error> {
    let Some(former) = claims::of_key(connection, draft.customer, key).await? else { return Ok(None) };
    let same = former.request_hash == request.hash;
    if former.is_active {
        return if same { Ok(Some(Look::Busy)) } else { Err(Error::IdempotencyMismatch) };
    }
    if !same || !former.is_resumable {
        claims::forget(connection, former.instance_id).await?;
        return Ok(None);
    }
    // Nobody knows how far it came. The order is idempotent by the instance: it is placed again, and is the
    // same one.
    let claim = Claim {
        instance_id: former.instance_id,
        token: Uuid::new_v4(),
        customer_id: draft.customer,
        subdomain: former.subdomain,
        key: request.key.clone(),
        request_hash: request.hash.clone(),
    };
    let resumed = claims::resume(connection, claim.instance_id, claim.token).await?;
    Ok(Some(if resumed { Look::Taken(Taken::Claim(claim)) } else { Look::Busy }))
}

/// Claims the first host name that is free.
async fn insert(
    connection: &mut PgConnection,
    rules: &Rules,
    draft: &Draft,
    request: &Asked,
) -> Result<Claim, Error> {
    let mut claim = Claim {
        instance_id: Uuid::now_v7(),
        token: Uuid::new_v4(),
        customer_id: draft.customer,
        subdomain: String::new(),
        key: request.key.clone(),
        request_hash: request.hash.clone(),
    };
    if let HostName::Chosen(subdomain) = &draft.subdomain {
        subdomain.as_str().clone_into(&mut claim.subdomain);
        return if claims::insert(connection, &claim).await? {
            Ok(claim)
        } else {
            Err(Error::SubdomainTaken)
        };
    }
    if let Some(plain) = rules.subdomains.from_name(&draft.name) {
        plain.as_str().clone_into(&mut claim.subdomain);
        if claims::insert(connection, &claim).await? {
            return Ok(claim);
        }
    }
    for _ in 0..SUFFIXES {
        let subdomain = rules.subdomains.from_name_with_suffix(&draft.name, &suffix())?;
        subdomain.as_str().clone_into(&mut claim.subdomain);
        if claims::insert(connection, &claim).await? {
            return Ok(claim);
        }
    }
    Err(Error::SubdomainTaken)
}

/// Four random characters of a-z and 0-9.
fn suffix() -> String {
    const ALPHABET: &[u8; 36] = b"abcdefghijklmnopqrstuvwxyz0123456789";
    let random: [u8; 4] = rand::random();
    random.iter().map(|byte| char::from(ALPHABET[usize::from(*byte) % ALPHABET.len()])).collect()
}

/// Ends a claim without a row. False: it is not ours any more, or nobody can say; then its order is not ours
/// to take back either.
pub(super) async fn give_up(app: &App, claim: &Claim) -> bool {
    let ended = async {
        let mut connection = app.pool.acquire().await?;
        claims::release(&mut connection, claim.instance_id, claim.token).await
    };
    let ended: sqlx::Result<bool> = ended.await;
    ended.unwrap_or_else(|error| {
        tracing::warn!(instance.id = %claim.instance_id, error = %error, "a claim ends by itself");
        false
    })
}

/// Nobody knows whether the row is there: the same request may go on at once.
pub(super) async fn leave(app: &App, claim: &Claim) {
    let left = async {
        let mut connection = app.pool.acquire().await?;
        claims::leave(&mut connection, claim.instance_id, claim.token).await
    };
    let left: sqlx::Result<()> = left.await;
    if let Err(error) = left {
        tracing::warn!(instance.id = %claim.instance_id, error = %error, "a claim ends by itself");
    }
}
