//! Where bases are looked for: the earlier commit, the declared base model, twins by hash, look-alikes by shape and spread.
//!
//! All of it lies in repositories that the owner of the repository may read: public ones, its own, and those of its
//! organisations. What others keep private is neither asked nor named.

use std::collections::{BTreeSet, HashSet};

use weighthouse_store::catalog::{RepoKey, RepoKind, RepoRecord, TensorSighting};
use weighthouse_store::digest::{GitOid, Sha256};

use super::known::xorbs;
use super::plan::{At, LEAST_BYTES, Planner};
use super::side::{Side, SideKey, may_code, sides_of, spread};
use crate::checkpoints::TensorStats;
use crate::facts::Facts;
use crate::revision::{MAIN, Revision};
use crate::{Error, Hub};

/// Earlier commits that are searched for weights, and those of them whose weights are tried.
const MOST_STEPS: usize = 8;
const MOST_VERSIONS: usize = 3;
/// Checkpoints of an earlier commit, and of a base model.
const MOST_EARLIER: usize = 64;
const MOST_DECLARED: usize = 4;
/// Base models that a card may name.
const MOST_BASES: usize = 4;
/// Bases of a base that are followed.
const MOST_FOLLOWED: usize = 4;
/// Tensors whose twins are looked for, and the least length of one.
const MOST_TWINS: usize = 64;
const TWIN_BYTES: u64 = 64 << 10;
/// Places of one tensor that are looked at.
const MOST_PLACES: u32 = 8;
/// Tensors whose look-alikes are looked for, places of each shape, and checkpoints that are tried.
const MOST_LOOKS: usize = 3;
const MOST_ALIKE: u32 = 256;
const MOST_TRIED: usize = 4;
/// Largest distance of mean and deviation, in deviations, at which two tensors may be versions of each other.
const FAR: f64 = 0.25;

