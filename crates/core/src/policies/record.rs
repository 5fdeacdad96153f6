//! Which decisions are put on record, and how.
//!
//! A refusal goes to the audit log before the answer goes out; the same one again within a minute is counted and written
//! once. What is allowed is not written one by one: downloads are too many. Each question is counted for its day in
//! memory, and the counts are written every ten seconds and when the hub closes. They serve dry runs; a killed server
//! loses ten seconds of them, and of no refusal more than how often it was repeated.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};
use serde_json::json;
use weighthouse_store::catalog::DecisionRecord;
use weighthouse_store::digest::Sha256;
use weighthouse_trust::policy::{Action, Asker, Decision, Facts, Subject};

use crate::access::Caller;
use crate::audit::Event;
use crate::{Error, Hub};

/// Milliseconds of a day.
pub(super) const DAY_MS: i64 = 86_400_000;
/// How long questions are kept, in days.
pub(super) const KEEP_DAYS: i64 = 31;
/// How often counts are written, in milliseconds.
const WRITE_MS: i64 = 10_000;
/// Different questions held in memory before they are written.
const MOST_HELD: usize = 2_000;
/// Different questions kept for a day.
const MOST_A_DAY: u64 = 50_000;
/// How long the same refusal is only counted, in milliseconds.
const REPEAT_MS: i64 = 60_000;

/// Everything that a decision depends on but the policies.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) struct Question {
    pub action: Action,
    pub asker: Asker,
    pub subject: Subject,
    pub facts: Facts,
    /// Id of the account that owns the repository.
    pub owner: String,
}

#[derive(Debug, Default)]
pub(crate) struct Recorder(Mutex<Held>);

#[derive(Debug, Default)]
struct Held {
    written_ms: i64,
    counts: HashMap<(i64, Question), Count>,
    refusals: HashMap<Refusal, Repeats>,
    /// Questions that found no room, since the start.
    left_out: u64,
}

#[derive(Debug, Clone, Copy)]
struct Count {
    times: u64,
    allowed: bool,
    last_ms: i64,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Refusal {
    actor: String,
    address: Option<String>,
    action: Action,
    repo: String,
    path: String,
    policies: Vec<String>,
}

#[derive(Debug)]
struct Repeats {
    since_ms: i64,
    again: u64,
    caller: Caller,
    event: Event,
}

impl Recorder {
    fn held(&self) -> MutexGuard<'_, Held> {
        // What a thread left when it panicked is whole: single inserts.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Hub {
    pub(super) async fn note(&self, caller: &Caller, question: Question, decision: &Decision) -> Result<(), Error> {
        let now_ms = self.now_ms();
        let refusal = (!decision.allowed).then(|| refused(caller, &question, decision));
        let (due, fresh) = {
            let mut held = self.recorder().held();
            if held.written_ms == 0 {
                held.written_ms = now_ms;
            }
            let allowed = decision.allowed;
            let key = (now_ms.div_euclid(DAY_MS), question);
            // Writing lags behind, and memory is not for it to fill.
            if held.counts.len() < MOST_HELD * 5 || held.counts.contains_key(&key) {
                let count = held.counts.entry(key).or_insert(Count { times: 0, allowed, last_ms: now_ms });
                *count = Count { times: count.times + 1, allowed, last_ms: now_ms };
            } else {
                held.left_out += 1;
            }
            let fresh = refusal.filter(|(key, _)| match held.refusals.get_mut(key) {
                Some(repeats) if now_ms - repeats.since_ms < REPEAT_MS => {
                    repeats.again += 1;
                    false
                }
                _ => true,
            });
            let due = now_ms - held.written_ms >= WRITE_MS || held.counts.len() >= MOST_HELD;
            if due {
                held.written_ms = now_ms;
            }
            (due, fresh)
        };
        if let Some((key, event)) = fresh {
            self.record(caller, event.clone()).await?;
            let repeats = Repeats { since_ms: now_ms, again: 0, caller: caller.clone(), event };
            let former = self.recorder().held().refusals.insert(key, repeats);
            self.record_all(former.and_then(again).into_iter().collect()).await?;
        }
        if due {
            let hub = self.clone();
            tokio::spawn(async move {
                if let Err(error) = hub.write_down().await {
                    tracing::warn!(%error, "decisions are not on record for dry runs");
                }
            });
        }
        Ok(())
    }

    /// Writes what is counted in memory.
    pub(crate) async fn write_down(&self) -> Result<(), Error> {
        let now_ms = self.now_ms();
        let (counts, repeats) = {
            let mut held = self.recorder().held();
            held.written_ms = now_ms;
            let counts = std::mem::take(&mut held.counts);
            let full = held.refusals.len() > MOST_HELD;
            let stopping = self.is_stopping();
            let over: Vec<Refusal> = held
                .refusals
                .iter()
                .filter(|(_, repeats)| full || stopping || now_ms - repeats.since_ms >= REPEAT_MS)
                .map(|(key, _)| key.clone())
                .collect();
            let repeats: Vec<_> = over.iter().filter_map(|key| held.refusals.remove(key)).filter_map(again).collect();
            (counts, repeats)
        };
        self.record_all(repeats).await?;
        if counts.is_empty() {
            return Ok(());
        }
        let record = |((day, question), count): ((i64, Question), Count)| {
            let text = serde_json::to_string(&question).unwrap_or_default();
            DecisionRecord {
                day,
                key: Sha256::of(text.as_bytes()).to_string(),
                owner: question.owner,
                question: text,
                allowed: count.allowed,
                times: count.times,
                last_at_ms: count.last_ms,
            }
        };
        let records: Vec<_> = counts.into_iter().map(record).collect();
        let left_out = self.catalog().decisions().count(&records, MOST_A_DAY).await?;
        if left_out > 0 {
            let mut held = self.recorder().held();
            held.left_out += left_out;
            tracing::warn!(left_out, "more different questions today than are kept for dry runs");
        }
        Ok(())
    }

    /// Forgets questions that are too old for a dry run.
    pub(crate) async fn forget_decisions(&self) -> Result<(), Error> {
        let today = self.now_ms().div_euclid(DAY_MS);
        Ok(self.catalog().decisions().forget(today - KEEP_DAYS).await?)
    }
}

/// The row for a refusal that was repeated.
fn again(repeats: Repeats) -> Option<(Caller, Event)> {
    let Repeats { again, caller, mut event, .. } = repeats;
    if again == 0 {
        return None;
    }
    if let Some(detail) = event.detail.as_object_mut() {
        detail.insert("again".to_owned(), json!(again));
    }
    Some((caller, event))
}

fn refused(caller: &Caller, question: &Question, decision: &Decision) -> (Refusal, Event) {
    let Question { action, subject, facts, owner, .. } = question;
    let key = Refusal {
        actor: question.asker.id.clone(),
        address: caller.address().map(str::to_owned),
        action: *action,
        repo: subject.repo.clone(),
        path: facts.path.clone(),
        policies: decision.reasons.iter().map(|reason| reason.policy.clone()).collect(),
    };
    let name = match action {
        Action::Download => "file.download",
        Action::Upload => "file.upload",
        Action::Merge => "repo.merge",
        Action::Publish => "repo.publish",
        _ => "override.create",
    };
    let event = Event {
        name,
        org: owner.clone(),
        repo: subject.repo.clone(),
        subject: facts.path.clone(),
        outcome: "refused",
        detail: json!({
            "verdict": facts.state,
            "digest": facts.digest,
            "format": facts.format,
            "size_bytes": facts.size_bytes,
            "automated": question.asker.automated,
            "reasons": decision.reasons,
        }),
    };
    (key, event)
}
