//! What the scanner found: in a file, with the program around it, or in all files of a revision.

use askama::Template;
use axum::extract::Path;
use axum::response::Response;
use http::StatusCode;
use weighthouse::Error;
use weighthouse::gate::{FileStatus, TreeStatus};
use weighthouse::scan::{Finding, Report, Verdict};

use super::error::PageError;
use super::format::exact;
use super::shell::{RepoHead, Shell, page};
use super::tree::{Choice, Crumb, crumbs, revisions};
use super::visit::Visit;

/// Findings that are shown; the JSON has all.
const MAX_FINDINGS: usize = 100;
/// Files that are shown.
const MAX_ISSUES: usize = 200;
/// Names that are shown.
const MAX_IMPORTS: usize = 200;
/// How soon a page that waits is loaded again, in seconds.
const REFRESH_S: u32 = 5;

#[derive(Template)]
#[template(path = "scan.html")]
struct Page {
    shell: Shell,
    head: RepoHead,
    crumbs: Vec<Crumb>,
    revisions: Vec<Choice>,
    badge: Badge,
    meaning: &'static str,
    /// Why there is no report, or not all of it.
    pending: Option<String>,
    findings: Vec<Shown>,
    more_findings: usize,
    issues: Vec<Problem>,
    more_issues: u64,
    imports: Vec<Import>,
    facts: Vec<(&'static str, String)>,
    limits: Vec<String>,
    sarif: String,
}

/// A verdict in one word.
#[derive(Clone, Debug)]
pub(super) struct Badge {
    /// The word.
    pub word: &'static str,
    /// How it looks.
    pub class: &'static str,
    /// What it means.
    pub title: &'static str,
}

/// A finding as it is shown.
struct Shown {
    badge: Badge,
    place: String,
    detail: String,
    advice: String,
    rule: String,
    refs: String,
    trace: Vec<Step>,
}

/// A line of a disassembly.
struct Step {
    at: u64,
    opcode: &'static str,
    argument: String,
    here: bool,
}

/// A file that is not safe.
struct Problem {
    badge: Badge,
    path: String,
    url: String,
    worst: String,
}

/// A name that a pickle imports.
struct Import {
    name: String,
    safety: &'static str,
    used: String,
}

/// What the page of a repository says of its safety.
#[derive(Clone, Debug)]
pub(super) struct Trust {
    pub badge: Badge,
    pub lines: Vec<(&'static str, String)>,
    pub report: String,
    /// What there is to say beside it.
    pub note: Option<String>,
}

impl Badge {
    pub fn of(verdict: Option<Verdict>) -> Self {
        let (word, class, title) = match verdict {
            None => ("queued", "wait", "It waits to be scanned"),
            Some(Verdict::Safe) => ("safe", "good", meaning(Some(Verdict::Safe))),
            Some(Verdict::Caution) => ("caution", "care", meaning(Some(Verdict::Caution))),
            Some(Verdict::Suspicious) => ("suspicious", "warn", meaning(Some(Verdict::Suspicious))),
            Some(Verdict::Unsafe) => ("unsafe", "bad", meaning(Some(Verdict::Unsafe))),
            Some(_) => ("error", "warn", meaning(Some(Verdict::Error))),
        };
        Self { word, class, title }
    }

