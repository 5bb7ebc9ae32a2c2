//! Tokens of services (SEC-02, GTW-16): Ed25519, subject = the caller, audience = the called service, 5
//! minutes of life.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, bail};
use aws_lc_rs::encoding::{AsDer as _, Pkcs8V1Der};
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};

use super::ISSUER;
use crate::config::ServiceIdentity;

/// Life of a token in seconds.
const LIFE: i64 = 300;

#[derive(Debug, Serialize, Deserialize)]
struct Claims {
    sub: String,
    aud: String,
    iss: String,
    iat: i64,
    exp: i64,
}

/// Makes tokens for this service. A token is used again until half of its life is over.
#[derive(Clone)]
pub struct ServiceSigner {
    name: &'static str,
    key: EncodingKey,
    made: Arc<Mutex<HashMap<&'static str, (String, i64)>>>,
}

impl std::fmt::Debug for ServiceSigner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ServiceSigner({})", self.name)
    }
}

impl ServiceSigner {
    /// `name` must be the one under which the others know the public key.
    pub fn try_new(name: &'static str, settings: &ServiceIdentity) -> anyhow::Result<Self> {
        let der = STANDARD
            .decode(settings.service_token_private_key.expose_secret().trim())
            .context("SERVICE_TOKEN_PRIVATE_KEY is not base64")?;
        // Parsed once here, so that a bad key stops the start and not the first call.
        Ed25519KeyPair::from_pkcs8(&der)
            .ok()
            .context("SERVICE_TOKEN_PRIVATE_KEY is no Ed25519 key in PKCS#8")?;
        Ok(Self { name, key: EncodingKey::from_ed_der(&der), made: Arc::default() })
    }

    /// Name of the service that signs.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// A token for `audience`.
    pub fn token_for(&self, audience: &'static str) -> anyhow::Result<String> {
        let now = crate::clock::now().unix_timestamp();
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((token, exp)) = made.get(audience)
            && exp - now > LIFE / 2
        {
            return Ok(token.clone());
        }
        let claims = Claims {
            sub: self.name.into(),
            aud: audience.into(),
            iss: ISSUER.into(),
            iat: now,
            exp: now + LIFE,
        };
        let token = jsonwebtoken::encode(&Header::new(Algorithm::EdDSA), &claims, &self.key)
            .context("cannot sign a service token")?;
        made.insert(audience, (token.clone(), claims.exp));
        Ok(token)
    }
}

/// Public keys of all services.
#[derive(Clone)]
pub struct ServiceKeys {
    audience: &'static str,
    keys: Arc<HashMap<String, DecodingKey>>,
}

impl std::fmt::Debug for ServiceKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ServiceKeys(for {})", self.audience)
    }
}

impl ServiceKeys {
    /// `audience` is the name of this service: a token for another one is refused.
    pub fn try_new(audience: &'static str, settings: &ServiceIdentity) -> anyhow::Result<Self> {
        let mut keys = HashMap::new();
        for entry in
            settings.service_token_public_keys.split(',').map(str::trim).filter(|entry| !entry.is_empty())
        {
            let Some((name, key)) = entry.split_once('=') else {
                bail!("SERVICE_TOKEN_PUBLIC_KEYS has an entry without `name=`")
            };
            let key = DecodingKey::from_ed_components(key.trim_end_matches('='))
                .with_context(|| format!("SERVICE_TOKEN_PUBLIC_KEYS: the key of {name} is no Ed25519 key"))?;
            keys.insert(name.to_owned(), key);
        }
        if keys.is_empty() {
            bail!("SERVICE_TOKEN_PUBLIC_KEYS names no key");
        }
        Ok(Self { audience, keys: Arc::new(keys) })
    }

    /// The service that made `token`, if it is good for us now.
    pub fn verify(&self, token: &str) -> Option<String> {
        self.verify_for(self.audience, token)
    }

    /// The service that made `token` for `audience`, if it is good now.
    pub fn verify_for(&self, audience: &str, token: &str) -> Option<String> {
        // The unverified subject only chooses the key; the signature then proves it.
        let payload = URL_SAFE_NO_PAD.decode(token.split('.').nth(1)?).ok()?;
        let claimed: Claims = serde_json::from_slice(&payload).ok()?;
        let key = self.keys.get(&claimed.sub)?;
        let mut validation = Validation::new(Algorithm::EdDSA);
        validation.leeway = 60;
        validation.set_audience(&[audience]);
        validation.set_issuer(&[ISSUER]);
        let claims = jsonwebtoken::decode::<Claims>(token, key, &validation).ok()?.claims;
        Some(claims.sub)
    }
}

/// A fresh key pair in the forms of the settings: (private, public). For tools and tests.
pub fn generate_key_pair() -> anyhow::Result<(SecretString, String)> {
    let pair = Ed25519KeyPair::generate().ok().context("no random numbers")?;
    let der: Pkcs8V1Der<'static> = pair.as_der().ok().context("cannot export an Ed25519 key")?;
    Ok((
        SecretString::from(STANDARD.encode(der.as_ref())),
        URL_SAFE_NO_PAD.encode(pair.public_key().as_ref()),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(private: &SecretString, public: &str) -> ServiceIdentity {
        ServiceIdentity {
            service_token_private_key: private.clone(),
            service_token_public_keys: format!("gateway={public}"),
        }
    }

    /// SEC-02, GTW-16
    #[test]
    fn a_token_is_good_for_its_audience_and_from_its_maker_only() {
        let (private, public) = generate_key_pair().unwrap();
        let (stranger, _) = generate_key_pair().unwrap();
        let ours = settings(&private, &public);
        let signer = ServiceSigner::try_new("gateway", &ours).unwrap();
        let token = signer.token_for("user-service").unwrap();
        assert_eq!(signer.token_for("user-service").unwrap(), token, "a young token is used again");
        let keys = ServiceKeys::try_new("user-service", &ours).unwrap();
        assert_eq!(keys.verify(&token).as_deref(), Some("gateway"));
        let other = ServiceKeys::try_new("billing-service", &ours).unwrap();
        assert_eq!(other.verify(&token), None, "wrong audience");
        let forged = ServiceSigner::try_new("gateway", &settings(&stranger, &public))
            .unwrap()
            .token_for("user-service")
            .unwrap();
        assert_eq!(keys.verify(&forged), None, "wrong key");
        let unknown = ServiceSigner::try_new("nobody", &ours).unwrap().token_for("user-service").unwrap();
        assert_eq!(keys.verify(&unknown), None, "unknown name");
        assert_eq!(keys.verify("x.y.z"), None);
    }
}
