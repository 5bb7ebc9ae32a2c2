//! The brute-force guard (USR-16): counters of failed log-ins per account and per client address in Redis.
//!
//! A try is counted before the password is compared, so that parallel tries cannot slip through; success takes it back. After the limit each
//! further failure closes the door for 30 s, doubling up to 15 min. Keys hold hashes, no addresses. Redis away: no log-in (REL-07).

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

/// KEYS: count and block of the account, count and block of the address. ARGV: both limits (0: not counted), memory.
/// Answer: milliseconds to wait (0: go on), and 1 when this try closed the account for the first time.
const BEGIN: &str = r"
local wait = 0
for i = 1, 2 do
  local left = redis.call('PTTL', KEYS[i * 2])
  if left > wait then wait = left end
end
if wait > 0 then return {wait, 0} end
local first = 0
for i = 1, 2 do
  local limit = tonumber(ARGV[i])
  if limit > 0 then
    local count = redis.call('INCR', KEYS[i * 2 - 1])
    redis.call('PEXPIRE', KEYS[i * 2 - 1], ARGV[3])
    if count >= limit then
      local pause = math.min(30000 * 2 ^ math.min(count - limit, 10), 900000)
      redis.call('SET', KEYS[i * 2], '1', 'PX', string.format('%d', pause))
      if i == 1 and count == limit then first = 1 end
    end
  end
end
return {0, first}
";

/// The try was no failure: forget the account's failures (ARGV 1 = 'all') or take one back, and take one back of the address.
const FORGIVE: &str = r"
redis.call('DEL', KEYS[2], KEYS[4])
if ARGV[1] == 'all' then redis.call('DEL', KEYS[1])
elseif redis.call('EXISTS', KEYS[1]) == 1 then redis.call('DECR', KEYS[1]) end
if redis.call('EXISTS', KEYS[3]) == 1 then redis.call('DECR', KEYS[3]) end
return 1
";

/// What the guard says before a password is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Entry {
    /// Go on.
    Open {
        /// If this try fails, the account is blocked now for the first time: tell its owner.
        blocks_account: bool,
    },
    /// Closed for this long.
    Blocked(Duration),
}

/// The keys of one try.
#[derive(Debug, Clone)]
pub struct Attempt {
    keys: [String; 4],
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
    forgive: Script,
}

impl std::fmt::Debug for LoginGuard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "LoginGuard({})", self.prefix)
    }
}

impl LoginGuard {
    /// Connects on the first try and again whenever it is needed; every answer is awaited for a second at most.
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
        let ip = digest("address", &address.map(|ip| ip.to_canonical().to_string()).unwrap_or_default());
        let key = |kind: &str, of: &str| format!("{}:login:{kind}:{of}", self.prefix);
        Attempt {
            keys: [key("count", &account), key("block", &account), key("count", &ip), key("block", &ip)],
            address_known: address.is_some(),
        }
    }

    /// Counts the try, unless the door is closed.
    pub async fn begin(&self, attempt: &Attempt) -> Result<Entry, Error> {
        let mut call = self.begin.prepare_invoke();
        for key in &attempt.keys {
            call.key(key);
        }
        let address_limit = if attempt.address_known { self.address_limit } else { 0 };
        call.arg(self.account_limit).arg(address_limit).arg(MEMORY_MS);
        let (wait, first): (u64, u8) =
            within_deadline(call.invoke_async(&mut self.connection.clone())).await?;
        Ok(if wait > 0 {
            // Whole seconds: that is what Retry-After can say.
            Entry::Blocked(Duration::from_secs(wait.div_ceil(1000)))
        } else {
            Entry::Open { blocks_account: first == 1 }
        })
    }

    /// The password was right: the account starts anew.
    pub async fn succeeded(&self, attempt: &Attempt) {
        self.forgive(attempt, "all").await;
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
        // The try is over; a counter that is one too high only makes the guard stricter.
        if let Err(error) = within_deadline(call.invoke_async::<i64>(&mut self.connection.clone())).await {
            tracing::warn!(reason = error.reason(), "a counter of failed log-ins was not taken back");
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
