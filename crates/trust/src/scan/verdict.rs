//! How bad it is, and how sure we are.

use serde::{Deserialize, Serialize};

use crate::words::words;

words! {
    /// The verdict on a part, a file, or a repository; the verdict on a whole is that on its worst part.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
    #[serde(rename_all = "lowercase")]
    #[non_exhaustive]
    pub enum Verdict {
        /// Only builds data, by everything that was seen; all of it was seen.
        #[default]
        Safe = "safe",
        /// Runs code that a user must ask for, or is worth a look.
        Caution = "caution",
        /// Names something that is not known, hides something, or is odd as an attack would be.
        Suspicious = "suspicious",
        /// Could not be looked at as a whole: damaged, beyond a limit, of a kind that is not read.
        Error = "error",
        /// Runs a program, or reads or writes files, or speaks to the network.
        Unsafe = "unsafe",
    }
}

words! {
    /// How grave a finding is by itself.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
    #[serde(rename_all = "lowercase")]
    #[non_exhaustive]
    pub enum Severity {
        /// Worth knowing.
        Info = "info",
        /// Worth a look.
        Low = "low",
        /// Odd, or not known.
        Medium = "medium",
        /// Reads or writes files, or cannot be looked at.
        High = "high",
        /// Runs a program.
        Critical = "critical",
    }
}

impl Severity {
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

words! {
    /// How sure a finding is.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
    #[serde(rename_all = "lowercase")]
    #[non_exhaustive]
    pub enum Confidence {
        /// It may be something else.
        Possible = "possible",
        /// Rarely anything else.
        Likely = "likely",
        /// It stands there.
        Certain = "certain",
    }
}
