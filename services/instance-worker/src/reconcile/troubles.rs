//! What no repair brings back: told once on the timeline, counted for an alert, tried again with growing
//! pauses.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use uuid::Uuid;

use super::parts::Volume;

const FIRST_PAUSE: Duration = Duration::from_secs(5);
const LONGEST_PAUSE: Duration = Duration::from_mins(1);

/// What is wrong with an instance until a person looks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Trouble {
    pub volume: Volume,
    /// Kinds of objects that are not as wanted.
    pub left: Vec<&'static str>,
}

impl Trouble {
    pub fn of(volume: Volume, left: &[&'static str]) -> Option<Self> {
        (volume != Volume::Stands || !left.is_empty()).then(|| Self { volume, left: left.to_vec() })
    }

    /// For the timeline; the volume is told by what is seen of the pods.
    pub fn message(&self) -> Option<String> {
        (!self.left.is_empty()).then(|| {
            format!(
                "changed by somebody and not brought back, support must look at it: {}",
                self.left.join(", ")
            )
        })
    }
}

/// The troubles of all instances.
#[derive(Debug, Default)]
pub(super) struct Troubles {
    known: Mutex<HashMap<Uuid, (Trouble, u32)>>,
}

impl Troubles {
    fn lock(&self) -> MutexGuard<'_, HashMap<Uuid, (Trouble, u32)>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes how an instance is now; gives the trouble when it is a new one.
    pub fn set(&self, id: Uuid, trouble: Option<Trouble>) -> Option<Trouble> {
        let mut known = self.lock();
        let Some(trouble) = trouble else {
            known.remove(&id);
            return None;
        };
        match known.get_mut(&id) {
            Some((before, looks)) if *before == trouble => {
                *looks = looks.saturating_add(1);
                None
            }
            _ => {
                known.insert(id, (trouble.clone(), 0));
                Some(trouble)
            }
        }
    }

    pub fn end(&self, id: Uuid) {
        self.lock().remove(&id);
    }

    /// Until the next look; an event of a watch brings it sooner.
    pub fn pause(&self, id: Uuid) -> Duration {
        let looks = self.lock().get(&id).map_or(0, |(_, looks)| *looks);
        (FIRST_PAUSE * 2_u32.saturating_pow(looks.min(8))).min(LONGEST_PAUSE)
    }

    /// Instances whose volume is lost, whose volume is being deleted, and with objects that are not as
    /// wanted.
    pub fn count(&self) -> [usize; 3] {
        let known = self.lock();
        let count =
            |what: &dyn Fn(&Trouble) -> bool| known.values().filter(|(trouble, _)| what(trouble)).count();
        [
            count(&|trouble| trouble.volume == Volume::Lost),
            count(&|trouble| trouble.volume == Volume::Deleting),
            count(&|trouble| !trouble.left.is_empty()),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trouble_is_told_once_and_looked_at_less_and_less_often() {
        let (troubles, id) = (Troubles::default(), Uuid::from_u128(7));
        let lost = Trouble::of(Volume::Lost, &[]);
        assert!(troubles.set(id, lost.clone()).is_some());
        assert_eq!(troubles.pause(id), FIRST_PAUSE);
        assert!(troubles.set(id, lost.clone()).is_none());
        assert!(troubles.pause(id) > FIRST_PAUSE);
        for _ in 0..20 {
            troubles.set(id, lost.clone());
        }
        assert_eq!(troubles.pause(id), LONGEST_PAUSE);
        assert_eq!(troubles.count(), [1, 0, 0]);
        assert!(troubles.set(id, Trouble::of(Volume::Stands, &["Service"])).is_some(), "another one");
        assert_eq!(troubles.count(), [0, 0, 1]);
        assert!(troubles.set(id, None).is_none());
        assert_eq!(troubles.count(), [0, 0, 0]);
    }
}
