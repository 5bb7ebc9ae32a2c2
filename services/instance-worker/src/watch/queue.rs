//! A queue of keys: a key that is queued twice is worked on once, and never by two at a time.

use std::collections::{HashSet, VecDeque};
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

/// The queue. Clones are the same queue.
#[derive(Debug)]
pub struct Queue<K> {
    inner: Arc<Inner<K>>,
}

impl<K> Clone for Queue<K> {
    fn clone(&self) -> Self {
        Self { inner: Arc::clone(&self.inner) }
    }
}

#[derive(Debug)]
struct Inner<K> {
    state: Mutex<State<K>>,
    filled: Notify,
}

#[derive(Debug)]
struct State<K> {
    waiting: VecDeque<K>,
    queued: HashSet<K>,
    /// In work; true: asked for again meanwhile.
    busy: HashSet<K>,
    again: HashSet<K>,
}

impl<K: Eq + Hash + Copy + Send + 'static> Default for Queue<K> {
    fn default() -> Self {
        let state = State {
            waiting: VecDeque::new(),
            queued: HashSet::new(),
            busy: HashSet::new(),
            again: HashSet::new(),
        };
        Self { inner: Arc::new(Inner { state: Mutex::new(state), filled: Notify::new() }) }
    }
}

impl<K: Eq + Hash + Copy + Send + 'static> Queue<K> {
    fn lock(&self) -> std::sync::MutexGuard<'_, State<K>> {
        self.inner.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks for a look at `key`.
    pub fn add(&self, key: K) {
        let mut state = self.lock();
        if state.busy.contains(&key) {
            state.again.insert(key);
        } else if state.queued.insert(key) {
            state.waiting.push_back(key);
            drop(state);
            self.inner.filled.notify_one();
        }
    }

    /// Asks for a look after a while.
    pub fn add_after(&self, key: K, pause: Duration) {
        let queue = self.clone();
        tokio::spawn(async move {
            tokio::time::sleep(pause).await;
            queue.add(key);
        });
    }

    /// The next key; it counts as in work until [`Queue::done`].
    pub async fn next(&self) -> K {
        loop {
            {
                let mut state = self.lock();
                if let Some(key) = state.waiting.pop_front() {
                    state.queued.remove(&key);
                    state.busy.insert(key);
                    if !state.waiting.is_empty() {
                        self.inner.filled.notify_one();
                    }
                    return key;
                }
            }
            self.inner.filled.notified().await;
        }
    }

    /// The work on `key` has ended.
    pub fn done(&self, key: K) {
        let mut state = self.lock();
        state.busy.remove(&key);
        if state.again.remove(&key) && state.queued.insert(key) {
            state.waiting.push_back(key);
            drop(state);
            self.inner.filled.notify_one();
        }
    }

    /// Keys that wait or are in work.
    pub fn len(&self) -> usize {
        let state = self.lock();
        state.waiting.len() + state.busy.len()
    }

    /// Is there nothing to do?
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_key_that_is_added_during_its_work_is_worked_on_once_more() {
        let queue = Queue::default();
        queue.add(1);
        queue.add(1);
        assert_eq!(queue.next().await, 1);
        queue.add(1);
        queue.add(1);
        assert_eq!(queue.len(), 1);
        queue.done(1);
        assert_eq!(queue.next().await, 1);
        queue.done(1);
        assert!(queue.is_empty());
    }
}
