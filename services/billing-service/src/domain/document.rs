//! What an invoice says on paper: all of its text, and nothing about where it stands on a page. Amounts are
//! text here, so that no layout ever calculates with money.

use time::OffsetDateTime;
use time::macros::format_description;

use super::invoice::{InvoiceKind, InvoiceStatus, Line, LineKind};
use super::money::{Currency, Money, MoneyError};

/// Who sells, as settings say it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Seller {
    /// Name of the company.
    pub name: String,
    /// Its address, line by line.
    pub address: Vec<String>,
    /// Its tax id.
    pub tax_id: String,
    /// Where questions go.
    pub email: String,
    /// How to pay, bank, register: the foot of each page.
    pub footer: Vec<String>,
}

/// The facts that a document is made of. Nothing of now is among them: the same invoice gives the same
/// document.
#[derive(Debug, Clone)]
pub struct Facts<'a> {
    /// As printed.
    pub number: &'a str,
    /// Why it exists.
    pub kind: InvoiceKind,
    /// Where it stands.
    pub status: InvoiceStatus,
    /// Number of the invoice that it corrects.
    pub corrects: Option<&'a str>,
    /// Of all amounts.
    pub currency: Currency,
    /// Without tax.
    pub subtotal: Money,
    /// Tax.
    pub tax: Money,
    /// Both.
    pub total: Money,
    /// What is left to pay.
    pub balance: Money,
    /// Buyer as it was then.
    pub buyer: &'a serde_json::Value,
    /// The customer's id, for a buyer that says nothing about itself.
    pub customer: &'a str,
    /// Tax note.
    pub note: &'a str,
    /// When it was issued.
    pub issued_at: Option<OffsetDateTime>,
    /// When it is due.
    pub due_at: Option<OffsetDateTime>,
    /// When it was paid.
    pub paid_at: Option<OffsetDateTime>,
    /// Lines in order.
    pub lines: &'a [Line],
    /// What happened to it since, in order.
    pub settlements: &'a [Settlement],
}

/// Something that made the balance smaller, or larger again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settlement {
    /// When.
    pub at: OffsetDateTime,
    /// Kind of the journal's entry, or `payment`.
    pub kind: String,
    /// How it was paid.
    pub method: Option<String>,
    /// The reference of the payment.
    pub reference: Option<String>,
    /// What the balance changed by.
    pub change: Money,
}

/// A text with its amount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// What.
    pub label: String,
    /// How much.
    pub amount: String,
}

/// A line of the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// What for.
    pub description: String,
    /// From, until.
    pub period: Option<String>,
    /// How many.
    pub quantity: String,
    /// Price of one.
    pub unit: String,
    /// Price of all.
    pub amount: String,
}

/// All text of a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    /// Invoice, Credit note.
    pub title: &'static str,
    /// As printed.
    pub number: String,
    /// PAID, VOID.
    pub stamp: Option<&'static str>,
    /// Who sells: the name, then the lines below it.
    pub seller: (String, Vec<String>),
    /// To whom: the name, then the lines below it.
    pub buyer: (String, Vec<String>),
    /// Label and value: number, dates.
    pub facts: Vec<(&'static str, String)>,
    /// Of all amounts.
    pub currency: String,
    /// What was sold.
    pub items: Vec<Item>,
    /// Subtotal and taxes.
    pub sums: Vec<Row>,
    /// The total.
    pub total: Row,
    /// Payments, credits.
    pub settlements: Vec<Row>,
    /// What is left.
    pub balance: Row,
    /// Texts below the sums.
    pub notes: Vec<String>,
    /// The foot of each page.
    pub footer: Vec<String>,
    /// When it was issued.
    pub issued_at: Option<OffsetDateTime>,
}

/// `25 November 2026`, in UTC as all dates of billing.
pub fn date(at: OffsetDateTime) -> String {
    let at = at.to_offset(time::UtcOffset::UTC);
    // A format of parts that every date has cannot fail.
    at.format(format_description!("[day padding:none] [month repr:long] [year]")).unwrap_or_default()
}

fn short(at: OffsetDateTime) -> String {
    let at = at.to_offset(time::UtcOffset::UTC);
    at.format(format_description!("[day padding:none] [month repr:short] [year]")).unwrap_or_default()
}

/// An amount without its currency, which stands in the head of the table; a true minus sign, which no line
/// break takes away.
fn amount(money: Money) -> String {
    let text = money.to_string();
    text.split_once(' ').map_or(text.as_str(), |(_, digits)| digits).replace('-', "\u{2212}")
}

