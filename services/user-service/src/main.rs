//! Accounts, sessions, roles.

fn main() {}
