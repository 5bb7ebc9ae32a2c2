//! A brake on repairs: whoever changes an object again and again, an operator or another controller, is not
//! answered as fast as they write. The first repairs are free; then pauses grow, and the fight is told once.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use uuid::Uuid;

use super::parts::Part;

/// So many repairs of one object within the window are no fight: a person may try something out.
const FREE: usize = 5;
const WINDOW: Duration = Duration::from_mins(10);
const FIRST_PAUSE: Duration = Duration::from_mins(1);
/// Short enough that an object which somebody deletes by mistake in a loop is not gone for long.
const LONGEST_PAUSE: Duration = Duration::from_mins(10);
/// A fight is over when nothing had to be repaired for so long.
const OVER: Duration = Duration::from_mins(30);

/// The repairs of one object.
#[derive(Debug, Default)]
struct Repairs {
    /// Those of the window before a fight, oldest first.
    recent: VecDeque<Instant>,
    /// Repairs since the fight began; `None`: there is none.
    rounds: Option<u32>,
    last: Option<Instant>,
}

impl Repairs {
    fn forget_the_old(&mut self, now: Instant) {
        if self.last.is_some_and(|last| now - last >= OVER) {
            *self = Self::default();
        }
        while self.recent.front().is_some_and(|at| now - *at >= WINDOW) {
            self.recent.pop_front();
        }
    }

    fn pause(&self, now: Instant) -> Option<Duration> {
        let (rounds, last) = (self.rounds?, self.last?);
        let pause = (FIRST_PAUSE * 2_u32.saturating_pow(rounds.min(8))).min(LONGEST_PAUSE);
        pause.checked_sub(now - last).filter(|left| !left.is_zero())
    }
}

/// The repairs of all objects, as this leader made them.
#[derive(Debug, Default)]
pub(super) struct Brake {
    repairs: Mutex<HashMap<(Uuid, Part), Repairs>>,
}

impl Brake {
    fn lock(&self) -> MutexGuard<'_, HashMap<(Uuid, Part), Repairs>> {
        self.repairs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Must the next repair of this object wait?
    pub fn is_on(&self, id: Uuid, part: Part) -> bool {
        self.pause(id, part).is_some()
    }

    fn pause(&self, id: Uuid, part: Part) -> Option<Duration> {
        let now = Instant::now();
        let mut all = self.lock();
        let repairs = all.get_mut(&(id, part))?;
        repairs.forget_the_old(now);
        repairs.pause(now)
    }

    /// The object was changed by somebody and brought back.
    pub fn repaired(&self, id: Uuid, part: Part) {
        let now = Instant::now();
        let mut all = self.lock();
        let repairs = all.entry((id, part)).or_default();
        repairs.forget_the_old(now);
        repairs.last = Some(now);
        if let Some(rounds) = &mut repairs.rounds {
            *rounds = rounds.saturating_add(1);
            return;
        }
        repairs.recent.push_back(now);
        if repairs.recent.len() >= FREE {
            repairs.rounds = Some(0);
        }
    }

    /// Objects of this instance that are fought over, in the order of repairs.
    pub fn fought(&self, id: Uuid) -> Vec<&'static str> {
        let now = Instant::now();
        let mut all = self.lock();
        let fought = Part::ALL.into_iter().filter(|part| {
            all.get_mut(&(id, *part)).is_some_and(|repairs| {
                repairs.forget_the_old(now);
                repairs.rounds.is_some()
            })
        });
        fought.map(Part::kind).collect()
    }

    /// The instance is gone, or not ours to repair any more.
    pub fn end(&self, id: Uuid) {
        self.lock().retain(|(other, _), _| *other != id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: Uuid = Uuid::from_u128(7);

    fn repaired(brake: &Brake, times: usize) {
        for _ in 0..times {
            brake.repaired(ID, Part::Service);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn repairs_that_come_again_and_again_get_slower_and_one_object_slows_no_other() {
        let brake = Brake::default();
        repaired(&brake, FREE - 1);
        assert_eq!(brake.pause(ID, Part::Service), None);
        assert!(brake.fought(ID).is_empty());

        repaired(&brake, 1);
        assert_eq!(brake.pause(ID, Part::Service), Some(FIRST_PAUSE));
        assert_eq!(brake.fought(ID), ["Service"]);
        assert_eq!(brake.pause(ID, Part::Ingress), None);
        assert_eq!(brake.pause(Uuid::from_u128(8), Part::Service), None);

        tokio::time::advance(FIRST_PAUSE).await;
        assert_eq!(brake.pause(ID, Part::Service), None, "now it is brought back once more");
        repaired(&brake, 1);
        assert_eq!(brake.pause(ID, Part::Service), Some(FIRST_PAUSE * 2));
        repaired(&brake, 20);
        assert_eq!(brake.pause(ID, Part::Service), Some(LONGEST_PAUSE));
    }

    #[tokio::test(start_paused = true)]
    async fn a_fight_ends_when_nobody_changes_anything_any_more() {
        let brake = Brake::default();
        repaired(&brake, FREE);
        tokio::time::advance(OVER).await;
        assert!(brake.fought(ID).is_empty());
        repaired(&brake, FREE - 1);
        assert_eq!(brake.pause(ID, Part::Service), None);
    }

    #[tokio::test(start_paused = true)]
    async fn edits_that_are_far_apart_are_no_fight() {
        let brake = Brake::default();
        for _ in 0..3 * FREE {
            repaired(&brake, 1);
            tokio::time::advance(WINDOW / 4).await;
        }
        assert!(brake.fought(ID).is_empty());
        repaired(&brake, FREE);
        brake.end(ID);
        assert!(brake.fought(ID).is_empty());
    }
}
