//! The scrub: reads a little of what is stored every hour, so that damage is found while a copy may still be at hand.

use std::time::Duration;

use weighthouse_store::catalog::{CheckState, PackId};
use weighthouse_store::{StoreError, StoreErrorKind};

use crate::{Error, Hub};

/// How often a little is checked.
pub(crate) const EVERY: Duration = Duration::from_secs(3_600);
/// Least bytes of one round.
const LEAST_BYTES: u64 = 256 << 20;
/// Rounds in which everything is checked once: those of a week.
const ROUNDS: u64 = 7 * 24;
/// Name of the lease.
const LEASE: &str = "scrub";
/// How long the lease is held without a sign of life, in milliseconds.
const LEASE_MS: i64 = 10 * 60_000;

/// What a round did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Round {
    /// Packs that were read.
    pub packs: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Packs with problems among them.
    pub problems: u64,
}

impl Hub {
    /// Checks the packs whose last check is longest ago: about a 168th of all bytes, at least 256 MiB. Another process
    /// that does the same is left to it.
    pub async fn scrub(&self) -> Result<Round, Error> {
        let leases = self.catalog().leases();
        let now_ms = self.now_ms();
        let Some(lease) = leases.take(LEASE, now_ms, now_ms + LEASE_MS).await? else { return Ok(Round::default()) };
        let (_, total) = self.catalog().packs().totals().await?;
        let budget = (total / ROUNDS).max(LEAST_BYTES);
        let mut round = Round::default();
        for (pack, bytes) in self.catalog().checks().due(10_000).await? {
            if self.is_stopping() || round.bytes >= budget || !leases.extend(&lease, self.now_ms() + LEASE_MS).await? {
                break;
            }
            let problem = self.check_pack(&pack).await?;
            round.packs += 1;
            round.bytes += bytes;
            if !problem.is_empty() {
                round.problems += 1;
                tracing::error!(pack.id = %pack, problem, "a pack is damaged: run `wh admin fsck --deep --repair`");
            }
            self.catalog().checks().note(&pack, self.now_ms(), &problem).await?;
        }
        leases.give_back(lease).await?;
        Ok(round)
    }

    /// How far the scrub is.
    pub async fn scrub_state(&self) -> Result<CheckState, Error> {
        Ok(self.catalog().checks().state().await?)
    }

    /// What is wrong with a pack; empty when nothing is.
    async fn check_pack(&self, pack: &PackId) -> Result<String, Error> {
        match self.store().check_pack(pack).await {
            Ok(()) => Ok(String::new()),
            Err(error) if is_damage(&error) => Ok(error.to_string()),
            Err(error) => Err(error.into()),
        }
    }
}

fn is_damage(error: &StoreError) -> bool {
    matches!(error.kind(), StoreErrorKind::Corrupt | StoreErrorKind::Malformed)
}
