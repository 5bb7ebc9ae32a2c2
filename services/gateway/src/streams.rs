//! Open event streams: each one is work in another service for as long as it lives, so that there are only so
//! many of an account and of this process, none outlives its session, and none lives for ever. A client comes
//! back with the id of its last event.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::Stream;
use futures::StreamExt as _;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::context::Ctx;
use crate::problem::Problem;
use crate::session::Sessions;

/// Streams of one account in this process.
const OF_ACCOUNT: usize = 20;
/// Streams of this process.
const OF_PROCESS: usize = 2000;
/// Longest life of a stream.
const LIFE: Duration = Duration::from_mins(15);
/// How often the session is looked at. Together with the time that an answer is kept a revoked session sees nothing after 5 s.
const LOOK: Duration = Duration::from_secs(2);

/// The streams that are open now, by account.
#[derive(Debug, Clone, Default)]
pub struct Streams(Arc<Mutex<HashMap<Uuid, usize>>>);

/// A stream's place; it is free again when this is dropped.
#[derive(Debug)]
pub struct Place {
    streams: Streams,
    account: Uuid,
}

impl Streams {
    /// Takes a place for this account.
    pub fn enter(&self, account: Uuid) -> Result<Place, Problem> {
        let mut open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if open.values().sum::<usize>() >= OF_PROCESS {
            return Err(Problem::unavailable(
                "too many event streams are open: try again, or ask for the operation",
            ));
        }
        let own = open.entry(account).or_default();
        if *own >= OF_ACCOUNT {
            let problem = Problem::rate_limited(Duration::from_secs(5));
            let detail = format!("{OF_ACCOUNT} event streams are open: close one first");
            return Err(problem.with_detail(detail));
        }
        *own += 1;
        Ok(Place { streams: self.clone(), account })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.streams.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(own) = open.get_mut(&self.account) {
            *own -= 1;
            if *own == 0 {
                open.remove(&self.account);
            }
        }
    }
}

/// What ends a stream besides its source.
#[derive(Debug, Clone)]
pub struct Bounds {
    /// The process stops.
    pub stop: CancellationToken,
    /// Who knows whether the session of the request lives.
    pub sessions: Sessions,
    /// The request.
    pub context: Ctx,
}

/// `events` until the process stops, the session of the request is over, or its life is.
pub fn bounded<E: Send + 'static>(
    bounds: Bounds,
    place: Place,
    events: impl Stream<Item = E> + Send + 'static,
) -> impl Stream<Item = E> + Send + 'static {
    let end = async move {
        tokio::select! {
            () = bounds.stop.cancelled() => {}
            () = tokio::time::sleep(LIFE) => {}
            () = session_over(&bounds.sessions, &bounds.context) => {}
        }
        drop(place);
    };
    events.take_until(end)
}

/// Ends with the session. While nobody can say whether it lives, the stream goes on: it began with a good one and its life is bounded.
async fn session_over(sessions: &Sessions, context: &Ctx) {
    let Some(user) = &context.user else { return std::future::pending().await };
    loop {
        tokio::time::sleep(LOOK).await;
        if matches!(sessions.live(context, user.session).await, Ok(None)) {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_bounded_and_come_back() {
        let (streams, account) = (Streams::default(), Uuid::nil());
        let places: Vec<Place> = (0..OF_ACCOUNT).map(|_| streams.enter(account).unwrap()).collect();
        assert_eq!(streams.enter(account).unwrap_err().status().as_u16(), 429);
        assert!(streams.enter(Uuid::max()).is_ok());
        drop(places);
        assert!(streams.enter(account).is_ok());
    }
}
