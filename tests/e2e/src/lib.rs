//! End-to-end tests of a running stack.
