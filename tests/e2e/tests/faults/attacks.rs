//! Attacks that once succeeded, replayed against a whole running stack: by tenants with the credentials of
//! their database, by customers with a script, by strangers with sockets, and with the account of the worker.
//! `cargo xtask attack` replays them against the stack that `cargo xtask up` started.
//!
//! Two attacks have no replay here. Failed log-ins of one network close the door for its addresses, which are
//! those of all other tests; user-service's tests hold that an IPv6 network counts as one. A token for another
//! person's session needs the key that signs tokens; the gateway's tests have one.

mod accounts;
mod cluster;
mod http;
mod pools;
mod texts;

use anyhow::Context as _;
use e2e::{Customer, Stack, Tenant};

/// A running instance of a new customer, with what its Odoo knows.
async fn tenant(stack: &Stack, admin: &Customer, tag: &str) -> anyhow::Result<(Customer, Tenant)> {
    let customer = Customer::sign_up(stack, tag).await?;
    let made = customer.create_running("Attack").await?;
    let tenant = Tenant::of(stack, admin, made["id"].as_str().context("id")?).await?;
    Ok((customer, tenant))
}