    fn of_tree(status: &TreeStatus) -> Self {
        let known = status.is_done() || status.known.verdict == Verdict::Unsafe;
        Self::of(known.then_some(status.known.verdict))
    }
}

/// What a verdict means for whoever reads it.
const fn meaning(verdict: Option<Verdict>) -> &'static str {
    match verdict {
        None => "It has not been judged yet, and is not taken for safe until then.",
        Some(Verdict::Safe) => "All of it was looked at, and it only builds data.",
        Some(Verdict::Caution) => "It has code run that you must ask for, or is worth a look.",
        Some(Verdict::Suspicious) => "It names something that is not known, or is odd as an attack would be.",
        Some(Verdict::Unsafe) => "Loading it runs a program, or reaches files or the network.",
        Some(_) => "It could not be looked at as a whole, and may do anything when it is loaded.",
    }
}

impl Trust {
    pub fn of(status: &TreeStatus, report: String) -> Self {
        let known = &status.known;
        let of = |count: u64, one: &str, many: &str| match count {
            1 => format!("1 {one}"),
            count => format!("{} {many}", exact(count)),
        };
        let counts: Vec<String> = Verdict::ALL
            .iter()
            .rev()
            .filter_map(|verdict| {
                let count = known.by_verdict.get(verdict.as_str()).filter(|count| **count > 0)?;
                Some(format!("{} {verdict}", exact(*count)))
            })
            .collect();
        let mut lines =
            vec![("Files", if counts.is_empty() { "none judged yet".to_owned() } else { counts.join(", ") })];
        let pickles = match known.pickles {
            0 if status.is_done() => "free of pickles".to_owned(),
            0 => "none seen yet".to_owned(),
            count => of(count, "file", "files"),
        };
        lines.push(("Pickles", pickles));
        let code = match known.remote_code {
            0 if status.is_done() => "none asked for".to_owned(),
            0 => "none seen yet".to_owned(),
            count => format!("in {}", of(count, "file", "files")),
        };
        lines.push(("Code", code));
        let note = match status.waiting {
            Some(0) if status.is_stale => Some("Judged by older rules; it waits to be judged anew.".to_owned()),
            Some(0) => None,
            Some(count) => Some(format!("{} to be scanned.", of(count, "file waits", "files wait"))),
            None => Some("Many files wait to be scanned.".to_owned()),
        };
        Self { badge: Badge::of_tree(status), lines, report, note }
    }
}

/// `GET /{id}/scan/{rev}`
pub(super) async fn root(visit: Visit, Path(revision): Path<String>) -> Result<Response, PageError> {
    let refuse = |error| visit.refuse(error);
    let (repo, at) = visit.repo_at(&revision).await?;
    let head = RepoHead::new(&repo, &revision, "files");
    let hub = visit.hub();
    let status = hub.tree_status(&at).await.map_err(refuse)?;
    let report = hub.revision_report(&at, &repo.record.id).await.map_err(refuse)?;
    let trust = Trust::of(&status, String::new());
    let problem = |issue: &weighthouse::gate::Issue| Problem {
        badge: Badge::of(Some(issue.verdict)),
        url: head.paths.at("scan", &revision, &issue.path),
        path: issue.path.clone(),
        worst: issue.worst.clone(),
    };
    let known = status.is_done() || status.known.verdict == Verdict::Unsafe;
    let badge = Badge::of_tree(&status);
    let not_safe: u64 =
        status.known.by_verdict.iter().filter(|(word, _)| *word != "safe").map(|(_, count)| count).sum();
    let issues: Vec<Problem> = status.known.issues.iter().take(MAX_ISSUES).map(problem).collect();
    let mut facts = trust.lines;
    facts.push(("Formats", status.known.formats.join(", ")));
    facts.push(("Rules", format!("version {}", report.rules_version)));
    let mut shell = visit.shell(format!("Scan of {}", head.id), Some(head.paths.api_at("scan", &revision, "")));
    shell.refresh_s = (!status.is_done()).then_some(REFRESH_S);
    let template = Page {
        shell,
        crumbs: crumbs(&head, &revision, ""),
        revisions: revisions(&visit, &repo, &head, ("scan", &revision, "")).await?,
        meaning: meaning(known.then_some(status.known.verdict)),
        badge,
        pending: trust.note,
        more_findings: 0,
        findings: Vec::new(),
        more_issues: not_safe.saturating_sub(issues.len() as u64),
        issues,
        imports: imports(&report),
        facts,
        limits: Vec::new(),
        sarif: format!("{}?as=sarif", head.paths.api_at("scan", &revision, "")),
        head,
    };
    Ok(page(StatusCode::OK, &template))
}

/// `GET /{id}/scan/{rev}/{path}`
pub(super) async fn below(visit: Visit, Path((revision, path)): Path<(String, String)>) -> Result<Response, PageError> {
    let refuse = |error| visit.refuse(error);
    let path = path.trim_matches('/');
    let (repo, at) = visit.repo_at(&revision).await?;
    let head = RepoHead::new(&repo, &revision, "files");
    let hub = visit.hub();
    let file = match hub.file(&at, &revision, path).await {
        Err(Error::EntryNotFound { .. }) if hub.list_page(&at, &revision, path, false, 0..0).await.is_ok() => {
            return Err(PageError::Elsewhere(head.paths.at("scan", &revision, "")));
        }
        found => found.map_err(refuse)?,
    };
    let status = hub.status(&at, &file).await.map_err(refuse)?;
    let report = hub.file_report(&at, &file).await.map_err(refuse)?;
    let found: &[Finding] = report.as_ref().map_or(&[], |report| &report.findings);
    let told = found.get(..found.len().min(MAX_FINDINGS)).unwrap_or_default();
    // Without the program the report still says what was found.
    let traces = hub.traces(&file, told).await.unwrap_or_else(|_| vec![Vec::new(); told.len()]);
    let findings = told.iter().zip(traces).map(|(finding, trace)| Shown {
        badge: Badge::of(Some(finding.verdict)),
        place: place(finding),
        detail: finding.detail.clone(),
        advice: finding.advice.to_string(),
        rule: finding.rule.to_string(),
        refs: finding.refs.join(", "),
        trace: trace
            .into_iter()
            .map(|line| Step { at: line.at, opcode: line.opcode, argument: line.argument, here: line.here })
            .collect(),
    });
    let findings: Vec<Shown> = findings.collect();
    let mut shell = visit.shell(format!("Scan of {path}"), Some(head.paths.api_at("scan", &revision, path)));
    shell.refresh_s = status.verdict.is_none().then_some(REFRESH_S);
    let template = Page {
        shell,
        crumbs: crumbs(&head, &revision, path),
        revisions: revisions(&visit, &repo, &head, ("scan", &revision, path)).await?,
        badge: Badge::of(status.verdict),
        meaning: meaning(status.verdict),
        pending: pending(&status),
        more_findings: found.len() - findings.len(),
        findings,
        issues: Vec::new(),
        more_issues: 0,
        imports: report.as_ref().map(imports).unwrap_or_default(),
        facts: facts(&status, &file.sha256.to_string()),
        limits: report.map(|report| report.limits_hit).unwrap_or_default(),
        sarif: format!("{}?as=sarif", head.paths.api_at("scan", &revision, path)),
        head,
    };
    Ok(page(StatusCode::OK, &template))
}

fn pending(status: &FileStatus) -> Option<String> {
    match status.verdict {
        None => Some("This file waits to be scanned.".to_owned()),
        Some(_) if status.is_stale => Some("Judged by older rules; it waits to be judged anew.".to_owned()),
        Some(_) => None,
    }
}

fn facts(status: &FileStatus, digest: &str) -> Vec<(&'static str, String)> {
    let mut facts = vec![("Formats", status.facts.formats.join(", "))];
    if status.verdict.is_some() {
        let yes = |found: bool| if found { "yes" } else { "no" }.to_owned();
        facts.push(("Pickles", yes(status.facts.pickle)));
        facts.push(("Code", yes(status.facts.remote_code)));
        facts.push(("Rules", format!("version {}", status.rules)));
        facts.push(("Scanner", status.scanner.clone()));
    }
    facts.push(("SHA-256", digest.to_owned()));
    facts
}

/// Where a finding stands, in words.
fn place(finding: &Finding) -> String {
    let mut place = Vec::new();
    place.extend(finding.member.clone());
    if let (Some(op), Some(opcode)) = (finding.op, &finding.opcode) {
        place.push(format!("opcode {op} ({opcode})"));
    }
    place.extend(finding.offset.map(|offset| format!("byte {offset}")));
    place.extend(finding.path_in_object.clone());
    place.join(", ")
}

fn imports(report: &Report) -> Vec<Import> {
    let mut found: Vec<Import> = Vec::new();
    let mut sorted: Vec<_> = report.imports.iter().collect();
    sorted.sort_by(|one, other| other.safety.cmp(&one.safety).then_with(|| one.cmp(other)));
    for import in sorted {
        let name = format!("{}.{}", import.module, import.name);
        if found.len() == MAX_IMPORTS || found.last().is_some_and(|last| last.name == name) {
            continue;
        }
        let mut used = Vec::new();
        for (count, word) in [(import.imported, "imported"), (import.called, "called"), (import.built, "given a state")]
        {
            if count > 0 {
                used.push(word);
            }
        }
        let safety = match import.safety {
            weighthouse::scan::Safety::Innocuous => "builds data",
            weighthouse::scan::Safety::Dangerous => "dangerous",
            _ => "not known",
        };
        found.push(Import { name, safety, used: used.join(", ") });
    }
    found
}
