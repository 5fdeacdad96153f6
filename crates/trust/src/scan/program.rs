//! Programs that lie beside weights: native code, and scripts.

use super::content::Kind;
use super::report::Finding;
use super::rules;
use super::session::{Item, Session};
use super::verdict::Verdict;

/// Endings that native code and classes have.
const NATIVE: &[&str] =
    &["so", "dll", "dylib", "pyd", "exe", "o", "a", "class", "wasm", "bundle", "node", "pdf", "bin"];

/// Endings of scripts, and who runs them.
const SCRIPTS: &[(&str, &str)] = &[
    ("py", "Python"),
    ("pyw", "Python"),
    ("ipynb", "a notebook"),
    ("sh", "a shell"),
    ("bash", "a shell"),
    ("bat", "Windows"),
    ("cmd", "Windows"),
    ("ps1", "PowerShell"),
    ("vbs", "Windows"),
    ("js", "JavaScript"),
    ("mjs", "JavaScript"),
    ("pl", "Perl"),
    ("rb", "Ruby"),
    ("lua", "Lua"),
    ("jar", "Java"),
];

/// Native code, classes, documents with programs.
pub(super) fn native(session: &mut Session<'_>, item: &Item, kind: Kind) {
    let ending = item.ending();
    let named = NATIVE.contains(&ending.as_str()) || ending.chars().all(|digit| digit.is_ascii_digit());
    if kind == Kind::Pdf {
        let verdict = if ending == "pdf" { Verdict::Safe } else { Verdict::Suspicious };
        let detail = "it is a PDF document";
        return session.add(item, Finding::of(rules::MASQUERADE, verdict, detail));
    }
    if named && ending != "bin" {
        let detail = format!("it is native code ({}), which runs when something loads it", kind.as_str());
        session.add(item, Finding::of(rules::NATIVE, Verdict::Caution, detail));
    } else {
        let detail = format!("it is native code ({}) under the name of something else", kind.as_str());
        session.add(item, Finding::of(rules::MASQUERADE, Verdict::Suspicious, detail));
    }
}

/// Notes that a text is a script.
pub(super) fn script(session: &mut Session<'_>, item: &Item, head: &[u8]) {
    let ending = item.ending();
    let imports = |line: &[u8]| line.starts_with(b"import ") || line.starts_with(b"import\t");
    if ending == "pth" && head.split(|byte| matches!(byte, b'\n' | b'\r')).any(imports) {
        let detail = "it is a path file of Python, which runs its imports wherever it lies among Python's packages";
        session.format("script");
        return session.add(item, Finding::of(rules::SCRIPT, Verdict::Suspicious, detail));
    }
    let by_name = SCRIPTS.iter().find(|(known, _)| *known == ending).map(|(_, who)| *who);
    let by_content = head.starts_with(b"#!").then_some("a shell");
    if let Some(who) = by_name.or(by_content) {
        let detail = format!("it is a script for {who}; nothing of it runs unless something is told to run it");
        session.format("script");
        session.add(item, Finding::of(rules::SCRIPT, Verdict::Caution, detail));
    }
}
