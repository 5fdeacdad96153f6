//! Advisories: what somebody found out about files that exist, matched against every stored revision.
//!
//! ```text
//!   file, folder, repository ─► feeds: read whole, parsed whole, or refused ─► catalog ─► job: everything
//!   commit ─► job: that commit ─┐                                                            │
//!                               └─► review: names, digests, tensors, configurations ◄────────┘
//!                                       └─► matches by repository and commit, notices to owners
//! ```
//! A scan says what a file could do; an advisory is the word of whoever runs a feed, so that only administrators of the hub
//! say which feeds count.

mod cache;
mod feeds;
mod review;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use weighthouse_store::catalog::{FeedRecord, MatchRecord, RepoKey, RepoRecord};
use weighthouse_store::digest::GitOid;

pub use weighthouse_trust::advisory::{Advisory, Affected, Evidence};

use crate::access::{Caller, Repo};
use crate::revision::Revision;
use crate::{Error, Hub, RepoKind};

pub(crate) use cache::AdviceCache;
pub use feeds::{FeedSource, Imported};

/// Most matches in one answer.
const MAX_MATCHES: usize = 1_000;

/// An advisory that concerns a revision.
#[derive(Clone, Debug, PartialEq)]
pub struct Concern {
    /// The advisory.
    pub advisory: Advisory,
    /// Commit that it concerns.
    pub commit: GitOid,
    /// Why.
    pub evidence: Vec<Evidence>,
    /// Milliseconds since 1970 at which it was found first.
    pub found_at_ms: i64,
}

/// What the owners of a repository are told.
#[derive(Clone, Debug, PartialEq)]
pub struct Notice {
    /// The advisory.
    pub advisory: Advisory,
    /// Milliseconds since 1970 at which it was found first.
    pub noticed_at_ms: i64,
    /// When one of them took note; `None` before that.
    pub seen_at_ms: Option<i64>,
}

/// A repository that an advisory concerns.
#[derive(Clone, Debug, PartialEq)]
pub struct ConcernedRepo {
    /// Kind of the repository.
    pub kind: RepoKind,
    /// Id of the repository.
    pub id: String,
    /// Why, and where.
    pub concern: Concern,
}

/// A part of what advisories concern.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ConcernedList {
    /// By advisory.
    pub matches: Vec<ConcernedRepo>,
    /// Where the list goes on; `None` at its end.
    pub next: Option<String>,
}

/// A feed, and what it concerns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FeedStatus {
    /// The feed.
    pub feed: FeedRecord,
    /// Repositories that its advisories concern.
    pub repos: u64,
    /// Commits that they concern.
    pub commits: u64,
}

impl Hub {
    /// Advisories that concern a revision, or any revision of a repository, the gravest first.
    pub async fn concerns(&self, repo: &Repo, revision: Option<&Revision>) -> Result<Vec<Concern>, Error> {
        let oid = revision.map(|revision| revision.oid);
        let found = self.catalog().advisories().matches(&repo.record.key, oid.as_ref()).await?;
        let mut known = BTreeMap::new();
        let mut concerns = Vec::with_capacity(found.len());
        for record in found {
            concerns.extend(self.concern(record, &mut known).await?);
        }
        concerns.sort_by_key(|found| std::cmp::Reverse(found.advisory.severity));
        Ok(concerns)
    }

    /// What the owners of a repository are told: for those who may change it.
    ///
    /// # Errors
    /// [`Error::Denied`] for everybody else.
    pub async fn notices(&self, caller: &Caller, repo: &Repo) -> Result<Vec<Notice>, Error> {
        self.require_owner(caller, repo)?;
        let mut known = BTreeMap::new();
        let mut notices = Vec::new();
        for record in self.catalog().advisories().notices(&repo.record.key).await? {
            if let Some(advisory) = self.known_advisory(&record.advisory, &mut known).await? {
                let (noticed_at_ms, seen_at_ms) = (record.noticed_at_ms, record.seen_at_ms);
                notices.push(Notice { advisory, noticed_at_ms, seen_at_ms });
            }
        }
        notices.sort_by_key(|found| std::cmp::Reverse(found.advisory.severity));
        Ok(notices)
    }

    /// Notes that an owner has taken note of an advisory.
    ///
    /// # Errors
    /// [`Error::Denied`] for whoever may not change the repository; [`Error::NotFound`] when there is no such notice.
    pub async fn see_notice(&self, caller: &Caller, repo: &Repo, advisory: &str) -> Result<(), Error> {
        repo.require_write(caller, "take note of an advisory")?;
        match self.catalog().advisories().see_notice(&repo.record.key, advisory, self.now_ms()).await? {
            true => Ok(()),
            false => Err(Error::NotFound { what: "notice", name: crate::names::shorten(advisory) }),
        }
    }

