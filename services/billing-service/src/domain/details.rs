//! What customers say about themselves for their invoices: every text has a length and a form, since it is
//! printed, mailed and kept for ever.

use super::tax_id;

/// A field and what it must be.
pub type Wrong = (&'static str, &'static str);

/// A postal address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// Street and number.
    pub street: String,
    /// Town.
    pub city: String,
    /// As the country writes it.
    pub postal_code: String,
    /// State, province.
    pub region: String,
}

/// What is to be changed; what is `None` stays.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccountChange {
    /// Company.
    pub company: Option<String>,
    /// Tax number.
    pub tax_id: Option<String>,
    /// Where invoices go.
    pub billing_email: Option<String>,
    /// Where the customer is.
    pub address: Option<Address>,
    /// ISO 3166-1 alpha-2; empty: not said.
    pub country: Option<String>,
}

impl AccountChange {
    /// The same without the space around texts, or the first field that is wrong. `country_now`: where this
    /// does not say another one.
    pub fn try_new(self, country_now: &str) -> Result<Self, Wrong> {
        let country = self.country.map(|code| code.trim().to_owned());
        if country.as_deref().is_some_and(|code| !is_country(code)) {
            return Err(("country", "must be a code of two capital letters"));
        }
        let tax_id = self.tax_id.map(|text| line("tax_id", &text, 50)).transpose()?;
        let in_country = country.as_deref().unwrap_or(country_now);
        if tax_id.as_deref().is_some_and(|text| !text.is_empty() && !tax_id::has_form(in_country, text)) {
            return Err(("tax_id", "is not a tax number of the country of this account"));
        }
        let billing_email = self.billing_email.map(|text| text.trim().to_owned());
        if billing_email.as_deref().is_some_and(|text| !text.is_empty() && !is_email(text)) {
            return Err(("billing_email", "must be a valid e-mail address"));
        }
        let address = self.address.map(|address| {
            Ok::<_, Wrong>(Address {
                street: line("address.street", &address.street, 200)?,
                city: line("address.city", &address.city, 100)?,
                postal_code: line("address.postal_code", &address.postal_code, 20)?,
                region: line("address.region", &address.region, 100)?,
            })
        });
        Ok(Self {
            company: self.company.map(|text| line("company", &text, 200)).transpose()?,
            tax_id,
            billing_email,
            address: address.transpose()?,
            country,
        })
    }
}

fn is_country(code: &str) -> bool {
    code.is_empty() || code.len() == 2 && code.bytes().all(|byte| byte.is_ascii_uppercase())
}

/// One line that shows what it says.
fn line(field: &'static str, text: &str, most: usize) -> Result<String, Wrong> {
    let text = text.trim();
    if text.chars().count() > most {
        return Err((field, "is too long"));
    }
    if text.chars().any(is_hidden) {
        return Err((field, "must have no control or invisible characters"));
    }
    Ok(text.to_owned())
}

/// Characters that end a line, or that are not seen and change what is: controls and marks of direction. The
/// two joiners are letters' own in Persian, Sinhala and other scripts.
fn is_hidden(character: char) -> bool {
    character.is_control()
        || matches!(
            character,
            '\u{AD}' | '\u{61C}' | '\u{180E}' | '\u{200B}' | '\u{200E}' | '\u{200F}' | '\u{2028}'..='\u{202E}'
                | '\u{2060}'..='\u{206F}' | '\u{FEFF}' | '\u{FFF9}'..='\u{FFFB}' | '\u{E0000}'..='\u{E007F}'
        )
}

/// An address that mail servers take: one `@`, a dotted name before it, a host with a dot after it.
fn is_email(text: &str) -> bool {
    let Some((local, host)) = text.split_once('@') else { return false };
    let atom = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~".contains(&byte);
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    text.len() <= 254
        && local.len() <= 64
        && local.split('.').all(|part| !part.is_empty() && part.bytes().all(atom))
        && host.contains('.')
        && host.split('.').all(label)
        && !host.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn none() -> AccountChange {
        AccountChange { company: None, tax_id: None, billing_email: None, address: None, country: None }
    }

    fn address(street: &str) -> Address {
        Address {
            street: street.into(),
            city: "Berlin".into(),
            postal_code: "10115".into(),
            region: String::new(),
        }
    }

    #[test]
    fn texts_have_a_length_and_a_form() {
        let said = |text: &str| Some(text.to_owned());
        for (wish, field) in [
            (AccountChange { company: said("Evil\r\nBcc: a@b.cc"), ..none() }, "company"),
            (AccountChange { company: said("abc\u{202e}def"), ..none() }, "company"),
            (AccountChange { company: said(&"x".repeat(201)), ..none() }, "company"),
            (AccountChange { tax_id: said("1\n2"), ..none() }, "tax_id"),
            (AccountChange { tax_id: said("x"), country: said("DE"), ..none() }, "tax_id"),
            (
                AccountChange { billing_email: said("not-an-email\r\nBcc: all@x.yz"), ..none() },
                "billing_email",
            ),
            (AccountChange { billing_email: said("ada@localhost"), ..none() }, "billing_email"),
            (AccountChange { address: Some(address(&"A".repeat(900_000))), ..none() }, "address.street"),
            (AccountChange { country: said("Germany"), ..none() }, "country"),
        ] {
            assert_eq!(wish.try_new("").unwrap_err().0, field);
        }
        let good = AccountChange {
            company: said("  Zoë & Söhne GmbH "),
            tax_id: said("DE136695976"),
            billing_email: said("zoe+invoices@bücher.example".replace('ü', "ue").as_str()),
            address: Some(address("Weg 1")),
            country: said("DE"),
        };
        assert_eq!(good.try_new("").unwrap().company.as_deref(), Some("Zoë & Söhne GmbH"));
        let empty = AccountChange { company: said(""), tax_id: said(""), billing_email: said(""), ..none() };
        assert!(empty.try_new("DE").is_ok(), "a text can be taken away");
    }
}
