//! The scan of one file: what was found so far, and what it may still cost.

use std::borrow::Cow;
use std::rc::Rc;

use weighthouse_format::error::chain;
use weighthouse_format::{Folder, FormatError, Limits, Section};

use super::budget::{Budget, take};
use super::pickle::Storages;
use super::report::{FileScan, Finding, Import, Safety, sort};
use super::rules;
use super::verdict::Verdict;

/// Most findings that are kept of one file.
const MAX_FINDINGS: usize = 500;
/// Most imports that are kept of one file.
const MAX_IMPORTS: usize = 10_000;

/// Bytes that are to be judged, and where they come from.
#[derive(Clone)]
pub(super) struct Item {
    /// The bytes.
    pub(super) section: Section,
    /// Member of an archive, with `!` between the levels.
    pub(super) member: Option<String>,
    /// Levels of archives around it.
    pub(super) depth: u32,
    /// What its container says that it is.
    pub(super) role: Role,
}

/// What a container says that a member is.
#[derive(Clone, Default)]
pub(super) enum Role {
    /// Nothing: told by its bytes.
    #[default]
    Any,
    /// The pickle of a torch archive, whose storages lie beside it.
    Torch(Rc<Storages>),
    /// As that, in an archive of TorchScript.
    Script(Rc<Storages>),
    /// Raw elements, which no loader takes for anything else.
    Elements,
    /// Source of TorchScript.
    ScriptSource,
    /// A pickle inside of a value: nothing may follow it.
    Pickle,
}

impl Item {
    /// A member of this item.
    pub(super) fn inner(&self, name: &str, section: Section, role: Role) -> Self {
        let member = match &self.member {
            Some(outer) => format!("{outer}!{name}"),
            None => name.to_owned(),
        };
        Self { section, member: Some(member), depth: self.depth + 1, role }
    }

    /// The last part of its path.
    pub(super) fn name(&self) -> &str {
        let path = self.member.as_deref().unwrap_or(self.section.file());
        path.rsplit(['/', '!']).next().unwrap_or(path)
    }

    /// The ending of its name, in lower case.
    pub(super) fn ending(&self) -> String {
        let name = self.name();
        name.rsplit_once('.').map(|(_, ending)| ending.to_ascii_lowercase()).unwrap_or_default()
    }
}

/// A scan in progress.
pub(super) struct Session<'a> {
    pub(super) folder: &'a dyn Folder,
    pub(super) path: &'a str,
    pub(super) limits: Limits,
    pub(super) budget: Budget,
    stop: &'a dyn Fn() -> bool,
    stopped: bool,
    found: FileScan,
    dropped: u64,
}

impl<'a> Session<'a> {
    pub(super) fn new(folder: &'a dyn Folder, path: &'a str, limits: &Limits, stop: &'a dyn Fn() -> bool) -> Self {
        let found = FileScan { path: path.to_owned(), ..FileScan::default() };
        Self { folder, path, limits: *limits, budget: Budget::new(limits), stop, stopped: false, found, dropped: 0 }
    }

    /// Scans the file.
    pub(super) fn run(mut self) -> FileScan {
        match self.folder.open(self.path) {
            Ok(section) => {
                self.found.size_bytes = section.len();
                let item = Item { section, member: None, depth: 0, role: Role::Any };
                super::dispatch::judge(&mut self, &item);
            }
            Err(error) => {
                let detail = format!("it cannot be opened: {}", chain(&error));
                let item = Item { section: Section::of_bytes(self.path, []), member: None, depth: 0, role: Role::Any };
                self.add(&item, Finding::of(rules::UNREADABLE, Verdict::Error, detail));
            }
        }
        self.finish()
    }

    fn finish(self) -> FileScan {
        let Self { mut found, dropped, .. } = self;
        found.formats.sort();
        found.formats.dedup();
        found.limits_hit.sort();
        found.limits_hit.dedup();
        found.imports.sort();
        sort(&mut found.findings);
        if dropped > 0 {
            found.limits_hit.push(format!("{dropped} more findings are not listed"));
        }
        found
    }

    /// Notes a finding.
    pub(super) fn add(&mut self, item: &Item, mut finding: Finding) {
        finding.file = self.path.to_owned();
        finding.member.clone_from(&item.member);
        self.found.verdict = self.found.verdict.max(finding.verdict);
        let findings = &mut self.found.findings;
        if findings.contains(&finding) {
            return;
        }
        if findings.len() < MAX_FINDINGS {
            findings.push(finding);
            return;
        }
        self.dropped += 1;
        // What is worse than what is listed takes the place of the least.
        if let Some(least) = findings.iter_mut().min_by_key(|finding| finding.verdict)
            && least.verdict < finding.verdict
        {
            *least = finding;
        }
    }

    /// Notes an import.
    pub(super) fn import(&mut self, import: Import) {
        let most = if import.safety == Safety::Innocuous { MAX_IMPORTS } else { 2 * MAX_IMPORTS };
        if self.found.imports.len() < most {
            self.found.imports.push(import);
        }
    }

    /// Notes that the bytes can be taken for this.
    pub(super) fn format(&mut self, name: impl Into<Cow<'static, str>>) {
        let name = name.into();
        if !self.found.formats.contains(&name) {
            self.found.formats.push(name);
        }
    }

    /// Notes that a limit was reached.
    pub(super) fn limit(&mut self, item: &Item, what: impl Into<String>) {
        let what = what.into();
        self.add(item, Finding::of(rules::LIMIT, Verdict::Error, format!("not everything was looked at: {what}")));
        if self.found.limits_hit.len() < 100 {
            self.found.limits_hit.push(what);
        }
    }

    /// Notes an error as a finding: one of the limits as that, everything else under the rule.
    pub(super) fn error(&mut self, item: &Item, rule: &'static rules::Rule, what: &str, error: &FormatError) {
        match error {
            FormatError::TooLarge { .. } => self.limit(item, format!("{what}: {}", chain(error))),
            _ => self.add(item, Finding::of(rule, Verdict::Error, format!("{what}: {}", chain(error)))),
        }
    }

    /// Whether there is no more time for this file; that is a finding.
    pub(super) fn is_out_of_time(&mut self, item: &Item) -> bool {
        if !self.stopped && (self.stop)() {
            self.stopped = true;
            self.limit(item, "its time is up");
        }
        self.stopped
    }

    /// Asks for bytes that are to be parsed, and reads them; `None` and a finding when that is beyond the budget.
    pub(super) fn parsed(&mut self, item: &Item, what: &'static str) -> Option<Vec<u8>> {
        if self.is_out_of_time(item) {
            return None;
        }
        let len = item.section.len();
        if len > self.limits.text_bytes || !take(&mut self.budget.parsed_bytes, len) {
            self.limit(item, format!("{what} of {len} bytes"));
            return None;
        }
        match item.section.read(what, 0, len) {
            Ok(bytes) => Some(bytes),
            Err(error) => {
                self.error(item, rules::UNREADABLE, what, &error);
                None
            }
        }
    }

    /// Whether another member may be looked at.
    pub(super) fn member(&mut self, item: &Item) -> bool {
        if self.is_out_of_time(item) {
            return false;
        }
        let enough = take(&mut self.budget.members, 1);
        if !enough {
            self.limit(item, "it has too many members");
        }
        enough
    }

    /// Limits for unpacking: what is left of the budget.
    pub(super) fn unpacking(&self) -> Limits {
        let mut limits = self.limits;
        limits.decoded_bytes = limits.decoded_bytes.min(self.budget.unpacked_bytes);
        limits
    }
}
