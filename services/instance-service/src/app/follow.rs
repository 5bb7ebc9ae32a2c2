//! Following an operation (see "One request" in ARCHITECTURE): its present state, then each change by
//! revision, until it has ended.
//!
//! An operation has one reader, however many follow it: it is woken by notifications ([`crate::wakeups`]),
//! and also polls, so that a lost one costs two seconds. No stream lives for ever.

use std::sync::Arc;
use std::time::Duration;

use futures::Stream;
use instance::domain::Operation;
use instance::store::{Scope, operations};
use tokio::sync::{broadcast, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::caller::Caller;
use super::{App, lookup};
use crate::error::Error;
use crate::wakeups::{Seat, Seen, lock};

/// Poll behind the notification.
const POLL: Duration = Duration::from_secs(2);
/// Longest life of a stream; whoever still wants it opens it again, and is checked again.
const LIFE: Duration = Duration::from_mins(15);

/// State of one follower.
struct Follower {
    stop: CancellationToken,
    until: Instant,
    changes: watch::Receiver<Seen>,
    seen: i64,
    next: Option<Operation>,
    ended: bool,
    _seat: Seat,
}

/// The changes of an operation above `after` (`Last-Event-ID`). Fails at once when there is no such
/// operation.
pub async fn follow(
    app: &App,
    caller: &Caller,
    instance: Uuid,
    id: Uuid,
    after: i64,
) -> Result<impl Stream<Item = Result<Operation, Error>> + Send + use<>, Error> {
    let seat = app.wakeups.seats.take(&caller.actor)?;
    // Whose it is, is asked for each follower; what becomes of it is read once for all of them.
    let operation = lookup::operation(app, caller, instance, id).await?;
    let follower = Follower {
        stop: app.wakeups.stop.clone(),
        until: Instant::now() + LIFE,
        changes: subscribe(app, instance, id),
        seen: after,
        ended: operation.revision <= after && !operation.state.is_active(),
        next: Some(operation).filter(|operation| operation.revision > after),
        _seat: seat,
    };
    Ok(futures::stream::unfold(follower, |mut follower| async move {
        let item = follower.step().await?;
        Some((item, follower))
    }))
}

impl Follower {
    async fn step(&mut self) -> Option<Result<Operation, Error>> {
        loop {
            if let Some(operation) = self.next.take() {
                self.seen = operation.revision;
                self.ended = !operation.state.is_active();
                return Some(Ok(operation));
            }
            if self.ended {
                return None;
            }
            let changed = tokio::select! {
                () = self.stop.cancelled() => return None,
                () = tokio::time::sleep_until(self.until) => return None,
                changed = self.changes.changed() => changed,
            };
            let seen = self.changes.borrow_and_update().clone();
            match seen {
                Seen::Operation(operation) if operation.revision > self.seen => self.next = Some(*operation),
                Seen::Failed => {
                    self.ended = true;
                    return Some(Err(Error::Unavailable("the database")));
                }
                // The reader has ended, and this was its last word.
                _ if changed.is_err() => return None,
                Seen::Operation(_) | Seen::Nothing => {}
            }
        }
    }
}

/// Follows the reader of an operation; begins it when nobody followed.
fn subscribe(app: &App, instance: Uuid, id: Uuid) -> watch::Receiver<Seen> {
    let mut followed = lock(&app.wakeups.followed);
    if let Some(reader) = followed.get(&id) {
        let mut receiver = reader.subscribe();
        // What was read before this follower came is news to it.
        receiver.mark_changed();
        return receiver;
    }
    let (sender, receiver) = watch::channel(Seen::Nothing);
    let sender = Arc::new(sender);
    followed.insert(id, Arc::clone(&sender));
    tokio::spawn(read(app.clone(), instance, id, sender));
    receiver
}

/// Reads an operation while somebody follows it.
async fn read(app: App, instance: Uuid, id: Uuid, sender: Arc<watch::Sender<Seen>>) {
    // Listen first, look then: nothing is missed between.
    let mut changes = app.wakeups.changes.subscribe();
    loop {
        let over = look_once(&app, instance, id, &sender).await;
        if !over {
            tokio::select! {
                () = app.wakeups.stop.cancelled() => {}
                () = sender.closed() => {}
                () = changed(&mut changes, id) => continue,
            }
        }
        let mut followed = lock(&app.wakeups.followed);
        // Somebody may have come at this moment.
        if over || app.wakeups.stop.is_cancelled() || sender.receiver_count() == 0 {
            followed.remove(&id);
            return;
        }
    }
}

/// True: there is nothing more to see.
async fn look_once(app: &App, instance: Uuid, id: Uuid, sender: &watch::Sender<Seen>) -> bool {
    let found = async {
        let mut connection = app.pool.acquire().await?;
        operations::find(&mut connection, instance, id, Scope::All).await
    };
    let found: sqlx::Result<Option<Operation>> = found.await;
    let Ok(Some(operation)) = found else {
        if let Err(error) = found {
            tracing::warn!(operation.id = %id, error = %error, "a followed operation could not be read");
        }
        sender.send_replace(Seen::Failed);
        return true;
    };
    let over = !operation.state.is_active();
    sender.send_if_modified(|seen| {
        if matches!(seen, Seen::Operation(known) if known.revision >= operation.revision) {
            return false;
        }
        *seen = Seen::Operation(Box::new(operation));
        true
    });
    over
}

/// Returns when this operation may have changed.
async fn changed(changes: &mut broadcast::Receiver<Uuid>, id: Uuid) {
    let wait = async {
        loop {
            match changes.recv().await {
                Ok(changed) if changed != id => {}
                Ok(_) | Err(broadcast::error::RecvError::Lagged(_)) => return,
                // The hub lives as long as the service; the poll goes on.
                Err(broadcast::error::RecvError::Closed) => std::future::pending().await,
            }
        }
    };
    let _ = tokio::time::timeout(POLL, wait).await;
}
