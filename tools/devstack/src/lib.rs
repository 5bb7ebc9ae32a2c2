//! Starts the real servers of the local stack as own processes on free loopback ports.
