//! What the state of an instance means for its subscription. Pure: facts only say that it is worth a look.

use time::{Duration, OffsetDateTime};

/// An instance as instance-service has it now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// Its status.
    pub status: String,
    /// It has run once: there is data that the customer has worked with.
    pub provisioned: bool,
    /// Since when it is in `error`.
    pub error_since: Option<OffsetDateTime>,
}

impl Seen {
    fn is_gone(&self) -> bool {
        matches!(self.status.as_str(), "terminating" | "terminated" | "purged")
    }
}

/// How the order and its subscription stand here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// The order was not taken back, and its subscription has not ended.
    pub live: bool,
    /// The subscription ended because its instance did.
    pub ended_with_instance: bool,
    /// The instance was announced.
    pub confirmed: bool,
    /// When it was ordered.
    pub ordered_at: OffsetDateTime,
}

/// What follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// All is as it should be.
    Nothing,
    /// The instance is there: the order has what it was placed for.
    Confirm,
    /// Nothing was delivered: nothing is charged, and a trial is given back.
    TakeBack,
    /// What was delivered has ended.
    End,
    /// The instance came back: so does its subscription.
    Revive,
    /// It may still be delivered: look again then.
    LookAgain(OffsetDateTime),
}

/// How long after its order a missing instance counts as one that never was; one that is missing later was
/// used.
const YOUNG: Duration = Duration::days(1);
/// When nobody says since when an instance fails.
const AGAIN: Duration = Duration::hours(1);

/// Reads the state of an instance. `None`: there is no such instance. A failed create is no end: it can be
/// repeated, by the customer and by an operator, until it has failed for `give_up_after`.
pub fn judge(
    seen: Option<&Seen>,
    standing: Standing,
    now: OffsetDateTime,
    give_up_after: Duration,
) -> Verdict {
    let Some(seen) = seen else {
        return match standing {
            Standing { live: false, .. } => Verdict::Nothing,
            Standing { confirmed: true, ordered_at, .. } if ordered_at + YOUNG < now => Verdict::End,
            _ => Verdict::TakeBack,
        };
    };
    if !standing.live {
        let back = standing.ended_with_instance && !seen.is_gone();
        return if back { Verdict::Revive } else { Verdict::Nothing };
    }
    if seen.is_gone() {
        return if seen.provisioned { Verdict::End } else { Verdict::TakeBack };
    }
    if seen.status == "error" && !seen.provisioned {
        return match seen.error_since.map(|since| since + give_up_after) {
            Some(at) if at <= now => Verdict::TakeBack,
            Some(at) => Verdict::LookAgain(at),
            None => Verdict::LookAgain(now + AGAIN),
        };
    }
    match (standing.confirmed, seen.provisioned) {
        (false, _) => Verdict::Confirm,
        // It has not run yet: should it fail and nobody tell, it is seen then.
        (true, false) => Verdict::LookAgain(now + give_up_after),
        (true, true) => Verdict::Nothing,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::macros::datetime;

    const NOW: OffsetDateTime = datetime!(2028-03-01 12:00 UTC);
    const DAY: Duration = Duration::days(1);

    fn seen(status: &str, provisioned: bool) -> Seen {
        let error_since = (status == "error").then_some(NOW - Duration::hours(1));
        Seen { status: status.into(), provisioned, error_since }
    }

    const LIVE: Standing =
        Standing { live: true, ended_with_instance: false, confirmed: true, ordered_at: NOW };

    /// BIL-08: an order is taken back when its create was given up, never because it failed once.
    #[test]
    fn a_failed_create_is_taken_back_when_it_is_given_up() {
        let failed = seen("error", false);
        let judged = |after| judge(Some(&failed), LIVE, NOW, after);
        assert_eq!(judged(DAY), Verdict::LookAgain(NOW + Duration::hours(23)));
        assert_eq!(judged(Duration::hours(1)), Verdict::TakeBack);
        let running = judge(Some(&seen("running", true)), LIVE, NOW, Duration::ZERO);
        assert_eq!(running, Verdict::Nothing, "it was repeated meanwhile");
        let broken = judge(Some(&seen("error", true)), LIVE, NOW, Duration::ZERO);
        assert_eq!(broken, Verdict::Nothing, "what has run once was delivered");
        assert_eq!(judge(Some(&seen("terminated", false)), LIVE, NOW, DAY), Verdict::TakeBack);
        assert_eq!(judge(None, LIVE, NOW, DAY), Verdict::TakeBack);
    }

    /// BIL-24, INS-27
    #[test]
    fn the_end_and_the_return_are_what_the_instance_says() {
        assert_eq!(judge(Some(&seen("terminated", true)), LIVE, NOW, DAY), Verdict::End);
        assert_eq!(judge(None, Standing { ordered_at: NOW - DAY * 40, ..LIVE }, NOW, DAY), Verdict::End);
        let ended = Standing { live: false, ended_with_instance: true, ..LIVE };
        assert_eq!(judge(Some(&seen("starting", true)), ended, NOW, DAY), Verdict::Revive);
        assert_eq!(judge(Some(&seen("terminated", true)), ended, NOW, DAY), Verdict::Nothing);
        assert_eq!(judge(None, ended, NOW, DAY), Verdict::Nothing);
        let debtor = Standing { live: false, ..LIVE };
        assert_eq!(judge(Some(&seen("running", true)), debtor, NOW, DAY), Verdict::Nothing);
        let waits = Standing { confirmed: false, ..LIVE };
        assert_eq!(judge(Some(&seen("creating", false)), waits, NOW, DAY), Verdict::Confirm);
    }
}
