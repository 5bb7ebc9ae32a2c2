//! Secret `odoo-<uuid>` (K8S-06): the only place of a tenant's passwords besides their owner.

use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use secrecy::{ExposeSecret as _, SecretString};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

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
    /// Is it the one that Odoo was first started with?
    pub admin_known: bool,
}

/// The wanted Secret.
pub fn secret(tenant: &Tenant, content: &Content, namespace: &str) -> Secret {
    let data = data(tenant, content);
    let mut metadata = meta::of_tenant(tenant, &Name::tenant(tenant.id), namespace);
    let annotations = metadata.annotations.get_or_insert_default();
    annotations.insert(meta::SECRET_HASH.into(), hash(tenant.id, &data));
    if !content.admin_known {
        annotations.insert(meta::ADMIN_PASSWORD.into(), meta::UNKNOWN.into());
    }
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
fn hash(instance: Uuid, data: &BTreeMap<String, ByteString>) -> String {
    let mut digest = Sha256::new();
    digest.update(instance.as_bytes());
    for (key, value) in data {
        digest.update(key.as_bytes());
        digest.update([0]);
        digest.update(&value.0);
        digest.update([0]);
    }
    hex::encode(&digest.finalize()[..16])
}

/// Does the Secret hold what was written into it, and nothing else?
pub fn is_untouched(instance: Uuid, secret: &Secret) -> bool {
    let written = secret.metadata.annotations.as_ref().and_then(|all| all.get(meta::SECRET_HASH));
    let now = secret.data.as_ref().map(|data| hash(instance, data));
    now.is_some() && written == now.as_ref()
}

/// Is the administrator's password in the Secret the one that Odoo was first started with?
pub fn knows_admin_password(secret: &Secret) -> bool {
    let annotations = secret.metadata.annotations.as_ref();
    annotations.and_then(|all| all.get(meta::ADMIN_PASSWORD)).is_none_or(|state| state != meta::UNKNOWN)
}

/// What goes into a Secret that exists: the credentials of today, with the administrator's log-in as it was
/// first given out. A log-in that somebody edited is not believed: the Secret says so, and it is never shown.
pub fn renewed(tenant: &Tenant, existing: &Secret, database: (String, SecretString)) -> Option<Content> {
    let (email, password) = (value(existing, keys::ADMIN_EMAIL)?, value(existing, keys::ADMIN_PASSWORD)?);
    let mut content = Content {
        database_user: database.0,
        database_password: database.1,
        admin_email: email.expose_secret().to_owned(),
        admin_password: password,
        admin_known: true,
    };
    let written = existing.metadata.annotations.as_ref().and_then(|all| all.get(meta::SECRET_HASH));
    let only_the_rest_was_edited = written == Some(&hash(tenant.id, &data(tenant, &content)));
    content.admin_known =
        knows_admin_password(existing) && (is_untouched(tenant.id, existing) || only_the_rest_was_edited);
    Some(content)
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
            admin_known: true,
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

    fn edited(key: &str, text: &str) -> Secret {
        let mut secret = secret(&tenant(), &content(), "odoo-instances");
        secret.data.as_mut().unwrap().insert(key.into(), ByteString(text.as_bytes().to_vec()));
        secret
    }

    fn database() -> (String, SecretString) {
        (content().database_user, content().database_password)
    }

    /// K8S-31: what somebody edited in the data shows, and only an administrator's password that was not
    /// touched is believed.
    #[test]
    fn an_edit_of_the_data_shows_and_costs_the_password_only_when_it_was_edited() {
        let id = tenant().id;
        let whole = secret(&tenant(), &content(), "odoo-instances");
        assert!(is_untouched(id, &whole) && renewed(&tenant(), &whole, database()).unwrap().admin_known);

        let rest = edited(keys::PASSWORD, "by hand");
        assert!(!is_untouched(id, &rest) && !is_untouched(id, &edited("more", "x")));
        assert!(renewed(&tenant(), &rest, database()).unwrap().admin_known);

        let admin = edited(keys::ADMIN_PASSWORD, "by hand");
        let content = renewed(&tenant(), &admin, database()).unwrap();
        assert!(!content.admin_known);
        let written = secret(&tenant(), &content, "odoo-instances");
        assert!(!knows_admin_password(&written));
        assert!(!renewed(&tenant(), &written, database()).unwrap().admin_known, "it never comes back");
    }
}
