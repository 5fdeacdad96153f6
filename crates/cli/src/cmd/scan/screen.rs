//! A report as a person reads it: the verdict, what would happen, where, how sure, and what to do. It may come from a hub,
//! so that no text of it is taken for harmless.

use std::fmt::Write;

use weighthouse::scan::trace::Line;
use weighthouse::scan::{Confidence, Finding, Report, Safety, Severity, Verdict};

use crate::ui;
use crate::words::{digits, plain};

/// The whole report.
pub fn show(report: &Report, traces: &[Option<Vec<Line>>], all: bool) -> String {
    let mut out = String::new();
    let target = &report.target;
    let files = if target.files == 1 { "1 file".to_owned() } else { format!("{} files", digits(target.files)) };
    // Nothing can go wrong when writing to a string.
    let _ = writeln!(out, "{}: {}", plain(&target.name), says(report.verdict));
    let formats = plain(&report.formats.join(", "));
    let _ = writeln!(out, "  {files}, {}, {formats}", ui::size(target.size_bytes));
    let names = report.imports.len();
    if names > 0 {
        let odd = report.imports.iter().filter(|import| import.safety != Safety::Innocuous).count();
        let _ =
            writeln!(out, "  pickles import {} names, {odd} of them not known to be harmless", digits(names as u64));
    }
    let mut hidden = 0;
    for (number, finding) in report.findings.iter().enumerate() {
        if finding.severity == Severity::Info && !all {
            hidden += 1;
            continue;
        }
        one(&mut out, finding, traces.get(number).and_then(Option::as_deref));
    }
    for limit in &report.limits_hit {
        let _ = writeln!(out, "\nlimit: {}", plain(limit));
    }
    if hidden > 0 {
        let _ = writeln!(out, "\n{hidden} more worth knowing; `--all` shows them");
    }
    out
}

const fn says(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Safe => "safe (only builds data, and all of it was looked at)",
        Verdict::Caution => "caution (runs code that you must ask for, or is worth a look)",
        Verdict::Suspicious => "suspicious (names what is not known, or hides something)",
        Verdict::Error => "error (could not be looked at as a whole, so it is not safe)",
        Verdict::Unsafe => "unsafe (runs programs, or reaches files or the network)",
        _ => "unknown",
    }
}

fn one(out: &mut String, finding: &Finding, trace: Option<&[Line]>) {
    let sure = match finding.confidence {
        Confidence::Certain => "",
        Confidence::Likely => ", likely",
        _ => ", possible",
    };
    let _ = writeln!(out, "\n{} [{}, {}{sure}]", finding.verdict, plain(&finding.rule), finding.severity.as_str());
    let _ = writeln!(out, "  {}", plain(&finding.detail));
    let mut place = plain(&finding.file);
    if let Some(member) = &finding.member {
        place += &format!("!{}", plain(member));
    }
    if let Some(offset) = finding.offset {
        place += &format!(", byte {}", digits(offset));
    }
    if let Some(op) = finding.op {
        let name = finding.opcode.as_deref().map(|name| format!(" {}", plain(name))).unwrap_or_default();
        place += &format!(", opcode {}{name}", digits(op));
    }
    let _ = writeln!(out, "  where: {place}");
    if let Some(path) = &finding.path_in_object {
        let _ = writeln!(out, "  object: {}", plain(path));
    }
    if finding.severity != Severity::Info {
        let _ = writeln!(out, "  do: {}", plain(&finding.advice));
    }
    if !finding.refs.is_empty() {
        let _ = writeln!(out, "  see: {}", plain(&finding.refs.join(", ")));
    }
    for line in trace.into_iter().flatten() {
        let mark = if line.here { ">" } else { " " };
        let _ = writeln!(out, "  {mark} {:>8}  {:<17} {}", line.at, line.opcode, plain(&line.argument));
    }
}
