//! Repack: stored files are coded anew in the background, with what is known of their tensors.
//!
//! ```text
//!   read a commit ─► job ─► Planner ─► batches of RecodeSource ─► Store::recode ─► one transaction for each pack
//!                           map: where elements lie               (verified before it serves)
//!                           plan/choice, search, sample: given which base
//! ```
//! A plan costs compression when it is wrong, never bytes: the store codes what it is told, reads it back, and compares
//! every chunk with its hash before anything is served from it. Users see none of this but the room that it saves.
//! What is said to them is in `docs/reference/storage.md`.

mod known;
mod map;
mod plan;
mod rebase;
mod sample;
mod search;
mod shared;
mod side;
mod status;
#[cfg(test)]
mod tests;
mod work;

use std::fmt;
use std::str::FromStr;

pub use weighthouse_store::blob::codec::Level;

pub use status::{CodecBytes, RepackProgress, RepackStatus, RepackTrouble};

/// What the hub does with stored files in the background.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum RepackPolicy {
    /// Nothing: files stay as they arrived.
    Off,
    /// Files are coded by themselves.
    Light,
    /// Files are also coded as differences to others.
    #[default]
    Full,
}

impl RepackPolicy {
    const ALL: [Self; 3] = [Self::Off, Self::Light, Self::Full];

    /// The spelling in settings.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Light => "light",
            Self::Full => "full",
        }
    }
}

impl fmt::Display for RepackPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for RepackPolicy {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|policy| policy.as_str() == text);
        found.ok_or_else(|| "it must be `off`, `light` or `full`".to_owned())
    }
}
