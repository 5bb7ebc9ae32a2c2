//! Making tokens: signed access tokens (USR-10) and random ones that are stored hashed (USR-07, USR-12,
//! USR-14).

use anyhow::{Context as _, anyhow, ensure};
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use runtime::config::{Environment, JwtAlgorithm, UserTokens};
use runtime::identity::{ISSUER, Role, USER_AUDIENCE, UserClaims, UserVerifier};
use secrecy::{ExposeSecret as _, SecretString};
use sha2::{Digest as _, Sha256};
use time::{Duration, OffsetDateTime};
use uuid::Uuid;

/// SHA-256 of a token: all that is stored of it.
pub type TokenHash = [u8; 32];

/// A fresh secret for a mail or a refresh.
#[derive(Debug)]
pub struct RandomToken(SecretString);

impl RandomToken {
    /// 32 random bytes as base64url.
    pub fn try_new() -> anyhow::Result<Self> {
        let mut bytes = [0_u8; 32];
        aws_lc_rs::rand::fill(&mut bytes).map_err(|_| anyhow!("no random numbers"))?;
        Ok(Self(SecretString::from(URL_SAFE_NO_PAD.encode(bytes))))
    }

    /// The text, for the one who may have it.
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }

    /// What is stored.
    pub fn hash(&self) -> TokenHash {
        hash_of(self.expose())
    }
}

/// Hash of a token as it came back.
pub fn hash_of(token: &str) -> TokenHash {
    Sha256::digest(token.trim().as_bytes()).into()
}

/// Signs access tokens.
#[derive(Clone)]
pub struct AccessSigner {
    key: EncodingKey,
    header: Header,
    life: Duration,
}

impl std::fmt::Debug for AccessSigner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("AccessSigner")
    }
}

impl AccessSigner {
    /// Signer and verifier of the same settings; fails with the name of the setting that is missing, weak or
    /// does not fit (SEC-03, SEC-10).
    ///
    /// With EdDSA the public key may be left out: this service derives it.
    pub fn try_new(
        settings: &UserTokens,
        private_key: Option<&SecretString>,
        environment: Environment,
        life: Duration,
    ) -> anyhow::Result<(Self, UserVerifier)> {
        let mut settings = settings.clone();
        let (algorithm, key, key_id) = match settings.algorithm(environment) {
            JwtAlgorithm::Hs256 => {
                let secret = settings.jwt_secret_key.as_ref().context("JWT_SECRET_KEY is missing")?;
                let bytes = secret.expose_secret().as_bytes();
                (Algorithm::HS256, EncodingKey::from_secret(bytes), key_id(bytes))
            }
            JwtAlgorithm::EdDsa => {
                let private = private_key.context("JWT_PRIVATE_KEY is missing")?;
                let der = STANDARD
                    .decode(private.expose_secret().trim())
                    .context("JWT_PRIVATE_KEY is not base64")?;
                let pair = Ed25519KeyPair::from_pkcs8(&der)
                    .map_err(|_| anyhow!("JWT_PRIVATE_KEY is no Ed25519 key in PKCS#8"))?;
                let public = pair.public_key().as_ref();
                settings.jwt_public_key.get_or_insert_with(|| URL_SAFE_NO_PAD.encode(public));
                (Algorithm::EdDSA, EncodingKey::from_ed_der(&der), key_id(public))
            }
        };
        let mut header = Header::new(algorithm);
        header.kid = Some(key_id);
        let signer = Self { key, header, life };
        let verifier = UserVerifier::try_new(&settings, environment)?;
        let (probe, _) =
            signer.sign(Uuid::now_v7(), Uuid::now_v7(), Role::Customer, runtime::clock::now(), None)?;
        ensure!(verifier.verify(&probe).is_some(), "JWT_PUBLIC_KEY does not belong to JWT_PRIVATE_KEY");
        Ok((signer, verifier))
    }

