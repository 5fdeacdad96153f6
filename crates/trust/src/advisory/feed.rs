//! A feed: bytes from anyone, read within bounds, and refused as a whole when anything in it is wrong.

use std::collections::HashSet;

use serde::Deserialize;
use serde_json::Value;

use super::{Advisory, Affected, SCHEMA};
use crate::scan::Severity;

/// Longest feed, in bytes.
pub const MAX_FEED_BYTES: u64 = 64 << 20;
/// Most advisories of a feed.
const MAX_ADVISORIES: usize = 100_000;
/// Most things that one advisory is about.
const MAX_AFFECTED: usize = 10_000;
/// Most things that a feed is about.
const MAX_AFFECTED_IN_ALL: usize = 1_000_000;
/// Most aliases, references, commits, formats, conditions of one entry.
const MAX_LIST: usize = 100;
/// Longest line of text, in bytes.
const MAX_LINE: usize = 500;
/// Longest text, in bytes.
const MAX_TEXT: usize = 20_000;

/// What is wrong with a feed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FeedError {
    /// Which advisory: its number, from 1, and its id as far as it has one.
    pub at: Option<(usize, String)>,
    /// A sentence fragment.
    pub what: String,
}

impl std::fmt::Display for FeedError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.at {
            Some((number, id)) if id.is_empty() => write!(f, "advisory {number}: {}", self.what),
            Some((number, id)) => write!(f, "advisory {number}, `{id}`: {}", self.what),
            None => f.write_str(&self.what),
        }
    }
}

impl std::error::Error for FeedError {}

/// An advisory as it stands in a feed, before any of it is believed.
#[derive(Deserialize)]
struct Raw {
    schema: String,
    id: String,
    summary: String,
    #[serde(default)]
    details: String,
    severity: Severity,
    #[serde(default)]
    remedy: String,
    #[serde(default)]
    aliases: Vec<String>,
    #[serde(default)]
    references: Vec<String>,
    affected: Vec<Affected>,
    published: String,
    modified: Option<String>,
    withdrawn: Option<String>,
}

/// Reads a feed: one advisory, a list of them, or an object with a list called `advisories`.
///
/// # Errors
/// [`FeedError`] when anything in it is wrong: a feed is taken as a whole or not at all.
pub fn parse(bytes: &[u8]) -> Result<Vec<Advisory>, FeedError> {
    let whole = |what: String| FeedError { at: None, what };
    if bytes.len() as u64 > MAX_FEED_BYTES {
        return Err(whole(format!("it has {} bytes; the limit is {MAX_FEED_BYTES}", bytes.len())));
    }
    let document: Value = serde_json::from_slice(bytes).map_err(|error| whole(format!("it is no JSON: {error}")))?;
    let list = match document {
        Value::Array(list) => list,
        Value::Object(mut map) => match map.remove("advisories") {
            Some(Value::Array(list)) => list,
            Some(_) => return Err(whole("`advisories` is no list".to_owned())),
            None => vec![Value::Object(map)],
        },
        _ => return Err(whole("it is neither an advisory nor a list of them".to_owned())),
    };
    if list.len() > MAX_ADVISORIES {
        return Err(whole(format!("it has {} advisories; the limit is {MAX_ADVISORIES}", list.len())));
    }
    let mut ids = HashSet::new();
    let mut affected = 0usize;
    let mut out = Vec::with_capacity(list.len());
    for (number, value) in list.into_iter().enumerate() {
        let id = value.get("id").and_then(Value::as_str).unwrap_or_default();
        let id: String = id.chars().take(64).filter(|c| !c.is_control()).collect();
        let advisory = one(value).map_err(|what| FeedError { at: Some((number + 1, id)), what })?;
        affected = affected.saturating_add(advisory.affected.len());
        if affected > MAX_AFFECTED_IN_ALL {
            return Err(whole(format!("it names more than {MAX_AFFECTED_IN_ALL} things")));
        }
        if !ids.insert(advisory.id.clone()) {
            return Err(whole(format!("two advisories are called `{}`", advisory.id)));
        }
        out.push(advisory);
    }
    Ok(out)
}

