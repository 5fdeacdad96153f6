//! What could not be done, a line each.

use std::path::Path;

use serde::Serialize;

/// Lines that are kept; beyond them they are only counted.
const KEPT: usize = 1_000;

/// Something that was left out, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// The file or folder.
    pub path: String,
    /// Sentence fragment, lower case, no full stop.
    pub message: String,
}

/// All that was left out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Problems {
    /// The first thousand.
    pub lines: Vec<Problem>,
    /// How many there are in all.
    pub count: u64,
}

impl Problems {
    /// Adds a line.
    pub fn add(&mut self, path: &Path, message: impl Into<String>) {
        self.count += 1;
        if self.lines.len() < KEPT {
            self.lines.push(Problem { path: path.display().to_string(), message: message.into() });
        }
    }

    /// Adds those of another list.
    pub fn extend(&mut self, other: Self) {
        self.count += other.count;
        let room = KEPT.saturating_sub(self.lines.len());
        self.lines.extend(other.lines.into_iter().take(room));
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }
}
