//! The brute-force guard (USR-16): counters of failed log-ins per account and per client address in Redis.
//!
//! No more passwords are compared at once than failures are left, so that parallel tries cannot slip through;
//! who comes in between waits for those in work, which is a moment for somebody whose password is right.
//! After the limit each further failure closes the door for 30 s, doubling up to 15 min. Keys hold hashes, no
//! addresses. Redis away: no log-in (REL-07).

use std::net::IpAddr;
use std::time::Duration;

use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use redis::{ConnectionAddr, IntoConnectionInfo as _, RedisConnectionInfo, Script};
use runtime::config::Redis;
use secrecy::ExposeSecret as _;
use sha2::{Digest as _, Sha256};

use crate::error::Error;

/// Failures are forgotten this long after the last one.
const MEMORY_MS: u64 = 3_600_000;

/// A try whose process died is out of work after this time.
const IN_WORK_MS: u64 = 15_000;
/// Longest wait for tries that are in work, and the pause between two looks.
const QUEUE: (Duration, Duration) = (Duration::from_secs(5), Duration::from_millis(50));

/// KEYS: failures, block and tries in work of the account, the same of the address. ARGV: both limits (0: not
/// counted), life of a try in work. Answer: milliseconds to wait because the door is closed; 0: go on; -1:
/// ask again, as many are in work as there are failures left.
const BEGIN: &str = r"
local wait = 0
for i = 0, 1 do
  local left = redis.call('PTTL', KEYS[i * 3 + 2])
  if left > wait then wait = left end
end
if wait > 0 then return wait end
for i = 0, 1 do
  local limit = tonumber(ARGV[i + 1])
  local working = tonumber(redis.call('GET', KEYS[i * 3 + 3]) or '0')
  local failed = tonumber(redis.call('GET', KEYS[i * 3 + 1]) or '0')
  if limit > 0 and working > 0 and failed + working >= limit then return -1 end
end
for i = 0, 1 do
  redis.call('INCR', KEYS[i * 3 + 3])
  redis.call('PEXPIRE', KEYS[i * 3 + 3], ARGV[3])
end
return 0
";

/// The password was wrong. KEYS as above. ARGV: both limits, memory of failures. Answer: 1 when this closes
/// the account for the first time.
const FAIL: &str = r"
local first = 0
for i = 0, 1 do
  local limit = tonumber(ARGV[i + 1])
  if tonumber(redis.call('GET', KEYS[i * 3 + 3]) or '0') > 0 then redis.call('DECR', KEYS[i * 3 + 3]) end
  if limit > 0 then
    local count = redis.call('INCR', KEYS[i * 3 + 1])
    redis.call('PEXPIRE', KEYS[i * 3 + 1], ARGV[3])
    if count >= limit then
      local pause = math.min(30000 * 2 ^ math.min(count - limit, 10), 900000)
      redis.call('SET', KEYS[i * 3 + 2], '1', 'PX', string.format('%d', pause))
      if i == 0 and count == limit then first = 1 end
    end
  end
end
return first
";

/// The try was no failure. ARGV 1 = 'all': the failures of the account are forgotten.
const FORGIVE: &str = r"
for i = 0, 1 do
  if tonumber(redis.call('GET', KEYS[i * 3 + 3]) or '0') > 0 then redis.call('DECR', KEYS[i * 3 + 3]) end
end
if ARGV[1] == 'all' then redis.call('DEL', KEYS[1], KEYS[2]) end
return 1
";

/// What the guard says before a password is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Entry {
    /// Go on.
    Open,
    /// Closed for this long.
    Blocked(Duration),
}

/// The keys of one try.
#[derive(Debug, Clone)]
pub struct Attempt {
    keys: Vec<String>,
    address_known: bool,
}

/// The guard.
#[derive(Clone)]
pub struct LoginGuard {
    connection: ConnectionManager,
    prefix: String,
    account_limit: u32,
    address_limit: u32,
    begin: Script,
    fail: Script,
    forgive: Script,
}

impl std::fmt::Debug for LoginGuard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "LoginGuard({})", self.prefix)
    }
}

impl LoginGuard {
    /// Connects on the first try and again whenever it is needed; every answer is awaited for a second at
    /// most.
    pub fn try_new(
        client: redis::Client,
        prefix: &str,
        account_limit: u32,
        address_limit: u32,
    ) -> redis::RedisResult<Self> {
        let config = ConnectionManagerConfig::new()
            .set_connection_timeout(Some(Duration::from_secs(1)))
            .set_response_timeout(Some(Duration::from_secs(1)))
            .set_number_of_retries(1);
        Ok(Self {
            connection: ConnectionManager::new_lazy_with_config(client, config)?,
            prefix: prefix.to_owned(),
            account_limit,
            address_limit,
            begin: Script::new(BEGIN),
            fail: Script::new(FAIL),
            forgive: Script::new(FORGIVE),
        })
    }

    /// A client from the settings.
    pub fn client(settings: &Redis) -> redis::RedisResult<redis::Client> {
        let address = ConnectionAddr::Tcp(settings.redis_host.clone(), settings.redis_port);
        let mut login = RedisConnectionInfo::default().set_db(settings.redis_db);
        if !settings.redis_password.expose_secret().is_empty() {
            login = login.set_password(settings.redis_password.expose_secret());
        }
        redis::Client::open(address.into_connection_info()?.set_redis_settings(login))
    }

