//! The pure part: one raw path in, one decision out.

use std::borrow::Cow;
use std::ops::Range;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use weighthouse::names::{RESERVED_NAMES, RESERVED_NAMESPACES, check_repo_id};

use super::RepoKind;
use crate::wire::error::ErrorReply;

/// Everything but the unreserved characters of RFC 3986.
const ENCODE: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Verbs followed by a revision and a path.
const REVISION_AND_PATH: &[&str] = &[
    "architecture",
    "blame",
    "blob",
    "commits",
    "convert",
    "npy",
    "raw",
    "resolve",
    "scan",
    "tensors",
    "tree",
    "treesize",
];

/// Verbs followed by a revision (or ref name) and nothing else.
const REVISION_ONLY: &[&str] = &[
    "branch",
    "commit",
    "compare",
    "paths-info",
    "preupload",
    "revision",
    "super-squash",
    "tag",
    "xet-read-token",
    "xet-write-token",
];

/// What to do with a path.
#[derive(Debug)]
pub enum Canonical {
    /// No repository is addressed: leave it to the routes.
    Untouched,
    /// A repository is addressed.
    Repo {
        /// Model or dataset.
        kind: RepoKind,
        /// Its id, well formed.
        id: String,
        /// Where the id lies in the raw path.
        id_span: Range<usize>,
        /// The path to route by.
        path: String,
    },
    /// The path makes no sense here.
    Refused(ErrorReply),
}

/// A segment: where it starts in the raw path, and its decoded text.
struct Segment<'a> {
    start: usize,
    raw: &'a str,
    text: Cow<'a, str>,
}

/// Finds the repository in a raw (still percent-encoded) path.
#[must_use]
pub fn canonical(raw_path: &str) -> Canonical {
    match try_canonical(raw_path) {
        Ok(found) => found,
        Err(reply) => Canonical::Refused(reply),
    }
}

fn try_canonical(raw_path: &str) -> Result<Canonical, ErrorReply> {
    if !raw_path.starts_with('/') {
        return Ok(Canonical::Untouched);
    }
    let mut segments = Vec::with_capacity(8);
    let mut start = 1;
    for raw in raw_path.get(1..).unwrap_or_default().split('/') {
        let text =
            percent_decode_str(raw).decode_utf8().map_err(|_| ErrorReply::bad_request("the address is not UTF-8"))?;
        if text.chars().any(|c| c.is_control()) {
            return Err(ErrorReply::bad_request("the address contains a control character"));
        }
        if is_dot(&text) {
            return Err(dot_segment());
        }
        segments.push(Segment { start, raw, text });
        start += raw.len() + 1;
    }
    while segments.len() > 1 && segments.last().is_some_and(|last| last.raw.is_empty()) {
        segments.pop();
    }
    let word = |index: usize| segments.get(index).map(|segment| segment.text.as_ref());
    let (kind, is_api, skip) = match (word(0), word(1), word(2)) {
        (Some(first), ..) if first.starts_with('~') => {
            return Err(ErrorReply::not_found("nothing answers here"));
        }
        (Some("api"), Some("models"), Some(_)) => (RepoKind::Model, true, 2),
        (Some("api"), Some("datasets"), Some(_)) => (RepoKind::Dataset, true, 2),
        (Some("api"), Some(kind @ ("spaces" | "kernels" | "buckets")), Some(_))
        | (Some(kind @ ("spaces" | "kernels" | "buckets")), Some(_), _) => {
            return Err(ErrorReply::type_not_supported(kind));
        }
        (Some("datasets"), Some(_), _) => (RepoKind::Dataset, false, 1),
        (Some(first), ..) if first.is_empty() || RESERVED_NAMESPACES.contains(&first) => {
            return Ok(Canonical::Untouched);
        }
        (Some(_), ..) => (RepoKind::Model, false, 0),
        (None, ..) => return Ok(Canonical::Untouched),
    };
    let segments = segments.get(skip..).unwrap_or_default();
    let (id, id_span, rest) = take_id(segments, is_api)?;
    let path = if is_api { api_path(rest)? } else { web_path(rest)? };
    Ok(Canonical::Repo { kind, id, id_span, path })
}

