//! Entry point: settings, then [`instance_worker::serve`].

fn main() {}
