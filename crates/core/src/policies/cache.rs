//! Policies and overrides as they were last read.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use weighthouse_store::StoreError;
use weighthouse_store::catalog::{HUB_LEVEL, OverrideRecord, RepoKey};
use weighthouse_trust::policy::PolicySet;

use crate::{Error, Hub};

/// How long policies count without asking whether another server changed them, in milliseconds: as long as the rights
/// of a token.
const REMEMBER_MS: i64 = 2_000;
/// Levels and repositories that are remembered.
const MOST: usize = 20_000;

#[derive(Debug, Default)]
pub(crate) struct PolicyCache(Mutex<Held>);

#[derive(Debug, Default)]
struct Held {
    checked_ms: Option<i64>,
    changes: i64,
    levels: HashMap<String, Arc<PolicySet>>,
    overrides: HashMap<RepoKey, Arc<[OverrideRecord]>>,
}

impl PolicyCache {
    /// Nothing holds any longer.
    pub fn clear(&self) {
        *self.held() = Held::default();
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        // What a thread left when it panicked is whole: single inserts.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Hub {
    /// Asks for changes unless that was just done.
    async fn refresh_policies(&self) -> Result<(), Error> {
        let now_ms = self.now_ms();
        if self.policy_cache().held().checked_ms.is_some_and(|ms| now_ms - ms < REMEMBER_MS && now_ms >= ms) {
            return Ok(());
        }
        let changes = self.catalog().policies().changes().await?;
        let mut held = self.policy_cache().held();
        if held.changes != changes || held.levels.len() + held.overrides.len() > MOST {
            *held = Held { changes, ..Held::default() };
        }
        held.checked_ms = Some(now_ms);
        Ok(())
    }

    /// The policies of a level.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] when those on record cannot be read: then nothing is allowed.
    pub(crate) async fn compiled(&self, level: &str) -> Result<Arc<PolicySet>, Error> {
        self.refresh_policies().await?;
        let changes = {
            let held = self.policy_cache().held();
            if let Some(compiled) = held.levels.get(level) {
                return Ok(Arc::clone(compiled));
            }
            held.changes
        };
        let record = self.catalog().policies().current(level).await?;
        let version = record.as_ref().map_or(0, |record| record.version);
        let parsed = match (&record, level) {
            (Some(record), HUB_LEVEL) => PolicySet::parse(&record.text),
            (None, HUB_LEVEL) => PolicySet::defaults(),
            (record, _) => PolicySet::parse_organisation(record.as_ref().map_or("", |record| &record.text)),
        };
        let set = parsed.map_err(|error| StoreError::Corrupt {
            what: format!("version {version} of the policies of level `{level}`"),
            detail: error.to_string(),
        })?;
        let compiled = Arc::new(set);
        let mut held = self.policy_cache().held();
        if held.changes == changes {
            held.levels.insert(level.to_owned(), Arc::clone(&compiled));
        }
        Ok(compiled)
    }

    /// Whether an administrator vouched for these bytes in a repository.
    pub(crate) async fn overridden(&self, repo: &RepoKey, digest: &str) -> Result<bool, Error> {
        if digest.is_empty() {
            return Ok(false);
        }
        self.refresh_policies().await?;
        let now_ms = self.now_ms();
        let counts = |all: &[OverrideRecord]| {
            all.iter().any(|one| one.digest == digest && one.expires_at_ms.is_none_or(|ms| now_ms < ms))
        };
        let changes = {
            let held = self.policy_cache().held();
            if let Some(all) = held.overrides.get(repo) {
                return Ok(counts(all));
            }
            held.changes
        };
        let all: Arc<[OverrideRecord]> = self.catalog().overrides().of_repo(repo).await?.into();
        let answer = counts(&all);
        let mut held = self.policy_cache().held();
        if held.changes == changes {
            held.overrides.insert(repo.clone(), all);
        }
        Ok(answer)
    }
}
