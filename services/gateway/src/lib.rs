//! The only public HTTP API (GTW-01): authentication, limits, problem documents, HTTP ⇄ gRPC.
//!
//! Owns: the routes and their access, the shape of bodies, the OpenAPI document. Must not: hold business rules,
//! own a database, or trust the caller's word on who it is.

mod access;
mod api;
pub mod automation;
mod clients;
pub mod config;
mod context;
mod dto;
mod extract;
mod health_cache;
mod inputs;
mod layers;
mod metrics;
mod network;
mod openapi;
mod problem;
mod rate_limit;
mod rooms;
mod routes;
pub mod server;
mod session;
pub mod state;
mod streams;