fn one(value: Value) -> Result<Advisory, String> {
    let raw: Raw = serde_json::from_value(value).map_err(|error| error.to_string())?;
    if raw.schema != SCHEMA {
        return Err(format!("`schema` is not `{SCHEMA}`"));
    }
    let id_fits = raw.id.len() <= 64
        && raw.id.starts_with(|c: char| c.is_ascii_alphanumeric())
        && raw.id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.:".contains(&byte));
    if !id_fits {
        return Err("`id` is not up to 64 letters, digits and -_.:".to_owned());
    }
    line("summary", &raw.summary, MAX_LINE)?;
    if raw.summary.is_empty() {
        return Err("`summary` is empty".to_owned());
    }
    line("remedy", &raw.remedy, MAX_LINE)?;
    if raw.details.len() > MAX_TEXT || raw.details.contains(|c: char| c.is_control() && c != '\n' && c != '\t') {
        return Err("`details` is too long, or has control characters".to_owned());
    }
    for (name, list) in [("aliases", &raw.aliases), ("references", &raw.references)] {
        if list.len() > MAX_LIST {
            return Err(format!("`{name}` has more than {MAX_LIST} entries"));
        }
        list.iter().try_for_each(|text| line(name, text, 2048))?;
    }
    // They become links on pages.
    let web = |text: &&String| !text.starts_with("https://") && !text.starts_with("http://");
    if let Some(odd) = raw.references.iter().find(web) {
        return Err(format!("reference `{}` is no web address", odd.escape_debug()));
    }
    let modified = raw.modified.unwrap_or_else(|| raw.published.clone());
    for time in [Some(&raw.published), Some(&modified), raw.withdrawn.as_ref()].into_iter().flatten() {
        if !is_time(time) {
            return Err(format!("`{}` is no time such as 2026-11-26T08:00:00Z", time.escape_debug()));
        }
    }
    if raw.affected.is_empty() || raw.affected.len() > MAX_AFFECTED {
        return Err(format!("`affected` has not between 1 and {MAX_AFFECTED} entries"));
    }
    let affected = raw.affected.into_iter().map(checked).collect::<Result<_, _>>()?;
    Ok(Advisory {
        schema: SCHEMA,
        id: raw.id,
        summary: raw.summary,
        details: raw.details,
        severity: raw.severity,
        remedy: raw.remedy,
        aliases: raw.aliases,
        references: raw.references,
        affected,
        published: raw.published,
        modified,
        withdrawn: raw.withdrawn,
    })
}

/// Checks an entry, and brings digests into lower case.
fn checked(affected: Affected) -> Result<Affected, String> {
    let digest = |text: String, len: usize, what: &str| {
        let fits = text.len() == len && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        if fits { Ok(text.to_ascii_lowercase()) } else { Err(format!("{what} is not {len} hexadecimal digits")) }
    };
    Ok(match affected {
        Affected::File { sha256 } => Affected::File { sha256: digest(sha256, 64, "`sha256` of a file")? },
        Affected::Tensor { sha256 } => Affected::Tensor { sha256: digest(sha256, 64, "`sha256` of a tensor")? },
        Affected::Repository { id, commits } => {
            line("id of a repository", &id, 300)?;
            if id.is_empty() || commits.len() > MAX_LIST {
                return Err("a repository has no id, or more than 100 commits".to_owned());
            }
            let commits = commits.into_iter().map(|commit| digest(commit, 40, "a commit")).collect::<Result<_, _>>()?;
            Affected::Repository { id, commits }
        }
        Affected::Facts { formats, config } => {
            if formats.is_empty() && config.is_empty() {
                return Err("`facts` asks for nothing, and would fit everything".to_owned());
            }
            if formats.len() > MAX_LIST || config.len() > MAX_LIST {
                return Err(format!("`facts` asks for more than {MAX_LIST} things"));
            }
            formats.iter().try_for_each(|format| line("format", format, 64))?;
            config.iter().try_for_each(super::Condition::check)?;
            Affected::Facts { formats, config }
        }
    })
}

fn line(name: &str, text: &str, most: usize) -> Result<(), String> {
    if text.len() > most || text.contains(char::is_control) || text.contains(crate::scan::is_reordering) {
        return Err(format!("`{name}` is longer than {most} bytes, or no plain line"));
    }
    Ok(())
}

/// Whether a text is a time in UTC, to the second; such texts sort as times do.
fn is_time(text: &str) -> bool {
    let pattern = b"0000-00-00T00:00:00Z";
    let bytes = text.as_bytes();
    let fits = bytes.len() == pattern.len()
        && bytes.iter().zip(pattern).all(|(byte, wanted)| match wanted {
            b'0' => byte.is_ascii_digit(),
            wanted => byte == wanted,
        });
    let part = |from: usize| text.get(from..from + 2).and_then(|part| part.parse::<u8>().ok()).unwrap_or(99);
    fits && (1..=12).contains(&part(5))
        && (1..=31).contains(&part(8))
        && part(11) < 24
        && part(14) < 60
        && part(17) < 61
}
