//! Retention: which checkpoints and versions of a repository keep their bytes.
//!
//! Two things grow during training: folders `checkpoint-N` on the branch, and versions, that is commits. Rules for the first
//! remove old folders from the default branch by an ordinary commit, and give up the files that only older commits have in
//! those folders. Rules for the second give up the large files of old commits. History itself stays: every commit and every
//! small file can be looked at, and a large file that is gone is answered with the rule that removed it. What a branch or a tag
//! points at is always kept. What was given up is removed by the next collection of garbage after its grace. Why:
//! `docs/design/009-what-retention-removes.md`.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashSet};

use serde::{Deserialize, Serialize};
use serde_json::json;
use weighthouse_store::catalog::{RepoKey, RetentionRecord};

use crate::access::{Caller, Repo};
use crate::browse::PathRecord;
use crate::commit::{CommitMessage, Target};
use crate::repos::event;
use crate::revision::{MAIN, Revision};
use crate::{Error, GitOid, Hub, names};

/// Commits of a branch that rules look at.
const MOST_COMMITS: usize = 20_000;
/// Files that report metrics, as trainers of transformers write them.
const REPORTS: [&str; 3] = ["trainer_state.json", "eval_results.json", "all_results.json"];
/// Longest of them that is read, in bytes.
const MOST_STATE: u64 = 64 << 20;
/// How often rules are applied, in milliseconds.
const EVERY_MS: i64 = 24 * 3_600_000;
/// Name of the lease.
const LEASE: &str = "retention";
/// How long the lease is held, in milliseconds.
const LEASE_MS: i64 = 30 * 60_000;

/// Which of a series are kept; what any of these names is. The newest always is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Keep {
    /// The last so many.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<u64>,
    /// Of checkpoints: those whose step is a multiple. Of versions: every so many, counted from the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub every: Option<u64>,
    /// The best by a metric.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub best: Option<Best>,
}

/// The best so many by a metric that the checkpoint's own files report: `trainer_state.json`, or results beside it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Best {
    /// How many.
    pub count: u64,
    /// Name, such as `eval_loss`.
    pub metric: String,
    /// Whether a higher value is better.
    #[serde(default)]
    pub higher: bool,
}

/// What a repository keeps.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rules {
    /// Of folders `checkpoint-N` on the default branch, those of each parent folder for themselves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checkpoints: Option<Keep>,
    /// Of commits of the default branch, whose large files are kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub versions: Option<Keep>,
}

/// A checkpoint folder or a version, and what the rules say of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judged {
    /// Path of the folder, or id of the commit.
    pub name: String,
    /// Step of the folder, or number of the commit from the first on.
    pub number: u64,
    /// Value of the metric, as it was reported.
    pub metric: Option<String>,
    /// Why it is kept; `None` when it is not.
    pub kept: Option<String>,
    /// Bytes of the files of a folder.
    pub size_bytes: u64,
}

/// What applying the rules would do.
#[derive(Debug, Clone)]
pub struct RetentionPlan {
    /// The rules.
    pub rules: Rules,
    /// Head of the default branch for which the plan was made.
    pub head: GitOid,
    /// Checkpoint folders.
    pub checkpoints: Vec<Judged>,
    /// Versions, the newest first.
    pub versions: Vec<Judged>,
    /// Commits and folders whose large files are given up, and the rule.
    given_up: Vec<(GitOid, String)>,
}

impl Keep {
    fn check(&self, what: &str) -> Result<(), Error> {
        let is_empty = self.last.is_none() && self.every.is_none() && self.best.is_none();
        let zero = self.last == Some(0) || self.every == Some(0) || self.best.as_ref().is_some_and(|b| b.count == 0);
        if is_empty || zero {
            return Err(Error::Malformed(format!(
                "a rule for {what} needs at least one of `last`, `every` and `best`, each at least 1"
            )));
        }
        if self.best.as_ref().is_some_and(|best| best.metric.is_empty() || best.metric.len() > 200) {
            return Err(Error::Malformed("the metric of `best` needs a name of at most 200 bytes".to_owned()));
        }
        Ok(())
    }

    fn words(&self, what: &str) -> String {
        let mut parts = Vec::new();
        parts.extend(self.last.map(|n| format!("the last {n}")));
        parts.extend(self.every.map(|n| format!("every {n}")));
        parts.extend(self.best.as_ref().map(|best| format!("the best {} by {}", best.count, best.metric)));
        format!("of {what} keep {}", parts.join(", "))
    }

