//! Versions of libraries as their makers write them, and ranges of them.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

/// Most numbers of a version.
const MAX_NUMBERS: usize = 8;
/// Longest text of a version or a range, in bytes.
const MAX_BYTES: usize = 128;

/// A version: numbers, and whether it came before the release of that name.
///
/// `5.3`, `5.3.0` and `5.3.0+cu121` are the same; `5.3.0.dev0` and `5.3.0rc1` are earlier, `5.3.0.post1` is later.
#[derive(Clone, Debug, Eq)]
pub struct Version {
    numbers: Vec<u64>,
    /// Below 0 before the release, above 0 after it.
    stage: i8,
}

impl Version {
    fn number(&self, at: usize) -> u64 {
        self.numbers.get(at).copied().unwrap_or(0)
    }
}

impl Ord for Version {
    fn cmp(&self, other: &Self) -> Ordering {
        let most = self.numbers.len().max(other.numbers.len());
        let numbers = (0..most).map(|at| self.number(at).cmp(&other.number(at)));
        numbers.fold(Ordering::Equal, Ordering::then).then(self.stage.cmp(&other.stage))
    }
}

impl PartialOrd for Version {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Version {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl FromStr for Version {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{}` is no version", text.chars().take(40).collect::<String>().escape_debug());
        let text = text.trim();
        if text.len() > MAX_BYTES {
            return Err(wrong());
        }
        let rest = text.strip_prefix(['v', 'V']).unwrap_or(text);
        let (rest, _) = rest.split_once('+').unwrap_or((rest, ""));
        let end = rest.bytes().position(|byte| !byte.is_ascii_digit() && byte != b'.').unwrap_or(rest.len());
        let (numbers, suffix) = rest.split_at_checked(end).ok_or_else(wrong)?;
        let numbers: Vec<u64> = numbers
            .trim_end_matches('.')
            .split('.')
            .map(|number| number.parse().map_err(|_| wrong()))
            .collect::<Result<_, _>>()?;
        if numbers.len() > MAX_NUMBERS {
            return Err(wrong());
        }
        let word: String = suffix
            .trim_start_matches(['-', '_', '.'])
            .chars()
            .take_while(char::is_ascii_alphabetic)
            .map(|letter| letter.to_ascii_lowercase())
            .collect();
        let stage = match word.as_str() {
            "" if suffix.is_empty() => 0,
            "dev" => -4,
            "a" | "alpha" => -3,
            "b" | "beta" => -2,
            "rc" | "c" | "pre" | "preview" => -1,
            "post" | "rev" | "r" => 1,
            _ => return Err(wrong()),
        };
        Ok(Self { numbers, stage })
    }
}

/// A range such as `>=4.56, <5.3`: all of its comparisons must hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Range {
    text: String,
    bounds: Vec<(Comparison, Version)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Comparison {
    Less,
    AtMost,
    Equal,
    Other,
    AtLeast,
    More,
}

impl Comparison {
    const ALL: [(&'static str, Self); 6] = [
        ("<=", Self::AtMost),
        (">=", Self::AtLeast),
        ("==", Self::Equal),
        ("!=", Self::Other),
        ("<", Self::Less),
        (">", Self::More),
    ];
}

impl Range {
    /// Whether a version lies in it.
    #[must_use]
    pub fn has(&self, version: &Version) -> bool {
        self.bounds.iter().all(|(comparison, bound)| match comparison {
            Comparison::Less => version < bound,
            Comparison::AtMost => version <= bound,
            Comparison::Equal => version == bound,
            Comparison::Other => version != bound,
            Comparison::AtLeast => version >= bound,
            Comparison::More => version > bound,
        })
    }
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for Range {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.len() > MAX_BYTES {
            return Err("a range of versions is too long".to_owned());
        }
        let mut bounds = Vec::new();
        for part in text.split(',').map(str::trim) {
            let found =
                Comparison::ALL.iter().find_map(|(sign, comparison)| Some((part.strip_prefix(sign)?, *comparison)));
            let (version, comparison) =
                found.ok_or_else(|| format!("`{}` begins with none of < <= == != >= >", part.escape_debug()))?;
            bounds.push((comparison, version.parse()?));
        }
        Ok(Self { text: text.to_owned(), bounds })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_stand_in_the_order_of_their_releases() {
        let ordered =
            ["0.9", "4.56.0.dev0", "4.56.0a1", "4.56.0b2", "4.56.0rc1", "4.56", "4.56.0.post1", "4.56.1", "5", "10.0"];
        for (one, other) in ordered.iter().zip(&ordered[1..]) {
            assert!(one.parse::<Version>().unwrap() < other.parse().unwrap(), "{one} < {other}");
        }
        for (one, other) in [("5.3", "5.3.0"), ("2.4.0+cu121", "2.4"), ("v1.0", "1"), ("1.", "1")] {
            assert_eq!(one.parse::<Version>().unwrap(), other.parse().unwrap());
        }
        let long = "1.".repeat(60);
        for wrong in ["", "x", "1.x", "..", "1..2", "99999999999999999999", "1.0-evil", "1\u{0661}", long.as_str()] {
            assert!(wrong.parse::<Version>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_range_holds_what_all_its_bounds_hold() {
        let range: Range = ">=4.56, <5.3".parse().unwrap();
        for (version, held) in
            [("4.55.9", false), ("4.56", true), ("5.2.9", true), ("5.3.0.dev0", true), ("5.3", false)]
        {
            assert_eq!(range.has(&version.parse().unwrap()), held, "{version}");
        }
        assert!("!=1".parse::<Range>().unwrap().has(&"2".parse().unwrap()));
        for wrong in ["", "1.0", ">=", ">=1,", "=>1", "~=1.2"] {
            assert!(wrong.parse::<Range>().is_err(), "{wrong}");
        }
    }
}
