//! What no repair brings back, and what somebody changes again and again: told once on the timeline, counted
//! for an alert, tried again with growing pauses.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use uuid::Uuid;

use super::parts::Volume;

const FIRST_PAUSE: Duration = Duration::from_secs(5);
const LONGEST_PAUSE: Duration = Duration::from_mins(1);
/// Whoever had to be asked for a repair may be away for so long; then it is told like any other trouble.
const LASTING: Duration = Duration::from_mins(15);

/// What is wrong with an instance until a person looks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Trouble {
    pub volume: Volume,
    /// Kinds of objects that are not as wanted.
    pub left: Vec<&'static str>,
    /// Kinds of objects that are brought back with pauses only.
    pub fought: Vec<&'static str>,
}

impl Trouble {
    pub fn of(volume: Volume, left: &[&'static str], fought: &[&'static str]) -> Option<Self> {
        let fine = volume == Volume::Stands && left.is_empty() && fought.is_empty();
        (!fine).then(|| Self { volume, left: left.to_vec(), fought: fought.to_vec() })
    }

    /// What is new since `before`, for the timeline: event and text. The volume is told by what is seen of
    /// the pods.
    pub fn news(&self, before: Option<&Self>) -> Vec<(&'static str, String)> {
        let (was_left, was_fought) =
            before.map_or_else(Default::default, |before| (before.left.clone(), before.fought.clone()));
        let mut news = Vec::new();
        if !self.left.is_empty() && self.left != was_left {
            let left = self.left.join(", ");
            let text = format!("changed by somebody and not brought back, support must look at it: {left}");
            news.push(("not_repaired", text));
        }
        if self.fought.iter().any(|kind| !was_fought.contains(kind)) {
            let fought = self.fought.join(", ");
            let text = format!(
                "changed by somebody again and again, brought back with growing pauses until that ends: {fought}"
            );
            news.push(("repairs_slowed", text));
        }
        news
    }
}

/// The troubles of all instances.
#[derive(Debug, Default)]
pub(super) struct Troubles {
    known: Mutex<HashMap<Uuid, (Trouble, u32)>>,
    /// Since when an object could not be brought back because somebody did not answer.
    away: Mutex<HashMap<Uuid, HashMap<&'static str, Instant>>>,
    /// Since when an instance could not be looked at.
    failing: Mutex<HashMap<Uuid, Instant>>,
}

impl Troubles {
    fn lock(&self) -> MutexGuard<'_, HashMap<Uuid, (Trouble, u32)>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes how an instance is now; gives what the timeline has to say about it.
    pub fn set(&self, id: Uuid, trouble: Option<Trouble>) -> Vec<(&'static str, String)> {
        let mut known = self.lock();
        let Some(trouble) = trouble else {
            known.remove(&id);
            return Vec::new();
        };
        match known.get_mut(&id) {
            Some((before, looks)) if *before == trouble => {
                *looks = looks.saturating_add(1);
                Vec::new()
            }
            found => {
                let news = trouble.news(found.map(|(before, _)| &*before));
                known.insert(id, (trouble, 0));
                news
            }
        }
    }

