//! What must hold when parts die or are away (REL-01, REL-04, REL-06, REL-07, K8S-18, K8S-21, K8S-24).
//!
//! These tests break the shared stack, so they run one at a time and each leaves it whole.

mod attacks;
mod databases;
mod deaths;
mod kills;
mod ladder;
mod moves;
mod outages;
mod rotations;
