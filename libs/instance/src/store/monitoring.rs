//! The monitoring row: wishes of operators, report of the leader.
