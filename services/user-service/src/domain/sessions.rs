//! How long sessions and tokens live, and the delay after failed log-ins.

use time::{Duration, OffsetDateTime};

/// Life of a verification token (USR-07).
pub const VERIFICATION_LIFE: Duration = Duration::hours(24);
/// Life of a password reset token (USR-14).
pub const RESET_LIFE: Duration = Duration::hours(1);

/// Life of a refresh token: 30 days when the user wants to stay signed in, else 7 (USR-10).
pub fn refresh_life(remembered: bool) -> Duration {
    Duration::days(if remembered { 30 } else { 7 })
}

/// What decides whether a session is live.
#[derive(Debug, Clone, Copy)]
pub struct SessionState {
    /// Ended by anybody.
    pub ended: bool,
    /// End of the refresh token.
    pub expires_at: OffsetDateTime,
    /// Last use, to the minute.
    pub last_used_at: OffsetDateTime,
    /// May the account be used at all?
    pub account_usable: bool,
}

impl SessionState {
    /// Is it live at `now`? `idle` is `SESSION_TIMEOUT`, if there is one.
    pub fn is_live(self, now: OffsetDateTime, idle: Option<Duration>) -> bool {
        !self.ended
            && self.account_usable
            && now < self.expires_at
            && idle.is_none_or(|idle| now < self.last_used_at + idle)
    }
}

/// Pause before the next try to reach another service: 2 s doubling to 5 min.
pub fn retry_delay(attempts: i32) -> Duration {
    let exponent = u32::try_from(attempts.clamp(1, 9) - 1).unwrap_or(0);
    Duration::seconds((2_i64 << exponent).min(300))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: OffsetDateTime = OffsetDateTime::UNIX_EPOCH;

    /// USR-11
    #[test]
    fn a_session_lives_until_it_ends_expires_or_idles() {
        let live = SessionState {
            ended: false,
            expires_at: NOW + Duration::days(7),
            last_used_at: NOW,
            account_usable: true,
        };
        assert!(live.is_live(NOW, None));
        assert!(!SessionState { ended: true, ..live }.is_live(NOW, None));
        assert!(!SessionState { account_usable: false, ..live }.is_live(NOW, None));
        assert!(!live.is_live(NOW + Duration::days(7), None));
        assert!(live.is_live(NOW + Duration::minutes(59), Some(Duration::hours(1))));
        assert!(!live.is_live(NOW + Duration::minutes(60), Some(Duration::hours(1))));
    }

    #[test]
    fn retries_slow_down_to_five_minutes() {
        let delays: Vec<i64> = [0, 1, 2, 3, 8, 9, 50].map(|n| retry_delay(n).whole_seconds()).into();
        assert_eq!(delays, [2, 2, 4, 8, 256, 300, 300]);
    }
}
