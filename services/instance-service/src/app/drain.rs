//! Emptying a pool for maintenance (DBS-33): a durable wish, and rounds that begin as many moves as go on at
//! a time. Rounds work on the rows as they are then, so that they go on wherever a process died.

use instance::store::{self, audit, drains};
use uuid::Uuid;

use super::App;
use super::act::check_reason;
use super::caller::Caller;
use super::move_database::{self, Target};
use crate::error::Error;

/// Moves at a time, when nobody says.
const PARALLEL: i32 = 5;
/// A tenant whose move failed is tried again after this.
const AGAIN: time::Duration = time::Duration::minutes(10);

/// A drain with how far it is.
pub type Seen = (drains::Drain, drains::Progress);

/// What is wished.
#[derive(Debug, Clone)]
pub struct DrainRequest {
    /// Which pool.
    pub pool: Uuid,
    /// Moves at a time; 0: five.
    pub parallel: u32,
    /// Onto servers of their own.
    pub dedicated: bool,
    /// For the audit log.
    pub reason: String,
}

/// Begins a drain and its first moves. A repeat gives the one that is open.
pub async fn begin(app: &App, caller: &Caller, request: &DrainRequest) -> Result<Seen, Error> {
    let reason = check_reason(Some(&request.reason))?;
    let parallel = match request.parallel {
        0 => PARALLEL,
        1..=50 => i32::try_from(request.parallel).unwrap_or(PARALLEL),
        _ => return Err(Error::invalid("parallel", "must be 1 to 50")),
    };
    let mut tx = app.pool.begin().await?;
    let new = drains::Drain {
        id: Uuid::now_v7(),
        pool_id: request.pool,
        dedicated: request.dedicated,
        parallel,
        state: "open".to_owned(),
        reason: reason.to_owned(),
        requested_by: caller.actor.clone(),
        request_id: caller.request_id.clone(),
        created_at: store::now(&mut tx).await?,
    };
    if drains::insert(&mut tx, &new).await? {
        audit::add(&mut tx, &caller.entry("drain_pool", None, reason)).await?;
    }
    tx.commit().await?;
    round(app).await?;
    see(app, request.pool).await
}

/// The youngest drain of a pool.
pub async fn see(app: &App, pool: Uuid) -> Result<Seen, Error> {
    let mut connection = app.pool.acquire().await?;
    let drain = drains::latest(&mut connection, pool).await?.ok_or(Error::NotFound("drain"))?;
    let progress = drains::progress(&mut connection, &drain).await?;
    Ok((drain, progress))
}

/// Begins no more moves; those that began go on. What has ended stays so.
pub async fn stop(app: &App, caller: &Caller, pool: Uuid, reason: &str) -> Result<Seen, Error> {
    let reason = check_reason(Some(reason))?;
    let mut tx = app.pool.begin().await?;
    let drain = drains::latest(&mut tx, pool).await?.ok_or(Error::NotFound("drain"))?;
    let now = store::now(&mut tx).await?;
    if drains::end(&mut tx, drain.id, "stopped", now).await? {
        audit::add(&mut tx, &caller.entry("stop_drain", None, reason)).await?;
    }
    tx.commit().await?;
    see(app, pool).await
}

/// One look at every open drain: begins what there is room for, ends what has nothing left. Tells whether any
/// is open.
pub async fn round(app: &App) -> Result<bool, Error> {
    let mut connection = app.pool.acquire().await?;
    let open = drains::open(&mut connection).await?;
    drop(connection);
    for id in &open {
        // One that fails holds up no other.
        if let Err(error) = one(app, *id).await {
            let (reason, text) = (error.reason(), format!("{error:#}"));
            tracing::warn!(drain.id = %id, reason, error = text, "a drain failed");
        }
    }
    Ok(!open.is_empty())
}

async fn one(app: &App, id: Uuid) -> Result<(), Error> {
    // Held through the round, so that two replicas do not begin twice as many.
    let mut tx = app.pool.begin().await?;
    let Some(drain) = drains::lock_open(&mut tx, id).await? else { return Ok(()) };
    let now = store::now(&mut tx).await?;
    let progress = drains::progress(&mut tx, &drain).await?;
    if progress.remaining == 0 && progress.moving.is_empty() {
        drains::end(&mut tx, id, "done", now).await?;
        tx.commit().await?;
        tracing::info!(drain.id = %id, moved = progress.moved, kept = progress.kept, "a pool has no live tenant any more");
        return Ok(());
    }
    let room = i64::from(drain.parallel) - i64::try_from(progress.moving.len()).unwrap_or(i64::MAX);
    if room > 0 {
        // More than there is room for: some may not move in their present state.
        let candidates = drains::movable(&mut tx, &drain, now - AGAIN, room + 50).await?;
        let caller = Caller::drain(&drain.requested_by, &drain.request_id);
        let target = Target {
            dedicated: drain.dedicated,
            drain: Some(id),
            reason: drain.reason.clone(),
            ..Target::default()
        };
        let mut begun = 0;
        for instance in candidates {
            if begun >= room {
                break;
            }
            // On the round's own connection: a round never waits for another one of the pool.
            match move_database::begin_within(&mut tx, &caller, instance, &target).await {
                Ok(Some(_)) => begun += 1,
                // It changes at this moment; the next round comes soon.
                Ok(None) => {}
                Err(error @ (Error::Internal(_) | Error::Unavailable(_) | Error::Conflict)) => {
                    return Err(error);
                }
                Err(error) => {
                    tracing::info!(instance.id = %instance, reason = error.reason(), "a tenant cannot leave its pool now");
                }
            }
        }
    }
    tx.commit().await?;
    Ok(())
}
