//! What only a database in use can get: another server, another password.

use crate::domain::AllocationState;
use crate::domain::allocation::Allocation;
use crate::error::Error;

/// Refuses a database that is being made, was given up, or is being dropped.
pub(super) fn require_in_use(allocation: &Allocation) -> Result<(), Error> {
    match allocation.state {
        AllocationState::Allocated if !allocation.purging => Ok(()),
        _ => Err(Error::InvalidState(["the database is ", allocation.state.as_str()].concat())),
    }
}
