//! Sums of passed and failed tests, read from the closing lines of the runners.

use std::fmt;
use std::ops::AddAssign;

/// How many tests passed, and how many did not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Tests that ran and passed.
    pub passed: u64,
    /// Tests that failed, broke, or ran out of time; a runner that broke counts as one.
    pub failed: u64,
}

impl Tally {
    /// What a runner says: `succeeded` is its exit status, `text` what it printed.
    pub fn of(succeeded: bool, text: &str) -> Self {
        let mut tally = Self::default();
        for line in text.lines().filter(|line| closes(line)) {
            tally.passed += count(line, "passed");
            tally.failed += ["failed", "errors", "error", "timed"].iter().map(|word| count(line, word)).sum::<u64>();
        }
        if !succeeded && tally.failed == 0 {
            tally.failed = 1;
        }
        tally
    }
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} passed, {} failed", self.passed, self.failed)
    }
}

/// Whether a line is the last word of nextest, `cargo test` or pytest. What nextest repeats of a failed test is indented.
fn closes(line: &str) -> bool {
    let line = line.trim_end();
    let pytest = line.starts_with("==") && line.ends_with("==") && line.contains(" in ");
    line.trim_start().starts_with("Summary [") || line.starts_with("test result: ") || pytest
}

/// The number that stands before `word`, or 0.
fn count(line: &str, word: &str) -> u64 {
    let words: Vec<&str> = line.split([' ', ',', ';']).filter(|word| !word.is_empty()).collect();
    words.windows(2).find(|pair| pair[1] == word).and_then(|pair| pair[0].parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_runner_is_understood() {
        for (text, passed, failed) in [
            ("     Summary [   0.006s] 7 tests run: 4 passed (1 slow), 2 failed, 1 timed out, 3 skipped", 4, 3),
            ("    test result: FAILED. 0 passed; 1 failed;\n  Summary [ 1s] 2 tests run: 1 passed, 1 failed", 1, 1),
            ("test result: ok. 3 passed; 0 failed; 1 ignored\n\ntest result: ok. 2 passed; 0 failed;", 5, 0),
            ("=== 1 failed, 12 passed, 3 skipped, 2 errors in 4.20s ===", 12, 3),
            ("= test session starts =\nsome test says 9 failed", 0, 0),
        ] {
            assert_eq!(Tally::of(true, text), Tally { passed, failed }, "{text}");
        }
    }

    #[test]
    fn a_runner_that_breaks_is_a_failure() {
        assert_eq!(Tally::of(false, "error: could not compile"), Tally { passed: 0, failed: 1 });
    }
}
