//! Sizes of an instance against the plan (INS-06): CPU in thousandths of a core, memory and storage in MiB.

use serde::{Deserialize, Serialize};

/// CPU, memory and storage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Thousandths of a core.
    pub cpu_millis: u32,
    /// Memory in MiB.
    pub memory_mib: u64,
    /// Storage in MiB.
    pub storage_mib: u64,
}

/// What the customer asked for; absent means the plan's value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct AskedLimits {
    /// Thousandths of a core.
    pub cpu_millis: Option<u32>,
    /// Memory in MiB.
    pub memory_mib: Option<u64>,
    /// Storage in MiB.
    pub storage_mib: Option<u64>,
}

impl AskedLimits {
    /// Nothing asked for.
    pub fn is_empty(self) -> bool {
        self == Self::default()
    }
}

/// One limit that cannot be had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LimitFault {
    /// Field of the HTTP body.
    pub field: &'static str,
    /// Above the plan, or outside of what any instance may have.
    pub kind: LimitFaultKind,
    /// What it must be.
    pub message: String,
}

/// Why a limit cannot be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LimitFaultKind {
    /// Outside of the range of all plans, or not a step of it.
    OutOfRange,
    /// The plan does not give it.
    ExceedsPlan,
    /// Storage only grows (INS-29).
    StorageShrink,
}

const CPU: std::ops::RangeInclusive<u32> = 100..=8000;
const CPU_STEP: u32 = 100;
const MEMORY: std::ops::RangeInclusive<u64> = 512..=32 * 1024;
const STORAGE: std::ops::RangeInclusive<u64> = 1024..=500 * 1024;

impl Limits {
    /// The plan's limits, with the installation's where the plan gives none.
    pub fn or(self, fallback: Self) -> Self {
        Self {
            cpu_millis: if self.cpu_millis == 0 { fallback.cpu_millis } else { self.cpu_millis },
            memory_mib: if self.memory_mib == 0 { fallback.memory_mib } else { self.memory_mib },
            storage_mib: if self.storage_mib == 0 { fallback.storage_mib } else { self.storage_mib },
        }
    }

    /// Limits of a new instance: `self` is what the plan gives.
    pub fn grant(self, asked: AskedLimits) -> Result<Self, Vec<LimitFault>> {
        self.check(asked)?;
        Ok(Self {
            cpu_millis: asked.cpu_millis.unwrap_or(self.cpu_millis),
            memory_mib: asked.memory_mib.unwrap_or(self.memory_mib),
            storage_mib: asked.storage_mib.unwrap_or(self.storage_mib),
        })
    }

    /// New limits of an instance that has `present`: `self` is what the plan gives. Storage never shrinks.
    pub fn regrant(self, present: Self, asked: AskedLimits) -> Result<Self, Vec<LimitFault>> {
        self.check(asked)?;
        if asked.storage_mib.is_some_and(|storage| storage < present.storage_mib) {
            return Err(vec![LimitFault {
                field: "storage_limit",
                kind: LimitFaultKind::StorageShrink,
                message: format!(
                    "must be at least the present {}: storage only grows",
                    size(present.storage_mib)
                ),
            }]);
        }
        Ok(Self {
            cpu_millis: asked.cpu_millis.unwrap_or(present.cpu_millis),
            memory_mib: asked.memory_mib.unwrap_or(present.memory_mib),
            storage_mib: asked.storage_mib.unwrap_or(present.storage_mib),
        })
    }

    /// Limits after a change of the plan: `self` is what the new plan gives, `former` what the old one gave
    /// (`None`: nobody knows any more). What the customer chose below the old plan stays chosen; storage
    /// never shrinks (INS-29).
    pub fn carried_over(self, former: Option<Self>, present: Self) -> Self {
        let chosen = |present: u64, former: Option<u64>| former.is_some_and(|former| present < former);
        let kept = |plan: u64, present: u64, former: Option<u64>| {
            if chosen(present, former) { present.min(plan) } else { plan }
        };
        let cpu = u64::from(self.cpu_millis);
        let cpu = kept(cpu, present.cpu_millis.into(), former.map(|former| former.cpu_millis.into()));
        let storage = kept(self.storage_mib, present.storage_mib, former.map(|former| former.storage_mib));
        Self {
            cpu_millis: u32::try_from(cpu).unwrap_or(self.cpu_millis),
            memory_mib: kept(self.memory_mib, present.memory_mib, former.map(|former| former.memory_mib)),
            storage_mib: storage.max(present.storage_mib),
        }
    }

