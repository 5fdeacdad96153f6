//! Scanning: what a file could do, judged without doing it.
//!
//! The question is never whether a name is on a list of bad ones. Everything that a file can do is written down by
//! readers that run nothing, and compared with what is known to build data only; what is not known is not safe. A list
//! of dangerous names exists for better words, and its gaps make nothing safe.
//!
//! **Invariants:** a file is looked at as a whole, or its verdict is [`Verdict::Error`] at best; a file that several
//! programs take for several formats is judged as each of them; everything is bounded by [`Options::limits`] and by the
//! budget of a file, whatever is nested in it; the same bytes under the same rules give the same report, unless time runs out.

mod budget;
mod config;
mod container;
mod content;
mod dispatch;
mod formats;
mod jinja;
mod keras;
mod pickle;
mod program;
pub mod report;
pub mod rules;
pub mod sarif;
mod session;
mod text;
pub mod trace;
pub mod verdict;
pub mod weights;

#[cfg(test)]
mod tests;

use weighthouse_format::{Folder, Limits};

pub use report::{FileScan, Finding, Import, Report, SCHEMA, Safety, Target};
pub use verdict::{Confidence, Severity, Verdict};

pub(crate) use config::parse as parse_json;
pub(crate) use text::is_reordering;

/// Version of the scanner: changes when it reads more than before.
pub const SCANNER_VERSION: &str = env!("CARGO_PKG_VERSION");

/// Version of the rules: verdicts of an older version are stale.
pub const RULES_VERSION: u32 = 3;

/// How to scan.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Options {
    /// Bounds on what is read.
    pub limits: Limits,
}

/// Scans one file of a folder. Never fails: what cannot be looked at is a finding.
#[must_use]
pub fn scan_file(folder: &dyn Folder, path: &str, options: &Options) -> FileScan {
    scan_file_within(folder, path, options, &|| false)
}

/// As [`scan_file`], and ends with [`Verdict::Error`] soon after `stop` says so: it is asked between the parts of a file,
/// each of which is bounded by the limits.
#[must_use]
pub fn scan_file_within(folder: &dyn Folder, path: &str, options: &Options, stop: &dyn Fn() -> bool) -> FileScan {
    session::Session::new(folder, path, &options.limits, stop).run()
}

/// Scans every file of a folder, or one of them, one after the other.
#[must_use]
pub fn scan(folder: &dyn Folder, file: Option<&str>, options: &Options) -> Report {
    let scans = match file {
        Some(path) => vec![scan_file(folder, path, options)],
        None => folder.files().iter().map(|file| scan_file(folder, &file.path, options)).collect(),
    };
    Report::join(file.unwrap_or_default(), scans)
}

/// What is found in a file on which the scanner itself failed: never safe.
#[must_use]
pub fn failed(path: &str, size_bytes: u64, message: &str) -> FileScan {
    let mut finding = Finding::of(rules::FAILED, Verdict::Error, format!("the scanner failed: {message}"));
    finding.file = path.to_owned();
    FileScan {
        path: path.to_owned(),
        size_bytes,
        verdict: Verdict::Error,
        findings: vec![finding],
        ..FileScan::default()
    }
}
