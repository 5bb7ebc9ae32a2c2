//! Access tokens of users (USR-10, SEC-10): algorithm pinned, `aud`, `iss` and `exp` checked with 60 s skew,
//! two keys valid while rotating.

use anyhow::{Context as _, bail};
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{Role, User};
use crate::config::{Environment, JwtAlgorithm, UserTokens};

/// `iss` of all our tokens.
pub const ISSUER: &str = "saasodoo";
/// `aud` of access tokens.
pub const USER_AUDIENCE: &str = "saasodoo-api";

/// Claims of an access token. Times are seconds since the epoch.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct UserClaims {
    /// Customer id.
    pub sub: Uuid,
    /// Session id.
    pub sid: Uuid,
    /// Role word.
    pub role: String,
    /// Issued at.
    pub iat: i64,
    /// Expires at.
    pub exp: i64,
    /// Always [`ISSUER`].
    pub iss: String,
    /// Always [`USER_AUDIENCE`].
    pub aud: String,
}

/// Verifies access tokens.
#[derive(Clone)]
pub struct UserVerifier {
    keys: Vec<DecodingKey>,
    validation: Validation,
}

impl std::fmt::Debug for UserVerifier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("UserVerifier")
    }
}

impl UserVerifier {
    /// Fails with the name of the setting that is missing or weak (SEC-03).
    pub fn try_new(settings: &UserTokens, environment: Environment) -> anyhow::Result<Self> {
        let (algorithm, keys) = match settings.algorithm(environment) {
            JwtAlgorithm::Hs256 => {
                let secret = settings.jwt_secret_key.as_ref().context("JWT_SECRET_KEY is missing")?;
                crate::config::require_strong(environment, "JWT_SECRET_KEY", secret)?;
                if secret.expose_secret().len() < 32 {
                    bail!("JWT_SECRET_KEY is shorter than 32 characters");
                }
                let previous = settings.jwt_previous_key.as_ref();
                let keys = std::iter::once(secret).chain(previous);
                (
                    Algorithm::HS256,
                    keys.map(|key| DecodingKey::from_secret(key.expose_secret().as_bytes())).collect(),
                )
            }
            JwtAlgorithm::EdDsa => {
                let public = settings.jwt_public_key.as_deref().context("JWT_PUBLIC_KEY is missing")?;
                let previous = settings.jwt_previous_key.as_ref().map(SecretString::expose_secret);
                let keys = std::iter::once(public).chain(previous);
                let keys: Result<Vec<_>, _> = keys.map(DecodingKey::from_ed_components).collect();
                (Algorithm::EdDSA, keys.context("JWT_PUBLIC_KEY is no Ed25519 key (base64url of 32 bytes)")?)
            }
        };
        let mut validation = Validation::new(algorithm);
        validation.leeway = 60;
        validation.set_audience(&[USER_AUDIENCE]);
        validation.set_issuer(&[ISSUER]);
        validation.set_required_spec_claims(&["exp", "aud", "iss", "sub"]);
        Ok(Self { keys, validation })
    }

    /// The user of a token; `None` for whatever is wrong with it.
    pub fn verify(&self, token: &str) -> Option<User> {
        let claims = self
            .keys
            .iter()
            .find_map(|key| jsonwebtoken::decode::<UserClaims>(token, key, &self.validation).ok())?
            .claims;
        let role: Role = claims.role.parse().ok()?;
        Some(User { id: claims.sub, session: claims.sid, role })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jsonwebtoken::{EncodingKey, Header, encode};

    const SECRET: &str = "an-example-secret-of-40-characters-00000";

    fn settings(previous: Option<&str>) -> UserTokens {
        UserTokens {
            jwt_algorithm: Some(JwtAlgorithm::Hs256),
            jwt_secret_key: Some(SecretString::from(SECRET)),
            jwt_public_key: None,
            jwt_previous_key: previous.map(SecretString::from),
        }
    }

    fn claims() -> UserClaims {
        let now = crate::clock::now().unix_timestamp();
        UserClaims {
            sub: Uuid::now_v7(),
            sid: Uuid::now_v7(),
            role: "admin".into(),
            iat: now,
            exp: now + 600,
            iss: ISSUER.into(),
            aud: USER_AUDIENCE.into(),
        }
    }

    fn token(claims: &UserClaims, secret: &str) -> String {
        encode(&Header::new(Algorithm::HS256), claims, &EncodingKey::from_secret(secret.as_bytes())).unwrap()
    }

    /// SEC-10
    #[test]
    fn a_token_must_have_our_key_issuer_audience_and_time() {
        let verifier = UserVerifier::try_new(&settings(None), Environment::Development).unwrap();
        let good = claims();
        assert_eq!(verifier.verify(&token(&good, SECRET)).map(|user| user.role), Some(Role::Admin));
        assert!(verifier.verify(&token(&good, "another-secret-another-secret-another-00")).is_none());
        assert!(
            verifier.verify(&token(&UserClaims { aud: "else".into(), ..good.clone() }, SECRET)).is_none()
        );
        assert!(
            verifier.verify(&token(&UserClaims { iss: "else".into(), ..good.clone() }, SECRET)).is_none()
        );
        assert!(
            verifier.verify(&token(&UserClaims { exp: good.iat - 61, ..good.clone() }, SECRET)).is_none()
        );
        assert!(
            verifier.verify(&token(&UserClaims { role: "root".into(), ..good.clone() }, SECRET)).is_none()
        );
        let unsigned = format!("eyJhbGciOiJub25lIn0.{}.", token(&good, SECRET).split('.').nth(1).unwrap());
        assert!(verifier.verify(&unsigned).is_none());
    }

    /// SEC-10: the old key is good while it is named.
    #[test]
    fn two_keys_are_valid_while_rotating() {
        let old = "the-old-secret-the-old-secret-the-old-00";
        let good = claims();
        let rotating = UserVerifier::try_new(&settings(Some(old)), Environment::Development).unwrap();
        assert!(rotating.verify(&token(&good, old)).is_some());
        assert!(rotating.verify(&token(&good, SECRET)).is_some());
    }

    /// SEC-03
    #[test]
    fn a_missing_secret_is_named() {
        let missing = UserTokens { jwt_secret_key: None, ..settings(None) };
        let error = UserVerifier::try_new(&missing, Environment::Development).unwrap_err();
        assert!(error.to_string().contains("JWT_SECRET_KEY"));
    }
}