impl Planner<'_> {
    /// Finds checkpoints that may be bases.
    pub(super) async fn look_around(&mut self) -> Result<(), Error> {
        self.look_back().await?;
        self.look_at_card().await?;
        for target in 0..self.own {
            self.look_for_twins(target).await?;
            self.look_for_alike(target).await?;
        }
        Ok(())
    }

    /// The nearest earlier commits that have weights which this one and each other have not: what a step was made of is not
    /// always the step before.
    async fn look_back(&mut self) -> Result<(), Error> {
        let mut next = self.revision().commit.parents.first().copied();
        let mut found = 0;
        for _ in 0..MOST_STEPS {
            let Some(oid) = next else { return Ok(()) };
            let Ok(earlier) = self.hub.known_commit(&self.repo.key.clone(), oid).await else { return Ok(()) };
            found += usize::from(self.add_revision(&self.repo.clone(), &earlier, MOST_EARLIER).await?);
            if found == MOST_VERSIONS {
                return Ok(());
            }
            next = earlier.commit.parents.first().copied();
        }
        Ok(())
    }

    /// The base models that the card declares, where they are on this hub and may be read.
    async fn look_at_card(&mut self) -> Result<(), Error> {
        for id in Facts::of(self.repo).base_models.iter().take(MOST_BASES) {
            let repos = self.hub.catalog().repos();
            let found = match repos.find(RepoKind::Model, id).await? {
                Some(found) => Some(found),
                None => match repos.redirect(RepoKind::Model, id).await? {
                    Some(id) => repos.find(RepoKind::Model, &id).await?,
                    None => None,
                },
            };
            let Some(base) = found else { continue };
            if base.key == self.repo.key || !may_read(self.hub, &self.repo.owner, &base).await? {
                continue;
            }
            let head = self.hub.catalog().refs().read(&base.key, &format!("refs/heads/{MAIN}")).await?;
            let Some(head) = head else { continue };
            let head = self.hub.known_commit(&base.key, head).await?;
            self.add_revision(&base, &head, MOST_DECLARED).await?;
        }
        Ok(())
    }

    /// Tensors with the same elements, in any container.
    async fn look_for_twins(&mut self, target: usize) -> Result<(), Error> {
        let mut asked = 0;
        for at in self.largest(target) {
            let Some(tensor) = self.tensor(at).filter(|tensor| tensor.size_bytes >= TWIN_BYTES) else { break };
            let Some(hash) = tensor.hash else { continue };
            if asked == MOST_TWINS {
                break;
            }
            if self.has_same(at) {
                continue;
            }
            asked += 1;
            let who = (&self.viewer, self.repo.owner.as_str());
            let twins = self.hub.catalog().tensors().twins(&hash, who, MOST_PLACES).await?;
            for twin in twins {
                if self.add_sighting(&twin).await? {
                    break;
                }
            }
        }
        Ok(())
    }

    /// Checkpoints whose tensors have the same shapes and about the same spread, told by trial.
    async fn look_for_alike(&mut self, target: usize) -> Result<(), Error> {
        let mut tried: HashSet<SideKey> = HashSet::new();
        for _ in 0..MOST_LOOKS {
            if self.share(target, &|at| !self.partners(at).is_empty()) >= 0.5 {
                return Ok(());
            }
            let open: Vec<At> = self.largest(target).into_iter().filter(|at| self.partners(*at).is_empty()).collect();
            let Some(at) = open.into_iter().find(|at| self.tensor(*at).is_some_and(|tensor| tensor.spread.is_some()))
            else {
                return Ok(());
            };
            let found = self.alike(at).await?;
            let mut best: Option<(f64, usize)> = None;
            let before = self.sides.len();
            for sighting in found {
                let key = key(&sighting);
                if tried.len() == MOST_TRIED || !tried.insert(key) || !self.add_sighting(&sighting).await? {
                    continue;
                }
                for side in before..self.sides.len() {
                    let Some(other) = self.counterpart(at, side, &sighting) else { continue };
                    if let Some(trial) = self.try_pair(at, (side, other)).await?.filter(|trial| trial.pays())
                        && best.is_none_or(|(ratio, _)| trial.ratio() < ratio)
                    {
                        best = Some((trial.ratio(), side));
                    }
                }
            }
            // What was in vain is not looked at again and again.
            if best.is_none() {
                self.sides.truncate(before);
                self.barred.retain(|(_, side)| *side < before);
                return Ok(());
            }
        }
        Ok(())
    }

    /// Places of tensors of the same shape, the nearest in mean and deviation first.
    async fn alike(&self, at: At) -> Result<Vec<TensorSighting>, Error> {
        let Some(tensor) = self.tensor(at) else { return Ok(Vec::new()) };
        let Some((mean, deviation)) = tensor.spread else { return Ok(Vec::new()) };
        let shape = self.sides.get(at.0).and_then(|side| side.inside.tensors(tensor.part).get(tensor.number));
        let shape = shape.map_or(&[][..], |tensor| tensor.shape.as_slice());
        let who = (&self.viewer, self.repo.owner.as_str());
        let places = self.hub.catalog().tensors().alike(shape, who, MOST_ALIKE).await?;
        let mut found: Vec<(f64, TensorSighting)> = Vec::new();
        for place in places {
            let stats: TensorStats = serde_json::from_str(&place.tensor.statistics).unwrap_or_default();
            let Some((other_mean, other)) = spread(&stats) else { continue };
            let distance = ((mean - other_mean).abs() + (deviation - other).abs()) / deviation;
            let fits = weighthouse_format::Dtype::parse(&place.tensor.dtype)
                .is_some_and(|dtype| may_code(tensor.dtype, dtype));
            if distance <= FAR && fits {
                found.push((distance, place));
            }
        }
        found.sort_by(|(one, _), (other, _)| one.total_cmp(other));
        Ok(found.into_iter().map(|(_, place)| place).collect())
    }

    /// The tensor of a side that was seen, or the one of the same name.
    fn counterpart(&self, at: At, side: usize, sighting: &TensorSighting) -> Option<usize> {
        let other = self.sides.get(side)?;
        let named = || {
            let tensor = self.tensor(at)?;
            other.named(tensor.part, self.sides.get(at.0)?.name(at.1), &tensor.shape)
        };
        other.with_hash(&sighting.tensor.hash).or_else(named)
    }

    /// Tensors of a side that are worth a base, the largest first.
    fn largest(&self, side: usize) -> Vec<At> {
        let tensors = self.sides.get(side).map_or(&[][..], |side| &side.tensors);
        let mut found: Vec<(u64, usize)> =
            tensors.iter().enumerate().map(|(at, tensor)| (tensor.size_bytes, at)).collect();
        found.retain(|(bytes, _)| *bytes >= LEAST_BYTES);
        found.sort_by_key(|(bytes, at)| (std::cmp::Reverse(*bytes), *at));
        found.into_iter().map(|(_, at)| (side, at)).collect()
    }

    fn has_same(&self, at: At) -> bool {
        let Some(hash) = self.tensor(at).and_then(|tensor| tensor.hash) else { return false };
        self.sides_for(at).any(|(side, other)| other.with_hash(&hash).is_some_and(|twin| (side, twin) != at))
    }

    /// Takes the checkpoint where a tensor was seen for a candidate. Returns whether it is one.
    async fn add_sighting(&mut self, sighting: &TensorSighting) -> Result<bool, Error> {
        let Ok(revision) = self.hub.known_commit(&sighting.repo, sighting.commit).await else { return Ok(false) };
        let Some(side) = Side::load(self.hub, &sighting.repo, &revision, &sighting.page).await? else {
            return Ok(false);
        };
        if sighting.repo == self.repo.key {
            // Commits are coded in their order: what has not had its turn came later, and is to lean on this one.
            for sha256 in side.contents() {
                if self.contents.get(&sha256).await?.is_none_or(|known| !known.is_seen) {
                    return Ok(false);
                }
            }
        }
        self.add(side).await
    }

    /// Takes the checkpoints of a revision for candidates. Returns whether any is one.
    async fn add_revision(&mut self, repo: &RepoRecord, revision: &Revision, most: usize) -> Result<bool, Error> {
        let files = self.hub.all_files(revision).await?;
        let mut any = false;
        for side in sides_of(self.hub, &repo.key, revision, &files, most).await? {
            any |= self.add(side).await?;
        }
        Ok(any)
    }

    /// Takes a checkpoint for a candidate, and those that it is stored as differences to, unless it has nothing new.
    async fn add(&mut self, side: Side) -> Result<bool, Error> {
        let known: BTreeSet<Sha256> = self.sides.iter().flat_map(Side::contents).collect();
        let contents = side.contents();
        if self.sides.iter().any(|found| found.key == side.key) || contents.iter().all(|held| known.contains(held)) {
            return Ok(false);
        }
        let mut hashes = Vec::new();
        for sha256 in &contents {
            if let Some(found) = self.contents.get(sha256).await?.filter(|found| found.depth > 0) {
                hashes.extend(xorbs(&found.content));
            }
        }
        self.push(side).await?;
        self.follow(&hashes).await?;
        Ok(true)
    }

    /// Adds the checkpoints that hold what these xorbs need, where they may be read.
    async fn follow(&mut self, hashes: &[weighthouse_format::xet::hash::XetHash]) -> Result<(), Error> {
        let mut hashes = hashes.to_vec();
        for _ in 0..2 {
            if hashes.is_empty() {
                return Ok(());
            }
            let bases = self.hub.catalog().coding().bases(&hashes).await?;
            hashes.clear();
            for base in bases.iter().take(MOST_FOLLOWED) {
                if self.sides.iter().any(|side| side.contents().contains(base)) {
                    continue;
                }
                if let Some(found) = self.contents.get(base).await?.filter(|found| found.depth > 0) {
                    hashes.extend(xorbs(&found.content));
                }
                let seen = self.hub.catalog().tensors().seen(base, &self.viewer).await?;
                let Some((repo, commit, page)) = seen else { continue };
                self.add_seen(&repo, commit, &page).await?;
            }
        }
        Ok(())
    }

    async fn add_seen(&mut self, repo: &RepoKey, commit: GitOid, page: &str) -> Result<(), Error> {
        let Ok(revision) = self.hub.known_commit(repo, commit).await else { return Ok(()) };
        if let Some(side) = Side::load(self.hub, repo, &revision, page).await?
            && !self.sides.iter().any(|found| found.key == side.key)
        {
            self.push(side).await?;
        }
        Ok(())
    }
}

fn key(sighting: &TensorSighting) -> SideKey {
    SideKey { repo: sighting.repo.clone(), commit: sighting.commit, page: sighting.page.clone() }
}

/// Whether an account, or an organisation, may read a repository.
async fn may_read(hub: &Hub, owner: &str, repo: &RepoRecord) -> Result<bool, Error> {
    if !repo.private || repo.owner == owner {
        return Ok(true);
    }
    let orgs = hub.catalog().accounts().orgs_of(owner).await?;
    Ok(orgs.iter().any(|member| member.account.id == repo.owner))
}
