//! There is nothing to do; the build script makes cargo choose the features of what is built for the machine
//! that builds.

fn main() {}
