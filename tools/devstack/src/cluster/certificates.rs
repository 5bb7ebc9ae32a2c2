//! Certificates and keys of one control plane: made once for each folder, then read again.

use std::fs;
use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, SanType,
};

/// A certificate and its key, as PEM.
#[derive(Debug, Clone)]
pub(super) struct Pair {
    pub(super) certificate: String,
    pub(super) key: String,
}

/// Everything that the parts prove themselves with. The files have fixed names in `dir`.
#[derive(Debug, Clone)]
pub(super) struct Certificates {
    dir: PathBuf,
    pub(super) ca: String,
    pub(super) admin: Pair,
}

impl Certificates {
    /// Reads the set in the folder, or makes a new one when there is none that is complete.
    pub(super) fn ensure(dir: &Path) -> anyhow::Result<Self> {
        let complete = dir.join("complete");
        if !complete.exists() {
            fs::create_dir_all(dir)?;
            make(dir).context("cannot make the certificates of the control plane")?;
            fs::write(&complete, "")?;
        }
        let read = |name: &str| {
            let file = dir.join(name);
            fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))
        };
        Ok(Self {
            dir: dir.to_owned(),
            ca: read("ca.crt")?,
            admin: Pair { certificate: read("admin.crt")?, key: read("admin.key")? },
        })
    }

    /// Path of a file of the set, as flags want it.
    pub(super) fn path(&self, name: &str) -> String {
        self.dir.join(name).display().to_string()
    }
}

/// Writes a file that only its owner can read.
pub(super) fn write_private(file: &Path, content: &str) -> anyhow::Result<()> {
    let part = file.with_extension("part");
    let _ = fs::remove_file(&part);
    fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&part)
        .and_then(|mut open| open.write_all(content.as_bytes()))
        .and_then(|()| fs::rename(&part, file))
        .with_context(|| format!("cannot write {}", file.display()))
}

fn make(dir: &Path) -> anyhow::Result<()> {
    let ca_key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    let mut ca = named("saasodoo-dev-ca", None);
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    ca.key_usages =
        vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign, KeyUsagePurpose::DigitalSignature];
    let ca_certificate = ca.self_signed(&ca_key)?;
    fs::write(dir.join("ca.crt"), ca_certificate.pem())?;
    let issuer = Issuer::new(ca, ca_key);

    let mut server = named("kube-apiserver", None);
    server.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    server.subject_alt_names = vec![
        SanType::IpAddress(IpAddr::V4(Ipv4Addr::LOCALHOST)),
        SanType::IpAddress(IpAddr::V4(Ipv4Addr::new(10, 96, 0, 1))),
    ];
    for name in ["localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc"] {
        server.subject_alt_names.push(SanType::DnsName(name.try_into()?));
    }
    issue(dir, "server", &server, &issuer)?;

    // `system:masters` is the group that the API server lets do everything.
    let mut admin = named("saasodoo-dev-admin", Some("system:masters"));
    admin.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    issue(dir, "admin", &admin, &issuer)?;

    let mut kubelet_client = named("kube-apiserver-kubelet-client", Some("system:masters"));
    kubelet_client.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    issue(dir, "kubelet-client", &kubelet_client, &issuer)?;

    let service_account = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    write_private(&dir.join("service-account.key"), &service_account.serialize_pem())?;
    fs::write(dir.join("service-account.pub"), service_account.public_key_pem())?;
    Ok(())
}

fn named(common_name: &str, organization: Option<&str>) -> CertificateParams {
    // rcgen's own validity is decades; nothing here is valid outside loopback.
    let mut params = CertificateParams::default();
    params.distinguished_name.remove(DnType::CommonName);
    params.distinguished_name.push(DnType::CommonName, common_name);
    if let Some(organization) = organization {
        params.distinguished_name.push(DnType::OrganizationName, organization);
    }
    params.use_authority_key_identifier_extension = true;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params
}

fn issue(
    dir: &Path,
    name: &str,
    params: &CertificateParams,
    issuer: &Issuer<'_, KeyPair>,
) -> anyhow::Result<()> {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    let certificate = params.signed_by(&key, issuer)?;
    fs::write(dir.join(format!("{name}.crt")), certificate.pem())?;
    write_private(&dir.join(format!("{name}.key")), &key.serialize_pem())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn a_folder_keeps_its_certificates() {
        let dir = tempfile::tempdir().unwrap();

        let first = Certificates::ensure(dir.path()).unwrap();
        let second = Certificates::ensure(dir.path()).unwrap();

        assert_eq!(first.ca, second.ca);
        assert_eq!(first.admin.key, second.admin.key);
    }

    #[test]
    fn keys_are_for_their_owner_alone() {
        let dir = tempfile::tempdir().unwrap();
        Certificates::ensure(dir.path()).unwrap();

        for key in ["server.key", "admin.key", "kubelet-client.key", "service-account.key"] {
            let mode = fs::metadata(dir.path().join(key)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{key}");
        }
    }
}
