//! What policies would have decided: the questions of the last days, asked again.

use std::collections::BTreeMap;

use weighthouse_store::catalog::HUB_LEVEL;
use weighthouse_trust::policy::{Action, Reason};

use super::record::{DAY_MS, KEEP_DAYS, Question};
use super::save::Level;
use crate::{Error, Hub};

/// Questions read at once.
const PAGE: u32 = 2_000;
/// Different changes that are kept; further ones are counted.
const MOST_CHANGES: usize = 200;

/// What changes for a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changed {
    /// `download`, `upload`, `merge` or `publish`.
    pub action: &'static str,
    /// Repository.
    pub repo: String,
    /// Path in it.
    pub path: String,
    /// Verdict on the file at that time.
    pub verdict: &'static str,
    /// How often it was asked for.
    pub times: u64,
    /// Names of those who asked; empty for strangers. At most five.
    pub askers: Vec<String>,
    /// Whether it would be allowed.
    pub allowed: bool,
    /// Why.
    pub reasons: Vec<Reason>,
    /// Milliseconds since 1970 at which it was last asked for.
    pub last_at_ms: i64,
}

/// What policies would have decided.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DryRun {
    /// Days that were looked at.
    pub days: i64,
    /// Requests of these days.
    pub requests: u64,
    /// Those that would be refused, and are allowed by the policies of now.
    pub newly_refused: u64,
    /// Those that would be allowed, and are refused by the policies of now.
    pub newly_allowed: u64,
    /// Those that both refuse.
    pub still_refused: u64,
    /// What changes, the most frequent first.
    pub changes: Vec<Changed>,
    /// Changes that are counted above and not listed.
    pub more_changes: u64,
}

impl Hub {
    /// Asks the questions of the last `days` again, with `text` as the policies of a level, and compares the answers with
    /// those that the policies of now give.
    ///
    /// Overrides count as they stood when the question was asked.
    ///
    /// # Errors
    /// [`Error::Policy`] as for [`Hub::check_policies`].
    pub async fn dry_run(&self, level: &Level, text: &str, days: i64) -> Result<DryRun, Error> {
        let proposed = self.check_policies(level, text).await?;
        let days = days.clamp(1, KEEP_DAYS);
        self.write_down().await?;
        let first_day = self.now_ms().div_euclid(DAY_MS) - days + 1;
        let owner = match level {
            Level::Hub => None,
            Level::Account(account) => Some(account.id.as_str()),
        };
        let hub = self.compiled(HUB_LEVEL).await?;
        let mut found = DryRun { days, ..DryRun::default() };
        let mut changes: BTreeMap<(&'static str, String, String, bool, Vec<String>), Changed> = BTreeMap::new();
        let mut after: Option<(i64, String)> = None;
        loop {
            let from = after.as_ref().map(|(day, key)| (*day, key.as_str()));
            let page = self.catalog().decisions().since(first_day, owner, from, PAGE).await?;
            let Some(last) = page.last() else { break };
            after = Some((last.day, last.key.clone()));
            for record in page {
                // A question in the words of another version of the program is no question any longer.
                let Ok(question) = serde_json::from_str::<Question>(&record.question) else { continue };
                let Question { action, asker, subject, facts, owner } = &question;
                if *action == Action::Override {
                    continue;
                }
                let of_hub = hub.decide(*action, asker, subject, facts);
                let own = self.compiled(owner).await?;
                let of_owner = own.decide(*action, asker, subject, facts);
                let anew = proposed.decide(*action, asker, subject, facts);
                let now = of_hub.clone().and(of_owner.clone());
                let then = match level {
                    Level::Hub => anew.and(of_owner),
                    Level::Account(_) => of_hub.and(anew),
                };
                found.requests += record.times;
                match (now.allowed, then.allowed) {
                    (true, true) => continue,
                    (false, false) => {
                        found.still_refused += record.times;
                        continue;
                    }
                    (true, false) => found.newly_refused += record.times,
                    (false, true) => found.newly_allowed += record.times,
                }
                let policies = then.reasons.iter().map(|reason| reason.policy.clone()).collect();
                let key = (action.as_str(), subject.repo.clone(), facts.path.clone(), then.allowed, policies);
                if !changes.contains_key(&key) && changes.len() >= MOST_CHANGES {
                    found.more_changes += record.times;
                    continue;
                }
                let change = changes.entry(key).or_insert_with(|| Changed {
                    action: action.as_str(),
                    repo: subject.repo.clone(),
                    path: facts.path.clone(),
                    verdict: facts.state.as_str(),
                    times: 0,
                    askers: Vec::new(),
                    allowed: then.allowed,
                    reasons: then.reasons.clone(),
                    last_at_ms: record.last_at_ms,
                });
                change.times += record.times;
                change.last_at_ms = change.last_at_ms.max(record.last_at_ms);
                if change.askers.len() < 5 && !change.askers.contains(&asker.id) {
                    change.askers.push(asker.id.clone());
                }
            }
            tokio::task::yield_now().await;
        }
        found.changes = changes.into_values().collect();
        found.changes.sort_by(|a, b| b.times.cmp(&a.times).then_with(|| (&a.repo, &a.path).cmp(&(&b.repo, &b.path))));
        Ok(found)
    }
}
