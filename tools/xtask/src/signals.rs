//! SIGINT, SIGTERM and SIGHUP: blocked everywhere and waited for by one thread. While something starts, a
//! signal ends everything at once; later it is handed to whoever waits. A second one always ends everything
//! at once.

use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::mpsc::{Receiver, SendError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use devstack::process;
use nix::sys::signal::{SigSet, Signal};

/// Group that gets the interrupt instead of us; 0 if there is none.
static FORWARD: AtomicI32 = AtomicI32::new(0);

fn watched() -> SigSet {
    [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP].into_iter().collect()
}

/// Blocks the signals in this thread and those that it makes. Processes are started with none blocked
/// ([`process::spawn`]).
pub fn block() {
    if let Err(error) = watched().thread_block() {
        eprintln!("signals cannot be blocked: {error}");
    }
}

/// Unblocks the signals: for tasks that may simply be interrupted.
pub fn unblock() {
    if let Err(error) = watched().thread_unblock() {
        eprintln!("signals cannot be unblocked: {error}");
    }
}

/// Passes interrupts to this process group; 0 ends that.
pub fn forward_to(group: i32) {
    FORWARD.store(group, Ordering::SeqCst);
}

/// What the watching thread does at the first signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum First {
    /// End everything at once.
    End,
    /// Tell the receiver.
    Tell,
}

/// The watching thread's other end.
#[derive(Debug)]
pub struct Watch {
    /// Gets a message for each signal in mode [`First::Tell`].
    pub signals: Receiver<()>,
    mode: Arc<Mutex<First>>,
}

impl Watch {
    /// Changes what the next signal does.
    pub fn set(&self, first: First) {
        *self.mode.lock().unwrap_or_else(PoisonError::into_inner) = first;
    }
}

/// Starts the watching thread. `cleanup` runs after everything was ended in a hurry.
pub fn watch(first: First, cleanup: impl FnOnce() + Send + 'static) -> Watch {
    let (sender, signals) = channel();
    let mode = Arc::new(Mutex::new(first));
    let shared = Arc::clone(&mode);
    thread::spawn(move || follow(&sender, &shared, cleanup));
    Watch { signals, mode }
}

/// A signal that arrives this soon after the first is the same one: some senders signal a process and its
/// group.
const SAME: Duration = Duration::from_secs(1);

fn follow(sender: &Sender<()>, mode: &Mutex<First>, cleanup: impl FnOnce()) {
    let mut told: Option<Instant> = None;
    loop {
        if watched().wait().is_err() {
            continue;
        }
        let group = FORWARD.load(Ordering::SeqCst);
        let now = *mode.lock().unwrap_or_else(PoisonError::into_inner);
        if told.is_some_and(|at| at.elapsed() < SAME) {
            continue;
        }
        if now == First::Tell && told.is_none() {
            told = Some(Instant::now());
            if group != 0 {
                process::interrupt(group);
            }
            // Nobody waits any more: the end is near anyway.
            let _: Result<(), SendError<()>> = sender.send(());
            continue;
        }
        eprintln!("\ninterrupted: ending all processes");
        process::end_all();
        cleanup();
        std::process::exit(130);
    }
}
