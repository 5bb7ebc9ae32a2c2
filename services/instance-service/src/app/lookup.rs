//! Reads: one instance, lists, status, logs, timeline, operations, host names.

use contracts::worker::v1::{PodLogLine, ProbeInstanceResponse};
use instance::domain::{ActorKind, Operation, Status, SubdomainFault, names};
use instance::store::events::TimelineEvent;
use instance::store::instances::{Filter, Found, Sort};
use instance::store::{Scope, events, instances, operations};
use runtime::page::Page;
use uuid::Uuid;

use super::App;
use super::caller::Caller;
use crate::error::Error;

/// One instance (INS-15).
pub async fn get(app: &App, caller: &Caller, id: Uuid) -> Result<Found, Error> {
    let mut connection = app.pool.acquire().await?;
    instances::find(&mut connection, id, caller.scope()).await?.ok_or(Error::NotFound("instance"))
}

/// The instance of a subscription.
pub async fn by_subscription(app: &App, caller: &Caller, subscription: Uuid) -> Result<Found, Error> {
    let mut connection = app.pool.acquire().await?;
    let found = instances::find_by_subscription(&mut connection, subscription, caller.scope()).await?;
    found.ok_or(Error::NotFound("instance"))
}

/// What a list is asked for.
#[derive(Debug, Clone)]
pub struct ListQuery {
    /// Status words, or `live` for all that have not ended; empty: all but purged.
    pub status: Vec<String>,
    /// Part of name or host name.
    pub query: String,
    /// created_at, -created_at, name.
    pub sort: String,
    /// Operators name a customer; a customer only itself.
    pub customer: Option<Uuid>,
    /// Operators see everybody's.
    pub all: bool,
    /// Which page.
    pub page: Page,
}

/// A page of instances (INS-16).
pub async fn list(app: &App, caller: &Caller, wanted: ListQuery) -> Result<(Vec<Found>, u64), Error> {
    let own = caller.user.unwrap_or_default();
    let is_customer = caller.kind == ActorKind::Customer;
    let scope = match wanted.customer {
        Some(customer) if is_customer && customer != own => return Err(Error::Forbidden),
        Some(customer) => Scope::Owner(customer),
        None if wanted.all && is_customer => return Err(Error::Forbidden),
        None if wanted.all => Scope::All,
        None => Scope::Owner(own),
    };
    let status = statuses(&wanted.status)?;
    let sort = Sort::parse(&wanted.sort)
        .ok_or_else(|| Error::invalid("sort", "must be created_at, -created_at or name"))?;
    let filter = Filter {
        scope,
        status,
        query: wanted.query.trim().to_owned(),
        sort,
        limit: wanted.page.limit(),
        offset: wanted.page.offset(),
    };
    names::text(&filter.query).map_err(|error| Error::invalid("query", error.to_string()))?;
    let mut connection = app.pool.acquire().await?;
    Ok(instances::list(&mut connection, &filter).await?)
}

fn unknown_status() -> Error {
    let words: Vec<&str> = Status::ALL.iter().map(|status| status.as_str()).collect();
    Error::invalid("status", format!("unknown status; one of live, {}", words.join(", ")))
}

/// The words of the filter.
fn statuses(words: &[String]) -> Result<Vec<Status>, Error> {
    let mut statuses = Vec::new();
    for word in words {
        if word == "live" {
            statuses.extend(Status::ALL.iter().copied().filter(|status| status.is_live()));
        } else {
            statuses.push(word.parse().map_err(|_| unknown_status())?);
        }
    }
    Ok(statuses)
}

/// The row and a fresh probe, if the worker answers in time (INS-36).
pub async fn status(
    app: &App,
    caller: &Caller,
    id: Uuid,
) -> Result<(Found, Option<ProbeInstanceResponse>), Error> {
    let found = get(app, caller, id).await?;
    let probe = if found.instance.status == Status::Running { app.worker.probe(id).await } else { None };
    Ok((found, probe))
}

/// The last lines of the pod (INS-35).
pub async fn logs(
    app: &App,
    caller: &Caller,
    id: Uuid,
    lines: u32,
    previous: bool,
) -> Result<Vec<PodLogLine>, Error> {
    let found = get(app, caller, id).await?;
    let lines = if lines == 0 { 100 } else { lines };
    if lines > 1000 {
        return Err(Error::invalid("lines", "must be from 1 to 1000"));
    }
    if !found.instance.is_provisioned() && found.instance.observed.phase == "not_found" {
        return Err(Error::NoPod);
    }
    app.worker.logs(id, lines, previous).await
}

/// A page of the timeline (INS-34).
pub async fn timeline(
    app: &App,
    caller: &Caller,
    id: Uuid,
    page: Page,
) -> Result<(Vec<TimelineEvent>, u64), Error> {
    get(app, caller, id).await?;
    let mut connection = app.pool.acquire().await?;
    Ok(events::list(&mut connection, id, caller.scope(), page.limit(), page.offset()).await?)
}

/// A page of operations (INS-31).
pub async fn operations(
    app: &App,
    caller: &Caller,
    id: Uuid,
    page: Page,
) -> Result<(Vec<Operation>, u64), Error> {
    get(app, caller, id).await?;
    let mut connection = app.pool.acquire().await?;
    Ok(operations::list(&mut connection, id, caller.scope(), page.limit(), page.offset()).await?)
}

/// One operation.
pub async fn operation(app: &App, caller: &Caller, instance: Uuid, id: Uuid) -> Result<Operation, Error> {
    let mut connection = app.pool.acquire().await?;
    operations::find(&mut connection, instance, id, caller.scope()).await?.ok_or(Error::NotFound("operation"))
}

/// Whether a host name can be had (INS-09). It reserves nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Availability {
    /// It can be had now.
    pub available: bool,
    /// reserved, taken, invalid; empty when available.
    pub reason: &'static str,
    /// For people.
    pub message: String,
    /// Another one that can be had; empty when there is no need.
    pub suggestion: String,
}

/// Tells about a host name, by the rule of a create.
pub async fn check_subdomain(app: &App, text: &str) -> Result<Availability, Error> {
    let (reason, message) = match app.rules.subdomains.check(text) {
        Err(SubdomainFault::Reserved) => ("reserved", "is reserved".to_owned()),
        Err(fault @ SubdomainFault::Invalid) => ("invalid", fault.to_string()),
        Ok(subdomain) => {
            if !is_taken(app, subdomain.as_str()).await? {
                let message = "is available".to_owned();
                return Ok(Availability { available: true, reason: "", message, suggestion: String::new() });
            }
            ("taken", "is taken".to_owned())
        }
    };
    Ok(Availability { available: false, reason, message, suggestion: suggestion(app, text).await? })
}

/// What comes nearest and can be had: the text as a host name would be written, else with a number.
async fn suggestion(app: &App, text: &str) -> Result<String, Error> {
    if let Some(plain) = app.rules.subdomains.from_name(text)
        && !is_taken(app, plain.as_str()).await?
    {
        return Ok(plain.to_string());
    }
    let suffix = format!("{:04}", rand::random::<u16>() % 10_000);
    Ok(app.rules.subdomains.from_name_with_suffix(text, &suffix)?.to_string())
}

async fn is_taken(app: &App, subdomain: &str) -> Result<bool, Error> {
    let mut connection = app.pool.acquire().await?;
    Ok(instances::room(&mut connection, Uuid::nil(), subdomain, Uuid::nil()).await?.taken)
}
