//! Quarantine: what nobody gets, and an administrator who vouches for it.

use serde_json::json;
use weighthouse_store::catalog::{OverrideRecord, fresh_id};
use weighthouse_trust::policy::{Action, Facts, State};

use super::blocked;
use super::record::{DAY_MS, KEEP_DAYS, Question};
use crate::access::{Caller, Repo};
use crate::audit::Event;
use crate::{Error, Hub, names};

/// Longest reason, in bytes.
const MAX_REASON_BYTES: usize = 2_000;
/// Files of a quarantine list.
const MOST_LISTED: usize = 500;

/// Vouches for a file.
#[derive(Debug, Clone)]
pub struct NewOverride {
    /// Path in the repository.
    pub path: String,
    /// SHA-256 or git id of the bytes, as [`Facts::digest`] has it: these and no others.
    pub digest: String,
    /// Why.
    pub reason: String,
    /// Milliseconds from now until it no longer counts.
    pub lifetime_ms: Option<i64>,
}

/// A file that policies keep from those who ask for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quarantined {
    /// Repository.
    pub repo: String,
    /// Path in it.
    pub path: String,
    /// SHA-256 or git id of the bytes.
    pub digest: String,
    /// Verdict.
    pub verdict: &'static str,
    /// How often it was asked for in vain in the last month.
    pub refused: u64,
    /// Milliseconds since 1970 at which it was last asked for.
    pub last_at_ms: i64,
    /// Whether an administrator vouched for it since.
    pub released: bool,
}

impl Hub {
    /// Vouches for a file of a repository.
    ///
    /// # Errors
    /// [`Error::Denied`] unless the caller administrates the hub, and [`Error::Blocked`] when a policy forbids even
    /// them; [`Error::Malformed`] without a reason.
    pub async fn override_verdict(
        &self,
        caller: &Caller,
        repo: &Repo,
        new: NewOverride,
    ) -> Result<OverrideRecord, Error> {
        let administrator = caller.account().filter(|_| caller.is_admin());
        let Some(account) = administrator else {
            return Err(Error::Denied {
                action: "override a verdict: that is for administrators of the hub".to_owned(),
            });
        };
        names::check_path(&new.path)?;
        let reason = new.reason.trim();
        if reason.is_empty() || reason.len() > MAX_REASON_BYTES {
            return Err(Error::Malformed("say why this file is released, in 1 to 2,000 bytes".to_owned()));
        }
        let hex = new.digest.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        if !hex || !matches!(new.digest.len(), 40 | 64) {
            return Err(Error::Malformed("an override names the SHA-256 or git id of the bytes".to_owned()));
        }
        let facts =
            Facts { state: State::Unsafe, path: new.path.clone(), digest: new.digest.clone(), ..Facts::default() };
        let decision = self.decide(caller, Action::Override, repo, &facts).await?;
        if !decision.allowed {
            return Err(blocked(&new.path, &decision));
        }
        let now_ms = self.now_ms();
        let record = OverrideRecord {
            id: fresh_id()?,
            repo: repo.record.key.clone(),
            digest: new.digest,
            path: new.path,
            account: account.id.clone(),
            account_name: account.name.clone(),
            reason: reason.to_owned(),
            made_at_ms: now_ms,
            expires_at_ms: new.lifetime_ms.map(|ms| now_ms.saturating_add(ms.max(1))),
            ended_at_ms: None,
        };
        self.catalog().overrides().add(&record).await?;
        self.policy_cache().clear();
        let event = Event {
            name: "override.create",
            org: repo.record.owner.clone(),
            repo: repo.record.id.clone(),
            subject: record.path.clone(),
            outcome: "done",
            detail: json!({
                "id": record.id, "digest": record.digest, "reason": record.reason,
                "expires_at_ms": record.expires_at_ms, "reasons": decision.reasons,
            }),
        };
        self.record(caller, event).await?;
        Ok(record)
    }

    /// Takes an override back.
    ///
    /// # Errors
    /// [`Error::Denied`] unless the caller administrates the hub; [`Error::NotFound`] when none with this id is in force.
    pub async fn end_override(&self, caller: &Caller, id: &str) -> Result<OverrideRecord, Error> {
        if !caller.is_admin() {
            return Err(Error::Denied { action: "take back an override".to_owned() });
        }
        let ended = self.catalog().overrides().end(id, self.now_ms()).await?;
        let ended = ended.ok_or_else(|| Error::NotFound { what: "override", name: names::shorten(id) })?;
        self.policy_cache().clear();
        let repo = self.catalog().repos().get(&ended.repo).await?;
        let event = Event {
            name: "override.end",
            org: repo.as_ref().map(|repo| repo.owner.clone()).unwrap_or_default(),
            repo: repo.map(|repo| repo.id).unwrap_or_default(),
            subject: ended.path.clone(),
            outcome: "done",
            detail: json!({ "id": ended.id, "digest": ended.digest }),
        };
        self.record(caller, event).await?;
        Ok(ended)
    }

    /// The newest overrides, those that ended included, for administrators.
    pub async fn overrides(&self, caller: &Caller, limit: u32) -> Result<Vec<OverrideRecord>, Error> {
        if !caller.is_admin() {
            return Err(Error::Denied { action: "list overrides".to_owned() });
        }
        Ok(self.catalog().overrides().list(limit.min(1_000)).await?)
    }

    /// Files that somebody was refused in the last month and that are still refused, the newest first; of one account's
    /// repositories or of all.
    ///
    /// What nobody asked for is not among them: the verdicts list those.
    pub async fn quarantined(&self, owner: Option<&str>) -> Result<Vec<Quarantined>, Error> {
        self.write_down().await?;
        let first_day = self.now_ms().div_euclid(DAY_MS) - KEEP_DAYS + 1;
        let mut found: Vec<Quarantined> = Vec::new();
        let mut places = std::collections::HashMap::new();
        let mut after: Option<(i64, String)> = None;
        loop {
            let from = after.as_ref().map(|(day, key)| (*day, key.as_str()));
            let page = self.catalog().decisions().since(first_day, owner, from, 2_000).await?;
            let Some(last) = page.last() else { break };
            after = Some((last.day, last.key.clone()));
            for record in page {
                let Ok(question) = serde_json::from_str::<Question>(&record.question) else { continue };
                let Question { action, subject, facts, .. } = question;
                let bad = matches!(facts.state, State::Suspicious | State::Error | State::Unsafe);
                if record.allowed || action != Action::Download || !bad {
                    continue;
                }
                let key = (subject.repo.clone(), facts.path.clone(), facts.digest.clone());
                let place = *places.entry(key).or_insert_with(|| {
                    found.push(Quarantined {
                        repo: subject.repo,
                        path: facts.path,
                        digest: facts.digest,
                        verdict: facts.state.as_str(),
                        refused: 0,
                        last_at_ms: 0,
                        released: false,
                    });
                    found.len() - 1
                });
                if let Some(one) = found.get_mut(place) {
                    one.refused += record.times;
                    one.last_at_ms = one.last_at_ms.max(record.last_at_ms);
                }
            }
        }
        found.sort_by_key(|one| std::cmp::Reverse(one.last_at_ms));
        found.truncate(MOST_LISTED);
        for one in &mut found {
            let mut stored = None;
            for kind in [crate::RepoKind::Model, crate::RepoKind::Dataset] {
                stored = stored.or(self.catalog().repos().find(kind, &one.repo).await?);
            }
            if let Some(repo) = stored {
                one.released = self.overridden(&repo.key, &one.digest).await?;
            }
        }
        Ok(found)
    }
}
