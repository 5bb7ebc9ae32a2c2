//! A hold: an operator works on a Deployment, and nothing of its instance is repaired meanwhile (K8S-32).

use std::collections::BTreeMap;

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::trim::{HOLD_COPIED, HOLD_SINCE};
use crate::objects::meta;

/// Longest hold; whoever needs more time puts it on again.
const HOLD: time::Duration = time::Duration::minutes(15);

/// Does an operator work on the Deployment with these annotations (K8S-32)?
pub(crate) fn on_hold(annotations: Option<&BTreeMap<String, String>>, now: OffsetDateTime) -> bool {
    let Some(annotations) = annotations else { return false };
    if annotations.get(meta::HOLD).is_none_or(|value| value != "true") {
        return false;
    }
    let since = annotations.get(HOLD_SINCE);
    if since.is_some_and(|since| since == HOLD_COPIED) {
        return false;
    }
    // Without a time the hold counts as new: the managed fields always have one.
    let since = since.and_then(|since| OffsetDateTime::parse(since, &Rfc3339).ok());
    since.is_none_or(|since| now - since < HOLD)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// K8S-32
    #[test]
    fn a_hold_lasts_a_quarter_of_an_hour() {
        let now = OffsetDateTime::UNIX_EPOCH + time::Duration::days(1);
        let held = |since: OffsetDateTime| {
            meta::pairs([(meta::HOLD, "true".to_owned()), (HOLD_SINCE, since.format(&Rfc3339).unwrap())])
        };
        assert!(on_hold(Some(&held(now - time::Duration::minutes(14))), now));
        assert!(!on_hold(Some(&held(now - time::Duration::minutes(16))), now));
        assert!(!on_hold(Some(&meta::pairs([(meta::HOLD, "false".to_owned())])), now));
        assert!(!on_hold(None, now));
        let copied = meta::pairs([(meta::HOLD, "true".to_owned()), (HOLD_SINCE, HOLD_COPIED.to_owned())]);
        assert!(!on_hold(Some(&copied), now), "what a roll-back brings is nobody's wish");
    }
}
