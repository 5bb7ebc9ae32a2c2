//! Moving the test clock. What happens at a date that is told to people, a reminder before the end of a
//! trial, happens at that date also in a long jump: the clock stops there on its way. Everything else takes a
//! jump for what it is, a long time in which nobody looked (BIL-15).

use time::{Duration, OffsetDateTime};

use super::App;
use super::provider::{provider_commands, sync};
use super::subscriptions::engine;
use crate::error::Error;
use crate::store::{clock, subscriptions};

/// Reminders of one stop: a reminder is as true an hour later, and many trials make few stops.
const TOGETHER: Duration = Duration::hours(1);

/// Moves billing's time by `by` and does what is due. The time then, and how many steps were taken.
pub async fn advance(app: &App, by: Duration) -> Result<(OffsetDateTime, usize), Error> {
    // Counted in the whole seconds that the offset is kept in: a jump in pieces goes exactly as far as one.
    let mut left = Duration::seconds(by.whole_seconds());
    let mut steps = 0;
    loop {
        let now = app.now().await;
        let aim = now + left;
        let reminder = subscriptions::next_reminder(&app.pool, &app.settings.reminder_days, now, aim).await?;
        let step = match reminder.map(|at| at + TOGETHER - now) {
            Some(step) if step < left => Duration::seconds(step.whole_seconds()),
            _ => left,
        };
        // First the provider's: what fails there can be asked for again, while ours never goes back.
        provider_commands::move_clock(app, now + step).await?;
        let mut connection = app.pool.acquire().await?;
        let offset = clock::advance(&mut connection, step).await?;
        drop(connection);
        app.clock.learn(offset);
        left -= step;
        let now = app.now().await;
        sync::after_jump(app, now).await?;
        steps += engine::run_due(app, now).await?;
        if left <= Duration::ZERO {
            return Ok((now, steps));
        }
    }
}
