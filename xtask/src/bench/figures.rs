//! Series of measurements and how they are shown.

use std::time::Duration;

use crate::shell;

/// What was measured in several runs, in one unit.
#[derive(Clone, Debug, Default)]
pub struct Series(Vec<f64>);

impl Series {
    /// No runs yet.
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// The same in another unit, `factor` of which are one of this.
    pub fn scaled(&self, factor: f64) -> Self {
        Self(self.0.iter().map(|value| value * factor).collect())
    }

    /// Adds a run.
    pub fn push(&mut self, value: f64) {
        self.0.push(value);
    }

    /// Adds a run by its time, in seconds.
    pub fn push_time(&mut self, time: Duration) {
        self.push(time.as_secs_f64());
    }

    /// The middle of all runs; the lower one of two.
    pub fn median(&self) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        sorted.get(sorted.len().saturating_sub(1) / 2).copied().unwrap_or(f64::NAN)
    }

    /// The smallest run.
    pub fn min(&self) -> f64 {
        self.0.iter().copied().fold(f64::NAN, f64::min)
    }

    /// The largest run.
    pub fn max(&self) -> f64 {
        self.0.iter().copied().fold(f64::NAN, f64::max)
    }
}

/// Prints the head of a table.
pub fn title(what: &str, first: &str, second: &str) {
    shell::say(&format!("\n{what:<46} {first:>10} {second:>10}"));
}

/// One line of a table: what, the best and the median of its runs, and their unit.
pub fn row(what: &str, best: f64, series: &Series, unit: &str) -> String {
    format!("  {what:<44} {best:>10.2} {:>10.2}  {unit}", series.median())
}

/// A ratio of medians beside its goal.
pub fn ratio(what: &str, value: f64, goal: &str, met: bool) -> String {
    let verdict = if met { "met" } else { "missed" };
    format!("  {what:<44} {value:>21.3}  goal {goal}: {verdict}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_run_counts() {
        let mut series = Series::default();
        for value in [5.0, 1.0, 9.0, 2.0] {
            series.push(value);
        }
        assert_eq!((series.min(), series.median(), series.max()), (1.0, 2.0, 9.0));
    }
}
