//! What the pages about the inside of checkpoints share.

use std::fmt::Write;
use std::sync::Arc;

use weighthouse::Error;
use weighthouse::access::Repo;
use weighthouse::checkpoints::{Inside, Part, Progress};
use weighthouse::revision::Revision;

use super::address::encode_segment;
use super::error::PageError;
use super::shell::RepoHead;
use super::visit::Visit;

/// Warnings that are shown.
const MAX_WARNINGS: usize = 50;
/// Longest name that is shown, in characters.
const MAX_NAME_CHARS: usize = 200;

/// A checkpoint that a reader asks about.
pub(super) struct Opened {
    pub repo: Repo,
    pub at: Revision,
    pub head: RepoHead,
    /// What is in it, or why that cannot be read.
    pub inside: Result<Arc<Inside>, String>,
}

/// A warning, as it is shown.
pub(super) struct Shown {
    pub file: String,
    pub message: String,
}

/// Opens what `path` names in a revision. A broken file is something to say, not a failure of the page.
pub(super) async fn open(visit: &Visit, revision: &str, path: &str, tab: &'static str) -> Result<Opened, PageError> {
    let (repo, at) = visit.repo_at(revision).await?;
    let head = RepoHead::new(&repo, revision, tab);
    let inside = match visit.hub().inside(&at, path).await {
        Ok(inside) => Ok(inside),
        Err(error @ Error::Malformed(_)) => Err(error.to_string()),
        Err(error) => return Err(visit.refuse(error)),
    };
    Ok(Opened { repo, at, head, inside })
}

/// Where the reading in the background stands, if it is not done: a sentence.
pub(super) fn pending(progress: &Progress) -> Option<String> {
    match progress {
        Progress::Done(_) => None,
        Progress::Waiting => Some(
            "This commit is still being read: hashes, statistics and other places of a tensor come when that is done."
                .to_owned(),
        ),
        Progress::Failed => Some("Reading this commit in the background failed; it will be tried again.".to_owned()),
        Progress::Never => Some(
            "This commit was not read in the background, so that there are no hashes and statistics of it.".to_owned(),
        ),
    }
}

/// The warnings of a checkpoint, and how many more there are.
pub(super) fn warnings(inside: &Inside) -> (Vec<Shown>, usize) {
    let all = &inside.checkpoint.contents.warnings;
    let shown = |warning: &weighthouse::format::contents::Warning| Shown {
        file: name(&warning.file),
        message: name(&warning.message),
    };
    (all.iter().take(MAX_WARNINGS).map(shown).collect(), all.len().saturating_sub(MAX_WARNINGS))
}

/// A name that others chose, as it can be shown: what is invisible or turns text around is spelled out, and the middle of
/// very long ones is left out.
pub(super) fn name(text: &str) -> String {
    let mut shown = String::new();
    let count = text.chars().count();
    let (begin, end) = (MAX_NAME_CHARS * 2 / 3, MAX_NAME_CHARS / 3);
    for (at, character) in text.chars().enumerate() {
        if count > MAX_NAME_CHARS && (begin..count - end).contains(&at) {
            if at == begin {
                shown.push('…');
            }
            continue;
        }
        if fools(character) {
            let _ = write!(shown, "\\u{{{:x}}}", u32::from(character));
        } else {
            shown.push(character);
        }
    }
    if shown.is_empty() { "(no name)".to_owned() } else { shown }
}

/// Characters that a reader does not see, or that move others.
fn fools(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// A number as it fits a table: five digits.
pub(super) fn number(value: f64) -> String {
    if value == 0.0 || !value.is_finite() {
        return match value {
            value if value.is_nan() => "NaN".to_owned(),
            f64::INFINITY => "∞".to_owned(),
            f64::NEG_INFINITY => "−∞".to_owned(),
            _ => "0".to_owned(),
        };
    }
    let text = match value.abs() {
        size if value.fract() == 0.0 && size < 1e9 => format!("{value}"),
        size if (1e-4..1e6).contains(&size) => {
            let digits = 4 - (size.log10().floor() as i32).clamp(-4, 4);
            format!("{value:.*}", usize::try_from(digits).unwrap_or(0))
        }
        _ => format!("{value:.3e}"),
    };
    text.replace('-', "−")
}

/// `4,096 × 11,008`, or `scalar`.
pub(super) fn shape(extents: &[u64]) -> String {
    if extents.is_empty() {
        return "scalar".to_owned();
    }
    let shown: Vec<String> = extents.iter().take(16).map(|&extent| super::format::exact(extent)).collect();
    let more = if extents.len() > 16 { " × …" } else { "" };
    format!("{}{more}", shown.join(" × "))
}

/// Addresses of the pages about one checkpoint.
pub(super) struct Links {
    tensors: String,
    npy: String,
    part: Part,
}

impl Links {
    pub fn new(head: &RepoHead, revision: &str, path: &str, part: Part) -> Self {
        Self { tensors: head.paths.at("tensors", revision, path), npy: head.paths.at("npy", revision, path), part }
    }

    /// A level of modules.
    pub fn module(&self, module: &str) -> String {
        let module = if module.is_empty() { String::new() } else { format!("module={}", encode_segment(module)) };
        self.query(&self.tensors, &module)
    }

    /// A level whose layers stand each for itself.
    pub fn unfolded(&self, module: &str) -> String {
        self.query(&self.tensors, &format!("module={}&fold=false", encode_segment(module)))
    }

    pub fn tensor(&self, name: &str) -> String {
        self.query(&self.tensors, &format!("name={}", encode_segment(name)))
    }

    pub fn npy(&self, name: &str) -> String {
        self.query(&self.npy, &format!("name={}", encode_segment(name)))
    }

    fn query(&self, address: &str, query: &str) -> String {
        let part = if self.part == Part::Optimizer { "part=optimizer" } else { "" };
        let pairs: Vec<&str> = [part, query].into_iter().filter(|pair| !pair.is_empty()).collect();
        if pairs.is_empty() { address.to_owned() } else { format!("{address}?{}", pairs.join("&")) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_shown_as_they_are_and_not_as_they_would_like_to_be() {
        assert_eq!(name("layers.0.größe"), "layers.0.größe");
        assert_eq!(name("a\u{1b}[31m\u{202e}b\0\u{200b}"), "a\\u{1b}[31m\\u{202e}b\\u{0}\\u{200b}");
        assert_eq!(name(""), "(no name)");
        let long = format!("begin{}end", "x".repeat(5_000));
        let shown = name(&long);
        assert!(shown.starts_with("beginx") && shown.ends_with("xend") && shown.chars().count() < 210);
    }

    #[test]
    fn numbers_keep_five_digits() {
        let shown: Vec<String> =
            [0.0, 1.0, -2.5, 0.012_345_678, 123_456.78, 1e-7, -3.2e20, f64::NAN, f64::INFINITY].map(number).into();
        assert_eq!(shown, ["0", "1", "−2.5000", "0.012346", "123457", "1.000e−7", "−3.200e20", "NaN", "∞"]);
    }
}