    /// The keys of a try. `account` is the address as typed, known or not.
    pub fn attempt(&self, account: &str, address: Option<IpAddr>) -> Attempt {
        let account = digest("account", &account.trim().to_ascii_lowercase());
        let ip = digest("address", &address.map(network_of).unwrap_or_default());
        let key = |kind: &str, of: &str| format!("{}:login:{kind}:{of}", self.prefix);
        let keys = |of: &str| [key("failed", of), key("block", of), key("working", of)];
        Attempt { keys: [keys(&account), keys(&ip)].concat(), address_known: address.is_some() }
    }

    /// Lets the try in, unless the door is closed. It counts as in work until [`Self::failed`],
    /// [`Self::succeeded`] or [`Self::abandoned`].
    pub async fn begin(&self, attempt: &Attempt) -> Result<Entry, Error> {
        let (longest, pause) = QUEUE;
        let end = tokio::time::Instant::now() + longest;
        loop {
            let mut call = self.begin.prepare_invoke();
            for key in &attempt.keys {
                call.key(key);
            }
            call.arg(self.account_limit).arg(self.address_limit(attempt)).arg(IN_WORK_MS);
            let wait: i64 = within_deadline(call.invoke_async(&mut self.connection.clone())).await?;
            match u64::try_from(wait) {
                Ok(0) => return Ok(Entry::Open),
                // Whole seconds: that is what Retry-After can say.
                Ok(wait) => return Ok(Entry::Blocked(Duration::from_secs(wait.div_ceil(1000)))),
                Err(_) if tokio::time::Instant::now() < end => tokio::time::sleep(pause).await,
                Err(_) => return Ok(Entry::Blocked(Duration::from_secs(1))),
            }
        }
    }

    /// The password was wrong. True when this closes the account for the first time: tell its owner.
    pub async fn failed(&self, attempt: &Attempt) -> Result<bool, Error> {
        let mut call = self.fail.prepare_invoke();
        for key in &attempt.keys {
            call.key(key);
        }
        call.arg(self.account_limit).arg(self.address_limit(attempt)).arg(MEMORY_MS);
        let first: u8 = within_deadline(call.invoke_async(&mut self.connection.clone())).await?;
        Ok(first == 1)
    }

    fn address_limit(&self, attempt: &Attempt) -> u32 {
        if attempt.address_known { self.address_limit } else { 0 }
    }

    /// The password was right: the account starts anew.
    pub async fn succeeded(&self, attempt: &Attempt) {
        self.forgive(attempt, "all").await;
    }

    /// The account has a new password, and who set it owns the mailbox: its failures and its block are over.
    pub async fn lift(&self, account: &str) {
        let attempt = self.attempt(account, None);
        let mut call = redis::cmd("DEL");
        // Failures and block of the account; tries in work end by themselves.
        call.arg(&attempt.keys[..2]);
        if let Err(error) = within_deadline(call.query_async::<i64>(&mut self.connection.clone())).await {
            tracing::warn!(
                reason = error.reason(),
                "an account with a new password stays blocked for a while"
            );
        }
    }

    /// The password was not compared: the try does not count.
    pub async fn abandoned(&self, attempt: &Attempt) {
        self.forgive(attempt, "one").await;
    }

    async fn forgive(&self, attempt: &Attempt, what: &str) {
        let mut call = self.forgive.prepare_invoke();
        for key in &attempt.keys {
            call.key(key);
        }
        call.arg(what);
        // The try is over; one that is still counted as in work only makes others wait for some seconds.
        if let Err(error) = within_deadline(call.invoke_async::<i64>(&mut self.connection.clone())).await {
            tracing::warn!(reason = error.reason(), "a log-in is counted as in work still");
        }
    }
}

async fn within_deadline<T>(call: impl Future<Output = redis::RedisResult<T>>) -> Result<T, Error> {
    match tokio::time::timeout(Duration::from_secs(3), call).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => {
            tracing::warn!(error = %error, "redis failed");
            Err(Error::Unavailable("the log-in guard"))
        }
        Err(_) => {
            tracing::warn!("redis did not answer in time");
            Err(Error::Unavailable("the log-in guard"))
        }
    }
}

fn digest(kind: &str, text: &str) -> String {
    hex::encode(&Sha256::new().chain_update(kind).chain_update([0]).chain_update(text).finalize()[..16])
}

/// What counts as one address: whoever has one of version 6 has 2^64 of them.
fn network_of(address: IpAddr) -> String {
    match address.to_canonical() {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            format!("{a:x}:{b:x}:{c:x}:{d:x}::/64")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// USR-16
    #[test]
    fn a_line_with_many_addresses_is_one_address() {
        let network = |text: &str| network_of(text.parse().unwrap());
        assert_eq!(network("2001:db8:1:2::1"), network("2001:db8:1:2:ffff::9"));
        assert_ne!(network("2001:db8:1:2::1"), network("2001:db8:1:3::1"));
        assert_eq!(network("::ffff:203.0.113.9"), "203.0.113.9");
        assert_ne!(network("203.0.113.9"), network("203.0.113.10"));
    }
}
