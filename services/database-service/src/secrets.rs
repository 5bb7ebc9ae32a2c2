//! Passwords: made, encrypted at rest (DBS-32), and turned into what PostgreSQL stores. Nothing here is ever
//! logged.

use std::num::NonZeroU32;

use anyhow::{Context as _, bail, ensure};
use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::{digest, hmac, pbkdf2, rand};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use secrecy::{ExposeSecret as _, SecretString};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

/// Characters of a generated password.
const PASSWORD_LENGTH: usize = 32;
const ALPHABET: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
/// What PostgreSQL itself uses.
const SCRAM_ITERATIONS: NonZeroU32 = NonZeroU32::new(4096).expect("not zero");
/// Bytes of salt in a verifier.
const SALT_LENGTH: usize = 16;

/// An encrypted value as it stands in SQL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sealed {
    /// Names the key that opens it.
    pub key_id: String,
    /// Nonce, ciphertext, tag.
    pub bytes: Vec<u8>,
}

/// Encrypts with the key from `DATA_KEY`; decrypts also what those of `DATA_KEY_PREVIOUS` encrypted.
pub struct Vault {
    key: LessSafeKey,
    key_id: String,
    others: Vec<(String, LessSafeKey)>,
}

impl std::fmt::Debug for Vault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Vault(key {})", self.key_id)
    }
}

impl Vault {
    /// `data_key` is base64 of 32 bytes.
    pub fn try_new(data_key: &SecretString) -> anyhow::Result<Self> {
        let (key_id, key) = parse("DATA_KEY", data_key.expose_secret())?;
        Ok(Self { key, key_id, others: Vec::new() })
    }

    /// Other keys, separated by commas, that are read and never written with: that of before, or the next one
    /// while replicas change over.
    pub fn with_others(mut self, keys: &SecretString) -> anyhow::Result<Self> {
        for text in keys.expose_secret().split(',').filter(|text| !text.trim().is_empty()) {
            let (id, key) = parse("DATA_KEY_PREVIOUS", text)?;
            if id != self.key_id {
                self.others.push((id, key));
            }
        }
        Ok(self)
    }

    /// Names the key that new values are encrypted with.
    pub fn key_id(&self) -> &str {
        &self.key_id
    }

    fn key(&self, id: &str) -> Option<&LessSafeKey> {
        if id == self.key_id {
            return Some(&self.key);
        }
        self.others.iter().find(|(known, _)| known == id).map(|(_, key)| key)
    }

    /// Encrypts `secret` for the row `id`; it opens for no other row.
    pub fn seal(&self, id: Uuid, secret: &SecretString) -> anyhow::Result<Sealed> {
        let mut nonce = [0; NONCE_LEN];
        rand::fill(&mut nonce).ok().context("no random numbers")?;
        let mut bytes = secret.expose_secret().as_bytes().to_vec();
        self.key
            .seal_in_place_append_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(id.as_bytes()),
                &mut bytes,
            )
            .ok()
            .context("cannot encrypt")?;
        Ok(Sealed { key_id: self.key_id.clone(), bytes: [nonce.as_slice(), &bytes].concat() })
    }

    /// Decrypts what [`Vault::seal`] made for the same row.
    pub fn open(&self, id: Uuid, sealed: &Sealed) -> anyhow::Result<SecretString> {
        let Some(key) = self.key(&sealed.key_id) else {
            bail!(
                "the secret of {id} needs the data key {}, this process has {}",
                sealed.key_id,
                self.key_id
            );
        };
        let (nonce, rest) =
            sealed.bytes.split_first_chunk::<NONCE_LEN>().context("a sealed value is too short")?;
        let mut bytes = rest.to_vec();
        let plain = key
            .open_in_place(Nonce::assume_unique_for_key(*nonce), Aad::from(id.as_bytes()), &mut bytes)
            .ok()
            .with_context(|| format!("the secret of {id} does not open: wrong key or changed row"))?;
        Ok(SecretString::from(std::str::from_utf8(plain).context("a secret is no text")?))
    }
}