/// An amount with its currency.
fn full(money: Money) -> String {
    format!("{} {}", money.currency(), amount(money))
}

/// Says all of it.
pub fn document(facts: &Facts<'_>, seller: &Seller) -> Result<Document, MoneyError> {
    let credit_note = facts.kind == InvoiceKind::CreditNote;
    let (taxes, items): (Vec<&Line>, Vec<&Line>) =
        facts.lines.iter().partition(|line| line.kind == LineKind::Tax);
    let mut sums = vec![Row { label: "Subtotal".into(), amount: amount(facts.subtotal) }];
    sums.extend(
        taxes.iter().map(|line| Row { label: line.description.clone(), amount: amount(line.amount) }),
    );
    if taxes.is_empty() {
        sums.push(Row { label: "Tax".into(), amount: amount(facts.tax) });
    }
    let settlements: Vec<Row> = facts.settlements.iter().map(settled).collect();
    Ok(Document {
        title: if credit_note { "Credit note" } else { "Invoice" },
        number: facts.number.to_owned(),
        stamp: match facts.status {
            InvoiceStatus::Paid if credit_note => Some("PAID BACK"),
            InvoiceStatus::Paid => Some("PAID"),
            InvoiceStatus::Void => Some("VOID"),
            InvoiceStatus::Draft => Some("DRAFT"),
            // Giving up on a debt is no word for its debtor.
            InvoiceStatus::Open | InvoiceStatus::WrittenOff => None,
        },
        seller: party(seller),
        buyer: buyer(facts.buyer, facts.customer),
        facts: dates(facts, credit_note),
        currency: facts.currency.to_string(),
        items: items.into_iter().map(item).collect(),
        sums,
        total: Row { label: "Total".into(), amount: full(facts.total) },
        settlements,
        balance: if credit_note {
            Row { label: "Left to pay back".into(), amount: full(facts.balance.checked_neg()?) }
        } else {
            Row { label: "Balance due".into(), amount: full(facts.balance) }
        },
        notes: Some(facts.note).filter(|note| !note.is_empty()).map(str::to_owned).into_iter().collect(),
        footer: seller.footer.clone(),
        issued_at: facts.issued_at,
    })
}

fn item(line: &Line) -> Item {
    Item {
        description: line.description.clone(),
        period: line.period.map(|(from, until)| format!("{} – {}", short(from), short(until))),
        quantity: line.quantity.to_string(),
        unit: amount(line.unit),
        amount: amount(line.amount),
    }
}

fn settled(settlement: &Settlement) -> Row {
    let what = match settlement.kind.as_str() {
        "payment" => match (&settlement.method, &settlement.reference) {
            (Some(method), Some(reference)) => format!("Payment by {method}, {reference}"),
            _ => "Payment".to_owned(),
        },
        "credit_used" => "Paid from credit".to_owned(),
        "credit_given" => "Given as credit".to_owned(),
        "refund" => "Paid back".to_owned(),
        "void" => "Taken back".to_owned(),
        "write_off" => "Closed".to_owned(),
        "dispute" => "Payment disputed".to_owned(),
        other => other.replace('_', " "),
    };
    // The date stays on one line.
    let at = short(settlement.at).replace(' ', "\u{A0}");
    Row { label: format!("{what} ({at})"), amount: amount(settlement.change) }
}

fn dates(facts: &Facts<'_>, credit_note: bool) -> Vec<(&'static str, String)> {
    let mut rows = vec![("Number", facts.number.to_owned())];
    if let Some(corrects) = facts.corrects {
        rows.push(("For invoice", corrects.to_owned()));
    }
    rows.extend(facts.issued_at.map(|at| ("Date", date(at))));
    if !credit_note {
        rows.extend(facts.due_at.map(|at| ("Due", date(at))));
        rows.extend(facts.paid_at.map(|at| ("Paid", date(at))));
    }
    rows
}

fn party(seller: &Seller) -> (String, Vec<String>) {
    let mut lines: Vec<String> = seller.address.clone();
    if !seller.tax_id.is_empty() {
        lines.push(format!("Tax ID {}", seller.tax_id));
    }
    lines.extend(Some(seller.email.clone()).filter(|email| !email.is_empty()));
    (seller.name.clone(), lines)
}

/// Longest text of a buyer that is printed.
const PRINTED: usize = 200;