    /// Says for each of a series, the oldest first, why it is kept.
    fn judge(&self, series: &mut [Judged]) {
        let count = series.len();
        for (i, judged) in series.iter_mut().enumerate() {
            let age = (count - i - 1) as u64;
            let kept = if self.last.is_some_and(|last| age < last) {
                Some(format!("among the last {}", self.last.unwrap_or_default()))
            } else if age == 0 {
                Some("the newest".to_owned())
            } else {
                self.every.filter(|every| judged.number % every == 0).map(|every| format!("a multiple of {every}"))
            };
            judged.kept = judged.kept.take().or(kept);
        }
        let Some(best) = &self.best else { return };
        let value = |judged: &Judged| {
            judged.metric.as_ref().and_then(|text| text.parse::<f64>().ok()).filter(|value| value.is_finite())
        };
        let mut order: Vec<(usize, f64)> =
            series.iter().enumerate().filter_map(|(i, judged)| Some((i, value(judged)?))).collect();
        order.sort_by(|(i, a), (j, b)| if best.higher { b.total_cmp(a) } else { a.total_cmp(b) }.then(i.cmp(j)));
        for (i, _) in order.into_iter().take(usize::try_from(best.count).unwrap_or(usize::MAX)) {
            if let Some(judged) = series.get_mut(i) {
                judged.kept.get_or_insert_with(|| format!("among the best {} by {}", best.count, best.metric));
            }
        }
    }
}

impl Rules {
    /// Reads rules from JSON.
    ///
    /// # Errors
    /// [`Error::Malformed`] says which rule makes no sense.
    pub fn parse(json: &str) -> Result<Self, Error> {
        let wrong = |error: serde_json::Error| Error::Malformed(format!("rules of retention: {error}"));
        // A list would do for an object without this.
        let fields: serde_json::Map<String, serde_json::Value> = serde_json::from_str(json).map_err(wrong)?;
        let rules: Self = serde_json::from_value(fields.into()).map_err(wrong)?;
        rules.check()?;
        Ok(rules)
    }

    fn check(&self) -> Result<(), Error> {
        if let Some(keep) = &self.checkpoints {
            keep.check("checkpoints")?;
        }
        if let Some(keep) = &self.versions {
            keep.check("versions")?;
        }
        Ok(())
    }

    /// Whether nothing is ever given up.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.checkpoints.is_none() && self.versions.is_none()
    }
}

impl RetentionPlan {
    /// Folders that are removed.
    #[must_use]
    pub fn removed_folders(&self) -> Vec<&Judged> {
        self.checkpoints.iter().filter(|judged| judged.kept.is_none()).collect()
    }

    /// Versions whose large files are given up.
    #[must_use]
    pub fn thinned_versions(&self) -> usize {
        self.versions.iter().filter(|judged| judged.kept.is_none()).count()
    }
}

impl Hub {
    /// Rules of a repository; empty ones when there are none.
    pub async fn retention(&self, repo: &Repo) -> Result<(Rules, Option<RetentionRecord>), Error> {
        let record = self.catalog().retention().get(&repo.record.key).await?;
        let rules = match &record {
            Some(record) => Rules::parse(&record.rules)?,
            None => Rules::default(),
        };
        Ok((rules, record))
    }

    /// Sets the rules of a repository. Nothing is given up before they are applied.
    ///
    /// # Errors
    /// [`Error::Denied`] unless the caller administrates the repository; [`Error::Malformed`].
    pub async fn set_retention(&self, caller: &Caller, repo: &Repo, rules: &Rules) -> Result<(), Error> {
        repo.require_admin(caller, "set rules of retention")?;
        let account = caller.require_write("set rules of retention")?;
        rules.check()?;
        let json = serde_json::to_value(rules).map_err(|error| Error::Malformed(error.to_string()))?;
        let text = (!rules.is_empty()).then(|| json.to_string());
        let entry = self.audited(caller, event("repo.set_retention", &repo.record, json));
        let retention = self.catalog().retention();
        Ok(retention.set(&repo.record.key, text.as_deref(), &account.id, self.now_ms(), Some(entry)).await?)
    }

