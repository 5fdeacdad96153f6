//! An administrator who vouches for a file that nobody gets.

use serde_json::json;
use weighthouse_store::catalog::{OverrideRecord, fresh_id};
use weighthouse_trust::policy::{Action, Facts, State};

use super::blocked;
use crate::access::{Caller, Repo};
use crate::audit::Event;
use crate::{Error, Hub, names};

/// Longest reason, in bytes.
const MAX_REASON_BYTES: usize = 2_000;

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
        self.catalog().overrides().add(&record, Some(self.audited(caller, event))).await?;
        self.policy_cache().clear();
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
        let none = || Error::NotFound { what: "override", name: names::shorten(id) };
        let made = self.catalog().overrides().get(id).await?.ok_or_else(none)?;
        let repo = self.catalog().repos().get(&made.repo).await?;
        let event = Event {
            name: "override.end",
            org: repo.as_ref().map(|repo| repo.owner.clone()).unwrap_or_default(),
            repo: repo.map(|repo| repo.id).unwrap_or_default(),
            subject: made.path,
            outcome: "done",
            detail: json!({ "id": made.id, "digest": made.digest }),
        };
        let ended = self.catalog().overrides().end(id, self.now_ms(), Some(self.audited(caller, event))).await?;
        self.policy_cache().clear();
        ended.ok_or_else(none)
    }

    /// The newest overrides, those that ended included, for administrators.
    pub async fn overrides(&self, caller: &Caller, limit: u32) -> Result<Vec<OverrideRecord>, Error> {
        if !caller.is_admin() {
            return Err(Error::Denied { action: "list overrides".to_owned() });
        }
        Ok(self.catalog().overrides().list(limit.min(1_000)).await?)
    }
}
