//! Instances, their desired state and operations.

fn main() {}
