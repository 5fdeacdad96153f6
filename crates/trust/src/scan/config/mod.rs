//! Configurations: what a library imports, fetches or runs because a JSON or YAML file says so.

mod keys;
mod neighbours;
mod reading;
mod targets;
mod yaml;

pub(super) use neighbours::{is_data_of_a_neighbour, name};
pub(crate) use reading::parse;
pub(super) use reading::utf8;
pub(super) use yaml::judge as yaml;

use serde_json::Value;

use super::keras;
use super::report::Finding;
use super::rules;
use super::session::{Item, Session};
use super::verdict::{Severity, Verdict};

/// Judges a text that begins as JSON does.
pub(super) fn json(session: &mut Session<'_>, item: &Item) {
    let Some(bytes) = session.parsed(item, "JSON") else { return };
    match reading::parse_all(&bytes) {
        Ok((value, earlier)) => {
            session.format("json");
            // Readers differ in which of equal keys they take.
            for value in [&value].into_iter().chain(&earlier) {
                document(session, item, value);
            }
        }
        Err(message) => {
            if item.ending() == "json" {
                let detail = format!("it is no JSON: {message}");
                let finding = Finding::of(rules::UNREADABLE, Verdict::Error, detail);
                session.add(item, finding.weighing(Severity::Medium));
            }
        }
    }
}

/// Judges a document.
pub(super) fn document(session: &mut Session<'_>, item: &Item, value: &Value) {
    keys::walk(session, item, value);
    keras::walk(session, item, value, "");
}

/// Judges a list of Python packages.
pub(super) fn requirements(session: &mut Session<'_>, item: &Item) {
    let Some(bytes) = session.parsed(item, "list of packages") else { return };
    for (number, line) in String::from_utf8_lossy(&bytes).lines().enumerate() {
        let line = line.split('#').next().unwrap_or(line).trim();
        let fetches =
            ["git+", "http://", "https://", "hg+", "svn+", "--extra-index-url", "--index-url", "--find-links"];
        if fetches.iter().any(|word| line.contains(word)) {
            let shown: String = line.chars().take(120).collect();
            let detail = format!("line {}: `{}`", number + 1, super::pickle::plain(&shown));
            session.add(item, Finding::of(rules::REQUIREMENT, Verdict::Caution, detail));
        }
    }
}
