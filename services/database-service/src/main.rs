//! Pools, allocations, roles and databases.

fn main() {}
