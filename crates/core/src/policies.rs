//! What may be done with what, decided by the policies of the hub and of organisations.
//!
//! ```text
//!   decide ──► cache: policies and overrides, asked anew for changes every two seconds
//!         └──► record: refusals go to the audit log at once, every question to the counts of its day
//!   save  ──► check: schema, names, nobody locked out ──► one row is compared and set ──► audit log
//!   dry_run ──► the questions of the last days, asked again
//! ```

mod cache;
mod dry_run;
mod overrides;
mod record;
mod save;
#[cfg(test)]
mod tests;

pub(crate) use cache::PolicyCache;
pub use dry_run::{Changed, DryRun};
pub use overrides::NewOverride;
pub(crate) use record::Recorder;
pub use save::{Level, Standing};

use weighthouse_store::catalog::{RepoRecord, Role};
use weighthouse_trust::policy::{Action, Asker, Decision, Facts, Subject};

use crate::access::{Caller, Repo};
use crate::{Error, Hub};
use record::Question;

impl Hub {
    /// Decides whether the caller may do something with a file of a repository, and puts that on record.
    ///
    /// The caller's role is not asked here: whoever calls this has opened the repository and looked at it.
    ///
    /// # Errors
    /// Those of the catalog. A refusal is an answer; [`Hub::require`] makes an error of it.
    pub async fn decide(&self, caller: &Caller, action: Action, repo: &Repo, facts: &Facts) -> Result<Decision, Error> {
        let question = self.question(caller, action, repo, facts).await?;
        let decision = self.answer(&question).await?;
        self.note(caller, question, &decision).await?;
        Ok(decision)
    }

    /// As [`Hub::decide`], with a refusal as an error; returns the warnings.
    ///
    /// # Errors
    /// [`Error::Blocked`] with the reasons.
    pub async fn require(
        &self,
        caller: &Caller,
        action: Action,
        repo: &Repo,
        facts: &Facts,
    ) -> Result<Decision, Error> {
        let decision = self.decide(caller, action, repo, facts).await?;
        if decision.allowed { Ok(decision) } else { Err(blocked(&facts.path, &decision)) }
    }

    /// As [`Hub::decide`], but nothing is put on record: for pages that list what could be done.
    ///
    /// # Errors
    /// Those of the catalog.
    pub async fn would_decide(
        &self,
        caller: &Caller,
        action: Action,
        repo: &Repo,
        facts: &Facts,
    ) -> Result<Decision, Error> {
        self.answer(&self.question(caller, action, repo, facts).await?).await
    }

    async fn question(&self, caller: &Caller, action: Action, repo: &Repo, facts: &Facts) -> Result<Question, Error> {
        let subject = Subject {
            repo: repo.record.id.clone(),
            namespace: namespace(&repo.record.id).to_owned(),
            private: repo.record.private,
            owner_role: Some(caller.standing_in(&repo.record).unwrap_or(repo.role).as_str().to_owned()),
            overridden: self.overridden(&repo.record.key, &facts.digest).await?,
        };
        Ok(Question { action, asker: asker(caller), subject, facts: facts.clone(), owner: repo.record.owner.clone() })
    }

    /// What a person who may write in a repository, and is nobody in particular, would be told of a file there for which
    /// nobody vouched. Nothing is put on record.
    pub(crate) async fn answer_to_members(&self, record: &RepoRecord, facts: &Facts) -> Result<Decision, Error> {
        let (namespace, role) = (namespace(&record.id), Role::Write.as_str());
        let question = Question {
            action: Action::Download,
            asker: Asker {
                // Nobody can have this name.
                id: "-".to_owned(),
                admin: false,
                orgs: vec![(namespace.to_owned(), role.to_owned())],
                automated: false,
            },
            subject: Subject {
                repo: record.id.clone(),
                namespace: namespace.to_owned(),
                private: record.private,
                owner_role: Some(role.to_owned()),
                overridden: false,
            },
            facts: facts.clone(),
            owner: record.owner.clone(),
        };
        self.answer(&question).await
    }

    async fn answer(&self, question: &Question) -> Result<Decision, Error> {
        let Question { action, asker, subject, facts, owner } = question;
        let hub = self.compiled(weighthouse_store::catalog::HUB_LEVEL).await?;
        let decision = hub.decide(*action, asker, subject, facts);
        if *action == Action::Override {
            return Ok(decision);
        }
        let organisation = self.compiled(owner).await?;
        if organisation.is_empty() {
            return Ok(decision);
        }
        Ok(decision.and(organisation.decide(*action, asker, subject, facts)))
    }
}

/// The error for a refusal.
#[must_use]
pub fn blocked(path: &str, decision: &Decision) -> Error {
    let what = if path.is_empty() { "this revision".to_owned() } else { format!("`{path}`") };
    Error::Blocked { reason: format!("{what} is blocked: {}", decision.why()) }
}

/// What a policy learns of a caller.
fn asker(caller: &Caller) -> Asker {
    Asker {
        id: caller.account().map(|account| account.name.clone()).unwrap_or_default(),
        admin: caller.is_admin(),
        orgs: caller.orgs().iter().map(|m| (m.account.name.clone(), m.role.as_str().to_owned())).collect(),
        automated: caller.is_automated(),
    }
}

/// Name before the `/` of a repository's id; empty without one.
fn namespace(id: &str) -> &str {
    id.split_once('/').map_or("", |(namespace, _)| namespace)
}
