//! How a side of a comparison is called: `NAMESPACE/NAME@REVISION:PATH`.

use std::fmt;
use std::str::FromStr;

use crate::revision::MAIN;
use crate::{Error, RepoKind, names};

/// Longest name that is read, in bytes.
const MAX_BYTES: usize = 4_096;

/// A checkpoint of this hub, by name: `[datasets/]ID[@REVISION][:PATH]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SideName {
    /// Model or dataset.
    pub kind: RepoKind,
    /// Id of the repository.
    pub id: String,
    /// Branch, tag or commit.
    pub revision: String,
    /// Folder or file; empty for all files.
    pub path: String,
}

impl FromStr for SideName {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        if text.len() > MAX_BYTES || text.chars().any(char::is_control) {
            return Err(Error::Malformed("a side of a comparison is a short line of text".to_owned()));
        }
        // Neither an id nor a revision has a colon, and an id no at sign; a path may have both.
        let (place, path) = text.split_once(':').unwrap_or((text, ""));
        let (id, revision) = place.split_once('@').unwrap_or((place, MAIN));
        let (kind, id) = names::kind_and_id(id);
        names::check_repo_id(id)?;
        let revision = if revision.is_empty() { MAIN } else { revision };
        Ok(Self { kind, id: id.to_owned(), revision: revision.to_owned(), path: path.trim_matches('/').to_owned() })
    }
}

impl fmt::Display for SideName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let prefix = if self.kind == RepoKind::Dataset { "datasets/" } else { "" };
        write!(f, "{prefix}{}@{}", self.id, self.revision)?;
        if self.path.is_empty() { Ok(()) } else { write!(f, ":{}", self.path) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_read_as_it_is_written() {
        for (text, written) in [
            ("ada/m", "ada/m@main"),
            ("ada/m@v1.0", "ada/m@v1.0"),
            ("gpt2@refs/pr/1:a/b.bin", "gpt2@refs/pr/1:a/b.bin"),
            ("datasets/ada/d@main:/x@y:z/", "datasets/ada/d@main:x@y:z"),
            ("ada/m:x", "ada/m@main:x"),
            ("ada/m@:x", "ada/m@main:x"),
        ] {
            let name: SideName = text.parse().unwrap();
            assert_eq!(name.to_string(), written);
            assert_eq!(written.parse::<SideName>().unwrap(), name);
        }
        for wrong in ["", "@main", "a/b/c", "a b", "../x", "ada/m\n", &"x".repeat(5_000)] {
            assert!(wrong.parse::<SideName>().is_err(), "{wrong:?}");
        }
    }
}
