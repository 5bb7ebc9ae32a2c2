//! One command for the local stack, tests, lints and benchmarks.

fn main() {}
