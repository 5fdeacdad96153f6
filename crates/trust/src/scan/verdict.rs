//! How bad it is, and how sure we are.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The verdict on a part, a file, or a repository; the verdict on a whole is that on its worst part.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Verdict {
    /// Only builds data, by everything that was seen; all of it was seen.
    #[default]
    Safe,
    /// Runs code that a user must ask for, or is worth a look.
    Caution,
    /// Names something that is not known, hides something, or is odd as an attack would be.
    Suspicious,
    /// Could not be looked at as a whole: damaged, beyond a limit, of a kind that is not read.
    Error,
    /// Runs a program, or reads or writes files, or speaks to the network.
    Unsafe,
}

impl Verdict {
    /// All of them, the best first.
    pub const ALL: [Self; 5] = [Self::Safe, Self::Caution, Self::Suspicious, Self::Error, Self::Unsafe];

    /// The spelling in our output and in that of the Hub.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Safe => "safe",
            Self::Caution => "caution",
            Self::Suspicious => "suspicious",
            Self::Error => "error",
            Self::Unsafe => "unsafe",
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Verdict {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|verdict| verdict.as_str() == text);
        found.ok_or_else(|| format!("`{text}` is none of {}", Self::ALL.map(Self::as_str).join(", ")))
    }
}

/// How grave a finding is by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Severity {
    /// Worth knowing.
    Info,
    /// Worth a look.
    Low,
    /// Odd, or not known.
    Medium,
    /// Reads or writes files, or cannot be looked at.
    High,
    /// Runs a program.
    Critical,
}

impl Severity {
    /// The spelling in our output.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
            Self::Critical => "critical",
        }
    }

    /// What a verdict weighs unless a finding says otherwise.
    #[must_use]
    pub const fn of(verdict: Verdict) -> Self {
        match verdict {
            Verdict::Safe => Self::Info,
            Verdict::Caution => Self::Low,
            Verdict::Suspicious => Self::Medium,
            Verdict::Error => Self::High,
            Verdict::Unsafe => Self::Critical,
        }
    }
}

/// How sure a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Confidence {
    /// It may be something else.
    Possible,
    /// Rarely anything else.
    Likely,
    /// It stands there.
    Certain,
}

impl Confidence {
    /// The spelling in our output.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Possible => "possible",
            Self::Likely => "likely",
            Self::Certain => "certain",
        }
    }
}