    /// Feeds that were taken in, by name. For orders given on the machine itself.
    pub async fn feeds(&self) -> Result<Vec<FeedRecord>, Error> {
        Ok(self.catalog().advisories().feeds().await?)
    }

    /// All advisories, by id.
    pub async fn advisories(&self) -> Result<Vec<Advisory>, Error> {
        let records = self.catalog().advisories().all().await?;
        Ok(records.iter().filter_map(|record| read(&record.document)).collect())
    }

    /// Fails unless the caller may say which feeds count.
    ///
    /// # Errors
    /// [`Error::Denied`] for whoever does not administrate the hub.
    pub fn require_advisories(&self, caller: &Caller) -> Result<(), Error> {
        if caller.is_admin() {
            return Ok(());
        }
        Err(Error::Denied { action: "say which advisories count: that is for administrators of the hub".to_owned() })
    }

    /// Feeds and how much they concern, by name; the caller answers for who sees them.
    pub async fn feed_statuses(&self) -> Result<Vec<FeedStatus>, Error> {
        let counts = self.catalog().advisories().concerned_by_feed().await?;
        let status = |feed: FeedRecord| {
            let found = counts.iter().find(|count| count.feed == feed.name);
            FeedStatus {
                repos: found.map_or(0, |found| found.repos),
                commits: found.map_or(0, |found| found.commits),
                feed,
            }
        };
        Ok(self.feeds().await?.into_iter().map(status).collect())
    }

    /// What advisories concern, in parts; the caller answers for who sees it. `after` is [`ConcernedList::next`] of the part
    /// before.
    ///
    /// # Errors
    /// [`Error::Malformed`] when `after` is no such place.
    pub async fn concerned(&self, after: Option<&str>, limit: usize) -> Result<ConcernedList, Error> {
        let limit = limit.clamp(1, MAX_MATCHES);
        let place = after.map(read_place).transpose()?;
        let place = place.as_ref().map(|(advisory, repo, commit)| (advisory.as_str(), repo, commit));
        let found = self.catalog().advisories().all_matches(place, u32::try_from(limit).unwrap_or(1)).await?;
        let next = found.last().filter(|_| found.len() == limit);
        let next = next.map(|last| format!("{} {} {}", last.advisory, last.repo, last.commit));
        let mut list = ConcernedList { matches: Vec::with_capacity(found.len()), next };
        let mut known = BTreeMap::new();
        let mut repos: BTreeMap<String, Option<RepoRecord>> = BTreeMap::new();
        for record in found {
            let key = record.repo.as_str();
            if !repos.contains_key(key) {
                repos.insert(key.to_owned(), self.catalog().repos().get(&record.repo).await?);
            }
            let Some(Some(repo)) = repos.get(key) else { continue };
            let (kind, id) = (repo.kind, repo.id.clone());
            if let Some(concern) = self.concern(record, &mut known).await? {
                list.matches.push(ConcernedRepo { kind, id, concern });
            }
        }
        Ok(list)
    }

    fn require_owner(&self, caller: &Caller, repo: &Repo) -> Result<(), Error> {
        let owns = caller.role_in(&repo.record).is_some_and(|role| role >= crate::Role::Write);
        if owns { Ok(()) } else { Err(Error::Denied { action: format!("read notices of {}", repo.record.id) }) }
    }

    async fn concern(
        &self,
        record: MatchRecord,
        known: &mut BTreeMap<String, Option<Advisory>>,
    ) -> Result<Option<Concern>, Error> {
        let Some(advisory) = self.known_advisory(&record.advisory, known).await? else { return Ok(None) };
        let evidence = serde_json::from_str(&record.evidence).unwrap_or_default();
        Ok(Some(Concern { advisory, commit: record.commit, evidence, found_at_ms: record.found_at_ms }))
    }

    async fn known_advisory(
        &self,
        id: &str,
        known: &mut BTreeMap<String, Option<Advisory>>,
    ) -> Result<Option<Advisory>, Error> {
        if let Some(found) = known.get(id) {
            return Ok(found.clone());
        }
        // A feed may have dropped it a moment ago.
        let found = self.catalog().advisories().get(id).await?.and_then(|record| read(&record.document));
        known.insert(id.to_owned(), found.clone());
        Ok(found)
    }
}

fn read_place(text: &str) -> Result<(String, RepoKey, GitOid), Error> {
    let read = || {
        let mut parts = text.splitn(3, ' ');
        let (advisory, repo, commit) = (parts.next()?, parts.next()?, parts.next()?);
        Some((advisory.to_owned(), RepoKey::from(repo.to_owned()), commit.parse().ok()?))
    };
    read().ok_or_else(|| Error::Malformed(format!("`{}` is no place in this list", crate::names::shorten(text))))
}

/// An advisory as it is kept.
fn read(document: &str) -> Option<Advisory> {
    weighthouse_trust::advisory::parse(document.as_bytes()).ok()?.pop()
}
