//! The service against real PostgreSQL servers: its own database, and server processes that stand for pools.

#![expect(clippy::unwrap_used, reason = "a helper of a test fails like the test itself")]

mod admin;
mod allocation;
mod attacks;
mod certificates;
mod crashes;
mod floods;
mod full_volume;
mod growth;
mod holds;
mod isolation;
mod leader;
mod lockouts;
mod move_crashes;
mod moves;
mod moves_running;
mod operators;
mod outages;
mod paused;
mod pool_server;
mod release;
mod retention;
mod rotations;
mod schema;
mod storms;
mod traps;
mod world;
