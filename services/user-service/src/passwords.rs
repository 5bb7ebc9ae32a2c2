//! Argon2id hashing, off the async threads and never more at once than the machine bears (USR-04).

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher as _, PasswordVerifier as _};
use argon2::{Algorithm, Argon2, Params, Version};
use tokio::sync::Semaphore;

use crate::error::Error;

/// Work of one hash.
#[derive(Debug, Clone, Copy)]
pub struct Cost {
    /// Memory in KiB.
    pub memory_kib: u32,
    /// Passes over it.
    pub passes: u32,
}

impl Cost {
    /// 19 MiB, 2 passes: what every running service uses. No setting changes it; only a test can ask for
    /// less.
    pub const STANDARD: Self = Self { memory_kib: 19 * 1024, passes: 2 };
}

/// Outcome of a comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Another password, or no account.
    Wrong,
    /// The right one.
    Right {
        /// Hashed with less work than is usual now: store it anew.
        outdated: bool,
    },
}

/// Hashes and compares passwords.
#[derive(Debug, Clone)]
pub struct Passwords {
    cost: Cost,
    permits: Arc<Semaphore>,
    /// Compared when there is no account, so that the answer takes the same time.
    decoy: Arc<str>,
}

impl Passwords {
    /// Computes the decoy; takes as long as one hash.
    pub fn try_new(cost: Cost) -> anyhow::Result<Self> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let decoy = hash(cost, "a password that nobody has")?;
        Ok(Self { cost, permits: Arc::new(Semaphore::new(cores * 2)), decoy: decoy.into() })
    }

    /// A new hash in PHC form.
    pub async fn hash(&self, password: &str) -> Result<String, Error> {
        let (cost, password) = (self.cost, password.to_owned());
        Ok(self.work(move || hash(cost, &password)).await??)
    }

    /// Compares with a stored hash; without one the same work is done in vain.
    pub async fn verify(&self, stored: Option<&str>, password: &str) -> Result<Verdict, Error> {
        let known = stored.is_some();
        let stored = stored.unwrap_or(&self.decoy).to_owned();
        let (cost, password) = (self.cost, password.to_owned());
        let verdict = self.work(move || verify(cost, &stored, &password)).await??;
        Ok(if known { verdict } else { Verdict::Wrong })
    }

    async fn work<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> Result<T, Error> {
        let waiting = tokio::time::timeout(Duration::from_secs(5), Arc::clone(&self.permits).acquire_owned());
        let permit = waiting
            .await
            .map_err(|_| Error::Unavailable("the password check"))?
            .context("the password workers are closed")?;
        let done = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            job()
        });
        Ok(done.await.context("a password worker failed")?)
    }
}

fn argon(cost: Cost) -> anyhow::Result<Argon2<'static>> {
    let params =
        Params::new(cost.memory_kib, cost.passes, 1, None).map_err(|error| anyhow!("argon2: {error}"))?;
    Ok(Argon2::new(Algorithm::Argon2id, Version::V0x13, params))
}

fn hash(cost: Cost, password: &str) -> anyhow::Result<String> {
    let hash = argon(cost)?.hash_password(password.as_bytes()).map_err(|error| anyhow!("argon2: {error}"))?;
    Ok(hash.to_string())
}

fn verify(cost: Cost, stored: &str, password: &str) -> anyhow::Result<Verdict> {
    use argon2::password_hash::Error as Mismatch;
    let parsed = PasswordHash::new(stored)
        .map_err(|error| anyhow!("a stored password hash is unreadable: {error}"))?;
    match argon(cost)?.verify_password(password.as_bytes(), &parsed) {
        Ok(()) => {}
        Err(Mismatch::PasswordInvalid) => return Ok(Verdict::Wrong),
        Err(error) => return Err(anyhow!("argon2: {error}")),
    }
    let params = Params::try_from(&parsed)
        .map_err(|error| anyhow!("a stored password hash is unreadable: {error}"))?;
    Ok(Verdict::Right { outdated: params.m_cost() < cost.memory_kib || params.t_cost() < cost.passes })
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHEAP: Cost = Cost { memory_kib: 64, passes: 1 };

    /// USR-04
    #[tokio::test]
    async fn a_hash_is_argon2id_with_nineteen_mebibytes_and_two_passes() {
        let hash = Passwords::try_new(Cost::STANDARD).unwrap().hash("Correct-Horse-7").await.unwrap();
        assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{hash}");
    }

    /// USR-04
    #[tokio::test]
    async fn the_right_password_is_recognised_and_an_old_cost_is_seen() {
        let cheap = Passwords::try_new(CHEAP).unwrap();
        let hash = cheap.hash("Correct-Horse-7").await.unwrap();
        assert_eq!(
            cheap.verify(Some(&hash), "Correct-Horse-7").await.unwrap(),
            Verdict::Right { outdated: false }
        );
        assert_eq!(cheap.verify(Some(&hash), "correct-horse-7").await.unwrap(), Verdict::Wrong);
        let dearer = Passwords::try_new(Cost { passes: 2, ..CHEAP }).unwrap();
        assert_eq!(
            dearer.verify(Some(&hash), "Correct-Horse-7").await.unwrap(),
            Verdict::Right { outdated: true }
        );
    }

    /// USR-09
    #[tokio::test]
    async fn without_an_account_no_password_is_right() {
        let cheap = Passwords::try_new(CHEAP).unwrap();
        assert_eq!(cheap.verify(None, "a password that nobody has").await.unwrap(), Verdict::Wrong);
    }
}
