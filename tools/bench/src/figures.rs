//! Figures: named numbers with units, as a table for people and as JSON for programs.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use serde::Serialize;

/// One number.
#[derive(Debug, Serialize)]
pub struct Figure {
    name: String,
    value: f64,
    unit: &'static str,
    /// What it should be, where there is an aim.
    #[serde(skip_serializing_if = "Option::is_none")]
    aim: Option<&'static str>,
}

/// All numbers of a run.
#[derive(Debug, Serialize)]
pub struct Figures {
    benchmark: &'static str,
    figures: Vec<Figure>,
}

impl Figures {
    /// None yet.
    pub fn new(benchmark: &'static str) -> Self {
        Self { benchmark, figures: Vec::new() }
    }

    /// Adds one and says it at once.
    pub fn add(
        &mut self,
        name: impl Into<String>,
        value: f64,
        unit: &'static str,
        aim: Option<&'static str>,
    ) {
        let figure = Figure { name: name.into(), value, unit, aim };
        say(&line(&figure));
        self.figures.push(figure);
    }

    /// Adds p50 and p99 of some times.
    pub fn add_times(&mut self, name: &str, times: &[Duration], aims: [Option<&'static str>; 2]) {
        let [p50, p99] = [0.50, 0.99].map(|share| percentile(times, share).as_secs_f64() * 1000.0);
        self.add(format!("{name}, p50"), p50, "ms", aims[0]);
        self.add(format!("{name}, p99"), p99, "ms", aims[1]);
    }

    /// The whole table.
    pub fn print(&self) {
        say("");
        for figure in &self.figures {
            say(&line(figure));
        }
    }

    /// Writes the JSON; its path.
    pub fn write(&self, folder: &Path) -> anyhow::Result<PathBuf> {
        std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let path = folder.join(format!("{}.json", self.benchmark));
        std::fs::write(&path, serde_json::to_string_pretty(self)?)?;
        Ok(path)
    }
}

fn line(figure: &Figure) -> String {
    let aim = figure.aim.map(|aim| format!("  (aim {aim})")).unwrap_or_default();
    format!("{:<64} {:>10.2} {}{aim}", figure.name, figure.value, figure.unit)
}

/// The time that `share` of all stay below; nearest rank.
pub fn percentile(times: &[Duration], share: f64) -> Duration {
    let mut sorted = times.to_vec();
    sorted.sort_unstable();
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a rank among some thousands"
    )]
    let rank = ((sorted.len() as f64 * share).ceil() as usize).clamp(1, sorted.len().max(1)) - 1;
    sorted.get(rank).copied().unwrap_or_default()
}

/// A line for people.
#[expect(clippy::print_stdout, reason = "a benchmark prints its figures")]
pub fn say(text: &str) {
    println!("{text}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_nearest_ranks() {
        let times: Vec<Duration> = (1..=100).rev().map(Duration::from_millis).collect();
        assert_eq!(percentile(&times, 0.50), Duration::from_millis(50));
        assert_eq!(percentile(&times, 0.99), Duration::from_millis(99));
        assert_eq!(percentile(&times[..1], 0.50), Duration::from_millis(100));
        assert_eq!(percentile(&[], 0.50), Duration::ZERO);
    }
}
