//! Messages of Paynow: URL-encoded fields in an order that counts, with a hash over their raw values and the
//! integration key.

use std::fmt;

use secrecy::{ExposeSecret as _, SecretString};
use sha2::{Digest as _, Sha512};
use subtle::ConstantTimeEq as _;

/// Largest message that is read.
pub const LARGEST: usize = 16 * 1024;
/// Most fields that a message has.
const MOST_FIELDS: usize = 60;

/// Fields in their order, decoded.
#[derive(Clone, PartialEq, Eq)]
pub struct Message(Vec<(String, String)>);

impl fmt::Debug for Message {
    /// Names alone: values are customers' matters.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|(name, _)| name)).finish()
    }
}

impl Message {
    /// Reads one. A field that is there twice could be read in two ways, so such a message is none.
    pub fn parse(body: &[u8]) -> Option<Self> {
        if body.len() > LARGEST {
            return None;
        }
        let fields: Vec<(String, String)> = serde_urlencoded::from_bytes(body).ok()?;
        let twice = |(at, (name, _)): (usize, &(String, String))| {
            fields.iter().take(at).any(|(other, _)| other.eq_ignore_ascii_case(name))
        };
        if fields.is_empty() || fields.len() > MOST_FIELDS || fields.iter().enumerate().any(twice) {
            return None;
        }
        Some(Self(fields))
    }

    /// A field; upper and lower case of names are the same, as Paynow itself mixes them.
    pub fn get(&self, name: &str) -> &str {
        let found = self.0.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
        found.map_or("", |(_, value)| value.as_str())
    }

    /// Was it made by somebody who has the key? Over all values that are there, blank ones too, in their
    /// order, and in constant time.
    pub fn is_signed(&self, key: &SecretString) -> bool {
        let given = self.get("hash").to_ascii_uppercase();
        let values = self.0.iter().filter(|(name, _)| !name.eq_ignore_ascii_case("hash"));
        let expected = hash(values.map(|(_, value)| value.as_str()), key);
        expected.as_bytes().ct_eq(given.as_bytes()).into()
    }
}

/// Encodes fields with their hash at the end.
pub fn signed(fields: &[(&str, &str)], key: &SecretString) -> String {
    let hash = hash(fields.iter().map(|(_, value)| *value), key);
    let all = fields.iter().copied().chain([("hash", hash.as_str())]);
    // Pairs of text can always be encoded.
    serde_urlencoded::to_string(all.collect::<Vec<_>>()).unwrap_or_default()
}

/// SHA-512 over the values and the key, as upper-case hex. Paynow's own libraries take the key in lower case.
fn hash<'a>(values: impl Iterator<Item = &'a str>, key: &SecretString) -> String {
    let mut hasher = Sha512::new();
    for value in values {
        hasher.update(value.as_bytes());
    }
    hasher.update(key.expose_secret().to_ascii_lowercase().as_bytes());
    hex::encode_upper(hasher.finalize())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn key() -> SecretString {
        "3e9fed89-60e1-4ce5-ab6e-6b1eb2d4f977".into()
    }

    /// BIL-27: the example of Paynow's documents, with a field that its table of fields does not name.
    #[test]
    fn the_documented_answer_is_genuine() {
        let body = "status=Ok&browserurl=https%3a%2f%2fstaging.paynow.co.zw%2fPayment%2fConfirmPayment%2f9510&pollurl=https%3a%2f%2fstaging.paynow.co.zw%2fInterface%2fCheckPayment%2f%3fguid%3dc7ed41da-0159-46da-b428-69549f770413&paynowreference=9510&hash=750DD0B0DF374678707BB5AF915AF81C228B9058AD57BB7120569EC68BBB9C2EFC1B26C6375D2BC562AC909B3CD6B2AF1D42E1A5E479FFAC8F4FB3FDCE71DF4D";
        let message = Message::parse(body.as_bytes()).unwrap();
        assert!(message.is_signed(&key()));
        assert!(message.is_signed(&key().expose_secret().to_ascii_uppercase().into()));
        assert!(!message.is_signed(&"another-key".into()));
        assert_eq!(
            message.get("PollUrl"),
            "https://staging.paynow.co.zw/Interface/CheckPayment/?guid=c7ed41da-0159-46da-b428-69549f770413"
        );
        assert!(!format!("{message:?}").contains("9510"));
    }

    /// BIL-27: the example of Paynow's documents for what we send.
    #[test]
    fn the_documented_request_is_signed_so() {
        let body = signed(
            &[
                ("id", "1201"),
                ("reference", "TEST REF"),
                ("amount", "99.99"),
                ("additionalinfo", "A test ticket transaction"),
                ("returnurl", "http://www.google.com/search?q=returnurl"),
                ("resulturl", "http://www.google.com/search?q=resulturl"),
                ("status", "Message"),
            ],
            &key(),
        );
        let hash = "2A033FC38798D913D42ECB786B9B19645ADEDBDE788862032F1BD82CF3B92DEF84F316385D5B40DBB35F1A4FD7D5BFE73835174136463CDD48C9366B0749C689";
        assert!(body.ends_with(&format!("&hash={hash}")), "{body}");
    }

    #[test]
    fn what_can_be_read_in_two_ways_is_no_message() {
        for bad in ["", "a=1&A=2", "hash=1&b=2&Hash=3"] {
            assert_eq!(Message::parse(bad.as_bytes()), None, "{bad}");
        }
        assert_eq!(Message::parse(&vec![b'a'; LARGEST + 1]), None);
    }

    proptest! {
        /// BIL-27: blank values count, and so do order and every byte.
        #[test]
        fn a_changed_message_is_not_genuine(
            values in proptest::collection::vec("[ -~]{0,12}", 2..8),
            at in any::<prop::sample::Index>(),
        ) {
            let names: Vec<String> = (0..values.len()).map(|n| format!("f{n}")).collect();
            let fields: Vec<(&str, &str)> = names.iter().map(String::as_str).zip(values.iter().map(String::as_str)).collect();
            let body = signed(&fields, &key());
            let message = Message::parse(body.as_bytes()).unwrap();
            prop_assert!(message.is_signed(&key()));
            let mut changed = message.clone();
            let place = at.index(values.len());
            changed.0[place].1.push('x');
            prop_assert!(!changed.is_signed(&key()));
            let cut = &body[..body.len() - 1];
            prop_assert!(!Message::parse(cut.as_bytes()).unwrap().is_signed(&key()));
        }
    }
}
