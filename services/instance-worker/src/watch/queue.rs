//! A queue of keys: a key that is queued twice is worked on once, and never by two at a time.

use std::collections::{HashMap, HashSet, VecDeque};
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

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
    /// Asked for later, and when.
    later: HashMap<K, Instant>,
}

impl<K: Eq + Hash + Copy + Send + 'static> Default for Queue<K> {
    fn default() -> Self {
        let state = State {
            waiting: VecDeque::new(),
            queued: HashSet::new(),
            busy: HashSet::new(),
            again: HashSet::new(),
            later: HashMap::new(),
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

    /// Asks for a look after a while; a look that is due sooner covers it.
    pub fn add_after(&self, key: K, pause: Duration) {
        let due = Instant::now() + pause;
        {
            let mut state = self.lock();
            if state.later.get(&key).is_some_and(|sooner| *sooner <= due) {
                return;
            }
            state.later.insert(key, due);
        }
        let queue = self.clone();
        tokio::spawn(async move {
            tokio::time::sleep_until(due).await;
            let mut state = queue.lock();
            // A sooner one has taken its place.
            if state.later.get(&key) != Some(&due) {
                return;
            }
            state.later.remove(&key);
            drop(state);
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

    #[tokio::test(start_paused = true)]
    async fn many_wishes_for_later_are_one_look_at_the_soonest_time() {
        let queue = Queue::default();
        queue.add_after(7, Duration::from_secs(5));
        queue.add_after(7, Duration::from_secs(1));
        queue.add_after(7, Duration::from_secs(3));
        let start = Instant::now();
        assert_eq!(queue.next().await, 7);
        assert!(start.elapsed() < Duration::from_secs(2));
        queue.done(7);
        tokio::time::sleep(Duration::from_secs(10)).await;
        assert!(queue.is_empty());
    }

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
