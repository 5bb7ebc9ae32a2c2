//! What the daily clean-up may remove (DBS-20): only servers that provably hold nothing.

use time::{Duration, OffsetDateTime};

use super::pool::{PoolStatus, ServerType};

/// A server must have been in `error` for so long.
pub const AFTER: Duration = Duration::hours(24);

/// What is known about databases of tenants on the server itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// It never came up, so nothing was ever made on it.
    NeverServed,
    /// It was looked at: so many databases named `odoo_…`.
    Databases(i64),
    /// It could not be looked at.
    Unknown,
}

/// Facts of one server.
#[derive(Debug, Clone, Copy)]
pub struct Facts {
    /// What it is for.
    pub server_type: ServerType,
    /// State.
    pub status: PoolStatus,
    /// Since when.
    pub since: OffsetDateTime,
    /// Allocations that hold a slot, softly released ones included.
    pub allocations: i64,
    /// What is on it.
    pub found: Found,
}

/// Remove it, or why not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing speaks against it.
    Remove,
    /// It stays.
    Keep(&'static str),
}

impl Verdict {
    /// remove or keep.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Remove => "remove",
            Self::Keep(_) => "keep",
        }
    }

    /// For people.
    pub fn why(self) -> &'static str {
        match self {
            Self::Remove => "in error for a day, and nothing is on it",
            Self::Keep(why) => why,
        }
    }
}

/// The one rule of the clean-up. Doubt keeps.
pub fn verdict(facts: Facts, now: OffsetDateTime) -> Verdict {
    if facts.server_type == ServerType::Platform {
        return Verdict::Keep("it is the platform's own");
    }
    if facts.status != PoolStatus::Error {
        return Verdict::Keep("it is not in error");
    }
    if facts.allocations > 0 {
        return Verdict::Keep("it has allocations");
    }
    if now - facts.since < AFTER {
        return Verdict::Keep("it is in error for less than a day");
    }
    match facts.found {
        Found::NeverServed | Found::Databases(0) => Verdict::Remove,
        Found::Databases(_) => Verdict::Keep("it holds databases of tenants"),
        Found::Unknown => Verdict::Keep("it cannot be looked at, and it may hold databases"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NOW: OffsetDateTime = OffsetDateTime::UNIX_EPOCH;

    fn old_error() -> Facts {
        Facts {
            server_type: ServerType::Shared,
            status: PoolStatus::Error,
            since: NOW - AFTER,
            allocations: 0,
            found: Found::NeverServed,
        }
    }

    /// DBS-20
    #[test]
    fn only_an_old_empty_error_goes() {
        let good = old_error();
        assert_eq!(verdict(good, NOW), Verdict::Remove);
        assert_eq!(verdict(Facts { found: Found::Databases(0), ..good }, NOW), Verdict::Remove);
        for kept in [
            Facts { allocations: 1, ..good },
            Facts { found: Found::Databases(1), ..good },
            Facts { found: Found::Unknown, ..good },
            Facts { since: NOW - AFTER + Duration::SECOND, ..good },
            Facts { status: PoolStatus::Active, ..good },
            Facts { server_type: ServerType::Platform, ..good },
        ] {
            assert_eq!(verdict(kept, NOW).as_str(), "keep", "{kept:?}");
        }
    }

    proptest! {
        /// DBS-20: whatever else is true, a server with an allocation or a database stays.
        #[test]
        fn a_server_that_holds_anything_stays(
            status in proptest::sample::select(PoolStatus::ALL.to_vec()),
            days in 0i64..400,
            allocations in 0i64..3,
            databases in 0i64..3,
        ) {
            let facts = Facts {
                status, since: NOW - Duration::days(days), allocations, found: Found::Databases(databases), ..old_error()
            };
            if allocations + databases > 0 {
                prop_assert_ne!(verdict(facts, NOW), Verdict::Remove);
            }
        }
    }
}
