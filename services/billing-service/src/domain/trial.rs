//! The trial: once for a customer and once for an address, for life (BIL-09). Whoever cannot be checked gets
//! none (BIL-10).

use sha2::{Digest as _, Sha256};

/// Hash of a normalised address. The address itself is never stored here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EmailHash(pub [u8; 32]);

impl EmailHash {
    /// Of an address as the account holds it.
    pub fn of(email: &str) -> Self {
        let mut hash = Sha256::new();
        // Names its use, so that the value matches no other table of hashed addresses.
        hash.update(b"saasodoo trial v1\0");
        hash.update(normalise(email).as_bytes());
        Self(hash.finalize().into())
    }
}

/// One spelling for one mailbox: case, `+tags`, and the dots that Gmail does not see.
fn normalise(email: &str) -> String {
    let email = email.trim().to_lowercase();
    let Some((local, domain)) = email.rsplit_once('@') else { return email };
    let local = local.split('+').next().unwrap_or(local);
    if matches!(domain, "gmail.com" | "googlemail.com") {
        format!("{}@gmail.com", local.replace('.', ""))
    } else {
        format!("{local}@{domain}")
    }
}

/// What is known of a customer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Facts {
    /// A trial was granted to the customer or to the address before.
    pub granted_before: bool,
    /// The customer has a live subscription that is no trial.
    pub has_paid: bool,
}

/// Answer of the trial rule (BIL-10).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Eligibility {
    /// May have a trial.
    Eligible,
    /// Had one.
    AlreadyUsed,
    /// Pays already.
    HasPaidSubscription,
    /// It could not be found out: no trial now.
    Unavailable,
}

impl Eligibility {
    /// The reason word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Eligible => "eligible",
            Self::AlreadyUsed => "already_used",
            Self::HasPaidSubscription => "has_paid_subscription",
            Self::Unavailable => "unavailable",
        }
    }
}

/// The rule. `None`: the facts could not be found.
pub fn eligibility(facts: Option<Facts>) -> Eligibility {
    match facts {
        None => Eligibility::Unavailable,
        Some(Facts { granted_before: true, .. }) => Eligibility::AlreadyUsed,
        Some(Facts { has_paid: true, .. }) => Eligibility::HasPaidSubscription,
        Some(_) => Eligibility::Eligible,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// BIL-09
    #[test]
    fn one_mailbox_has_one_hash() {
        let same =
            ["ada.lovelace@gmail.com", " Ada.Lovelace+trial2@GMAIL.com ", "adalovelace@googlemail.com"];
        for spelling in same {
            assert_eq!(EmailHash::of(spelling), EmailHash::of(same[0]), "{spelling}");
        }
        assert_eq!(EmailHash::of("a.b+x@example.com"), EmailHash::of("A.B@example.com"));
        assert_ne!(EmailHash::of("a.b@example.com"), EmailHash::of("ab@example.com"));
    }

    /// BIL-10
    #[test]
    fn errors_deny() {
        let facts = |granted_before, has_paid| Some(Facts { granted_before, has_paid });
        assert_eq!(eligibility(None).as_str(), "unavailable");
        assert_eq!(eligibility(facts(false, false)).as_str(), "eligible");
        assert_eq!(eligibility(facts(true, true)).as_str(), "already_used");
        assert_eq!(eligibility(facts(false, true)).as_str(), "has_paid_subscription");
    }
}