/// Id and key; `name` is that of the setting.
fn parse(name: &str, text: &str) -> anyhow::Result<(String, LessSafeKey)> {
    let bytes = STANDARD.decode(text.trim()).ok().with_context(|| format!("{name} is no base64"))?;
    ensure!(bytes.len() == 32, "{name} must be 32 bytes in base64");
    ensure!(bytes.iter().any(|byte| *byte != bytes[0]), "{name} is a known-weak secret: generate one");
    let id = hex::encode(&Sha256::digest(&bytes)[..6]);
    let key =
        UnboundKey::new(&AES_256_GCM, &bytes).ok().with_context(|| format!("{name} is no key of AES-256"))?;
    Ok((id, LessSafeKey::new(key)))
}

/// 32 random letters and digits.
pub fn generate_password() -> anyhow::Result<SecretString> {
    let mut password = String::with_capacity(PASSWORD_LENGTH);
    let mut random = [0; 64];
    while password.len() < PASSWORD_LENGTH {
        rand::fill(&mut random).ok().context("no random numbers")?;
        // Values from 248 on would make the first letters likelier.
        let letters = random
            .iter()
            .filter(|byte| **byte < 248)
            .map(|byte| char::from(ALPHABET[usize::from(byte % 62)]));
        password.extend(letters.take(PASSWORD_LENGTH - password.len()));
    }
    Ok(SecretString::from(password))
}

/// Changes with the password and does not tell it: the password has about 190 bits.
pub fn secret_hash(id: Uuid, password: &SecretString) -> String {
    let mut hasher = Sha256::new();
    hasher.update(id.as_bytes());
    hasher.update(password.expose_secret().as_bytes());
    hex::encode(&hasher.finalize()[..8])
}

/// The form in which PostgreSQL stores a password (RFC 5803), so that the password itself is in no statement,
/// activity view or server log.
pub fn scram_verifier(password: &SecretString) -> anyhow::Result<String> {
    let mut salt = [0; SALT_LENGTH];
    rand::fill(&mut salt).ok().context("no random numbers")?;
    Ok(scram_with_salt(password, &salt))
}

/// Is this the password behind what PostgreSQL stores? A tenant writes the latter itself when it likes: a
/// verifier that we would not have made is none of ours, and what it says is not computed.
pub fn is_verifier_of(verifier: &str, password: &SecretString) -> bool {
    let ours = ["SCRAM-SHA-256$", &SCRAM_ITERATIONS.to_string(), ":"].concat();
    let salt = verifier.strip_prefix(&ours).and_then(|rest| rest.split_once('$'));
    let Some(Ok(salt)) = salt.map(|(salt, _)| STANDARD.decode(salt)) else { return false };
    salt.len() == SALT_LENGTH && scram_with_salt(password, &salt) == verifier
}

