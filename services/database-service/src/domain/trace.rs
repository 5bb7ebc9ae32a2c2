//! What a database looked like at a moment, and what was written since (DBS-33): decides what of a copy that
//! was taken while the tenant worked has to be copied again. No I/O.
//!
//! PostgreSQL counts the writes of a transaction after its end. So counts that are read before a copy begins
//! are never ahead of it: what the copy lacks was counted later. That may name a table that did not change,
//! never miss one that did.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

/// Below this a table is always copied by itself: 64 MiB.
const SMALL: i64 = 64 * 1024 * 1024;

/// A database at a moment.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trace {
    /// Changes when counts may have been lost: another start of the server, a crash, a reset.
    pub epoch: String,
    /// Checksum of the catalogue: tables, columns, indexes, constraints, functions, triggers, types.
    pub catalogue: String,
    /// Triggers and rules that also act while a table is copied by itself.
    pub eager_triggers: i64,
    /// Writes to large objects.
    pub large_objects: i64,
    /// By name in full, quoted as SQL quotes it.
    pub tables: BTreeMap<String, Table>,
}

/// A table, or a materialised view.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Table {
    /// Schema.
    pub schema: String,
    /// Name.
    pub name: String,
    /// Its rows come from a query, so that they cannot be written.
    pub derived: bool,
    /// Identity.
    pub oid: i64,
    /// Its file: another one after `TRUNCATE` and whatever writes all rows anew.
    pub file: i64,
    /// Rows inserted, updated and deleted, also by transactions that were rolled back.
    pub writes: i64,
    /// Bytes on disk.
    pub bytes: i64,
}

impl Table {
    fn is_as(&self, earlier: &Self) -> bool {
        (self.oid, self.file, self.writes) == (earlier.oid, earlier.file, earlier.writes)
    }
}

/// Tables that were the same at both ends once.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Compared {
    /// Their names in full.
    pub tables: BTreeSet<String>,
    /// The copy before it was looked at: what a tenant defined may write to one table when another is filled.
    pub copy: Trace,
}

impl Compared {
    /// Those that still are the same, since nobody wrote to them at either end. `source`: as it was when they
    /// were copied.
    pub fn still(self, source: &Trace, source_now: &Trace, copy_now: &Trace) -> BTreeSet<String> {
        self.copy.untouched(copy_now, source.untouched(source_now, self.tables))
    }
}

/// What a copy lacks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lack {
    /// These tables, by name in full; none: nothing.
    Tables(BTreeSet<String>),
    /// It has to be made anew, for this reason.
    Everything(&'static str),
}

impl Trace {
    /// What a copy lacks that was begun after `self`, as the database is at `now`.
    pub fn lacks(&self, now: &Self) -> Lack {
        if self.epoch != now.epoch {
            return Lack::Everything("the server was started again");
        }
        if self.catalogue != now.catalogue || !self.tables.keys().eq(now.tables.keys()) {
            return Lack::Everything("tables or their definitions changed");
        }
        if self.large_objects != now.large_objects {
            return Lack::Everything("large objects changed");
        }
        let changed: BTreeSet<String> = now.changed_since(self).map(|(name, _)| name.clone()).collect();
        if changed.is_empty() {
            return Lack::Tables(changed);
        }
        let tables = || changed.iter().filter_map(|name| now.tables.get(name));
        if tables().any(|table| table.derived) {
            return Lack::Everything("a materialised view changed");
        }
        if now.eager_triggers > 0 {
            return Lack::Everything("a trigger would fire while tables are copied");
        }
        let bytes: i64 = tables().map(|table| table.bytes).sum();
        let all: i64 = now.tables.values().map(|table| table.bytes).sum();
        // Several processes and indexes at the end are faster than one by one into indexes that are there.
        if bytes > SMALL && bytes > all / 2 {
            return Lack::Everything("most of it changed");
        }
        Lack::Tables(changed)
    }

