//! Rules of the queue: states, pauses between attempts, what makes a failure final. Pure.

use time::Duration;

/// Attempts at most; then a transient failure is final too (NTF-01).
pub const MAX_ATTEMPTS: u32 = 8;
/// Longest pause between two attempts.
pub const LONGEST_PAUSE: Duration = Duration::hours(1);

/// Group of a template. It decides who goes first and what a customer may switch off (USR-19).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Category {
    /// Verification, passwords, blocked log-ins: first in the queue, never switched off.
    Security,
    /// The account.
    Account,
    /// Money: invoices, payments, what becomes of a subscription. Never switched off (USR-19).
    Billing,
    /// Life of an instance; the customer may switch it off.
    Instance,
}

impl Category {
    /// The word in answers.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Security => "security",
            Self::Account => "account",
            Self::Billing => "billing",
            Self::Instance => "instance",
        }
    }

    /// Lower is sent first.
    pub fn priority(self) -> i16 {
        match self {
            Self::Security => 0,
            Self::Account | Self::Billing => 10,
            Self::Instance => 20,
        }
    }

    /// May the customer switch it off?
    pub fn switchable(self) -> bool {
        matches!(self, Self::Instance)
    }
}

/// How an attempt to send ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// The mail server could not be used: not the mail's fault.
    Connection(String),
    /// The server asks to come back later.
    Transient(String),
    /// The server will never take this mail.
    Permanent(String),
}

impl Failure {
    /// Text for operators.
    pub fn text(&self) -> &str {
        match self {
            Self::Connection(text) | Self::Transient(text) | Self::Permanent(text) => text,
        }
    }
}

/// What happens after a failed attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Again after this pause.
    Again(Duration),
    /// Never again by itself.
    Stop,
}

/// Decides after attempt number `attempts` (from 1) failed. `base` is the pause after the first.
pub fn after_failure(failure: &Failure, attempts: u32, base: Duration) -> Next {
    match failure {
        Failure::Permanent(_) => Next::Stop,
        Failure::Connection(_) | Failure::Transient(_) if attempts >= MAX_ATTEMPTS => Next::Stop,
        Failure::Connection(_) | Failure::Transient(_) => Next::Again(pause(attempts, base)),
    }
}

/// `base`, twice that, four times that, … up to one hour.
fn pause(attempts: u32, base: Duration) -> Duration {
    let factor = 1_i32.checked_shl(attempts.saturating_sub(1).min(30)).unwrap_or(i32::MAX);
    base.checked_mul(factor).unwrap_or(LONGEST_PAUSE).min(LONGEST_PAUSE)
}

/// Names that are never shown, whoever put them into the variables (NTF-10).
pub fn is_secret_name(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    ["password", "passwd", "token", "secret", "credential", "api_key"].iter().any(|word| name.contains(word))
}

/// What stands in place of a secret.
pub const REDACTED: &str = "***";

/// The variables as operators may see them: secrets replaced, also nested ones.
pub fn redact(value: &serde_json::Value) -> serde_json::Value {
    use serde_json::Value;
    match value {
        Value::Object(fields) => Value::Object(
            fields
                .iter()
                .map(|(name, value)| {
                    let shown = if is_secret_name(name) { Value::from(REDACTED) } else { redact(value) };
                    (name.clone(), shown)
                })
                .collect(),
        ),
        Value::Array(items) => Value::Array(items.iter().map(redact).collect()),
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BASE: Duration = Duration::seconds(30);

    /// NTF-01
    #[test]
    fn pauses_double_from_thirty_seconds_to_an_hour_and_end_after_eight_attempts() {
        let transient = Failure::Transient("451".into());
        let pauses: Vec<_> = (1..=8).map(|attempt| after_failure(&transient, attempt, BASE)).collect();
        let seconds = |count| Next::Again(Duration::seconds(count));
        assert_eq!(
            pauses,
            [
                seconds(30),
                seconds(60),
                seconds(120),
                seconds(240),
                seconds(480),
                seconds(960),
                seconds(1920),
                Next::Stop
            ]
        );
        assert_eq!(pause(40, BASE), LONGEST_PAUSE);
    }

    /// NTF-01
    #[test]
    fn a_permanent_failure_stops_at_once() {
        assert_eq!(after_failure(&Failure::Permanent("550".into()), 1, BASE), Next::Stop);
    }

    /// NTF-10
    #[test]
    fn secrets_are_redacted_wherever_they_stand() {
        let seen = redact(&serde_json::json!({
            "name": "Ada", "reset_token": "abc", "nested": [{"Password": "x", "url": "u"}],
        }));
        assert_eq!(
            seen,
            serde_json::json!({"name": "Ada", "reset_token": "***", "nested": [{"Password": "***", "url": "u"}]})
        );
    }
}