    /// Notes which objects could not be brought back because somebody did not answer; gives those for which
    /// this has lasted too long to be an outage of a moment.
    pub fn away(&self, id: Uuid, kinds: &[&'static str]) -> Vec<&'static str> {
        let mut all = self.away.lock().unwrap_or_else(PoisonError::into_inner);
        if kinds.is_empty() {
            all.remove(&id);
            return Vec::new();
        }
        let since = all.entry(id).or_default();
        since.retain(|kind, _| kinds.contains(kind));
        let now = Instant::now();
        let lasts = |kind: &&&'static str| now - *since.entry(kind).or_insert(now) >= LASTING;
        kinds.iter().filter(lasts).copied().collect()
    }

    /// Notes whether an instance could be looked at.
    pub fn looked(&self, id: Uuid, done: bool) {
        let mut failing = self.failing.lock().unwrap_or_else(PoisonError::into_inner);
        if done {
            failing.remove(&id);
        } else {
            failing.entry(id).or_insert_with(Instant::now);
        }
    }

    pub fn end(&self, id: Uuid) {
        self.lock().remove(&id);
        self.away(id, &[]);
    }

    /// Until the next look; an event of a watch brings it sooner.
    pub fn pause(&self, id: Uuid) -> Duration {
        let looks = self.lock().get(&id).map_or(0, |(_, looks)| *looks);
        (FIRST_PAUSE * 2_u32.saturating_pow(looks.min(8))).min(LONGEST_PAUSE)
    }

    /// Instances whose volume is lost, whose volume is being deleted, with objects that are not as wanted, with
    /// objects that are fought over, and which could not be looked at for a while.
    pub fn count(&self) -> [usize; 5] {
        let known = self.lock();
        let failing = self.failing.lock().unwrap_or_else(PoisonError::into_inner);
        let count =
            |what: &dyn Fn(&Trouble) -> bool| known.values().filter(|(trouble, _)| what(trouble)).count();
        [
            count(&|trouble| trouble.volume == Volume::Lost),
            count(&|trouble| trouble.volume == Volume::Deleting),
            count(&|trouble| !trouble.left.is_empty()),
            count(&|trouble| !trouble.fought.is_empty()),
            failing.values().filter(|since| since.elapsed() >= LASTING).count(),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: Uuid = Uuid::from_u128(7);

    fn events(news: &[(&'static str, String)]) -> Vec<&'static str> {
        news.iter().map(|(event, _)| *event).collect()
    }

    #[test]
    fn a_trouble_is_told_once_and_looked_at_less_and_less_often() {
        let troubles = Troubles::default();
        let lost = Trouble::of(Volume::Lost, &[], &[]);
        assert!(troubles.set(ID, lost.clone()).is_empty(), "the volume is told by what is seen of the pods");
        assert_eq!(troubles.pause(ID), FIRST_PAUSE);
        troubles.set(ID, lost.clone());
        assert!(troubles.pause(ID) > FIRST_PAUSE);
        for _ in 0..20 {
            troubles.set(ID, lost.clone());
        }
        assert_eq!(troubles.pause(ID), LONGEST_PAUSE);
        assert_eq!(troubles.count(), [1, 0, 0, 0, 0]);

        let left = Trouble::of(Volume::Stands, &["Service"], &[]);
        assert_eq!(events(&troubles.set(ID, left.clone())), ["not_repaired"]);
        assert!(troubles.set(ID, left).is_empty());
        assert_eq!(troubles.count(), [0, 0, 1, 0, 0]);
        troubles.set(ID, None);
        assert_eq!(troubles.count(), [0; 5]);
    }

    #[test]
    fn a_fight_is_told_once_also_while_its_object_is_as_wanted_now_and_then() {
        let troubles = Troubles::default();
        let fought = || Trouble::of(Volume::Stands, &[], &["Service"]);
        assert_eq!(events(&troubles.set(ID, fought())), ["repairs_slowed"]);
        let both = Trouble::of(Volume::Stands, &["Ingress"], &["Service"]);
        assert_eq!(events(&troubles.set(ID, both)), ["not_repaired"]);
        assert!(troubles.set(ID, fought()).is_empty());
        assert_eq!(troubles.count(), [0, 0, 0, 1, 0]);
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_does_not_answer_for_long_is_a_trouble_too() {
        let troubles = Troubles::default();
        assert!(troubles.away(ID, &["Secret"]).is_empty());
        tokio::time::advance(LASTING / 2).await;
        assert!(troubles.away(ID, &["Secret", "Service"]).is_empty());
        tokio::time::advance(LASTING / 2).await;
        assert_eq!(troubles.away(ID, &["Secret", "Service"]), ["Secret"]);
        assert!(troubles.away(ID, &[]).is_empty());
        assert!(troubles.away(ID, &["Secret"]).is_empty(), "an answer in between ends it");

        troubles.looked(ID, false);
        assert_eq!(troubles.count()[4], 0);
        tokio::time::advance(LASTING).await;
        troubles.looked(ID, false);
        assert_eq!(troubles.count()[4], 1);
        troubles.looked(ID, true);
        assert_eq!(troubles.count()[4], 0);
    }
}