    fn changed_since<'a>(&'a self, earlier: &'a Self) -> impl Iterator<Item = (&'a String, &'a Table)> {
        self.tables
            .iter()
            .filter(|(name, table)| earlier.tables.get(*name).is_none_or(|known| !table.is_as(known)))
    }

    /// Those of `names` that nobody wrote to between `self` and `now`.
    pub fn untouched(&self, now: &Self, names: BTreeSet<String>) -> BTreeSet<String> {
        if self.epoch != now.epoch || self.catalogue != now.catalogue {
            return BTreeSet::new();
        }
        let same = |name: &String| match (self.tables.get(name), now.tables.get(name)) {
            (Some(before), Some(after)) => after.is_as(before),
            _ => false,
        };
        names.into_iter().filter(same).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trace(tables: &[(&str, i64)]) -> Trace {
        let table = |(index, (name, mib)): (usize, &(&str, i64))| {
            let table = Table {
                schema: "public".into(),
                name: (*name).into(),
                derived: false,
                oid: 16_384 + i64::try_from(index).unwrap(),
                file: 16_384,
                writes: 10,
                bytes: mib * 1024 * 1024,
            };
            (["public.", *name].concat(), table)
        };
        Trace {
            epoch: "1".into(),
            catalogue: "c".into(),
            tables: tables.iter().enumerate().map(table).collect(),
            ..Trace::default()
        }
    }

    fn names<const N: usize>(names: [&str; N]) -> BTreeSet<String> {
        names.into_iter().map(str::to_owned).collect()
    }

    fn written(trace: &Trace, name: &str) -> Trace {
        let mut later = trace.clone();
        later.tables.get_mut(name).unwrap().writes += 1;
        later
    }

    /// DBS-33
    #[test]
    fn what_was_written_to_is_copied_again_and_nothing_else() {
        let before = trace(&[("a", 1), ("b", 900)]);
        assert_eq!(before.lacks(&before), Lack::Tables(BTreeSet::new()));
        let after = written(&before, "public.a");
        assert_eq!(before.lacks(&after), Lack::Tables(names(["public.a"])));
        let mut emptied = before.clone();
        emptied.tables.get_mut("public.a").unwrap().file += 1;
        assert_eq!(before.lacks(&emptied), Lack::Tables(names(["public.a"])));
        let all = names(["public.a", "public.b", "public.c"]);
        assert_eq!(before.untouched(&after, all.clone()), names(["public.b"]));
        let compared = Compared { tables: all, copy: before.clone() };
        assert_eq!(compared.clone().still(&before, &after, &before), names(["public.b"]));
        assert!(
            compared.still(&before, &after, &written(&before, "public.b")).is_empty(),
            "written at the other end"
        );
    }

    /// DBS-33: where counts say nothing, or where a table cannot be written by itself, all is copied.
    #[test]
    fn whatever_cannot_be_told_apart_makes_the_copy_worthless() {
        let before = trace(&[("a", 1), ("b", 900)]);
        let changes: [fn(&mut Trace); 5] = [
            |now| now.epoch.push('2'),
            |now| now.catalogue.push('2'),
            |now| now.large_objects += 1,
            |now| _ = now.tables.remove("public.a"),
            |now| {
                let view = now.tables.get_mut("public.a").unwrap();
                view.derived = true;
                view.writes += 1;
            },
        ];
        for change in changes {
            let mut now = before.clone();
            change(&mut now);
            assert!(matches!(before.lacks(&now), Lack::Everything(_)), "{now:?}");
        }
        let mut now = written(&before, "public.a");
        now.eager_triggers = 1;
        assert!(matches!(before.lacks(&now), Lack::Everything(_)));
        now.epoch.push('2');
        assert!(before.untouched(&now, names(["public.b"])).is_empty());
    }

    /// DBS-33
    #[test]
    fn when_most_of_a_large_database_changed_it_is_copied_at_once() {
        let before = trace(&[("a", 10), ("b", 900)]);
        assert!(matches!(before.lacks(&written(&before, "public.b")), Lack::Everything(_)));
        let small = trace(&[("a", 1), ("b", 60)]);
        assert_eq!(small.lacks(&written(&small, "public.b")), Lack::Tables(names(["public.b"])));
    }
}
