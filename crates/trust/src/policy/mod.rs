//! Policies: who may do what with which file, decided by facts about it.
//!
//! A policy is a text in [Cedar](https://docs.cedarpolicy.com). There are two levels. The policies of the *hub* permit and
//! forbid; what they do not permit is forbidden. Those of an *organisation* speak of its own repositories, and may only
//! forbid more. What cannot be evaluated is forbidden too.
//!
//! ```text
//!   text ──► statements ──► PolicySet ──► decide(action, asker, subject, facts) ──► Decision: why
//!            (limits)        │  └─► check: rules that never match, that forbid everything
//!                            └─ schema.cedarschema: what a policy can speak of
//! ```
//!
//! # Example
//! ```
//! use weighthouse_trust::policy::{Action, Asker, Facts, Level, PolicySet, State, Subject};
//!
//! let hub = PolicySet::defaults()?;
//! let asker = Asker { id: "ada".to_owned(), ..Asker::default() };
//! let subject = Subject { repo: "lab/model".to_owned(), namespace: "lab".to_owned(), ..Subject::default() };
//! let facts = Facts { state: State::Unsafe, path: "model.bin".to_owned(), ..Facts::default() };
//! let decision = hub.decide(Action::Download, &asker, &subject, &facts);
//! assert!(!decision.allowed);
//! assert_eq!(decision.reasons[0].policy, "unsafe-is-quarantined");
//! assert_eq!(decision.reasons[0].level, Level::Hub);
//! # Ok::<(), weighthouse_trust::policy::PolicyError>(())
//! ```

mod check;
mod decide;
mod facts;
#[cfg(test)]
mod tests;
mod text;

use std::collections::{BTreeSet, HashMap};

use cedar_policy::{Effect, Policy, PolicyId};
use miette::Diagnostic;

pub use check::Literal;
pub use decide::{Decision, Reason};
pub use facts::{Action, Asker, Facts, Level, State, Subject};
pub use text::{MAX_DEPTH, MAX_OPERATORS, MAX_POLICIES, MAX_TEXT_BYTES};

/// The policies that a hub has until its administrators write their own.
pub const DEFAULTS: &str = include_str!("defaults.cedar");
/// What a policy can speak of, in Cedar's language for schemas.
pub const SCHEMA: &str = include_str!("schema.cedarschema");

/// Longest name of a policy, in bytes.
const MAX_ID_BYTES: usize = 64;
/// Longest reason of a policy, in bytes: it has to fit into a header.
const MAX_REASON_BYTES: usize = 600;

/// A text of policies that cannot be used, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PolicyError {
    /// Beyond a limit.
    #[error("line {line}: {what}: {found}; the limit is {limit}")]
    TooLarge {
        /// Where.
        line: usize,
        /// Which property.
        what: &'static str,
        /// How large it is.
        found: usize,
        /// How large it may be.
        limit: usize,
    },
    /// Not a policy.
    #[error("line {line}: {message}")]
    Syntax {
        /// Where.
        line: usize,
        /// What is wrong.
        message: String,
    },
    /// A policy that is well written and still makes no sense here.
    #[error("line {line}: policy `{policy}`: {message}")]
    Refused {
        /// Where.
        line: usize,
        /// Which policy.
        policy: String,
        /// What is wrong.
        message: String,
    },
    /// The engine failed; nothing that a text can cause.
    #[error("the policy engine: {0}")]
    Engine(String),
}

impl PolicyError {
    fn engine(error: impl std::fmt::Display) -> Self {
        Self::Engine(error.to_string())
    }
}

/// The policies of one level, parsed.
#[derive(Debug, Clone)]
pub struct PolicySet {
    set: cedar_policy::PolicySet,
    rules: HashMap<String, Rule>,
    words: facts::Words,
    level: Level,
}

/// What is said about a policy.
#[derive(Debug, Clone)]
struct Rule {
    line: usize,
    reason: String,
    warning: Option<String>,
}

