//! Tokens of operators' scripts (SEC-02): a key of their own, known to the services under the name `automation`, and short-lived tokens of it.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;

use anyhow::{Context as _, bail};
use contracts::services::{self, AUTOMATION};
use runtime::config::ServiceIdentity;
use runtime::identity::{ServiceSigner, generate_key_pair};
use secrecy::{ExposeSecret as _, SecretString};

use crate::config::{ServiceKey, ServiceToken};

/// Writes a fresh private key into a new file and gives the entry for the services' settings.
pub fn make_key(settings: &ServiceKey) -> anyhow::Result<String> {
    let (private, public) = generate_key_pair()?;
    let path = settings.out.display();
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&settings.out)
        .with_context(|| format!("cannot make {path}"))?;
    writeln!(file, "{}", private.expose_secret()).with_context(|| format!("cannot write {path}"))?;
    Ok(format!("{AUTOMATION}={public}"))
}

/// A token for one call or some within five minutes.
pub fn make_token(settings: &ServiceToken) -> anyhow::Result<String> {
    let private = match (&settings.key_file, &settings.service_token_private_key) {
        (Some(file), _) => SecretString::from(
            fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?,
        ),
        (None, Some(key)) => key.clone(),
        (None, None) => bail!("give --key-file, or the key in SERVICE_TOKEN_PRIVATE_KEY"),
    };
    let Some(audience) = services::ALL.into_iter().find(|name| *name == settings.audience) else {
        bail!("--audience must be one of {}", services::ALL.join(", "));
    };
    let identity =
        ServiceIdentity { service_token_private_key: private, service_token_public_keys: String::new() };
    ServiceSigner::try_new(AUTOMATION, &identity)?.token_for(audience)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use contracts::services::GATEWAY;
    use runtime::identity::ServiceKeys;

    use super::*;

    /// SEC-02: what the two commands make fits together; the key is nobody else's to read, and is never made twice.
    #[test]
    fn a_script_gets_a_token_of_its_own_key() {
        let folder = std::env::temp_dir().join(uuid::Uuid::now_v7().to_string());
        fs::create_dir(&folder).unwrap();
        let key = ServiceKey { out: folder.join("automation.key") };
        let entry = make_key(&key).unwrap();
        assert_eq!(fs::metadata(&key.out).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(make_key(&key).is_err(), "a key that is there stays");
        let ask = |audience: &str| {
            make_token(&ServiceToken {
                key_file: Some(key.out.clone()),
                service_token_private_key: None,
                audience: audience.to_owned(),
            })
        };
        let token = ask(GATEWAY).unwrap();
        let settings = ServiceIdentity {
            service_token_private_key: SecretString::from(fs::read_to_string(&key.out).unwrap()),
            service_token_public_keys: entry,
        };
        let keys = ServiceKeys::try_new(GATEWAY, &settings).unwrap();
        assert_eq!(keys.verify(&token).as_deref(), Some(AUTOMATION));
        assert_eq!(keys.verify(&ask(services::INSTANCE).unwrap()), None);
        assert!(ask("nobody").is_err());
        fs::remove_dir_all(folder).unwrap();
    }
}
