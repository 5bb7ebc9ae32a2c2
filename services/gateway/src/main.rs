//! The only public HTTP API.

fn main() {}
