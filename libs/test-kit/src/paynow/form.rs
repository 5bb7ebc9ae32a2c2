//! URL-encoded forms with an order, and their hash.

use sha2::{Digest as _, Sha512};

/// Fields in the order in which they came, decoded.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Form(pub Vec<(String, String)>);

impl Form {
    /// Reads a body; the error is what Paynow would not understand.
    pub fn parse(body: &str) -> Result<Self, &'static str> {
        let mut fields: Vec<(String, String)> = Vec::new();
        for pair in body.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').ok_or("a field without a value")?;
            let (name, value) = (decode(name).ok_or("bad encoding")?, decode(value).ok_or("bad encoding")?);
            if fields.iter().any(|(known, _)| known.eq_ignore_ascii_case(&name)) {
                return Err("a field is there twice");
            }
            fields.push((name, value));
        }
        Ok(Self(fields))
    }

    /// A field.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// Is its hash right?
    pub fn is_signed(&self, key: &str) -> bool {
        let values: String = self
            .0
            .iter()
            .filter(|(name, _)| !name.eq_ignore_ascii_case("hash"))
            .map(|(_, value)| value.as_str())
            .collect();
        self.get("hash") == Some(&hash(&values, key))
    }
}

fn hash(values: &str, key: &str) -> String {
    hex::encode_upper(Sha512::digest(format!("{values}{key}")))
}

/// Encodes fields, with their hash at the end.
pub fn sign(fields: &[(&str, &str)], key: &str) -> String {
    let values: String = fields.iter().map(|(_, value)| *value).collect();
    let mut body = encode(fields);
    body.push_str("&Hash=");
    body.push_str(&hash(&values, key));
    body
}

/// Encodes fields in the manner of .NET: blanks as `+`, hex digits in lower case.
pub fn encode(fields: &[(&str, &str)]) -> String {
    let one = |text: &str| -> String {
        let mut encoded = String::new();
        for byte in text.bytes() {
            match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'!' | b'*' | b'(' | b')' => {
                    encoded.push(char::from(byte));
                }
                b' ' => encoded.push('+'),
                _ => {
                    encoded.push('%');
                    encoded.push_str(&hex::encode([byte]));
                }
            }
        }
        encoded
    };
    let pairs: Vec<String> = fields.iter().map(|(name, value)| format!("{name}={}", one(value))).collect();
    pairs.join("&")
}

fn decode(text: &str) -> Option<String> {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        rest = match first {
            b'%' => {
                let digits = after.get(..2)?;
                bytes.push(*hex::decode(digits).ok()?.first()?);
                after.get(2..)?
            }
            b'+' => {
                bytes.push(b' ');
                after
            }
            other => {
                bytes.push(*other);
                after
            }
        };
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of Paynow's documents.
    #[test]
    fn the_documented_example_is_right() {
        let body = "status=Ok&browserurl=https%3a%2f%2fstaging.paynow.co.zw%2fPayment%2fConfirmPayment%2f9510&pollurl=https%3a%2f%2fstaging.paynow.co.zw%2fInterface%2fCheckPayment%2f%3fguid%3dc7ed41da-0159-46da-b428-69549f770413&paynowreference=9510&hash=750DD0B0DF374678707BB5AF915AF81C228B9058AD57BB7120569EC68BBB9C2EFC1B26C6375D2BC562AC909B3CD6B2AF1D42E1A5E479FFAC8F4FB3FDCE71DF4D";
        let form = Form::parse(body).unwrap();
        assert!(form.is_signed("3e9fed89-60e1-4ce5-ab6e-6b1eb2d4f977"));
        assert!(!form.is_signed("3e9fed89-60e1-4ce5-ab6e-6b1eb2d4f978"));
        let pairs: Vec<_> = form.0.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        assert_eq!(encode(&pairs), body);
    }

    #[test]
    fn bad_forms_are_refused() {
        for bad in ["a", "a=%zz", "a=%f", "a=1&A=2", "a=%ff"] {
            assert!(Form::parse(bad).is_err(), "{bad}");
        }
    }
}
