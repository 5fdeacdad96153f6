//! The decision, and why.

use cedar_policy::{Authorizer, PolicyId};
use serde::{Deserialize, Serialize};

use super::{Action, Asker, Facts, Level, PolicySet, Subject};

/// A policy that took part in a decision.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reason {
    /// Name of the policy; empty when none permits.
    pub policy: String,
    /// What it says to whoever asked.
    pub text: String,
    /// Whose policy it is.
    pub level: Level,
}

/// Whether something may be done, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decision {
    /// Whether it may be done.
    pub allowed: bool,
    /// Those that permitted it, or that forbade it, by name.
    pub reasons: Vec<Reason>,
    /// What whoever may do it should know first.
    pub warnings: Vec<Reason>,
}

impl Decision {
    /// Both must allow; all reasons of those that refuse are kept.
    #[must_use]
    pub fn and(mut self, further: Self) -> Self {
        match (self.allowed, further.allowed) {
            (true, false) => return further,
            (false, true) => {}
            _ => self.reasons.extend(further.reasons),
        }
        self.warnings.extend(further.warnings);
        self
    }

    /// All reasons as one sentence.
    #[must_use]
    pub fn why(&self) -> String {
        let one = |reason: &Reason| match (reason.level, reason.policy.as_str()) {
            (_, "") => reason.text.clone(),
            (Level::Hub, policy) => format!("{} (policy `{policy}` of this hub)", reason.text),
            (Level::Organisation, policy) => format!("{} (policy `{policy}` of the organisation)", reason.text),
        };
        self.reasons.iter().map(one).collect::<Vec<_>>().join("; ")
    }
}

impl PolicySet {
    /// Decides a question.
    ///
    /// A policy of the hub that cannot be evaluated (an overflow, say) makes the answer no, and so does one of an
    /// organisation: Cedar alone would go on without it.
    ///
    /// # Cost
    /// In proportion to the length of the text; about 10 µs for the defaults.
    #[must_use]
    pub fn decide(&self, action: Action, asker: &Asker, subject: &Subject, facts: &Facts) -> Decision {
        let question = match self.words.question(action, asker, subject, facts) {
            Ok(question) => question,
            Err(error) => return self.no(String::new(), format!("the facts cannot be put to the policies: {error}")),
        };
        let response = Authorizer::new().is_authorized(&question.request, &self.set, &question.entities);
        let diagnostics = response.diagnostics();
        if let Some(error) = diagnostics.errors().next() {
            let cedar_policy::AuthorizationError::PolicyEvaluationError(error) = error;
            let policy: &str = error.policy_id().as_ref();
            return self.no(policy.to_owned(), format!("it cannot be evaluated: {}", error.inner()));
        }
        let mut ids: Vec<&PolicyId> = diagnostics.reason().collect();
        ids.sort();
        let allowed = response.decision() == cedar_policy::Decision::Allow;
        if ids.is_empty() {
            // An organisation that forbids nothing has said nothing.
            return match self.level {
                Level::Organisation => Decision { allowed: true, reasons: Vec::new(), warnings: Vec::new() },
                Level::Hub => self.no(String::new(), format!("no policy of this hub permits to {action} it")),
            };
        }
        let rules = |of: fn(&super::Rule) -> Option<&str>| {
            let one = |id: &&PolicyId| {
                let policy: &str = (*id).as_ref();
                let text = of(self.rules.get(policy)?)?.to_owned();
                Some(Reason { policy: policy.to_owned(), text, level: self.level })
            };
            ids.iter().filter_map(one).collect::<Vec<_>>()
        };
        let warnings = if allowed { rules(|rule| rule.warning.as_deref()) } else { Vec::new() };
        Decision { allowed, reasons: rules(|rule| Some(&rule.reason)), warnings }
    }

    fn no(&self, policy: String, text: String) -> Decision {
        Decision { allowed: false, reasons: vec![Reason { policy, text, level: self.level }], warnings: Vec::new() }
    }
}