    fn check(self, asked: AskedLimits) -> Result<(), Vec<LimitFault>> {
        let mut faults = Vec::new();
        if let Some(cpu) = asked.cpu_millis {
            if !CPU.contains(&cpu) || cpu % CPU_STEP != 0 {
                faults.push(LimitFault::range("cpu_limit", "must be from 0.1 to 8 in steps of 0.1"));
            } else if cpu > self.cpu_millis {
                let (whole, tenth) = (self.cpu_millis / 1000, self.cpu_millis % 1000 / 100);
                faults.push(LimitFault::plan("cpu_limit", format!("is above the plan's {whole}.{tenth}")));
            }
        }
        if let Some(memory) = asked.memory_mib {
            if !MEMORY.contains(&memory) {
                faults.push(LimitFault::range("memory_limit", "must be from 512Mi to 32Gi"));
            } else if memory > self.memory_mib {
                faults.push(LimitFault::plan(
                    "memory_limit",
                    format!("is above the plan's {}", size(self.memory_mib)),
                ));
            }
        }
        if let Some(storage) = asked.storage_mib {
            if !STORAGE.contains(&storage) {
                faults.push(LimitFault::range("storage_limit", "must be from 1Gi to 500Gi"));
            } else if storage > self.storage_mib {
                faults.push(LimitFault::plan(
                    "storage_limit",
                    format!("is above the plan's {}", size(self.storage_mib)),
                ));
            }
        }
        if faults.is_empty() { Ok(()) } else { Err(faults) }
    }
}

impl LimitFault {
    fn range(field: &'static str, message: &str) -> Self {
        Self { field, kind: LimitFaultKind::OutOfRange, message: message.to_owned() }
    }

    fn plan(field: &'static str, message: String) -> Self {
        Self { field, kind: LimitFaultKind::ExceedsPlan, message }
    }
}

/// Reads `1.5` or `500m` as thousandths of a core (settings).
pub fn parse_cpu(text: &str) -> Option<u32> {
    if let Some(millis) = text.strip_suffix('m') {
        return millis.parse().ok();
    }
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    if fraction.len() > 3 || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let fraction: u32 = format!("{fraction:0<3}").parse().ok()?;
    whole.parse::<u32>().ok()?.checked_mul(1000)?.checked_add(fraction)
}

/// MiB as the API writes them: `10Gi`, or `512Mi` where it is no whole number of GiB.
fn size(mib: u64) -> String {
    if mib > 0 && mib.is_multiple_of(1024) { format!("{}Gi", mib / 1024) } else { format!("{mib}Mi") }
}

