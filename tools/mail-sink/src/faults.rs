//! Faults on demand: which SMTP stage is refused, with which code, how often and how late. Tests switch them
//! over HTTP, in the form of Mailpit's chaos interface plus the stage `Data`, `Times` and
//! `DelayMilliseconds`.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A point of the SMTP dialogue that can be refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// `MAIL FROM`.
    Sender,
    /// `RCPT TO`.
    Recipient,
    /// `AUTH`.
    Authentication,
    /// The end of the mail's content.
    Data,
}

/// When and how one stage is refused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Trigger {
    /// SMTP code of the refusal, 400 to 599.
    pub error_code: u16,
    /// How many of a hundred attempts are refused.
    pub probability: u8,
    /// How many more refusals there are at most; no limit if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub times: Option<u32>,
    #[serde(skip)]
    pub(crate) carried: u8,
}

/// All switches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default, deny_unknown_fields)]
pub struct Settings {
    /// Refusals of `MAIL FROM`.
    pub sender: Trigger,
    /// Refusals of `RCPT TO`.
    pub recipient: Trigger,
    /// Refusals of `AUTH`.
    pub authentication: Trigger,
    /// Refusals of the content.
    pub data: Trigger,
    /// Each answer waits this long.
    pub delay_milliseconds: u64,
}

/// The switches in force.
#[derive(Debug, Default)]
pub struct Faults(Mutex<Settings>);

impl Faults {
    /// The settings in force.
    pub fn get(&self) -> Settings {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Replaces all settings; refuses codes that are not refusals.
    pub fn set(&self, settings: Settings) -> Result<(), String> {
        for trigger in [settings.sender, settings.recipient, settings.authentication, settings.data] {
            if trigger.probability > 100 {
                return Err("Probability is at most 100".to_owned());
            }
            if trigger.probability > 0 && !(400..600).contains(&trigger.error_code) {
                return Err("ErrorCode is between 400 and 599".to_owned());
            }
        }
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = settings;
        Ok(())
    }

    /// The code to refuse this attempt with, if it shall be refused. Spread evenly instead of at random, so
    /// that tests repeat.
    pub fn refusal(&self, stage: Stage) -> Option<u16> {
        let mut settings = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let trigger = match stage {
            Stage::Sender => &mut settings.sender,
            Stage::Recipient => &mut settings.recipient,
            Stage::Authentication => &mut settings.authentication,
            Stage::Data => &mut settings.data,
        };
        if trigger.times == Some(0) {
            return None;
        }
        trigger.carried += trigger.probability;
        if trigger.carried < 100 {
            return None;
        }
        trigger.carried -= 100;
        trigger.times = trigger.times.map(|times| times - 1);
        Some(trigger.error_code)
    }

    /// How long each answer waits.
    pub fn delay(&self) -> Duration {
        Duration::from_millis(self.get().delay_milliseconds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_sender(error_code: u16, probability: u8, times: Option<u32>) -> Faults {
        let faults = Faults::default();
        let sender = Trigger { error_code, probability, times, ..Trigger::default() };
        faults.set(Settings { sender, ..Settings::default() }).unwrap();
        faults
    }

    #[test]
    fn nothing_is_refused_by_default() {
        assert_eq!(Faults::default().refusal(Stage::Data), None);
    }

    #[test]
    fn refusals_end_after_their_number() {
        let faults = with_sender(451, 100, Some(2));
        assert_eq!([0; 3].map(|_| faults.refusal(Stage::Sender)), [Some(451), Some(451), None]);
        assert_eq!(faults.refusal(Stage::Recipient), None);
    }

    #[test]
    fn a_probability_is_spread_evenly() {
        let faults = with_sender(550, 50, None);
        let refused = (0..100).filter(|_| faults.refusal(Stage::Sender).is_some()).count();
        assert_eq!(refused, 50);
    }

    #[test]
    fn a_code_that_is_no_refusal_is_not_accepted() {
        let sender = Trigger { error_code: 250, probability: 10, ..Trigger::default() };
        assert!(Faults::default().set(Settings { sender, ..Settings::default() }).is_err());
    }
}
