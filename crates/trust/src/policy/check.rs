//! What is refused when policies are saved.

use std::str::FromStr;

use cedar_policy::{
    ActionConstraint, Effect, PrincipalConstraint, ResourceConstraint, Schema, ValidationMode, Validator,
};

use super::facts::ADMINISTRATORS;
use super::{Action, Asker, Facts, Level, PolicyError, PolicySet, SCHEMA, State, Subject, sentence};

/// A person, group or repository that a policy names.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Literal {
    /// `User::"…"`, which is nobody's name only when it is empty.
    User(String),
    /// `Organisation::"…"`, or the organisation of a `Group::"ORG/ROLE"`.
    Organisation(String),
    /// `Namespace::"…"`.
    Namespace(String),
    /// `Repo::"…"`.
    Repo(String),
}

impl PolicySet {
    /// Compares the policies with the schema, and looks for those that can never match or that match always.
    ///
    /// That one policy permits what another forbids is how Cedar is meant to be used and no error; that nothing is left
    /// to a policy is one.
    ///
    /// # Errors
    /// [`PolicyError::Refused`] with the line and the name of the first policy that is wrong.
    pub fn validate(&self) -> Result<(), PolicyError> {
        let schema = Schema::from_str(SCHEMA).map_err(PolicyError::engine)?;
        let result = Validator::new(schema).validate(&self.set, ValidationMode::Strict);
        let errors = result.validation_errors().map(|error| self.refused(error.policy_id(), sentence(error)));
        // A rule that cannot match, and letters that look like others, are mistakes when they stand in a policy.
        let warnings = result.validation_warnings().map(|warning| self.refused(warning.policy_id(), sentence(warning)));
        let mut found: Vec<PolicyError> = errors.chain(warnings).collect();
        found.sort_by_key(|error| match error {
            PolicyError::Refused { line, .. } => *line,
            _ => 0,
        });
        if let Some(error) = found.into_iter().next() {
            return Err(error);
        }
        self.forbids_everything()
    }

    fn forbids_everything(&self) -> Result<(), PolicyError> {
        let always = self.set.policies().find(|policy| {
            policy.effect() == Effect::Forbid
                && policy.principal_constraint() == PrincipalConstraint::Any
                && policy.resource_constraint() == ResourceConstraint::Any
                && match policy.action_constraint() {
                    ActionConstraint::Any => true,
                    ActionConstraint::Eq(_) => false,
                    ActionConstraint::In(actions) => actions.len() >= Action::ALL.len(),
                }
                && !policy.has_non_scope_constraint()
        });
        match always {
            Some(policy) => Err(self.refused(
                policy.id(),
                "it forbids everything to everybody; say whom, what or which files after `when`",
            )),
            None => Ok(()),
        }
    }

    /// Fails when somebody who must be able to go on working could not: may not download a safe file, and in the
    /// policies of a hub, may not override.
    ///
    /// # Errors
    /// [`PolicyError::Refused`] names the policy that shuts them out.
    pub fn admits(&self, asker: &Asker, subject: &Subject) -> Result<(), PolicyError> {
        let safe = Facts {
            state: State::Safe,
            path: "model.safetensors".to_owned(),
            format: "safetensors".to_owned(),
            size_bytes: 1,
            ..Facts::default()
        };
        let bad = Facts { state: State::Unsafe, path: "model.bin".to_owned(), ..Facts::default() };
        let questions: &[(Action, &Facts, &str)] = match self.level {
            Level::Hub => {
                &[(Action::Override, &bad, "override a verdict"), (Action::Download, &safe, "download a safe file")]
            }
            Level::Organisation => &[(Action::Download, &safe, "download a safe file")],
        };
        for (action, facts, words) in questions {
            let decision = self.decide(*action, asker, subject, facts);
            if decision.allowed {
                continue;
            }
            let policy = decision.reasons.first().map(|reason| reason.policy.clone()).unwrap_or_default();
            let message = format!("`{}` administrates here and could no longer {words}", asker.id);
            return Err(match self.rules.get(&policy) {
                Some(rule) => PolicyError::Refused { line: rule.line, policy, message },
                None => PolicyError::Syntax { line: 1, message: format!("{message}: no policy permits it") },
            });
        }
        Ok(())
    }

    /// Everybody and everything that the policies name, with the policy that does.
    ///
    /// # Errors
    /// [`PolicyError::Refused`] for a group that is none.
    pub fn literals(&self) -> Result<Vec<(String, Literal)>, PolicyError> {
        let mut found = Vec::new();
        for policy in self.set.policies() {
            for uid in policy.entity_literals() {
                let id = uid.id().unescaped().to_owned();
                let literal = match uid.type_name().to_string().as_str() {
                    "User" => Literal::User(id),
                    "Organisation" => Literal::Organisation(id),
                    "Namespace" => Literal::Namespace(id),
                    "Repo" => Literal::Repo(id),
                    "Group" if id == ADMINISTRATORS => continue,
                    "Group" => match id.rsplit_once('/') {
                        Some((org, "read" | "write" | "admin")) => Literal::Organisation(org.to_owned()),
                        _ => {
                            let message = format!(
                                "there is no group `{id}`; groups are `administrators` and ORGANISATION/ROLE, where ROLE \
                                 is read, write or admin"
                            );
                            return Err(self.refused(policy.id(), message));
                        }
                    },
                    _ => continue,
                };
                let policy: &str = policy.id().as_ref();
                found.push((policy.to_owned(), literal));
            }
        }
        Ok(found)
    }

    /// The error for a policy of this set, with its line.
    #[must_use]
    pub fn refuse(&self, policy: &str, message: impl Into<String>) -> PolicyError {
        self.refused(&cedar_policy::PolicyId::new(policy), message)
    }
}