/// Takes one or two segments as the id, without the `.git` that git puts behind it.
fn take_id<'s, 'a>(
    segments: &'s [Segment<'a>],
    is_api: bool,
) -> Result<(String, Range<usize>, &'s [Segment<'a>]), ErrorReply> {
    let bare = |segment: &'s Segment<'a>| {
        let text = segment.text.as_ref();
        if is_api { text } else { text.strip_suffix(".git").unwrap_or(text) }
    };
    let (first, second) = match segments {
        [] => return Err(ErrorReply::not_found("nothing answers here")),
        [first] => (first, None),
        [first, second, ..] => {
            let git_of_one_segment = bare(first).len() < first.text.len();
            let is_verb = RESERVED_NAMES.contains(&second.text.as_ref()) || git_of_one_segment;
            (first, (!is_verb).then_some(second))
        }
    };
    let (id, last, taken) = match second {
        None => (bare(first).to_owned(), first, 1),
        Some(second) => (format!("{}/{}", first.text, bare(second)), second, 2),
    };
    check_repo_id(&id).map_err(|why| ErrorReply::bad_request(why.to_string()))?;
    // A well formed id may still have come encoded, so its length is taken from the raw text.
    let dot_git = if bare(last).len() < last.text.len() { ".git".len() } else { 0 };
    let end = last.start + last.raw.len().saturating_sub(dot_git);
    Ok((id, first.start..end, segments.get(taken..).unwrap_or_default()))
}

fn api_path(rest: &[Segment<'_>]) -> Result<String, ErrorReply> {
    match rest {
        [] => Ok("/~api/info".to_owned()),
        [verb, after @ ..] if verb.text == "resolve" => join("/~file", &verb.text, after),
        [verb, after @ ..] => join("/~api", &verb.text, after),
    }
}

fn web_path(rest: &[Segment<'_>]) -> Result<String, ErrorReply> {
    match rest {
        [] => Ok("/~page/home".to_owned()),
        [verb, after @ ..] if matches!(verb.text.as_ref(), "converted" | "resolve" | "raw") => {
            join("/~file", &verb.text, after)
        }
        [info, lfs, after @ ..] if info.text == "info" && lfs.text == "lfs" => {
            let mut path = "/~lfs".to_owned();
            after.iter().for_each(|segment| push(&mut path, &segment.text));
            Ok(path)
        }
        [verb, ..] if verb.text == "info" || verb.text.starts_with("git-") => {
            let mut path = "/~git".to_owned();
            rest.iter().for_each(|segment| push(&mut path, &segment.text));
            Ok(path)
        }
        [verb, after @ ..] => join("/~page", &verb.text, after),
    }
}

/// Writes `prefix/verb/…`, with the revision as one segment if the verb has one.
fn join(prefix: &str, verb: &str, after: &[Segment<'_>]) -> Result<String, ErrorReply> {
    let mut path = prefix.to_owned();
    push(&mut path, verb);
    let mut words = after.iter().map(|segment| segment.text.as_ref());
    if REVISION_ONLY.contains(&verb) {
        let revision: Vec<&str> = words.collect();
        if !revision.is_empty() {
            push(&mut path, &revision.join("/"));
        }
    } else if REVISION_AND_PATH.contains(&verb) {
        if let Some(first) = words.next() {
            match (first, after.get(1..3)) {
                ("refs", Some([kind, name])) if is_ref_kind(&kind.text) => {
                    push(&mut path, &format!("refs/{}/{}", kind.text, name.text));
                    push_file_path(&mut path, words.skip(2))?;
                }
                _ => {
                    push(&mut path, first);
                    push_file_path(&mut path, words)?;
                }
            }
        }
    } else {
        words.for_each(|word| push(&mut path, word));
    }
    Ok(path)
}

fn is_ref_kind(word: &str) -> bool {
    matches!(word, "pr" | "convert" | "heads" | "tags")
}

/// Appends a file path; slashes may have come encoded, and doubled ones are dropped.
fn push_file_path<'a>(path: &mut String, words: impl Iterator<Item = &'a str>) -> Result<(), ErrorReply> {
    for word in words.flat_map(|word| word.split('/')).filter(|word| !word.is_empty()) {
        if is_dot(word) {
            return Err(dot_segment());
        }
        push(path, word);
    }
    Ok(())
}

fn push(path: &mut String, segment: &str) {
    path.push('/');
    path.extend(utf8_percent_encode(segment, ENCODE));
}

fn is_dot(word: &str) -> bool {
    matches!(word, "." | "..")
}

fn dot_segment() -> ErrorReply {
    ErrorReply::bad_request("the address contains a `.` or `..` segment")
}
