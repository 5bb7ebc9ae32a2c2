//! What the stand-in knows: transactions and the results that it owes.

use std::time::{Duration, Instant};

use uuid::Uuid;

use super::form::sign;
use super::{Fault, HookFaults, PROMPT};

/// The merchant's integration.
#[derive(Clone)]
pub struct Settings {
    /// Its id.
    pub id: String,
    /// Its key.
    pub key: String,
    /// Mail address of the merchant's account: in test mode nobody else may pay.
    pub email: String,
    /// How long the test phones think, at most; the documents say 5 s and 30 s.
    pub prompt: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            id: "1201".into(),
            key: "3e9fed89-60e1-4ce5-ab6e-6b1eb2d4f977".into(),
            email: "merchant@example.com".into(),
            prompt: PROMPT,
        }
    }
}

impl std::fmt::Debug for Settings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Settings({})", self.id)
    }
}

/// A transaction.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Transaction {
    /// Paynow's own number of it.
    pub number: u64,
    /// Secret part of the address to ask at.
    pub guid: Uuid,
    /// The merchant's reference.
    pub reference: String,
    /// Two decimals.
    pub amount: String,
    /// Paynow's word.
    pub status: String,
    /// `ecocash`, `onemoney`, or nothing for the page.
    pub method: String,
    /// Whose phone.
    pub phone: String,
    /// The merchant's trace.
    pub trace: String,
    /// Where results go.
    pub result_url: String,
    /// Where the customer goes back to.
    pub return_url: String,
    /// A test phone answers so, then.
    #[serde(skip)]
    pub answers: Option<(Instant, &'static str)>,
}

/// A result that waits to be delivered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hook {
    /// Where to.
    pub to: String,
    /// The form.
    pub body: String,
    /// About which reference.
    pub reference: String,
    /// Fields as they are signed, for faults on the way.
    pub(super) fields: Vec<(String, String)>,
}

/// The state.
#[derive(Debug)]
pub(super) struct Books {
    pub(super) url: String,
    pub(super) settings: Settings,
    pub(super) transactions: Vec<Transaction>,
    pub(super) hooks: Vec<Hook>,
    pub(super) fault: Fault,
    pub(super) hook_faults: HookFaults,
    pub(super) refused: u64,
    pub(super) calls: u64,
}

impl Books {
    pub(super) fn new(url: String, settings: Settings) -> Self {
        Self {
            url,
            settings,
            transactions: Vec::new(),
            hooks: Vec::new(),
            fault: Fault::None,
            hook_faults: HookFaults::default(),
            refused: 0,
            calls: 0,
        }
    }

    pub(super) fn find(&self, reference: &str) -> Option<&Transaction> {
        self.transactions.iter().find(|known| known.reference == reference)
    }

    pub(super) fn decide(&mut self, reference: &str, status: &str, amount: Option<&str>) -> bool {
        let Some(found) = self.transactions.iter_mut().find(|known| known.reference == reference) else {
            return false;
        };
        status.clone_into(&mut found.status);
        if let Some(amount) = amount {
            amount.clone_into(&mut found.amount);
        }
        found.answers = None;
        let found = found.clone();
        let fields = self.status_fields(&found);
        self.hooks.push(Hook {
            to: found.result_url,
            body: sign(&pairs(&fields), &self.settings.key),
            reference: found.reference,
            fields,
        });
        true
    }

    /// Phones whose time has come answer.
    pub(super) fn tick(&mut self, now: Instant) {
        let due: Vec<(String, &'static str)> = self
            .transactions
            .iter()
            .filter_map(|known| {
                known.answers.filter(|(at, _)| *at <= now).map(|(_, word)| (known.reference.clone(), word))
            })
            .collect();
        for (reference, word) in due {
            self.decide(&reference, word, None);
        }
    }

    /// The fields of a status message, in Paynow's order.
    pub(super) fn status_fields(&self, of: &Transaction) -> Vec<(String, String)> {
        let poll = self.poll_url(of);
        [
            ("reference", of.reference.as_str()),
            ("paynowreference", &of.number.to_string()),
            ("amount", &of.amount),
            ("status", &of.status),
            ("pollurl", &poll),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into()
    }

    pub(super) fn poll_url(&self, of: &Transaction) -> String {
        format!("{}/Interface/CheckPayment/?guid={}", self.host(), of.guid)
    }

    pub(super) fn host(&self) -> &str {
        if self.fault == Fault::OtherHost { "http://127.0.0.2:9" } else { &self.url }
    }

    /// Signs an answer, unless it is told to do it badly.
    pub(super) fn answer(&self, fields: &[(String, String)]) -> String {
        let key = if self.fault == Fault::WrongHash { "another-key" } else { self.settings.key.as_str() };
        let mut body = sign(&pairs(fields), key);
        if self.fault == Fault::CutOff {
            body.truncate(body.len() / 2);
        }
        body
    }
}

pub(super) fn pairs(fields: &[(String, String)]) -> Vec<(&str, &str)> {
    fields.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect()
}