    /// Says what the rules of a repository, or others, would do.
    pub async fn retention_plan(&self, repo: &Repo, rules: Option<&Rules>) -> Result<RetentionPlan, Error> {
        let rules = match rules {
            Some(rules) => rules.clone(),
            None => self.retention(repo).await?.0,
        };
        rules.check()?;
        let head = self.revision(repo, MAIN).await?;
        let mut plan = RetentionPlan {
            head: head.oid,
            checkpoints: Vec::new(),
            versions: Vec::new(),
            given_up: Vec::new(),
            rules: rules.clone(),
        };
        if rules.is_empty() {
            return Ok(plan);
        }
        let history = self.history(repo, &head, 0, MOST_COMMITS).await?.commits;
        if let Some(keep) = &rules.checkpoints {
            self.judge_folders(keep, &head, &history, &mut plan).await?;
        }
        if let Some(keep) = &rules.versions {
            self.judge_versions(keep, repo, &history, &mut plan).await?;
        }
        plan.given_up.sort();
        plan.given_up.dedup_by_key(|(oid, _)| *oid);
        Ok(plan)
    }

    async fn judge_folders(
        &self,
        keep: &Keep,
        head: &Revision,
        history: &[Revision],
        plan: &mut RetentionPlan,
    ) -> Result<(), Error> {
        let mut series: BTreeMap<String, Vec<Judged>> = BTreeMap::new();
        let mut sizes: BTreeMap<String, u64> = BTreeMap::new();
        for entry in self.list(head, MAIN, "", true).await? {
            match entry {
                PathRecord::Folder { path, .. } => {
                    let (parent, name) = path.rsplit_once('/').unwrap_or(("", &path));
                    let step = name.strip_prefix("checkpoint-").and_then(|step| step.parse::<u64>().ok());
                    let is_inside = series.values().flatten().any(|other| is_below(&path, &other.name));
                    if let Some(number) = step.filter(|_| !is_inside) {
                        let judged = Judged { name: path.clone(), number, metric: None, kept: None, size_bytes: 0 };
                        series.entry(parent.to_owned()).or_default().push(judged);
                    }
                }
                PathRecord::File(file) => {
                    for folder in ancestors(&file.path) {
                        *sizes.entry(folder.to_owned()).or_default() += file.size_bytes;
                    }
                }
            }
        }
        let rule = keep.words("checkpoints");
        for mut series in series.into_values() {
            for judged in &mut series {
                judged.size_bytes = sizes.get(&judged.name).copied().unwrap_or_default();
                if let Some(best) = &keep.best {
                    judged.metric = self.reported(head, &judged.name, &best.metric).await?;
                }
            }
            series.sort_by_key(|judged| judged.number);
            keep.judge(&mut series);
            for judged in series.iter().filter(|judged| judged.kept.is_none()) {
                for revision in history {
                    if let Some(entry) = self.entry(revision, &judged.name).await? {
                        plan.given_up.push((entry.oid, rule.clone()));
                    }
                }
            }
            plan.checkpoints.extend(series);
        }
        Ok(())
    }

    async fn judge_versions(
        &self,
        keep: &Keep,
        repo: &Repo,
        history: &[Revision],
        plan: &mut RetentionPlan,
    ) -> Result<(), Error> {
        let named: HashSet<GitOid> = self.refs(repo).await?.into_iter().map(|at| at.target).collect();
        let mut series = Vec::with_capacity(history.len());
        for (number, revision) in (0u64..).zip(history.iter().rev()) {
            let metric = match &keep.best {
                Some(best) => self.reported(revision, "", &best.metric).await?,
                None => None,
            };
            let kept = named.contains(&revision.oid).then(|| "a branch or a tag points at it".to_owned());
            series.push(Judged { name: revision.oid.to_string(), number, metric, kept, size_bytes: 0 });
        }
        keep.judge(&mut series);
        let rule = keep.words("versions");
        for (judged, revision) in series.iter().zip(history.iter().rev()) {
            if judged.kept.is_none() {
                plan.given_up.push((revision.oid, rule.clone()));
            }
        }
        series.reverse();
        plan.versions = series;
        Ok(())
    }

