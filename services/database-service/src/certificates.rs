//! The private authority of the tenants' servers and the certificates that it signs (DBS-35). Pure: rows,
//! locks and renewal are `app::certificates`.

use anyhow::Context as _;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, SanType, SerialNumber,
};
use secrecy::{ExposeSecret as _, SecretString};
use sha2::{Digest as _, Sha256};
use time::{Duration, OffsetDateTime};
use uuid::Uuid;

/// Life of an authority.
const AUTHORITY_LIFE: Duration = Duration::days(730);
/// A younger authority signs from so long before its end: longer than a certificate's life, so that none
/// outlives its authority.
const AUTHORITY_RENEWED: Duration = Duration::days(180);
/// Life of a server's certificate.
const CERTIFICATE_LIFE: Duration = Duration::days(90);
/// A server gets its next one so long before the end of the present one.
const CERTIFICATE_RENEWED: Duration = Duration::days(30);
/// Clocks differ: what is made now is valid since a while.
const BACKDATED: Duration = Duration::hours(1);

/// Who signs; certificate and key in PEM.
#[derive(Debug, Clone)]
pub struct Authority {
    /// Stands in its name.
    pub id: Uuid,
    /// Its own certificate.
    pub certificate: String,
    /// Its private key.
    pub key: SecretString,
    /// Valid from.
    pub not_before: OffsetDateTime,
    /// Valid until.
    pub not_after: OffsetDateTime,
}

/// What a server proves itself with; certificate and key in PEM.
#[derive(Debug, Clone)]
pub struct Issued {
    /// The certificate.
    pub certificate: String,
    /// Its private key.
    pub key: SecretString,
    /// SHA-256 of the certificate in hexadecimal.
    pub fingerprint: String,
    /// Valid until.
    pub not_after: OffsetDateTime,
}

/// Shall a younger authority take over?
pub fn authority_is_due(not_after: OffsetDateTime, now: OffsetDateTime) -> bool {
    now >= not_after - AUTHORITY_RENEWED
}

/// Shall a server get its next certificate?
pub fn certificate_is_due(not_after: OffsetDateTime, now: OffsetDateTime) -> bool {
    now >= not_after - CERTIFICATE_RENEWED
}

/// Certificates that end before this are due now.
pub fn due_before(now: OffsetDateTime) -> OffsetDateTime {
    now + CERTIFICATE_RENEWED
}

/// A new authority.
pub fn authority(now: OffsetDateTime) -> anyhow::Result<Authority> {
    let id = Uuid::now_v7();
    let (not_before, not_after) = (whole(now) - BACKDATED, whole(now) + AUTHORITY_LIFE);
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    let made = authority_params(id, not_before, not_after).self_signed(&key)?;
    Ok(Authority {
        id,
        certificate: made.pem(),
        key: SecretString::from(key.serialize_pem()),
        not_before,
        not_after,
    })
}

/// A certificate for the server of these names.
pub fn server(authority: &Authority, names: &[String], now: OffsetDateTime) -> anyhow::Result<Issued> {
    let signing = KeyPair::from_pem(authority.key.expose_secret()).context("the key of an authority")?;
    let issuer =
        Issuer::new(authority_params(authority.id, authority.not_before, authority.not_after), signing);
    let (not_before, not_after) = (whole(now) - BACKDATED, whole(now) + CERTIFICATE_LIFE);
    let mut params = CertificateParams::default();
    params.distinguished_name = named(names.first().map_or("", String::as_str));
    params.subject_alt_names = names
        .iter()
        .map(|name| Ok(SanType::DnsName(name.as_str().try_into()?)))
        .collect::<Result<_, rcgen::Error>>()?;
    params.serial_number = Some(SerialNumber::from_slice(Uuid::now_v7().as_bytes()));
    params.use_authority_key_identifier_extension = true;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    (params.not_before, params.not_after) = (not_before, not_after);
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    let made = params.signed_by(&key, &issuer)?;
    Ok(Issued {
        certificate: made.pem(),
        key: SecretString::from(key.serialize_pem()),
        fingerprint: fingerprint(made.der()),
        not_after,
    })
}

