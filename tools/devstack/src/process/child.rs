//! What every child process has in common: how it is spawned, and how it is asked to stop.

use std::process::{Child, Command};

use nix::sys::signal::{SigSet, Signal};

/// What a process is told when it shall end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopSignal {
    /// SIGTERM to the whole group: what nearly every server wants.
    TermGroup,
    /// SIGINT to the leader alone: PostgreSQL's fast shutdown.
    IntLeader,
    /// SIGTERM to the leader alone, for one that takes its children down itself.
    TermLeader,
}

impl StopSignal {
    pub(super) fn signal(self) -> Signal {
        match self {
            Self::TermGroup | Self::TermLeader => Signal::SIGTERM,
            Self::IntLeader => Signal::SIGINT,
        }
    }

    pub(super) fn to_group(self) -> bool {
        matches!(self, Self::TermGroup)
    }
}

/// Spawns a child with no signal blocked. A child inherits the mask of the thread that spawns it, and ours
/// may block those that it waits for itself.
pub fn spawn(command: &mut Command) -> std::io::Result<Child> {
    let mask = SigSet::thread_get_mask()?;
    SigSet::empty().thread_set_mask()?;
    let child = command.spawn();
    mask.thread_set_mask()?;
    child
}
