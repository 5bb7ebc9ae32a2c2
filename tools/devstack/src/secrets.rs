//! The generated secrets of one local stack: made once, kept in one file that only its owner can read, never
//! printed.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use anyhow::{Context as _, Result, anyhow};
use aws_lc_rs::rand;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};

use crate::catalogue;

/// Operators' scripts: a name with a key, but no process.
const AUTOMATION: &str = "automation";

/// Everything that a stack needs to keep to itself.
#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Secrets {
    /// Password of the superuser of PostgreSQL.
    pub postgres: String,
    /// Password of each service's database role, by role.
    pub roles: BTreeMap<String, String>,
    /// Password of Redis.
    pub redis: String,
    /// Password of the RabbitMQ user.
    pub rabbitmq: String,
    /// Shared word of the Erlang distribution.
    pub erlang_cookie: String,
    /// `JWT_SECRET_KEY`.
    pub jwt_secret_key: String,
    /// `DATA_KEY`: 32 bytes in base64.
    pub data_key: String,
    /// Password of the first administrator.
    pub admin: String,
    /// Secrets of Kill Bill, the other billing provider.
    pub killbill: Killbill,
    /// `PAYNOW_INTEGRATION_KEY`, for the stand-in.
    pub paynow: String,
    /// `SERVICE_TOKEN_PRIVATE_KEY` of each service, and of scripts: PKCS#8 in base64.
    pub service_keys: BTreeMap<String, String>,
}

/// How billing-service and Kill Bill know each other.
#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Killbill {
    /// `KILLBILL_PASSWORD`.
    pub password: String,
    /// `KILLBILL_API_KEY`.
    pub api_key: String,
    /// `KILLBILL_API_SECRET`.
    pub api_secret: String,
    /// `KILLBILL_HOOK_TOKEN`.
    pub hook_token: String,
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secrets(…)")
    }
}

impl Secrets {
    /// Reads the file and generates what it lacks.
    pub fn load_or_generate(file: &Path) -> Result<Self> {
        let mut secrets: Self = match fs::read(file) {
            Ok(bytes) => {
                serde_json::from_slice(&bytes).with_context(|| format!("read {}", file.display()))?
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Self::default(),
            Err(error) => return Err(error).with_context(|| format!("read {}", file.display())),
        };
        if secrets.complete()? {
            write_private(file, &serde_json::to_string_pretty(&secrets)?)?;
        }
        Ok(secrets)
    }

    /// Fills gaps; tells whether there were any.
    fn complete(&mut self) -> Result<bool> {
        let before = serde_json::to_string(self)?;
        for password in [
            &mut self.postgres,
            &mut self.redis,
            &mut self.rabbitmq,
            &mut self.erlang_cookie,
            &mut self.jwt_secret_key,
            &mut self.killbill.password,
            &mut self.killbill.api_key,
            &mut self.killbill.api_secret,
            &mut self.killbill.hook_token,
            &mut self.paynow,
        ] {
            if password.is_empty() {
                *password = hex::encode(random::<24>()?);
            }
        }
        if self.data_key.is_empty() {
            self.data_key = STANDARD.encode(random::<32>()?);
        }
        if self.admin.is_empty() {
            // Upper, lower, digit and symbol, as the password rule wants.
            self.admin = format!("Aa7-{}", hex::encode(random::<12>()?));
        }
        for service in catalogue::ALL {
            if let Some(database) = service.database
                && !self.roles.contains_key(database.role)
            {
                self.roles.insert(database.role.to_owned(), hex::encode(random::<24>()?));
            }
        }
        for name in catalogue::ALL.iter().map(|service| service.name).chain([AUTOMATION]) {
            if !self.service_keys.contains_key(name) {
                let key = Ed25519KeyPair::generate().map_err(|_| anyhow!("no key was generated"))?;
                let document = key.to_pkcs8().map_err(|_| anyhow!("no key was generated"))?;
                self.service_keys.insert(name.to_owned(), STANDARD.encode(document.as_ref()));
            }
        }
        Ok(serde_json::to_string(self)? != before)
    }

    /// Password of a service's database role.
    pub fn role(&self, role: &str) -> Result<&str> {
        self.roles.get(role).map(String::as_str).with_context(|| format!("no password for the role {role}"))
    }

    /// `SERVICE_TOKEN_PRIVATE_KEY` of a service.
    pub fn service_key(&self, service: &str) -> Result<&str> {
        self.service_keys.get(service).map(String::as_str).with_context(|| format!("no key for {service}"))
    }

    /// `SERVICE_TOKEN_PUBLIC_KEYS`: the public half of every service's key.
    pub fn public_keys(&self) -> Result<String> {
        let entries = self.service_keys.iter().map(|(name, key)| {
            let der = STANDARD.decode(key).with_context(|| format!("the key of {name}"))?;
            let pair = Ed25519KeyPair::from_pkcs8(&der).map_err(|e| anyhow!("the key of {name}: {e}"))?;
            Ok(format!("{name}={}", URL_SAFE_NO_PAD.encode(pair.public_key())))
        });
        Ok(entries.collect::<Result<Vec<_>>>()?.join(","))
    }
}

fn random<const N: usize>() -> Result<[u8; N]> {
    let mut bytes = [0; N];
    rand::fill(&mut bytes).map_err(|_| anyhow!("no random bytes"))?;
    Ok(bytes)
}

/// Writes a file that only its owner can read, whole or not at all.
pub fn write_private(file: &Path, text: &str) -> Result<()> {
    let partial = file.with_extension("part");
    let write = || -> std::io::Result<()> {
        drop(fs::remove_file(&partial));
        let mut handle = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&partial)?;
        handle.write_all(text.as_bytes())?;
        fs::rename(&partial, file)
    };
    write().with_context(|| format!("write {}", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn secrets_are_made_once_and_only_the_owner_reads_them() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("secrets.json");
        let first = Secrets::load_or_generate(&file).unwrap();
        let second = Secrets::load_or_generate(&file).unwrap();
        assert_eq!(first.jwt_secret_key, second.jwt_secret_key);
        assert_eq!(first.service_keys, second.service_keys);
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(format!("{first:?}"), "Secrets(…)");
    }

    #[test]
    fn a_missing_secret_is_added_and_the_others_stay() {
        let mut secrets = Secrets::default();
        assert!(secrets.complete().unwrap());
        let redis = std::mem::take(&mut secrets.redis);
        let before = secrets.clone();
        assert!(secrets.complete().unwrap());
        assert_ne!(secrets.redis, redis);
        assert_eq!(secrets.postgres, before.postgres);
        assert!(!secrets.complete().unwrap());
    }

    /// SEC-02
    #[test]
    fn every_service_has_a_key_of_its_own() {
        let mut secrets = Secrets::default();
        secrets.complete().unwrap();
        let keys = secrets.public_keys().unwrap();
        let entries: Vec<(&str, &str)> = keys.split(',').filter_map(|entry| entry.split_once('=')).collect();
        assert_eq!(entries.len(), catalogue::ALL.len() + 1, "scripts have one too");
        assert!(entries.iter().all(|(_, key)| URL_SAFE_NO_PAD.decode(key).unwrap().len() == 32));
    }
}
