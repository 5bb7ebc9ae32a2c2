//! The rules of pools and allocations: pure functions and values. No clock, no random numbers, no I/O.

pub mod allocation;
pub mod caller;
pub mod checks;
pub mod cleanup;
pub mod estimate;
pub mod forecast;
pub mod growth;
pub mod names;
pub mod placement;
pub mod pool;
pub mod rotation;
pub mod server;
pub mod task;
pub mod trace;
pub mod tuning;

/// A word that is none of an enum's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no known word")]
pub struct UnknownWord(pub String);

/// Enums that stand as words in SQL, events and answers.
macro_rules! words {
    ($(#[$meta:meta])* $name:ident { $($(#[$variant_meta:meta])* $variant:ident = $word:literal),+ $(,)? }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum $name { $($(#[$variant_meta])* $variant),+ }

        impl $name {
            /// All values, in the order of the CHECK constraint.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The word in SQL, events and answers.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl std::str::FromStr for $name {
            type Err = $crate::domain::UnknownWord;
            fn from_str(word: &str) -> Result<Self, Self::Err> {
                match word {
                    $($word => Ok(Self::$variant),)+
                    _ => Err($crate::domain::UnknownWord(word.to_owned())),
                }
            }
        }
    };
}
pub(crate) use words;

words! {
    /// Life of an allocation.
    AllocationState {
        /// The slot is taken; role and database are being made.
        Allocating = "allocating",
        /// The tenant may connect.
        Allocated = "allocated",
        /// Kept until the end of the retention.
        Released = "released",
        /// Role and database are gone; the slot is free.
        Purged = "purged",
    }
}

words! {
    /// How a tenant's database is given up (DBS-11).
    ReleaseMode {
        /// Kept for the retention.
        Soft = "soft",
        /// Dropped now.
        Purge = "purge",
    }
}

words! {
    /// What a task does (DBS-21).
    TaskKind {
        /// Looks at all servers.
        HealthCheck = "health_check",
        /// Removes servers that failed and hold nothing.
        Cleanup = "cleanup",
        /// Makes a shared pool.
        ProvisionPool = "provision_pool",
        /// Makes a tenant's own server.
        ProvisionDedicated = "provision_dedicated",
        /// Changes a tenant's password; done by the worker's operation.
        RotatePassword = "rotate_password",
        /// Changes the password of a server's administrator.
        RotatePoolPassword = "rotate_pool_password",
    }
}

words! {
    /// How far a task is.
    TaskState {
        /// Waits for the leader.
        Queued = "queued",
        /// Is being done.
        Running = "running",
        /// Ended well.
        Succeeded = "succeeded",
        /// Ended badly.
        Failed = "failed",
    }
}

words! {
    /// Life of a move (DBS-33).
    MoveState {
        /// A slot is held on the target.
        Reserved = "reserved",
        /// The copy is being made, or was made.
        Copying = "copying",
        /// The copy is the same as the source.
        Verified = "verified",
        /// The copy is the database; the source is kept for some days.
        Switched = "switched",
        /// The copy is being dropped.
        Aborting = "aborting",
        /// Nothing is left of the copy.
        Aborted = "aborted",
        /// Nothing is left of the source.
        Dropped = "dropped",
    }
}

impl MoveState {
    /// Is the database where it will stay?
    pub fn is_over(self) -> bool {
        matches!(self, Self::Switched | Self::Aborted | Self::Dropped)
    }
}

/// Days that the source of a moved database is kept.
pub const SOURCE_KEPT_DAYS: i64 = 7;

/// Days that the volume of a removed pool is kept.
pub const VOLUME_KEPT_DAYS: i64 = 7;