/// Names of a server: those of its headless Service and its pod, the full one first, and the one for clients
/// inside of the pod.
pub fn names(server: &str, namespace: &str) -> Vec<String> {
    let host = full_name(server, namespace);
    let (service, short) = ([server, ".", namespace, ".svc"].concat(), [server, ".", namespace].concat());
    let pod = [server, "-0.", &host].concat();
    vec![host, service, short, server.to_owned(), pod, "localhost".to_owned()]
}

/// The name that every client inside of the cluster can use.
pub fn full_name(server: &str, namespace: &str) -> String {
    [server, ".", namespace, ".svc.cluster.local"].concat()
}

/// SHA-256 of a certificate in DER, in hexadecimal.
pub fn fingerprint(der: &[u8]) -> String {
    hex::encode(Sha256::digest(der))
}

/// The same for the same row, so that an issuer needs no parsed certificate.
fn authority_params(id: Uuid, not_before: OffsetDateTime, not_after: OffsetDateTime) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = named(&["SaaSOdoo database authority ", &id.to_string()].concat());
    params.serial_number = Some(SerialNumber::from_slice(id.as_bytes()));
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    (params.not_before, params.not_after) = (not_before, not_after);
    params
}

fn named(common_name: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, common_name);
    name
}

/// Certificates count whole seconds, and PostgreSQL microseconds.
fn whole(at: OffsetDateTime) -> OffsetDateTime {
    at.replace_nanosecond(0).unwrap_or(at)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use rustls::client::WebPkiServerVerifier;
    use rustls::client::danger::ServerCertVerifier as _;
    use rustls::pki_types::pem::PemObject as _;
    use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
    use time::macros::datetime;

    use super::*;

    const NOW: OffsetDateTime = datetime!(2026-11-25 12:00:00.5 UTC);

    fn accepts(authority: &Authority, certificate: &str, name: &str, at: OffsetDateTime) -> bool {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(authority.certificate.as_bytes()).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let verifier =
            WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build().unwrap();
        let shown = CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap();
        let name = ServerName::try_from(name.to_owned()).unwrap();
        let seconds = u64::try_from(at.unix_timestamp()).unwrap();
        let at = UnixTime::since_unix_epoch(std::time::Duration::from_secs(seconds));
        verifier.verify_server_cert(&shown, &[], &name, &[], at).is_ok()
    }

    /// DBS-35
    #[test]
    fn a_certificate_is_good_for_its_own_server_its_authority_and_its_time() {
        let (ours, other) = (authority(NOW).unwrap(), authority(NOW).unwrap());
        let made = server(&ours, &names("postgres-pool-1", "saasodoo"), NOW).unwrap();

        assert!(accepts(&ours, &made.certificate, "postgres-pool-1.saasodoo.svc.cluster.local", NOW));
        assert!(accepts(&ours, &made.certificate, "localhost", NOW));
        assert!(!accepts(&ours, &made.certificate, "postgres-pool-2.saasodoo.svc.cluster.local", NOW));
        assert!(!accepts(&other, &made.certificate, "postgres-pool-1.saasodoo.svc.cluster.local", NOW));
        assert!(accepts(&ours, &made.certificate, "postgres-pool-1", made.not_after - Duration::hours(1)));
        assert!(!accepts(&ours, &made.certificate, "postgres-pool-1", made.not_after + Duration::hours(1)));
        assert!(!accepts(&ours, &ours.certificate, "localhost", NOW), "an authority is no server");
    }

    /// DBS-35: nothing is valid for longer than what signed it, and there is time to renew.
    #[test]
    fn certificates_end_before_their_authority() {
        let ours = authority(NOW).unwrap();
        let last = ours.not_after - AUTHORITY_RENEWED - Duration::seconds(1);
        assert!(!authority_is_due(ours.not_after, last));
        assert!(authority_is_due(ours.not_after, last + Duration::seconds(1)));
        let made = server(&ours, &names("postgres-pool-1", "saasodoo"), last).unwrap();
        assert!(made.not_after < ours.not_after);
        assert!(!certificate_is_due(made.not_after, last));
        assert!(certificate_is_due(made.not_after, made.not_after - CERTIFICATE_RENEWED));
    }

    /// SEC-04
    #[test]
    fn a_key_is_not_shown() {
        let ours = authority(NOW).unwrap();
        assert!(!format!("{ours:?}").contains("PRIVATE KEY"));
        assert!(ours.key.expose_secret().contains("PRIVATE KEY"));
    }
}
