//! A changed template is a new pod for every instance: they are started anew some at a time, each batch when
//! the one before is back.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use uuid::Uuid;

use crate::objects::meta;

/// Instances that may be on their way at once.
const BUDGET: usize = 2;
/// A pod that is ready so soon is the former one.
const SETTLE: Duration = Duration::from_secs(5);
/// One that is not back by then holds nobody up any longer; its own status tells.
const LONGEST: Duration = Duration::from_mins(3);

/// Did what is wanted change since the object was written? An edit by hand leaves the hash of the wish.
pub(super) fn wish_changed(paths: &[String]) -> bool {
    paths.contains(&format!("metadata.annotations.{}", meta::SPEC_HASH))
}

/// Is this a new template, and no edit by hand?
pub(super) fn is_new_template(paths: &[String]) -> bool {
    wish_changed(paths) && paths.iter().any(|path| path.starts_with("spec.template"))
}

/// Who is on the way.
#[derive(Debug, Default)]
pub(super) struct RollOut {
    on_the_way: Mutex<HashMap<Uuid, Instant>>,
}

impl RollOut {
    /// May this instance be started anew now?
    pub fn begin(&self, id: Uuid, is_back: impl Fn(Uuid) -> bool) -> bool {
        let mut on_the_way = self.on_the_way.lock().unwrap_or_else(PoisonError::into_inner);
        on_the_way.retain(|other, since| {
            let passed = since.elapsed();
            passed < LONGEST && (passed < SETTLE || !is_back(*other))
        });
        let may = on_the_way.contains_key(&id) || on_the_way.len() < BUDGET;
        if may {
            // Whoever tries again has no new time: two that never come up must not hold all places.
            on_the_way.entry(id).or_insert_with(Instant::now);
        }
        may
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_new_template_reaches_some_at_a_time() {
        let (roll_out, ids) = (RollOut::default(), [1, 2, 3, 4].map(Uuid::from_u128));
        assert!(roll_out.begin(ids[0], |_| false) && roll_out.begin(ids[1], |_| false));
        assert!(!roll_out.begin(ids[2], |_| true), "a pod that is ready at once is the former one");
        assert!(roll_out.begin(ids[0], |_| false), "a second look at one that is on the way");

        tokio::time::advance(SETTLE * 2).await;
        assert!(!roll_out.begin(ids[2], |_| false));
        assert!(roll_out.begin(ids[2], |id| id == ids[1]));
        assert!(!roll_out.begin(ids[3], |_| false));

        tokio::time::advance(LONGEST).await;
        assert!(roll_out.begin(ids[3], |_| false), "one that does not come back holds nobody up");
    }

    /// Two that never come up are tried again and again: that buys them no new time, and the others go on.
    #[tokio::test(start_paused = true)]
    async fn whoever_is_tried_again_does_not_hold_its_place_for_ever() {
        let (roll_out, ids) = (RollOut::default(), [1, 2, 3].map(Uuid::from_u128));
        assert!(roll_out.begin(ids[0], |_| false) && roll_out.begin(ids[1], |_| false));
        tokio::time::advance(LONGEST / 2).await;
        assert!(roll_out.begin(ids[0], |_| false) && !roll_out.begin(ids[2], |_| false));
        tokio::time::advance(LONGEST / 2).await;
        assert!(roll_out.begin(ids[2], |_| false));
    }

    #[test]
    fn an_edit_by_hand_is_no_new_template() {
        let edit = ["spec.template.spec.nodeSelector".to_owned()];
        let hash = "metadata.annotations.saasodoo.io/spec-hash".to_owned();
        assert!(!is_new_template(&edit));
        assert!(!is_new_template(&[hash.clone(), "metadata.labels.plan".to_owned()]));
        assert!(is_new_template(&[hash, edit[0].clone()]));
    }
}
