//! Claiming operations, keeping and giving up leases, fenced saves (worker only).
