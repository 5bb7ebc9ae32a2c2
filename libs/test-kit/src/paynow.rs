//! A strict stand-in for Paynow, written from its published protocol and not from our client: it refuses
//! every request that the documents do not describe, signs what they say is signed, and mixes upper and lower
//! case of field names as Paynow does.
//!
//! It keeps its results until somebody delivers them: a test in its own time and order, or [`delivery`] as
//! Paynow would, over HTTP and up to ten times. `tools/paynow-sim` is the same as a program.

mod books;
mod control;
pub mod delivery;
mod form;
mod interface;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::Router;
use tokio::net::TcpListener;

pub use books::{Hook, Settings, Transaction};
pub use form::{Form, sign};

use books::Books;

/// What goes wrong with Paynow's own answers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    /// Nothing.
    #[default]
    None,
    /// 503 and nothing done.
    Down,
    /// Done, and then 500.
    FailAfter,
    /// Done, and never answered.
    HangAfter,
    /// Done, and the answer is signed with another key.
    WrongHash,
    /// Done, and the answer names another host to ask at and to go to.
    OtherHost,
    /// Done, and half of the answer is missing.
    CutOff,
}

/// What becomes of results on their way, in the program.
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fault of its own")]
pub struct HookFaults {
    /// They are not sent at all.
    pub lost: bool,
    /// They are signed with another key.
    pub wrong_hash: bool,
    /// Each is sent so often.
    pub times: u32,
    /// Sent so many milliseconds later.
    pub delay_ms: u64,
    /// They are held, and sent when this ends, the last one first.
    pub hold: bool,
    /// They tell this amount; signed, and wrong.
    pub amount: Option<String>,
    /// Half of them is missing.
    pub cut_off: bool,
}

impl Default for HookFaults {
    fn default() -> Self {
        Self {
            lost: false,
            wrong_hash: false,
            times: 1,
            delay_ms: 0,
            hold: false,
            amount: None,
            cut_off: false,
        }
    }
}

/// A running stand-in. Clones are the same one.
#[derive(Clone)]
pub struct Paynow {
    /// Its address, without a path.
    pub url: String,
    books: Arc<Mutex<Books>>,
}

impl std::fmt::Debug for Paynow {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Paynow({})", self.url)
    }
}

impl Paynow {
    /// Starts one on a free port; it ends with the runtime.
    pub async fn start(settings: Settings) -> anyhow::Result<Self> {
        Self::start_on(TcpListener::bind("127.0.0.1:0").await?, settings)
    }

    /// The same on an open listener.
    pub fn start_on(listener: TcpListener, settings: Settings) -> anyhow::Result<Self> {
        let url = format!("http://{}", listener.local_addr()?);
        let books = Arc::new(Mutex::new(Books::new(url.clone(), settings)));
        let this = Self { url, books };
        let router = interface::router(&this);
        tokio::spawn(async move { axum::serve(listener, router).await });
        Ok(this)
    }

    /// Routes by which a person or a test outside of this process decides what happens.
    pub fn control(&self) -> Router {
        control::router(self)
    }

    fn lock(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What goes wrong with its answers from now on.
    pub fn set(&self, fault: Fault) {
        self.lock().fault = fault;
    }

    /// All transactions, oldest first.
    pub fn transactions(&self) -> Vec<Transaction> {
        self.lock().transactions.clone()
    }

    /// The one with this reference of the merchant.
    pub fn transaction(&self, reference: &str) -> Option<Transaction> {
        self.lock().find(reference).cloned()
    }

    /// The customer or Paynow does something with a transaction: its status is this word now, and a result
    /// waits to be delivered. With `amount`, so much was paid. `false`: there is no such transaction.
    pub fn decide(&self, reference: &str, status: &str, amount: Option<&str>) -> bool {
        self.lock().decide(reference, status, amount)
    }

    /// Results that wait to be delivered, oldest first; they wait no more.
    pub fn take_hooks(&self) -> Vec<Hook> {
        std::mem::take(&mut self.lock().hooks)
    }

    /// A result signed by somebody without the key.
    pub fn forged(&self, fields: &[(&str, &str)]) -> String {
        sign(fields, "somebody-elses-key")
    }

    /// A result signed with the key, whatever it says.
    pub fn genuine(&self, fields: &[(&str, &str)]) -> String {
        sign(fields, &self.lock().settings.key)
    }

    /// How many requests it refused as malformed.
    pub fn refused(&self) -> u64 {
        self.lock().refused
    }

    /// How many requests came.
    pub fn calls(&self) -> u64 {
        self.lock().calls
    }
}

/// The pause after which test phones answer.
pub const PROMPT: Duration = Duration::from_secs(5);