fn buyer(buyer: &serde_json::Value, customer: &str) -> (String, Vec<String>) {
    // Rows of former times hold texts of any length; a document prints so much of each.
    let text = |value: &serde_json::Value| -> String {
        value.as_str().unwrap_or_default().trim().chars().take(PRINTED).collect()
    };
    let (company, email) = (text(&buyer["company"]), text(&buyer["billing_email"]));
    let address = &buyer["address"];
    let town = [text(&address["postal_code"]), text(&address["city"])].join(" ");
    let mut lines = vec![text(&address["street"]), town, text(&address["region"]), text(&buyer["country"])];
    let tax_id = text(&buyer["tax_id"]);
    if !tax_id.is_empty() {
        lines.push(format!("Tax ID {tax_id}"));
    }
    let person = text(&buyer["person"]);
    let name = match [company, person].into_iter().find(|name| !name.is_empty()) {
        Some(name) => {
            lines.push(email);
            name
        }
        None if email.is_empty() => format!("Customer {customer}"),
        None => email,
    };
    let lines = lines.iter().map(|line| line.trim().to_owned()).filter(|line| !line.is_empty()).collect();
    (name, lines)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use time::macros::datetime;

    fn usd(minor: i64) -> Money {
        Money::new(minor, Currency::USD)
    }

    fn facts<'a>(lines: &'a [Line], buyer: &'a serde_json::Value, kind: InvoiceKind) -> Facts<'a> {
        Facts {
            number: "INV-000007",
            kind,
            status: InvoiceStatus::Open,
            corrects: None,
            currency: Currency::USD,
            subtotal: usd(900),
            tax: usd(0),
            total: usd(900),
            balance: usd(900),
            buyer,
            customer: "c1",
            note: "",
            issued_at: Some(datetime!(2028-02-29 23:30 -2)),
            due_at: Some(datetime!(2028-03-01 1:30 UTC)),
            paid_at: None,
            lines,
            settlements: &[],
        }
    }

    /// BIL-19: what a document says is what the invoice says, with dates in UTC.
    #[test]
    fn an_invoice_says_its_number_dates_and_sums() {
        let period = Some((datetime!(2028-03-01 0:00 UTC), datetime!(2028-04-01 0:00 UTC)));
        let lines = [Line::one(LineKind::Plan, "basic-monthly (monthly)", usd(900), period)];
        let buyer = json!({"company": "", "billing_email": "", "address": {}, "country": "", "tax_id": ""});
        let said = document(&facts(&lines, &buyer, InvoiceKind::First), &Seller::default()).unwrap();
        assert_eq!(said.facts[1], ("Date", "1 March 2028".to_owned()));
        assert_eq!(said.items[0].period.as_deref(), Some("1 Mar 2028 – 1 Apr 2028"));
        assert_eq!((said.items[0].amount.as_str(), said.total.amount.as_str()), ("9.00", "USD 9.00"));
        assert_eq!(said.sums[1], Row { label: "Tax".into(), amount: "0.00".into() });
        assert_eq!(said.buyer, ("Customer c1".to_owned(), vec![]));
        let nina =
            json!({"company": "", "billing_email": "n@example.com", "person": "Nina Söhne", "country": "DE"});
        let said = document(&facts(&lines, &nina, InvoiceKind::First), &Seller::default()).unwrap();
        assert_eq!(said.buyer.0, "Nina Söhne");
        assert_eq!(said.buyer.1, ["DE", "n@example.com"]);
    }

    /// BIL-19, BIL-17: a credit note names its invoice, has no due date, and its sums are negative.
    #[test]
    fn a_credit_note_says_what_it_corrects() {
        let lines = [Line::one(LineKind::Credit, "Credit for invoice INV-000001", usd(-400), None)];
        let buyer = json!({"company": "Zoë GmbH", "billing_email": "z@example.com", "country": "DE", "tax_id": "DE1",
            "address": {"street": "Weg 1", "postal_code": "10115", "city": "Berlin", "region": ""}});
        let mut facts = facts(&lines, &buyer, InvoiceKind::CreditNote);
        facts.corrects = Some("INV-000001");
        (facts.total, facts.balance) = (usd(-400), usd(-400));
        let said = document(&facts, &Seller::default()).unwrap();
        assert_eq!(said.title, "Credit note");
        assert!(said.facts.contains(&("For invoice", "INV-000001".to_owned())));
        assert!(said.facts.iter().all(|(label, _)| *label != "Due"));
        assert_eq!(said.balance.amount, "USD 4.00");
        assert_eq!(said.items[0].amount, "\u{2212}4.00");
        assert_eq!(said.buyer.1, ["Weg 1", "10115 Berlin", "DE", "Tax ID DE1", "z@example.com"]);
    }
}
