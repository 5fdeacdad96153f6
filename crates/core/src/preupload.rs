//! How a file should travel: inside the commit, or on its own by Git LFS or Xet.

use ignore::Match;
use ignore::gitignore::{Gitignore, GitignoreBuilder};

use crate::revision::Revision;
use crate::{Error, Hub, names};

pub(crate) const ATTRIBUTES: &str = ".gitattributes";
const IGNORE: &str = ".gitignore";

/// Files above this size never travel inside a commit, whatever they contain.
const MAX_INLINE_BYTES: u64 = 10 << 20;
/// A space in a pattern of `.gitattributes`, where a plain one would end the pattern.
const SPACE: &str = "[[:space:]]";
/// Longest `.gitattributes` and `.gitignore` that are looked at, in bytes.
const MAX_RULES_BYTES: usize = 1 << 20;
/// Rules of one file that are looked at.
const MAX_RULES: usize = 10_000;

/// A file that is about to be uploaded.
#[derive(Debug, Clone)]
pub struct Candidate {
    /// Path in the repository.
    pub path: String,
    /// Length in bytes.
    pub size_bytes: u64,
    /// Its first bytes, 512 at most.
    pub sample: Vec<u8>,
}

/// What to do with a candidate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Advice {
    /// Path as it was given.
    pub path: String,
    /// Send it on its own.
    pub lfs: bool,
    /// Leave it out.
    pub ignore: bool,
    /// Identity of what is at the path already: SHA-256 of an LFS file, git id of any other.
    pub present: Option<String>,
}

/// Which paths `.gitattributes` gives to LFS.
#[derive(Debug)]
pub(crate) struct LfsRules(Gitignore);

impl LfsRules {
    /// Reads the rules; lines that make no sense are skipped, as git does.
    pub(crate) fn parse(text: &[u8]) -> Self {
        let lines = text_lines(text).into_iter().filter_map(|line| {
            let (pattern, attributes) = split_pattern(line)?;
            let filter = attributes
                .split_whitespace()
                .rfind(|a| a.trim_start_matches(['-', '!']).split('=').next() == Some("filter"))?;
            // The matcher has no character classes by name; this one git itself writes.
            let pattern = pattern.replace(SPACE, "\\ ");
            Some(if filter == "filter=lfs" { pattern } else { format!("!{pattern}") })
        });
        Self(matcher(lines.collect()))
    }

    pub(crate) fn matches(&self, path: &str) -> bool {
        matches!(self.0.matched(path, false), Match::Ignore(_))
    }

    /// The line that gives exactly one path to LFS.
    pub(crate) fn line_for(path: &str) -> String {
        let mut pattern = String::new();
        for c in path.chars() {
            match c {
                '*' | '?' | '[' | ']' => {
                    pattern.push('\\');
                    pattern.push(c);
                }
                ' ' => pattern.push_str(SPACE),
                c => pattern.push(c),
            }
        }
        if pattern.starts_with(['#', '!', '"']) {
            pattern.insert(0, '/');
        }
        format!("{pattern} filter=lfs diff=lfs merge=lfs -text\n")
    }
}

impl Hub {
    /// Says for each file how it should travel.
    ///
    /// - `ignore`, `attributes`: text of a `.gitignore` and a `.gitattributes` that come with the same commit
    ///
    /// # Errors
    /// [`Error::IllegalPath`] for the first path that no commit would take.
    pub async fn advise(
        &self,
        revision: &Revision,
        files: Vec<Candidate>,
        ignore: Option<&str>,
        attributes: Option<&str>,
    ) -> Result<Vec<Advice>, Error> {
        let stored = async |name: &str| -> Result<Vec<u8>, Error> {
            match self.file(revision, "", name).await {
                Ok(file) => Ok(self.read_small(&file, MAX_RULES_BYTES as u64).await?.unwrap_or_default()),
                Err(Error::EntryNotFound { .. }) => Ok(Vec::new()),
                Err(error) => Err(error),
            }
        };
        let rules = match attributes {
            Some(text) => LfsRules::parse(text.as_bytes()),
            None => LfsRules::parse(&stored(ATTRIBUTES).await?),
        };
        let mut ignored: Vec<String> = text_lines(&stored(IGNORE).await?).into_iter().map(str::to_owned).collect();
        ignored.extend(text_lines(ignore.unwrap_or_default().as_bytes()).into_iter().map(str::to_owned));
        let ignored = matcher(ignored);
        let mut advice = Vec::with_capacity(files.len());
        for file in files {
            names::check_path(&file.path)?;
            let present = match self.file(revision, "", &file.path).await {
                Ok(record) => Some(record.etag()),
                Err(Error::EntryNotFound { .. }) => None,
                Err(error) => return Err(error),
            };
            let lfs = file.size_bytes > 0
                && (rules.matches(&file.path)
                    || file.size_bytes > MAX_INLINE_BYTES.min(self.options().max_regular_bytes)
                    || is_binary(&file.sample));
            let ignore = matches!(ignored.matched_path_or_any_parents(&file.path, false), Match::Ignore(_));
            advice.push(Advice { path: file.path, lfs, ignore, present });
        }
        Ok(advice)
    }
}