    /// The value of a metric that the files of a folder report, the first that does: its last in the log of a trainer, or the
    /// one in its results.
    async fn reported(&self, revision: &Revision, folder: &str, metric: &str) -> Result<Option<String>, Error> {
        for name in REPORTS {
            let path = if folder.is_empty() { name.to_owned() } else { format!("{folder}/{name}") };
            let file = match self.file(revision, MAIN, &path).await {
                Ok(file) => file,
                Err(Error::EntryNotFound { .. } | Error::Retired { .. }) => continue,
                Err(error) => return Err(error),
            };
            let Some(bytes) = self.read_small(&file, MOST_STATE).await? else { continue };
            let Ok(report) = serde_json::from_slice::<serde_json::Value>(&bytes) else { continue };
            let log = report.get("log_history").and_then(serde_json::Value::as_array);
            let last = log.into_iter().flatten().rev().find_map(|entry| entry.get(metric)?.as_f64());
            if let Some(value) = last.or_else(|| report.get(metric)?.as_f64()) {
                return Ok(Some(value.to_string()));
            }
        }
        Ok(None)
    }

    /// Does what a plan says: removes folders by one commit, and gives up the large files of old versions. Returns the
    /// commit, if there was something to remove.
    ///
    /// # Errors
    /// [`Error::StaleParent`] when the branch moved since the plan was made: nothing is removed from it then.
    pub async fn apply_retention(
        &self,
        caller: &Caller,
        repo: &Repo,
        plan: &RetentionPlan,
    ) -> Result<Option<Revision>, Error> {
        repo.require_admin(caller, "apply rules of retention")?;
        caller.require_write("apply rules of retention")?;
        let removed: Vec<String> = plan.removed_folders().iter().map(|judged| judged.name.clone()).collect();
        // First what is given up: until the commit, the branch itself keeps it. The other way round a killed process would
        // leave folders that no plan finds any more.
        let (key, now_ms) = (&repo.record.key, self.now_ms());
        let detail = json!({ "rules": plan.rules, "folders": removed, "versions": plan.thinned_versions() });
        let entry = self.audited(caller, event("repo.apply_retention", &repo.record, detail));
        self.catalog().retention().apply(key, &plan.given_up, now_ms, Some(entry)).await?;
        if removed.is_empty() {
            return Ok(None);
        }
        let count = removed.len();
        let rule = plan.rules.checkpoints.as_ref().map(|keep| keep.words("checkpoints")).unwrap_or_default();
        let message = CommitMessage {
            title: format!("Remove {count} old checkpoint{}", if count == 1 { "" } else { "s" }),
            body: format!("By the repository's rule of retention: {rule}.\n\n- {}", removed.join("\n- ")),
        };
        let mut commit =
            self.begin_commit(caller, repo, Target::branch(MAIN, Some(plan.head.to_string()))?, message)?;
        for path in &removed {
            names::check_path(path)?;
            commit.remove(path)?;
        }
        commit.finish().await.map(Some)
    }

    /// Applies the rules of all repositories that are due. Another process that does the same is left to it.
    pub(crate) async fn apply_due_retention(&self) -> Result<(), Error> {
        let leases = self.catalog().leases();
        let now_ms = self.now_ms();
        let Some(lease) = leases.take(LEASE, now_ms, now_ms + LEASE_MS).await? else { return Ok(()) };
        for record in self.catalog().retention().due(now_ms - EVERY_MS).await? {
            if self.is_stopping() {
                break;
            }
            if let Err(error) = self.apply_one(&record.repo, &record.account).await {
                tracing::warn!(repo.key = %record.repo, %error, "rules of retention were not applied");
            }
        }
        Ok(leases.give_back(lease).await?)
    }

    async fn apply_one(&self, key: &RepoKey, account: &str) -> Result<(), Error> {
        let missing = || Error::NotFound { what: "account", name: account.to_owned() };
        let account = self.catalog().accounts().get(account).await?.ok_or_else(missing)?;
        let caller = self.administrator(&account.name).await?;
        let repo = self.repo_by_key(&caller, key).await?;
        let plan = self.retention_plan(&repo, None).await?;
        let done = self.apply_retention(&caller, &repo, &plan).await?;
        if done.is_some() || plan.thinned_versions() > 0 {
            let (folders, versions) = (plan.removed_folders().len(), plan.thinned_versions());
            tracing::info!(repo.id = repo.record.id, folders, versions, "applied rules of retention");
        }
        Ok(())
    }
}

fn is_below(path: &str, folder: &str) -> bool {
    path.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'))
}

/// Folders that a path lies in.
fn ancestors(path: &str) -> impl Iterator<Item = &str> {
    path.match_indices('/').filter_map(|(at, _)| path.get(..at))
}
