//! Makes the cluster match the desired state.

fn main() {}
