//! Plans, subscriptions, trials.

fn main() {}
