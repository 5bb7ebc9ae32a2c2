//! Rate limits (GTW-08), counted in Redis for all replicas by the generic cell rate algorithm: one key and one atomic script a check.
//!
//! Redis away: routes that take a secret stay closed, all others stay open (REL-07).

use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use redis::{Client, ConnectionInfo, Script};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use crate::config::Limits;
use crate::problem::Problem;

/// Answers 0 when the request may pass, else the milliseconds to wait. The key holds the time at which the bucket is empty again, in
/// microseconds of Redis' own clock, so that the replicas' clocks do not matter.
const CHECK: &str = r"
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000000 + tonumber(time[2])
local gap = tonumber(ARGV[1])
local empty_at = tonumber(redis.call('GET', KEYS[1]) or now)
if empty_at < now then empty_at = now end
local after = empty_at + gap
local wait = after - now - gap * tonumber(ARGV[2])
if wait > 0 then return math.ceil(wait / 1000) end
redis.call('SET', KEYS[1], string.format('%.0f', after), 'PX', math.ceil((after - now) / 1000) + 1)
return 0
";

/// Longest wait for Redis; a limit must not cost more than the request.
const PATIENCE: Duration = Duration::from_millis(250);
/// After a failure Redis is left alone for this time, so that its absence costs no patience at each request.
const PAUSE: Duration = Duration::from_millis(500);

/// What all addresses together may ask for one account, in what one of them may.
const ANYWHERE: u32 = 20;

/// How many requests pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Rate {
    per_minute: u32,
    burst: u32,
}

/// Which counter.
#[derive(Debug, Clone)]
pub enum Counted {
    /// A signed-in account.
    Account(Uuid),
    /// A service with a token of its own.
    Service(Arc<str>),
    /// An address without a token.
    Anonymous(Option<IpAddr>),
    /// An address at `/user/auth`.
    AuthAddress(Option<IpAddr>),
    /// An account at `/user/auth` (the e-mail of the body, or the id of the user), from one address: a stranger elsewhere must not be able to
    /// use up what its owner has.
    AuthAccount(String, Option<IpAddr>),
    /// The same account from all addresses together, with a far higher ceiling.
    AuthAccountAnywhere(String),
    /// An address that asks health pages.
    Health(Option<IpAddr>),
    /// A payment provider's address.
    Webhook(Option<IpAddr>),
}

/// Redis did not answer.
#[derive(Debug)]
struct Away;

/// The limits of this process.
#[derive(Clone)]
pub struct Limiter {
    connection: ConnectionManager,
    script: Arc<Script>,
    limits: Arc<Limits>,
    away_until: Arc<Mutex<Option<Instant>>>,
}

impl std::fmt::Debug for Limiter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Limiter")
    }
}

impl Limiter {
    /// Connects on the first check.
    pub fn try_new(redis: ConnectionInfo, limits: &Limits) -> anyhow::Result<Self> {
        let client = Client::open(redis).context("the settings of Redis")?;
        let config = ConnectionManagerConfig::new()
            .set_number_of_retries(1)
            .set_min_delay(Duration::from_millis(50))
            .set_connection_timeout(Some(PATIENCE))
            .set_response_timeout(Some(PATIENCE));
        Ok(Self {
            connection: ConnectionManager::new_lazy_with_config(client, config)
                .context("the settings of Redis")?,
            script: Arc::new(Script::new(CHECK)),
            limits: Arc::new(limits.clone()),
            away_until: Arc::default(),
        })
    }

    /// Takes one request from the counter. Without Redis: 503 at `/user/auth`, a pass elsewhere.
    pub async fn take(&self, counted: &Counted) -> Result<(), Problem> {
        match self.ask(counted).await {
            Ok(wait) if wait.is_zero() => Ok(()),
            Ok(wait) => Err(Problem::rate_limited(wait)),
            Err(Away)
                if matches!(
                    counted,
                    Counted::AuthAddress(_) | Counted::AuthAccount(..) | Counted::AuthAccountAnywhere(_)
                ) =>
            {
                Err(Problem::unavailable("signing in is not possible now"))
            }
            Err(Away) => Ok(()),
        }
    }

