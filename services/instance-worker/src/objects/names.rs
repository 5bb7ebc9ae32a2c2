//! Names of objects, from the full instance id only (K8S-04), with the limit of the API server.

use std::fmt;

use uuid::Uuid;

/// The name of an object: an RFC 1123 label of at most 63 characters.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Name(String);

/// Text that is no object name.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{0:?} is no object name: lower-case letters, digits and dashes, at most {1} characters")]
pub struct InvalidName(String, usize);

impl Name {
    /// Longest label.
    pub const MAX: usize = 63;
    /// Longest name of a StatefulSet: its pods carry a label with the name and a hash (DBS-26).
    pub const MAX_STATEFUL_SET: usize = 52;

    /// Checks the characters and the length.
    pub fn try_new(text: impl Into<String>) -> Result<Self, InvalidName> {
        Self::limited(text.into(), Self::MAX)
    }

    /// The name of a pool, as database-service chose it.
    pub fn try_pool(text: impl Into<String>) -> Result<Self, InvalidName> {
        Self::limited(text.into(), Self::MAX_STATEFUL_SET)
    }

    fn limited(text: String, max: usize) -> Result<Self, InvalidName> {
        let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        let edge = |byte: Option<&u8>| byte.is_some_and(|byte| *byte != b'-');
        let bytes = text.as_bytes();
        if bytes.len() <= max && bytes.iter().copied().all(inner) && edge(bytes.first()) && edge(bytes.last())
        {
            Ok(Self(text))
        } else {
            Err(InvalidName(text, max))
        }
    }

    /// Deployment, Service, Ingress, NetworkPolicy and Secret of an instance.
    pub fn tenant(id: Uuid) -> Self {
        Self(instance::domain::workload_name(id).into())
    }

    /// The volume claim of an instance (K8S-05).
    pub fn volume(id: Uuid) -> Self {
        Self(instance::domain::volume_name(id).into())
    }

    /// The instance whose object has this name, whatever its labels say.
    pub fn instance_in(name: &str) -> Option<Uuid> {
        let id = name.rsplit_once("odoo-data-").or_else(|| name.rsplit_once("odoo-"))?.1;
        let id = Uuid::parse_str(id).ok()?;
        [Self::tenant(id), Self::volume(id)].iter().any(|own| own.as_str() == name).then_some(id)
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// K8S-04: any id gives names that the API server takes.
        #[test]
        fn names_of_any_instance_are_labels(bits in any::<u128>()) {
            let id = Uuid::from_u128(bits);
            for name in [Name::tenant(id), Name::volume(id)] {
                prop_assert_eq!(Name::try_new(name.as_str()), Ok(name.clone()));
                prop_assert_eq!(Name::instance_in(name.as_str()), Some(id));
            }
        }

        /// DBS-26
        #[test]
        fn a_pool_name_is_taken_only_within_the_limit_of_a_stateful_set(text in "[a-z0-9-]{1,70}") {
            let fits = text.len() <= 52 && !text.starts_with('-') && !text.ends_with('-');
            prop_assert_eq!(Name::try_pool(text).is_ok(), fits);
        }
    }

    #[test]
    fn what_is_no_label_is_refused() {
        for bad in ["", "Odoo", "odoo_1", "-odoo", "odoo-", "o.o", "ödoo"] {
            assert!(Name::try_new(bad).is_err(), "{bad}");
        }
    }
}
