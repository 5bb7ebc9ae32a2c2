//! Identifiers: ids that callers give, names of tenants' databases and roles (DBS-30, DBS-31), names of pools
//! (DBS-26).

use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use super::pool::ServerType;

/// Longest part of a database name that comes from the customer.
const CUSTOMER_PART: usize = 12;

/// An id that a caller gave: a UUID (kept in lower case), or 1–63 characters `[A-Za-z0-9_-]` (DBS-07).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ExternalId(String);

impl ExternalId {
    /// Parses it; `None` for whatever is neither.
    pub fn try_new(text: &str) -> Option<Self> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        if text.is_empty() || text.len() > 63 || !text.chars().all(allowed) {
            return None;
        }
        Some(match uuid(text) {
            Some(id) => Self(id.to_string()),
            None => Self(text.to_owned()),
        })
    }

    /// The id.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// 32 hexadecimal digits that are the id's own.
    fn digits(&self) -> String {
        uuid(&self.0).map_or_else(|| digest(&self.0, 32), |id| id.simple().to_string())
    }
}

/// Only the usual form with dashes counts as a UUID.
fn uuid(text: &str) -> Option<Uuid> {
    (text.len() == 36).then(|| Uuid::parse_str(text).ok()).flatten()
}

fn digest(text: &str, length: usize) -> String {
    let mut digits = hex::encode(Sha256::digest(text.as_bytes()));
    digits.truncate(length);
    digits
}

/// Name of a tenant's database and of the role that owns it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TenantName(String);

impl TenantName {
    /// `odoo_<customer>_<instance>`.
    pub fn new(customer: &ExternalId, instance: &ExternalId) -> Self {
        let mut part: String = customer
            .as_str()
            .chars()
            .map(|c| c.to_ascii_lowercase())
            .filter(char::is_ascii_alphanumeric)
            .take(CUSTOMER_PART)
            .collect();
        if part.is_empty() {
            part = digest(customer.as_str(), CUSTOMER_PART);
        }
        Self(["odoo_", &part, "_", &instance.digits()].concat())
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Names of the roles of a tenant's database: one of them at rest, both while its password changes (DBS-32).
pub fn logins(database: &str) -> [String; 2] {
    [database.to_owned(), [database, "_2"].concat()]
}

/// The other of [`logins`].
pub fn other_login(database: &str, login: &str) -> String {
    let [first, second] = logins(database);
    if login == first { second } else { first }
}

/// Name of the pool with this number.
pub fn pool_name(server_type: ServerType, number: i64) -> String {
    let prefix = match server_type {
        ServerType::Dedicated => "postgres-dedicated-",
        ServerType::Shared | ServerType::Platform => "postgres-pool-",
    };
    [prefix, &number.to_string()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn id(text: &str) -> ExternalId {
        ExternalId::try_new(text).unwrap()
    }

    /// DBS-30
    #[test]
    fn names_are_made_of_customer_and_instance() {
        let name = TenantName::new(
            &id("6F9619FF-8B86-D011-B42D-00CF4FC964FF"),
            &id("0194fdc2-fa2f-7cc0-81d3-ff1274bbd5a0"),
        );
        assert_eq!(name.as_str(), "odoo_6f9619ff8b86_0194fdc2fa2f7cc081d3ff1274bbd5a0");
        let name = TenantName::new(&id("customer-1"), &id("test-instance-1"));
        assert!(name.as_str().starts_with("odoo_customer1_"), "{name:?}");
        assert_eq!(name.as_str().len(), "odoo_customer1_".len() + 32);
        assert!(!TenantName::new(&id("___"), &id("a")).as_str().contains("__"));
    }

    /// DBS-07
    #[test]
    fn ids_are_uuids_or_short_words() {
        assert_eq!(
            id("0194FDC2-FA2F-7CC0-81D3-FF1274BBD5A0").as_str(),
            "0194fdc2-fa2f-7cc0-81d3-ff1274bbd5a0"
        );
        assert_eq!(id("Test_1").as_str(), "Test_1");
        for bad in ["", "a b", "x'; DROP DATABASE postgres; --", "ä", &"a".repeat(64)] {
            assert_eq!(ExternalId::try_new(bad), None, "{bad}");
        }
    }

    /// DBS-26
    #[test]
    fn pools_are_numbered_by_kind() {
        assert_eq!(pool_name(ServerType::Shared, 3), "postgres-pool-3");
        assert_eq!(pool_name(ServerType::Dedicated, 1), "postgres-dedicated-1");
        assert!(pool_name(ServerType::Dedicated, i64::MAX).len() <= 52);
    }

    proptest! {
        /// DBS-31, SEC-05
        #[test]
        fn any_name_is_a_short_plain_identifier(customer in "[A-Za-z0-9_-]{1,63}", instance in "[A-Za-z0-9_-]{1,63}") {
            let name = TenantName::new(&id(&customer), &id(&instance));
            prop_assert!(logins(name.as_str()).iter().all(|login| login.len() < 63));
            prop_assert_eq!(other_login(name.as_str(), &other_login(name.as_str(), name.as_str())), name.as_str());
            prop_assert!(name.as_str().starts_with("odoo_"));
            prop_assert!(name.as_str().bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_'));
        }

        /// DBS-30
        #[test]
        fn two_instances_of_a_customer_never_share_a_name(a in "[A-Za-z0-9_-]{1,63}", b in "[A-Za-z0-9_-]{1,63}") {
            let (a, b) = (id(&a), id(&b));
            let customer = id("c");
            prop_assert_eq!(a == b, TenantName::new(&customer, &a) == TenantName::new(&customer, &b));
        }
    }
}