    async fn ask(&self, counted: &Counted) -> Result<Duration, Away> {
        let until = *self.away_until.lock().unwrap_or_else(PoisonError::into_inner);
        if until.is_some_and(|until| Instant::now() < until) {
            return Err(Away);
        }
        let rate = self.rate(counted);
        let mut connection = self.connection.clone();
        let mut invocation = self.script.key(self.key(counted));
        invocation.arg(60_000_000 / u64::from(rate.per_minute)).arg(rate.burst);
        let answer = invocation.invoke_async::<u64>(&mut connection);
        let cause = match tokio::time::timeout(PATIENCE, answer).await {
            Ok(Ok(wait)) => return Ok(Duration::from_millis(wait)),
            Ok(Err(error)) => error.to_string(),
            Err(_) => "no answer in time".to_owned(),
        };
        tracing::warn!(error = cause, "rate limits are not counted: Redis is away");
        *self.away_until.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now() + PAUSE);
        Err(Away)
    }

    fn rate(&self, counted: &Counted) -> Rate {
        let even = |per_minute| Rate { per_minute, burst: per_minute };
        match counted {
            Counted::Account(_) | Counted::Service(_) => {
                Rate { per_minute: self.limits.rate_limit_per_minute, burst: self.limits.rate_limit_burst }
            }
            Counted::Anonymous(_) => even(self.limits.rate_limit_anonymous_per_minute),
            Counted::Health(_) => even(self.limits.rate_limit_per_minute),
            Counted::AuthAddress(_) | Counted::AuthAccount(..) => {
                even(self.limits.rate_limit_auth_per_minute)
            }
            Counted::AuthAccountAnywhere(_) => {
                even(self.limits.rate_limit_auth_per_minute.saturating_mul(ANYWHERE))
            }
            Counted::Webhook(_) => even(self.limits.rate_limit_webhook_per_minute),
        }
    }

    fn key(&self, counted: &Counted) -> String {
        let (class, id) = match counted {
            Counted::Account(id) => ("account", id.to_string()),
            Counted::Service(name) => ("service", name.to_string()),
            Counted::Anonymous(ip) => ("address", network_of(*ip)),
            Counted::AuthAddress(ip) => ("auth-address", network_of(*ip)),
            Counted::AuthAccount(name, ip) => {
                ("auth-account", format!("{}:{}", hashed(name), network_of(*ip)))
            }
            Counted::AuthAccountAnywhere(name) => ("auth-account-anywhere", hashed(name)),
            Counted::Health(ip) => ("health", network_of(*ip)),
            Counted::Webhook(ip) => ("webhook", network_of(*ip)),
        };
        format!("{}:{class}:{id}", self.limits.rate_limit_key_prefix)
    }
}

/// An address; of IPv6 its /64, which is what one customer line has.
fn network_of(ip: Option<IpAddr>) -> String {
    match ip {
        Some(IpAddr::V6(ip)) => {
            let [a, b, c, d, ..] = ip.segments();
            format!("{a:x}:{b:x}:{c:x}:{d:x}::")
        }
        Some(IpAddr::V4(ip)) => ip.to_string(),
        None => "unknown".to_owned(),
    }
}

/// No address of a person stands in Redis.
fn hashed(name: &str) -> String {
    let hash = Sha256::digest(name.trim().to_lowercase().as_bytes());
    hex::encode(hash.get(..16).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_account_has_one_key_however_it_is_written() {
        assert_eq!(hashed(" Ada@Example.COM "), hashed("ada@example.com"));
        assert!(!hashed("ada@example.com").contains("ada"));
    }

    #[test]
    fn one_line_of_ipv6_is_one_client() {
        let one = network_of("2001:db8:1:2:aaaa::1".parse().ok());
        assert_eq!(one, network_of("2001:db8:1:2:bbbb::9".parse().ok()));
        assert_ne!(one, network_of("2001:db8:1:3::1".parse().ok()));
    }
}
