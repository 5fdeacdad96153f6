//! Letting go of a base: what is stored as differences to a content is coded anew without it, before the content goes.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use weighthouse_format::xet::hash::XetHash;
use weighthouse_store::StoreError;
use weighthouse_store::blob::{ENCODER, Pace, RecodeSource, Recoded};
use weighthouse_store::catalog::{Content, RepoKey};
use weighthouse_store::digest::{GitOid, Sha256};

use super::RepackPolicy;
use super::plan::Planner;
use super::work::add;
use crate::browse::PathRecord;
use crate::{Error, Hub};

/// Contents that are looked at in one go.
const PAGE: u32 = 500;
/// Rounds after which something else goes on coding files against the base.
const MOST_ROUNDS: usize = 4;

impl Hub {
    /// Codes anew, without a content, everything that is stored as a difference to it; nothing needs it afterwards.
    ///
    /// Costs a pass over all file records, and reads and writes what depends on the content.
    ///
    /// # Errors
    /// [`Error::Busy`] when others go on to need it, or the hub stops; what the store says.
    pub async fn rebase(&self, base: &Sha256) -> Result<Recoded, Error> {
        let mut sum = Recoded::default();
        for _ in 0..MOST_ROUNDS {
            let needing: BTreeSet<XetHash> = self.catalog().recodes().dependants(base).await?.into_iter().collect();
            if needing.is_empty() {
                return Ok(sum);
            }
            let sources = self.sources_of(&needing, base).await?;
            let pace = Pace { share: 1.0, stop: Arc::new(AtomicBool::new(false)) };
            match self.store().recode_without(&sources, &needing, self.options().repack_level, &pace).await {
                Ok(done) => add(&mut sum, done),
                // Something moved: the next round sees it.
                Err(StoreError::Moved { .. }) => {}
                Err(error) => return Err(error.into()),
            }
            if self.is_stopping() {
                break;
            }
        }
        Err(Error::Busy { what: "coding files against what is to be removed" })
    }

    /// The contents that lie in some xorbs, with what is known of their tensors.
    async fn sources_of(&self, xorbs: &BTreeSet<XetHash>, base: &Sha256) -> Result<Vec<RecodeSource>, Error> {
        let mut open: BTreeMap<Sha256, Content> = BTreeMap::new();
        let mut after: Option<Sha256> = None;
        loop {
            let page = self.catalog().contents().page(after.as_ref(), PAGE).await?;
            let Some(last) = page.last() else { break };
            after = Some(last.record.sha256);
            let held = page.into_iter().filter(|content| content.terms.iter().any(|term| xorbs.contains(&term.xorb)));
            open.extend(held.map(|content| (content.record.sha256, content)));
        }
        let mut homes: BTreeMap<(RepoKey, GitOid), BTreeSet<Sha256>> = BTreeMap::new();
        for sha256 in open.keys() {
            if let Some(home) = self.home(sha256).await? {
                homes.entry(home).or_default().insert(*sha256);
            }
        }
        let mut sources = Vec::new();
        let policy = if self.options().repack == RepackPolicy::Full { RepackPolicy::Full } else { RepackPolicy::Light };
        for ((repo, commit), wanted) in homes {
            let Some(record) = self.catalog().repos().get(&repo).await? else { continue };
            let revision = self.known_commit(&repo, commit).await?;
            let planner = Planner::new(self, (&record, &revision), policy, ENCODER, &[*base]);
            for source in planner.plan(Some(&wanted), true).await?.batches.into_iter().flatten() {
                open.remove(&source.content.record.sha256);
                sources.push(source);
            }
        }
        // What no commit has any more is coded as bytes.
        sources.extend(open.into_values().map(|content| RecodeSource { content, runs: Vec::new() }));
        Ok(sources)
    }

    /// A commit that a ref leads to and that has a content, the heads of branches first.
    async fn home(&self, sha256: &Sha256) -> Result<Option<(RepoKey, GitOid)>, Error> {
        let contents = self.catalog().contents();
        for repo in contents.holders(sha256).await? {
            let refs = self.catalog().refs().list(&repo).await?;
            let mut open: Vec<GitOid> = refs.into_iter().map(|found| found.target).collect();
            let mut seen: HashSet<GitOid> = HashSet::new();
            while !open.is_empty() {
                let mut next = Vec::new();
                for oid in open {
                    if !seen.insert(oid) {
                        continue;
                    }
                    let Ok(revision) = self.known_commit(&repo, oid).await else { continue };
                    let listed = self.list(&revision, &oid.to_string(), "", true).await?;
                    let has = |entry: &PathRecord| matches!(entry, PathRecord::File(file) if file.sha256 == *sha256);
                    if listed.iter().any(has) {
                        return Ok(Some((repo, oid)));
                    }
                    next.extend(&revision.commit.parents);
                }
                open = next;
            }
        }
        Ok(None)
    }
}