impl PolicySet {
    /// Reads the policies of the hub; every one of them needs an `@id`, and a `@reason` if it forbids.
    ///
    /// # Errors
    /// [`PolicyError`] names the line, and the policy if it got that far.
    pub fn parse(text: &str) -> Result<Self, PolicyError> {
        Self::parse_level(text, Level::Hub)
    }

    /// Reads the policies of an organisation, which may only forbid.
    ///
    /// # Errors
    /// As [`PolicySet::parse`]; also for each `permit`.
    pub fn parse_organisation(text: &str) -> Result<Self, PolicyError> {
        Self::parse_level(text, Level::Organisation)
    }

    /// [`DEFAULTS`], parsed.
    ///
    /// # Errors
    /// None that a test has not seen.
    pub fn defaults() -> Result<Self, PolicyError> {
        Self::parse(DEFAULTS)
    }

    fn parse_level(text: &str, level: Level) -> Result<Self, PolicyError> {
        let mut policies = Vec::new();
        let mut rules = HashMap::new();
        for statement in text::statements(text)? {
            let line = statement.line;
            let parsed = Policy::parse(None, statement.text).map_err(|errors| PolicyError::Syntax {
                line: line + line_of(&errors, statement.text),
                message: sentence(&errors),
            })?;
            let id = parsed.annotation("id").unwrap_or_default().to_owned();
            if !name(&id) {
                let message =
                    "a policy needs a name of 1 to 64 letters, digits, `-`, `_` and `.` before it: @id(\"…\")";
                return Err(PolicyError::Syntax { line, message: message.to_owned() });
            }
            let refused =
                |message: &str| PolicyError::Refused { line, policy: id.clone(), message: message.to_owned() };
            let forbids = parsed.effect() == Effect::Forbid;
            let reason = parsed.annotation("reason").unwrap_or_default().to_owned();
            let warning = parsed.annotation("warn").map(str::to_owned);
            if reason.is_empty() && forbids {
                return Err(refused("whoever is refused must learn why: write @reason(\"…\") before it"));
            }
            if reason.len() > MAX_REASON_BYTES || warning.as_ref().is_some_and(|text| text.len() > MAX_REASON_BYTES) {
                return Err(refused("its @reason or @warn is longer than 600 bytes"));
            }
            if warning.is_some() && forbids {
                return Err(refused("@warn belongs to what permits; what forbids has a @reason"));
            }
            if level == Level::Organisation && !forbids {
                return Err(refused("an organisation may only forbid; what is permitted is for the hub to say"));
            }
            if rules.insert(id.clone(), Rule { line, reason, warning }).is_some() {
                return Err(refused("another policy has this @id"));
            }
            policies.push(parsed.new_id(PolicyId::new(&id)));
        }
        let set = cedar_policy::PolicySet::from_policies(policies).map_err(PolicyError::engine)?;
        Ok(Self { set, rules, words: facts::Words::new()?, level })
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// Names of all policies.
    #[must_use]
    pub fn ids(&self) -> BTreeSet<&str> {
        self.rules.keys().map(String::as_str).collect()
    }

    fn refused(&self, policy: &PolicyId, message: impl Into<String>) -> PolicyError {
        let policy: &str = policy.as_ref();
        let line = self.rules.get(policy).map_or(1, |rule| rule.line);
        PolicyError::Refused { line, policy: policy.to_owned(), message: message.into() }
    }
}

fn name(id: &str) -> bool {
    (1..=MAX_ID_BYTES).contains(&id.len())
        && id.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
}

/// Lines before the place that an error points to.
fn line_of(error: &dyn Diagnostic, text: &str) -> usize {
    let offset = error.labels().and_then(|mut labels| labels.next()).map_or(0, |label| label.offset());
    text.bytes().take(offset).filter(|&b| b == b'\n').count()
}

/// An error of the engine and its advice, as one line.
fn sentence(error: &dyn Diagnostic) -> String {
    let mut text = error.to_string();
    if let Some(help) = error.help() {
        text = format!("{text} ({help})");
    }
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
