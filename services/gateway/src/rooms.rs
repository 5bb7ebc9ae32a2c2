//! How many requests are in work at once. A limit by address is no help against a crowd of addresses: what it
//! asks for in excess is answered at once, instead of piling up behind what is slow.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::config::Config;
use crate::problem::Problem;

/// Places for requests; each is free again when its permit is dropped.
#[derive(Debug, Clone)]
pub struct Rooms {
    all: Arc<Semaphore>,
    auth: Arc<Semaphore>,
}

impl Rooms {
    /// All places are free.
    pub fn new(config: &Config) -> Self {
        let room = |places: u32| Arc::new(Semaphore::new(usize::try_from(places).unwrap_or(1)));
        Self { all: room(config.max_requests), auth: room(config.max_auth_requests) }
    }

    /// A place for any request, until the head of its answer.
    pub fn enter(&self) -> Result<OwnedSemaphorePermit, Problem> {
        Self::place(&self.all)
    }

    /// A place for a request whose answer costs a password hash or a mail. There are far fewer, so that a flood
    /// of those leaves the rest of the API as it is.
    pub fn enter_auth(&self) -> Result<OwnedSemaphorePermit, Problem> {
        Self::place(&self.auth)
    }

    fn place(room: &Arc<Semaphore>) -> Result<OwnedSemaphorePermit, Problem> {
        let full = |_| Problem::unavailable("too many requests are in work now: try again in a few seconds");
        Arc::clone(room).try_acquire_owned().map_err(full)
    }
}
