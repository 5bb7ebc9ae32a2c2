#![doc = include_str!("../README.md")]

pub mod admin;
pub mod clock;
pub mod config;
pub mod database;
pub mod failpoint;
pub mod grpc;
pub mod http;
pub mod identity;
pub mod page;
pub mod process;
pub mod retention;
pub mod text;
