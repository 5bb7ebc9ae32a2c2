//! Secret `odoo-<uuid>` (K8S-06): the only place of a tenant's passwords besides their owner.

use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use secrecy::{ExposeSecret as _, SecretString};
use sha2::{Digest as _, Sha256};

use super::meta;
use super::names::Name;
use super::tenant::Tenant;

/// Keys of the Secret.
pub mod keys {
    /// Host of the database.
    pub const HOST: &str = "database-host";
    /// Port of the database.
    pub const PORT: &str = "database-port";
    /// Name of the database.
    pub const NAME: &str = "database-name";
    /// Role.
    pub const USER: &str = "database-user";
    /// Password of the role.
    pub const PASSWORD: &str = "database-password";
    /// Login of the tenant's administrator.
    pub const ADMIN_EMAIL: &str = "admin-email";
    /// Generated password of the tenant's administrator (INS-05).
    pub const ADMIN_PASSWORD: &str = "admin-password";
}

/// What goes into the Secret besides the tenant's stored values.
#[derive(Debug, Clone)]
pub struct Content {
    /// Role of the database.
    pub database_user: String,
    /// Its password.
    pub database_password: SecretString,
    /// Login.
    pub admin_email: String,
    /// Password.
    pub admin_password: SecretString,
}

/// The wanted Secret.
pub fn secret(tenant: &Tenant, content: &Content, namespace: &str) -> Secret {
    let data = data(tenant, content);
    let mut metadata = meta::of_tenant(tenant, &Name::tenant(tenant.id), namespace);
    metadata.annotations.get_or_insert_default().insert(meta::SECRET_HASH.into(), hash(tenant, &data));
    Secret { metadata, type_: Some("Opaque".into()), data: Some(data), ..Secret::default() }
}

fn data(tenant: &Tenant, content: &Content) -> BTreeMap<String, ByteString> {
    [
        (keys::HOST, tenant.database.host.as_str()),
        (keys::PORT, tenant.database.port.to_string().as_str()),
        (keys::NAME, tenant.database.name.as_str()),
        (keys::USER, content.database_user.as_str()),
        (keys::PASSWORD, content.database_password.expose_secret()),
        (keys::ADMIN_EMAIL, content.admin_email.as_str()),
        (keys::ADMIN_PASSWORD, content.admin_password.expose_secret()),
    ]
    .into_iter()
    .map(|(key, value)| (key.to_owned(), ByteString(value.as_bytes().to_vec())))
    .collect()
}

/// Tells two contents apart; salted with the id, so that it says nothing about another tenant's.
fn hash(tenant: &Tenant, data: &BTreeMap<String, ByteString>) -> String {
    let mut digest = Sha256::new();
    digest.update(tenant.id.as_bytes());
    for (key, value) in data {
        digest.update(key.as_bytes());
        digest.update([0]);
        digest.update(&value.0);
        digest.update([0]);
    }
    hex::encode(&digest.finalize()[..16])
}

/// A value of a Secret as text.
pub fn value(secret: &Secret, key: &str) -> Option<SecretString> {
    let bytes = secret.data.as_ref()?.get(key)?;
    std::str::from_utf8(&bytes.0).ok().filter(|text| !text.is_empty()).map(SecretString::from)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::objects::tenant::tests::tenant;

    pub(crate) fn content() -> Content {
        Content {
            database_user: "odoo_acme_01900000000070008000000000000001".into(),
            database_password: SecretString::from("a-database-password"),
            admin_email: "admin@acme.test".into(),
            admin_password: SecretString::from("an-odoo-password"),
        }
    }

    /// K8S-06
    #[test]
    fn the_secret_holds_every_value_and_a_hash_that_follows_them() {
        let first = secret(&tenant(), &content(), "odoo-instances");
        insta::assert_yaml_snapshot!(first);
        let other = Content { admin_password: SecretString::from("another"), ..content() };
        let second = secret(&tenant(), &other, "odoo-instances");
        let hash = |secret: &Secret| secret.metadata.annotations.as_ref().unwrap()[meta::SECRET_HASH].clone();
        assert_ne!(hash(&first), hash(&second));
        assert_eq!(value(&first, keys::PORT).unwrap().expose_secret(), "5432");
    }
}
