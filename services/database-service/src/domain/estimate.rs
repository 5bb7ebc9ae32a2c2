//! How long a move takes an instance off (DBS-33): from what earlier moves took, or without any from rates
//! that small servers reach.

/// An earlier move.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Measured {
    /// Size of the database.
    pub bytes: i64,
    /// How long its instance was off.
    pub seconds: i64,
}

/// What to expect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Estimate {
    /// How long the instance will be off.
    pub seconds: u32,
    /// Number of earlier moves behind it; 0: assumed.
    pub from_moves: u32,
}

const MIB: i64 = 1024 * 1024;
/// Stop, look what changed, and start, when nothing was measured: 15 s.
const ASSUMED_BASE: i64 = 15_000_000;
/// The copy is taken before, so that size matters only as far as large databases are written to more: 100
/// MiB/s, in microseconds for a MiB.
const ASSUMED_PACE: i64 = 10_000;
/// A pace beyond 1 MiB/s is a measurement that something else disturbed.
const PACES: std::ops::RangeInclusive<i64> = 0..=1_000_000;
/// Only pairs of moves that differ by so many MiB say something about the pace.
const APART: i64 = 32;

/// The estimate for a database of `bytes`. Medians, so that one slow move does not spoil it; a fifth more, so
/// that it is kept more often than not.
pub fn estimate(bytes: i64, earlier: &[Measured]) -> Estimate {
    let size = bytes.max(0) / MIB;
    let times: Vec<(i64, i64)> = earlier
        .iter()
        .map(|move_| (move_.bytes.max(0) / MIB, move_.seconds.saturating_mul(1_000_000)))
        .collect();
    let paces = times.iter().enumerate().flat_map(|(index, (size, time))| {
        let later = times.get(index + 1..).unwrap_or_default();
        later
            .iter()
            .filter(|(other, _)| (other - size).abs() >= APART)
            .map(|(other, other_time)| (other_time - time) / (other - size))
            .collect::<Vec<_>>()
    });
    let pace = median(paces.collect()).unwrap_or(ASSUMED_PACE).clamp(*PACES.start(), *PACES.end());
    let bases = times.iter().map(|(size, time)| time.saturating_sub(pace.saturating_mul(*size)));
    let measured = median(bases.collect()).map(|base| base.max(1_000_000));
    let exact = measured.unwrap_or(ASSUMED_BASE).saturating_add(pace.saturating_mul(size));
    let with_margin = if measured.is_some() { exact.saturating_add(exact / 5) } else { exact };
    let seconds = with_margin / 1_000_000 + i64::from(with_margin % 1_000_000 > 0);
    Estimate {
        seconds: u32::try_from(seconds).unwrap_or(u32::MAX),
        from_moves: u32::try_from(earlier.len()).unwrap_or(u32::MAX),
    }
}

fn median(mut values: Vec<i64>) -> Option<i64> {
    values.sort_unstable();
    values.get(values.len() / 2).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(mib: i64, seconds: i64) -> Measured {
        Measured { bytes: mib * MIB, seconds }
    }

    /// DBS-33
    #[test]
    fn without_earlier_moves_it_is_assumed_and_never_overflows() {
        let assumed = |bytes| estimate(bytes, &[]).seconds;
        assert_eq!((assumed(0), assumed(1 << 30), assumed(-1)), (15, 26, 15));
        assert_eq!(assumed(i64::MAX), u32::MAX);
        assert_eq!(estimate(0, &[]).from_moves, 0);
    }

    /// DBS-33: 10 s and 20 ms a MiB, whatever one bad day took.
    #[test]
    fn it_follows_what_earlier_moves_took() {
        let mut earlier = vec![after(0, 10), after(100, 12), after(500, 20), after(1000, 30)];
        let seconds = |size: i64, earlier: &[Measured]| estimate(size * MIB, earlier).seconds;
        assert_eq!((seconds(0, &earlier), seconds(1000, &earlier)), (12, 36));
        earlier.push(after(300, 900));
        assert!((12..=14).contains(&seconds(0, &earlier)), "{}", seconds(0, &earlier));
        assert_eq!(estimate(0, &earlier).from_moves, 5);
    }

    /// DBS-33: moves of one size tell the base; the pace stays assumed.
    #[test]
    fn moves_of_one_size_say_nothing_about_another() {
        let earlier = [after(8, 6), after(9, 6), after(8, 7)];
        assert_eq!(estimate(8 * MIB, &earlier).seconds, 8);
        let large = estimate(1024 * MIB, &earlier).seconds;
        assert!((15..=25).contains(&large), "{large}");
    }
}