/// Reads `2Gi`, `512Mi`, `2G`, `512M` as MiB; `G` and `M` mean the binary units (INS-06).
pub fn parse_size(text: &str) -> Option<u64> {
    let digits = text.trim_end_matches(|character: char| character.is_ascii_alphabetic());
    let factor = match &text[digits.len()..] {
        "Mi" | "M" => 1,
        "Gi" | "G" => 1024,
        _ => return None,
    };
    digits.parse::<u64>().ok()?.checked_mul(factor)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PLAN: Limits = Limits { cpu_millis: 2000, memory_mib: 4096, storage_mib: 20 * 1024 };

    fn kinds(outcome: Result<Limits, Vec<LimitFault>>) -> Vec<(&'static str, LimitFaultKind)> {
        outcome.unwrap_err().into_iter().map(|fault| (fault.field, fault.kind)).collect()
    }

    /// INS-06
    #[test]
    fn absent_limits_are_the_plans() {
        assert_eq!(PLAN.grant(AskedLimits::default()).unwrap(), PLAN);
        let asked = AskedLimits { cpu_millis: Some(500), ..Default::default() };
        assert_eq!(PLAN.grant(asked).unwrap(), Limits { cpu_millis: 500, ..PLAN });
    }

    /// INS-06
    #[test]
    fn limits_above_the_plan_and_outside_of_the_range_are_told_apart() {
        let asked =
            AskedLimits { cpu_millis: Some(2100), memory_mib: Some(100), storage_mib: Some(40 * 1024) };
        assert_eq!(
            kinds(PLAN.grant(asked)),
            [
                ("cpu_limit", LimitFaultKind::ExceedsPlan),
                ("memory_limit", LimitFaultKind::OutOfRange),
                ("storage_limit", LimitFaultKind::ExceedsPlan),
            ]
        );
        for cpu in [0, 50, 150, 8100] {
            let asked = AskedLimits { cpu_millis: Some(cpu), ..Default::default() };
            assert_eq!(kinds(PLAN.grant(asked)), [("cpu_limit", LimitFaultKind::OutOfRange)], "{cpu}");
        }
    }

    /// INS-17, INS-29
    #[test]
    fn storage_only_grows() {
        let present = Limits { storage_mib: 10 * 1024, ..PLAN };
        let asked = AskedLimits { storage_mib: Some(5 * 1024), ..Default::default() };
        assert_eq!(kinds(PLAN.regrant(present, asked)), [("storage_limit", LimitFaultKind::StorageShrink)]);
        let asked = AskedLimits { storage_mib: Some(15 * 1024), ..Default::default() };
        assert_eq!(PLAN.regrant(present, asked).unwrap().storage_mib, 15 * 1024);
    }

    /// INS-29, BIL-21, BIL-22
    #[test]
    fn another_plan_keeps_what_the_customer_chose_below_the_old_one_and_no_storage_is_taken_away() {
        let large = Limits { cpu_millis: 4000, memory_mib: 8192, storage_mib: 50 * 1024 };
        assert_eq!(
            large.carried_over(Some(PLAN), PLAN),
            large,
            "who had all of the old plan gets all of the new"
        );
        let chosen = Limits { cpu_millis: 500, memory_mib: 1024, storage_mib: 5 * 1024 };
        assert_eq!(large.carried_over(Some(PLAN), chosen), chosen);
        assert_eq!(PLAN.carried_over(Some(large), chosen), chosen);
        let partly = Limits { memory_mib: 6144, ..large };
        assert_eq!(PLAN.carried_over(Some(large), partly), Limits { storage_mib: large.storage_mib, ..PLAN });
        assert_eq!(PLAN.carried_over(None, chosen), PLAN, "an old plan that nobody knows was used in full");
        assert_eq!(PLAN.carried_over(Some(large), large).storage_mib, large.storage_mib);
    }

    /// INS-06
    #[test]
    fn settings_are_read_in_both_spellings() {
        assert_eq!(
            (parse_cpu("1.0"), parse_cpu("0.5"), parse_cpu("250m"), parse_cpu("x")),
            (Some(1000), Some(500), Some(250), None)
        );
        assert_eq!(
            (parse_size("2Gi"), parse_size("2G"), parse_size("512Mi")),
            (Some(2048), Some(2048), Some(512))
        );
        assert_eq!((parse_size("2"), parse_size("Gi"), parse_size("-1Gi")), (None, None, None));
    }

    proptest! {
        /// INS-06: what is granted is never above the plan.
        #[test]
        fn nothing_above_the_plan_is_granted(cpu in proptest::option::of(0u32..10_000), memory in proptest::option::of(0u64..40_000), storage in proptest::option::of(0u64..600_000)) {
            if let Ok(limits) = PLAN.grant(AskedLimits { cpu_millis: cpu, memory_mib: memory, storage_mib: storage }) {
                prop_assert!(limits.cpu_millis <= PLAN.cpu_millis && limits.memory_mib <= PLAN.memory_mib && limits.storage_mib <= PLAN.storage_mib);
            }
        }
    }
}
