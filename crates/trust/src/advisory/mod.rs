//! Advisories: what is known to be wrong with files that exist, and which stored revisions it concerns.
//!
//! ```text
//!   feed (JSON, from anyone) ─► parse: bounded, every word checked ─► Advisory
//!                                                                       │
//!   files, tensors, configurations of a revision ─► Subject ─► Index ───┴─► Match: advisory, evidence
//! ```
//! A scan tells what a file can do; an advisory tells what somebody found out about it. Nothing here fetches a feed or
//! knows the time: a feed is bytes, and an advisory that was withdrawn says so itself.

mod condition;
mod feed;
mod index;
#[cfg(test)]
mod tests;
mod version;

use serde::{Deserialize, Serialize};

pub use condition::{Condition, Test};
pub use feed::{FeedError, MAX_FEED_BYTES, parse};
pub use index::{Config, Evidence, FileFact, Index, Match, Subject, config};
pub use version::{Range, Version};

use crate::scan::Severity;

/// Schema of an advisory.
pub const SCHEMA: &str = "weighthouse.advisory/1";

/// Something that is known to be wrong.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Advisory {
    /// Always [`SCHEMA`].
    pub schema: &'static str,
    /// Unique name, such as `LAB-2026-0007`.
    pub id: String,
    /// One sentence.
    pub summary: String,
    /// The rest; may be empty.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub details: String,
    /// How grave it is.
    pub severity: Severity,
    /// What to do, such as `use transformers 5.3 or later`; may be empty.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub remedy: String,
    /// Names of the same elsewhere, such as CVE numbers.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub aliases: Vec<String>,
    /// Where to read more: `https` and `http` addresses.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub references: Vec<String>,
    /// What it is about: a revision is concerned when any of them fits.
    pub affected: Vec<Affected>,
    /// When it was published, in UTC, as `2026-11-26T08:00:00Z`.
    pub published: String,
    /// When it was changed last.
    pub modified: String,
    /// When it was withdrawn; one that was matches nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub withdrawn: Option<String>,
}

/// What an advisory is about.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
#[non_exhaustive]
pub enum Affected {
    /// A file, by the SHA-256 of its bytes.
    File {
        /// 64 hexadecimal digits.
        sha256: String,
    },
    /// A tensor in any file, by the SHA-256 of its elements, row-major and little-endian.
    Tensor {
        /// 64 hexadecimal digits.
        sha256: String,
    },
    /// A repository, or some of its commits.
    Repository {
        /// `NAMESPACE/NAME`, without regard to case; datasets as `datasets/NAMESPACE/NAME`.
        id: String,
        /// Commits, by their full ids; all of them when there are none.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        commits: Vec<String>,
    },
    /// What is read in a revision: all that is given must fit.
    Facts {
        /// One of these formats must occur, such as `keras` or `gguf`; any when there are none.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        formats: Vec<String>,
        /// What configurations say.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        config: Vec<Condition>,
    },
}

impl Advisory {
    /// Whether it still stands.
    #[must_use]
    pub const fn is_standing(&self) -> bool {
        self.withdrawn.is_none()
    }
}