/// Whether the beginning of a file is not text: a NUL byte, or no UTF-8 (a character cut off at the end aside).
pub fn is_binary(sample: &[u8]) -> bool {
    sample.contains(&0) || std::str::from_utf8(sample).is_err_and(|e| e.error_len().is_some())
}

fn text_lines(text: &[u8]) -> Vec<&str> {
    let text = text.get(..MAX_RULES_BYTES).unwrap_or(text);
    let lines = text.split(|&b| b == b'\n').filter_map(|line| std::str::from_utf8(line).ok());
    lines
        .map(|line| line.trim_end_matches('\r'))
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .take(MAX_RULES)
        .collect()
}

/// Splits a line of `.gitattributes` into its pattern, unquoted, and its attributes.
fn split_pattern(line: &str) -> Option<(String, &str)> {
    let line = line.trim_start();
    if let Some(quoted) = line.strip_prefix('"') {
        let mut pattern = String::new();
        let mut chars = quoted.char_indices();
        while let Some((at, c)) = chars.next() {
            match c {
                '"' => return Some((pattern, quoted.get(at + 1..)?)),
                '\\' => pattern.push(chars.next()?.1),
                c => pattern.push(c),
            }
        }
        return None;
    }
    let end = line.find(char::is_whitespace)?;
    Some((line.get(..end)?.to_owned(), line.get(end..)?))
}

fn matcher(patterns: Vec<String>) -> Gitignore {
    let mut builder = GitignoreBuilder::new("");
    for pattern in patterns {
        // A pattern that cannot be understood matches nothing.
        let _ = builder.add_line(None, &pattern);
    }
    builder.build().unwrap_or_else(|_| Gitignore::empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_last_rule_for_a_path_wins() {
        let rules = LfsRules::parse(
            b"# comment\n*.bin filter=lfs diff=lfs merge=lfs -text\nsaved/**/* filter=lfs\nsmall.bin -filter\n\"a b.dat\" filter=lfs\n*.txt text\n",
        );
        for path in ["a.bin", "x/y/z.bin", "saved/a", "saved/a/b", "a b.dat"] {
            assert!(rules.matches(path), "{path}");
        }
        for path in ["small.bin", "x/small.bin", "a.txt", "a.bin.txt", "saved"] {
            assert!(!rules.matches(path), "{path}");
        }
    }

    #[test]
    fn binary_is_what_is_not_text() {
        assert!(is_binary(b"a\0b") && is_binary(&[0xff, 0xfe, 65]));
        assert!(!is_binary("grüße".as_bytes()));
        assert!(!is_binary(&"ü".as_bytes()[..1]), "a character cut off at the end of the sample");
    }

    proptest! {
        #[test]
        fn a_line_for_a_path_matches_that_path(path in "[a-z *?\\[\\]#!\"ü-]{1,8}(/[a-z *?#!-]{1,6}){0,2}") {
            prop_assume!(crate::names::check_path(&path).is_ok());
            let rules = LfsRules::parse(LfsRules::line_for(&path).as_bytes());
            prop_assert!(rules.matches(&path), "{}", LfsRules::line_for(&path));
        }

        #[test]
        fn any_rules_are_read_without_panic(text: Vec<u8>, path in "\\PC{1,20}") {
            let _ = LfsRules::parse(&text).matches(&path);
        }
    }
}