fn scram_with_salt(password: &SecretString, salt: &[u8]) -> String {
    let mut salted = [0; 32];
    pbkdf2::derive(
        pbkdf2::PBKDF2_HMAC_SHA256,
        SCRAM_ITERATIONS,
        salt,
        password.expose_secret().as_bytes(),
        &mut salted,
    );
    let key = hmac::Key::new(hmac::HMAC_SHA256, &salted);
    let stored = digest::digest(&digest::SHA256, hmac::sign(&key, b"Client Key").as_ref());
    let server = hmac::sign(&key, b"Server Key");
    let iterations = SCRAM_ITERATIONS.to_string();
    [
        "SCRAM-SHA-256$",
        &iterations,
        ":",
        &STANDARD.encode(salt),
        "$",
        &STANDARD.encode(stored),
        ":",
        &STANDARD.encode(server),
    ]
    .concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(byte: u8) -> SecretString {
        let mut bytes = [byte; 32];
        bytes[0] = 1;
        SecretString::from(STANDARD.encode(bytes))
    }

    /// DBS-32
    #[test]
    fn a_secret_opens_for_its_row_and_its_key_only() {
        let vault = Vault::try_new(&key(7)).unwrap();
        let (id, other) = (Uuid::now_v7(), Uuid::now_v7());
        let password = generate_password().unwrap();
        let sealed = vault.seal(id, &password).unwrap();
        assert_eq!(vault.open(id, &sealed).unwrap().expose_secret(), password.expose_secret());
        assert!(vault.open(other, &sealed).is_err(), "moved to another row");
        assert!(Vault::try_new(&key(8)).unwrap().open(id, &sealed).is_err(), "another key");
        let mut changed = sealed.clone();
        changed.bytes[14] ^= 1;
        assert!(vault.open(id, &changed).is_err(), "changed");
        let plain = password.expose_secret().as_bytes();
        assert!(!sealed.bytes.windows(plain.len()).any(|window| window == plain));
        assert_ne!(vault.seal(id, &password).unwrap().bytes, sealed.bytes, "a nonce is used once");
    }

    /// SEC-12
    #[test]
    fn a_former_key_still_opens_and_is_not_written_with() {
        let (old, new) = (Vault::try_new(&key(7)).unwrap(), Vault::try_new(&key(8)).unwrap());
        let both = Vault::try_new(&key(8)).unwrap().with_others(&key(7)).unwrap();
        let id = Uuid::now_v7();
        let password = generate_password().unwrap();
        let sealed = old.seal(id, &password).unwrap();
        assert!(new.open(id, &sealed).is_err());
        assert_eq!(both.open(id, &sealed).unwrap().expose_secret(), password.expose_secret());
        assert_eq!(both.seal(id, &password).unwrap().key_id, new.key_id);
        assert!(new.with_others(&SecretString::from("c2hvcnQ=")).is_err(), "a bad former key");
    }

    /// SEC-03
    #[test]
    fn a_bad_data_key_stops_the_start_with_its_name() {
        for bad in ["", "change_me", "c2hvcnQ=", &STANDARD.encode([0; 32])] {
            let error = Vault::try_new(&SecretString::from(bad)).unwrap_err();
            assert!(format!("{error:#}").contains("DATA_KEY"), "{bad}");
        }
    }

    /// DBS-32
    #[test]
    fn passwords_are_32_random_characters() {
        let (a, b) = (generate_password().unwrap(), generate_password().unwrap());
        assert_eq!(a.expose_secret().len(), 32);
        assert!(a.expose_secret().bytes().all(|byte| ALPHABET.contains(&byte)));
        assert_ne!(a.expose_secret(), b.expose_secret());
        assert_ne!(secret_hash(Uuid::nil(), &a), secret_hash(Uuid::nil(), &b));
    }

    /// DBS-32
    #[test]
    fn a_verifier_tells_its_password_and_costs_what_ours_cost() {
        let (password, other) = (generate_password().unwrap(), generate_password().unwrap());
        let verifier = scram_verifier(&password).unwrap();
        assert!(is_verifier_of(&verifier, &password));
        assert!(!is_verifier_of(&verifier, &other));
        for foreign in [
            "",
            "md5d41d8cd98f00b204e9800998ecf8427e",
            "SCRAM-SHA-256$4096:",
            // It would take hours.
            &verifier.replace("$4096:", "$2000000000:"),
        ] {
            assert!(!is_verifier_of(foreign, &password), "{foreign}");
        }
    }

    /// SEC-04: checked against a value computed by PostgreSQL's own algorithm (RFC 7677 test vector).
    #[test]
    fn the_verifier_is_the_one_of_the_standard() {
        let salt = STANDARD.decode("W22ZaJ0SNY7soEsUEjb6gQ==").unwrap();
        let verifier = scram_with_salt(&SecretString::from("pencil"), &salt);
        assert_eq!(
            verifier,
            "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU="
        );
    }
}
