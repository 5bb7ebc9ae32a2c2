//! Places where a test lets the process die: an effect is there, and nobody has written so (REL-06).
//!
//! A service names its places in constant lists and hands them over, so that a place that is misspelt in the
//! code or in a setting is refused, and a test that dies at each place of a list leaves none out.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

/// Places of death. Without one, all calls do nothing.
#[derive(Clone)]
pub struct FailPoint {
    places: &'static [&'static [&'static str]],
    deaths: Option<Arc<Deaths>>,
}

struct Deaths {
    left: Mutex<Vec<String>>,
    death: fn(),
}

/// The text names no place of the service.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no fail point")]
pub struct UnknownPlace(String);

impl FailPoint {
    /// Nobody dies; `places` are the lists of the service's places. None at all: any text is a place, for a
    /// service whose places come from its steps.
    pub const fn none(places: &'static [&'static [&'static str]]) -> Self {
        Self { places, deaths: None }
    }

    /// The process aborts at this place; `None`: it never does.
    ///
    /// # Errors
    /// There is no such place.
    pub fn try_abort_at(self, place: Option<&str>) -> Result<Self, UnknownPlace> {
        let Some(place) = place else { return Ok(self) };
        if !self.knows(place) {
            return Err(UnknownPlace(place.to_owned()));
        }
        Ok(self.each(&[place], || std::process::abort()))
    }

    /// `death` is called once at each of these places; a test that lives in the same process panics there.
    #[must_use]
    pub fn each(self, places: &[&str], death: fn()) -> Self {
        let left = places.iter().map(|&place| place.to_owned()).collect();
        Self { deaths: Some(Arc::new(Deaths { left: Mutex::new(left), death })), ..self }
    }

    /// Is there such a place?
    pub fn knows(&self, place: &str) -> bool {
        self.places.is_empty() || self.places.iter().any(|list| list.contains(&place))
    }

    /// The places of [`FailPoint::each`] that nobody came to yet.
    pub fn left(&self) -> Vec<String> {
        let left =
            self.deaths.as_ref().map(|deaths| deaths.left.lock().unwrap_or_else(PoisonError::into_inner));
        left.map(|left| left.clone()).unwrap_or_default()
    }

    /// We are here. A repeat goes on alive: each place kills once.
    pub fn at(&self, place: &str) {
        debug_assert!(self.knows(place), "{place} is not in the list");
        let Some(deaths) = &self.deaths else { return };
        let mut left = deaths.left.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(index) = left.iter().position(|known| known == place) {
            left.remove(index);
            drop(left);
            tracing::warn!(fail_point = place, "fail point reached");
            (deaths.death)();
        }
    }
}

impl fmt::Debug for FailPoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FailPoint({:?})", self.left())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    const PAY: &[&str] = &["pay.written", "pay.answered"];
    const LIFE: &[&str] = &["order.written"];
    const NONE: FailPoint = FailPoint::none(&[PAY, LIFE]);

    static DEATHS: AtomicUsize = AtomicUsize::new(0);

    #[test]
    fn each_place_kills_once() {
        let fail = NONE.each(&["pay.written", "order.written"], || {
            DEATHS.fetch_add(1, Ordering::SeqCst);
        });

        fail.at("pay.answered");
        assert_eq!(DEATHS.load(Ordering::SeqCst), 0);
        fail.at("pay.written");
        fail.clone().at("pay.written");
        assert_eq!(DEATHS.load(Ordering::SeqCst), 1);
        assert_eq!(fail.left(), ["order.written"]);
    }

    #[test]
    fn unknown_places_are_refused() {
        assert!(NONE.try_abort_at(Some("order.written")).is_ok());
        assert!(NONE.try_abort_at(None).unwrap().left().is_empty());
        let refused = NONE.try_abort_at(Some("order.writen")).unwrap_err();
        assert_eq!(refused.to_string(), "\"order.writen\" is no fail point");
        assert!(FailPoint::none(&[]).try_abort_at(Some("create.volume")).is_ok());
    }

    #[test]
    #[should_panic(expected = "is not in the list")]
    fn a_place_outside_of_the_lists_is_a_mistake() {
        NONE.at("pay.writen");
    }
}
