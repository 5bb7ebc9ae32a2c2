//! Following an operation (design part 9): its present state, then each change by revision, until it has ended.
//!
//! One task listens for NOTIFY and wakes all readers; each reader also polls, so that a lost notification costs two seconds.

use std::time::Duration;

use futures::Stream;
use instance::domain::Operation;
use sqlx::PgPool;
use sqlx::postgres::PgListener;
use tokio::sync::broadcast;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::who::Who;
use super::{App, look};
use crate::error::Error;

/// Poll behind the notification.
const POLL: Duration = Duration::from_secs(2);
/// Notifications that a slow reader may lag behind; it then looks at once.
const BACKLOG: usize = 1024;

/// Ids of operations that changed.
#[derive(Debug, Clone)]
pub struct Wakeups {
    changes: broadcast::Sender<Uuid>,
    stop: CancellationToken,
}

impl Wakeups {
    /// Readers end with `stop`, so that an open stream does not hold up the shutdown.
    pub fn new(stop: CancellationToken) -> Self {
        Self { changes: broadcast::Sender::new(BACKLOG), stop }
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
        listener.listen("operations").await?;
        loop {
            let notification = listener.recv().await?;
            if let Ok(id) = notification.payload().parse() {
                // Nobody follows: then nobody needs to know.
                let _ = self.changes.send(id);
            }
        }
    }
}

/// State of one reader.
struct Reader {
    app: App,
    who: Who,
    instance: Uuid,
    id: Uuid,
    changes: broadcast::Receiver<Uuid>,
    seen: i64,
    next: Option<Operation>,
    ended: bool,
}

/// The changes of an operation above `after` (`Last-Event-ID`). Fails at once when there is no such operation.
pub async fn follow(
    app: &App,
    who: &Who,
    instance: Uuid,
    id: Uuid,
    after: i64,
) -> Result<impl Stream<Item = Result<Operation, Error>> + Send + use<>, Error> {
    // Listen first, look then: nothing is missed between.
    let changes = app.wakeups.changes.subscribe();
    let operation = look::operation(app, who, instance, id).await?;
    let reader = Reader {
        app: app.clone(),
        who: who.clone(),
        instance,
        id,
        changes,
        seen: after,
        ended: operation.revision <= after && !operation.state.is_active(),
        next: Some(operation).filter(|operation| operation.revision > after),
    };
    Ok(futures::stream::unfold(reader, |mut reader| async move {
        let item = reader.step().await?;
        Some((item, reader))
    }))
}

impl Reader {
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
            let stop = self.app.wakeups.stop.clone();
            tokio::select! {
                () = stop.cancelled() => return None,
                () = self.changed() => {}
            }
            match look::operation(&self.app, &self.who, self.instance, self.id).await {
                Ok(operation) if operation.revision > self.seen => self.next = Some(operation),
                Ok(_) => {}
                Err(error) => {
                    self.ended = true;
                    return Some(Err(error));
                }
            }
        }
    }

    /// Returns when this operation may have changed.
    async fn changed(&mut self) {
        let wait = async {
            loop {
                match self.changes.recv().await {
                    Ok(id) if id != self.id => {}
                    Ok(_) | Err(broadcast::error::RecvError::Lagged(_)) => return,
                    // The hub lives as long as the service; the poll goes on.
                    Err(broadcast::error::RecvError::Closed) => std::future::pending().await,
                }
            }
        };
        let _ = tokio::time::timeout(POLL, wait).await;
    }
}
