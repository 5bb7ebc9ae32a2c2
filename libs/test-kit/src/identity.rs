//! Keys and tokens of a test: one key pair that all service names share, one secret for user tokens.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use runtime::config::{Environment, GrpcTls, JwtAlgorithm, ServiceIdentity, UserTokens};
use runtime::grpc::Dialer;
use runtime::identity::{
    ISSUER, Role, ServiceKeys, ServiceSigner, USER_AUDIENCE, UserClaims, UserVerifier, generate_key_pair,
};
use secrecy::{ExposeSecret as _, SecretString};
use uuid::Uuid;

/// All keys of a test.
#[derive(Debug, Clone)]
pub struct Keyring {
    /// Settings that every service of the test shares.
    pub identity: ServiceIdentity,
    /// Settings of user tokens.
    pub users: UserTokens,
}

impl Default for Keyring {
    fn default() -> Self {
        Self::new()
    }
}

impl Keyring {
    /// Fresh keys.
    pub fn new() -> Self {
        let (private, public) = generate_key_pair().expect("a key pair");
        let all = contracts::services::ALL.iter().chain([&contracts::services::AUTOMATION]);
        let names: Vec<String> = all.map(|name| format!("{name}={public}")).collect();
        Self {
            identity: ServiceIdentity {
                service_token_private_key: private,
                service_token_public_keys: names.join(","),
            },
            users: UserTokens {
                jwt_algorithm: Some(JwtAlgorithm::Hs256),
                jwt_secret_key: Some(SecretString::from("a-secret-of-the-tests-with-40-characters")),
                jwt_public_key: None,
                jwt_previous_key: None,
            },
        }
    }

    /// Verifies service tokens for `audience`.
    pub fn service_keys(&self, audience: &'static str) -> ServiceKeys {
        ServiceKeys::try_new(audience, &self.identity).expect("keys")
    }

    /// Verifies user tokens.
    pub fn user_verifier(&self) -> UserVerifier {
        UserVerifier::try_new(&self.users, Environment::Development).expect("verifier")
    }

    /// Calls in the name of `service`.
    pub fn dialer(&self, service: &'static str) -> Dialer {
        let signer = ServiceSigner::try_new(service, &self.identity).expect("signer");
        Dialer::try_new(signer, &GrpcTls { enabled: false, ca_file: None, cert_file: None, key_file: None })
            .expect("dialer")
    }

    /// A token that `service` made for `audience`; with a negative life it is over.
    pub fn service_token(&self, service: &str, audience: &str, life_seconds: i64) -> String {
        let now = runtime::clock::now().unix_timestamp();
        let claims = serde_json::json!({
            "sub": service, "aud": audience, "iss": ISSUER, "iat": now - 600, "exp": now + life_seconds,
        });
        let der = STANDARD.decode(self.identity.service_token_private_key.expose_secret()).expect("base64");
        encode(&Header::new(Algorithm::EdDSA), &claims, &EncodingKey::from_ed_der(&der)).expect("token")
    }

    /// An access token of `user` with `role`, good for ten minutes.
    pub fn user_token(&self, user: Uuid, role: Role) -> String {
        let now = runtime::clock::now().unix_timestamp();
        let claims = UserClaims {
            sub: user,
            sid: Uuid::now_v7(),
            role: role.to_string(),
            iat: now,
            exp: now + 600,
            iss: ISSUER.into(),
            aud: USER_AUDIENCE.into(),
        };
        let secret = self.users.jwt_secret_key.as_ref().expect("secret").expose_secret();
        encode(&Header::new(Algorithm::HS256), &claims, &EncodingKey::from_secret(secret.as_bytes()))
            .expect("token")
    }
}
