//! What customers and operators do, from the registration to the end of an instance.
//!
//! These tests share one stack and leave it alone: each has a customer of its own, and nothing that others
//! use is stopped. What does stop it is among the faults.

mod databases;
mod logs;
mod main_job;
mod moves;
mod paynow;
mod pods;
mod rotations;
