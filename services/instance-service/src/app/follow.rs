//! Following an operation (see "One request" in ARCHITECTURE): its present state, then each change by revision, until it has
//! ended.
//!
//! One task listens for NOTIFY and wakes the readers. An operation has one reader, however many follow it: it
//! also polls, so that a lost notification costs two seconds. Each account has a share of the open streams,
//! and no stream lives for ever.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::Stream;
use instance::domain::Operation;
use instance::store::{Scope, news, operations};
use sqlx::PgPool;
use sqlx::postgres::PgListener;
use tokio::sync::{Notify, broadcast, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::who::Who;
use super::{App, look};
use crate::config::Streams;
use crate::error::Error;

/// Poll behind the notification.
const POLL: Duration = Duration::from_secs(2);
/// Notifications that a slow reader may lag behind; it then looks at once.
const BACKLOG: usize = 1024;
/// Longest life of a stream; whoever still wants it opens it again, and is checked again.
const LIFE: Duration = Duration::from_mins(15);

/// What followers of an operation have seen of it last.
#[derive(Debug, Clone)]
enum Seen {
    Nothing,
    Operation(Box<Operation>),
    /// It could not be read.
    Failed,
}

/// Ids of operations that changed, their readers, and the seats of those who follow.
#[derive(Debug, Clone)]
pub struct Wakeups {
    changes: broadcast::Sender<Uuid>,
    news: Arc<Notify>,
    followed: Arc<Mutex<HashMap<Uuid, Arc<watch::Sender<Seen>>>>>,
    seats: Seats,
    stop: CancellationToken,
}

impl Wakeups {
    /// Readers end with `stop`, so that an open stream does not hold up the shutdown.
    pub fn new(limits: &Streams, stop: CancellationToken) -> Self {
        Self {
            changes: broadcast::Sender::new(BACKLOG),
            news: Arc::default(),
            followed: Arc::default(),
            seats: Seats { limits: *limits, taken: Arc::default() },
            stop,
        }
    }

    /// Returns when there may be news of billing.
    pub async fn news(&self) {
        self.news.notified().await;
    }

    /// Operations that are read at this moment.
    pub fn readers(&self) -> usize {
        lock(&self.followed).len()
    }

    /// Listens until the process stops; a lost connection is made anew.
    pub async fn run(self, pool: PgPool) -> anyhow::Result<()> {
        loop {
            tokio::select! {
                () = self.stop.cancelled() => return Ok(()),
                outcome = self.listen(&pool) => {
                    let Err(error) = outcome;
                    tracing::warn!(error = %error, "lost the connection that listens for operations, trying again");
                }
            }
            tokio::select! {
                () = self.stop.cancelled() => return Ok(()),
                () = tokio::time::sleep(Duration::from_secs(1)) => {}
            }
        }
    }

    async fn listen(&self, pool: &PgPool) -> sqlx::Result<std::convert::Infallible> {
        let mut listener = PgListener::connect_with(pool).await?;
        listener.listen_all(["operations", news::CHANNEL]).await?;
        loop {
            let notification = listener.recv().await?;
            if notification.channel() == news::CHANNEL {
                self.news.notify_one();
            } else if let Ok(id) = notification.payload().parse() {
                // Nobody follows: then nobody needs to know.
                let _ = self.changes.send(id);
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Open streams by account.
#[derive(Debug, Clone)]
struct Seats {
    limits: Streams,
    taken: Arc<Mutex<HashMap<String, usize>>>,
}

/// One open stream; it counts until it is dropped.
#[derive(Debug)]
struct Seat {
    taken: Arc<Mutex<HashMap<String, usize>>>,
    account: String,
}

impl Seats {
    fn take(&self, account: &str) -> Result<Seat, Error> {
        let mut taken = lock(&self.taken);
        let own = taken.get(account).copied().unwrap_or(0);
        if own >= self.limits.max_streams_per_account
            || taken.values().sum::<usize>() >= self.limits.max_streams
        {
            return Err(Error::TooManyStreams);
        }
        taken.insert(account.to_owned(), own + 1);
        Ok(Seat { taken: Arc::clone(&self.taken), account: account.to_owned() })
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut taken = lock(&self.taken);
        match taken.get_mut(&self.account) {
            Some(count) if *count > 1 => *count -= 1,
            _ => drop(taken.remove(&self.account)),
        }
    }
}

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
    who: &Who,
    instance: Uuid,
    id: Uuid,
    after: i64,
) -> Result<impl Stream<Item = Result<Operation, Error>> + Send + use<>, Error> {
    let seat = app.wakeups.seats.take(&who.actor)?;
    // Whose it is, is asked for each follower; what becomes of it is read once for all of them.
    let operation = look::operation(app, who, instance, id).await?;
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
