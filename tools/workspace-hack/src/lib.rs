//! Holds no code: its manifest chooses features of third-party crates.