    /// A token and its end. It never outlives `session_end`.
    pub fn sign(
        &self,
        user: Uuid,
        session: Uuid,
        role: Role,
        now: OffsetDateTime,
        session_end: Option<OffsetDateTime>,
    ) -> anyhow::Result<(String, OffsetDateTime)> {
        let own_end = now + self.life;
        let end = session_end.map_or(own_end, |end| end.min(own_end)).replace_microsecond(0)?;
        let claims = UserClaims {
            sub: user,
            sid: session,
            role: role.to_string(),
            iat: now.unix_timestamp(),
            exp: end.unix_timestamp(),
            iss: ISSUER.to_owned(),
            aud: USER_AUDIENCE.to_owned(),
        };
        let token =
            jsonwebtoken::encode(&self.header, &claims, &self.key).context("cannot sign an access token")?;
        Ok((token, end))
    }
}

/// Names a key without telling it.
fn key_id(key: &[u8]) -> String {
    hex::encode(&Sha256::new().chain_update(b"key id of ").chain_update(key).finalize()[..8])
}

#[cfg(test)]
mod tests {
    use super::*;
    use runtime::identity::generate_key_pair;

    fn settings(algorithm: Option<JwtAlgorithm>) -> UserTokens {
        UserTokens {
            jwt_algorithm: algorithm,
            jwt_secret_key: Some(SecretString::from("an-example-secret-of-40-characters-00000")),
            jwt_public_key: None,
            jwt_previous_key: None,
        }
    }

    /// USR-10, SEC-10
    #[test]
    fn a_signed_token_verifies_and_names_its_key() {
        let (signer, verifier) =
            AccessSigner::try_new(&settings(None), None, Environment::Development, Duration::minutes(5))
                .unwrap();
        let (user, session, now) = (Uuid::now_v7(), Uuid::now_v7(), runtime::clock::now());
        let (token, end) = signer.sign(user, session, Role::Operator, now, None).unwrap();
        let read = verifier.verify(&token).unwrap();
        assert_eq!((read.id, read.session, read.role), (user, session, Role::Operator));
        assert!(end <= now + Duration::minutes(5) && end > now + Duration::minutes(4));
        assert!(jsonwebtoken::decode_header(&token).unwrap().kid.is_some());
    }

    /// USR-10
    #[test]
    fn a_token_ends_with_its_session() {
        let (signer, _) =
            AccessSigner::try_new(&settings(None), None, Environment::Development, Duration::minutes(60))
                .unwrap();
        let now = runtime::clock::now();
        let session_end = now + Duration::minutes(10);
        let (_, end) =
            signer.sign(Uuid::now_v7(), Uuid::now_v7(), Role::Customer, now, Some(session_end)).unwrap();
        assert!(end <= session_end);
    }

    /// USR-10: EdDSA is the default in production, and only this service needs the private key.
    #[test]
    fn production_signs_with_ed25519() {
        let (private, public) = generate_key_pair().unwrap();
        let life = Duration::minutes(5);
        let missing =
            AccessSigner::try_new(&settings(None), None, Environment::Production, life).unwrap_err();
        assert!(missing.to_string().contains("JWT_PRIVATE_KEY"));
        let (signer, verifier) =
            AccessSigner::try_new(&settings(None), Some(&private), Environment::Production, life).unwrap();
        let (token, _) =
            signer.sign(Uuid::now_v7(), Uuid::now_v7(), Role::Customer, runtime::clock::now(), None).unwrap();
        assert!(verifier.verify(&token).is_some());
        let elsewhere = UserTokens { jwt_public_key: Some(public), ..settings(None) };
        assert!(UserVerifier::try_new(&elsewhere, Environment::Production).unwrap().verify(&token).is_some());
        let (_, stranger) = generate_key_pair().unwrap();
        let wrong = UserTokens { jwt_public_key: Some(stranger), ..settings(None) };
        assert!(AccessSigner::try_new(&wrong, Some(&private), Environment::Production, life).is_err());
    }

    #[test]
    fn a_random_token_is_long_unique_and_unprinted() {
        let (one, two) = (RandomToken::try_new().unwrap(), RandomToken::try_new().unwrap());
        assert_eq!(one.expose().len(), 43);
        assert_ne!(one.expose(), two.expose());
        assert_eq!(hash_of(&format!(" {}\n", one.expose())), one.hash());
        assert!(!format!("{one:?}").contains(one.expose()));
    }
}
