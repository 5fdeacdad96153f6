//! `wh admin retention`: what repositories keep.

use clap::{Args, Subcommand};
use serde_json::json;
use weighthouse::Hub;
use weighthouse::names::kind_and_id;
use weighthouse::retention::{Best, Judged, Keep, RetentionPlan, Rules};

use super::Answer;
use crate::ui::size;

/// Orders about what a repository keeps
#[derive(Debug, Subcommand)]
pub enum Retention {
    /// Show the rules of a repository
    Show {
        /// NAMESPACE/NAME, or datasets/NAMESPACE/NAME
        repo: String,
    },
    /// Set the rules of a repository; without any it keeps everything
    Set(SetRules),
    /// Say what the rules would give up
    Preview {
        /// NAMESPACE/NAME, or datasets/NAMESPACE/NAME
        repo: String,
    },
    /// Give up what the rules do not keep; the next collections of garbage remove the bytes
    Apply {
        /// NAMESPACE/NAME, or datasets/NAMESPACE/NAME
        repo: String,
        /// User in whose name folders are removed
        #[arg(long = "as", value_name = "USER")]
        user: String,
    },
}

/// Arguments of `wh admin retention set`
#[derive(Debug, Args)]
pub struct SetRules {
    /// NAMESPACE/NAME, or datasets/NAMESPACE/NAME
    repo: String,
    /// User in whose name the rules are applied
    #[arg(long = "as", value_name = "USER")]
    user: String,
    /// Keep the last so many folders `checkpoint-N`
    #[arg(long, value_name = "N")]
    keep_last: Option<u64>,
    /// Keep folders whose step is a multiple
    #[arg(long, value_name = "STEPS")]
    keep_every: Option<u64>,
    /// Keep the best so many folders by --metric
    #[arg(long, value_name = "N", requires = "metric")]
    keep_best: Option<u64>,
    /// Keep the large files of the last so many commits
    #[arg(long, value_name = "N")]
    versions_last: Option<u64>,
    /// Keep the large files of every so many commits
    #[arg(long, value_name = "N")]
    versions_every: Option<u64>,
    /// Keep the large files of the best so many commits by --metric
    #[arg(long, value_name = "N", requires = "metric")]
    versions_best: Option<u64>,
    /// Metric in trainer_state.json or eval_results.json, such as eval_loss
    #[arg(long)]
    metric: Option<String>,
    /// A higher value of the metric is better
    #[arg(long)]
    higher: bool,
}

impl Retention {
    /// Carries out one order.
    pub async fn run(self, hub: &Hub) -> anyhow::Result<Answer> {
        match self {
            Self::Show { repo } => {
                let repo = open(hub, &repo).await?;
                let (rules, record) = hub.retention(&repo).await?;
                let text = serde_json::to_string_pretty(&rules)?;
                let json = json!({
                    "schema": "weighthouse.retention/1", "repo": repo.record.id, "rules": rules,
                    "applied_at_ms": record.map(|record| record.applied_at_ms).filter(|at| *at > 0),
                });
                Ok(Answer { text, json, code: 0 })
            }
            Self::Set(set) => set.run(hub).await,
            Self::Preview { repo } => {
                let repo = open(hub, &repo).await?;
                let plan = hub.retention_plan(&repo, None).await?;
                Ok(plan_answer(&repo.record.id, &plan, None))
            }
            Self::Apply { repo, user } => {
                let repo = open(hub, &repo).await?;
                let caller = hub.administrator(&user).await?;
                let plan = hub.retention_plan(&repo, None).await?;
                let commit = hub.apply_retention(&caller, &repo, &plan).await?;
                let commit = commit.map_or_else(String::new, |revision| revision.oid.to_string());
                Ok(plan_answer(&repo.record.id, &plan, Some(&commit)))
            }
        }
    }
}

impl SetRules {
    async fn run(self, hub: &Hub) -> anyhow::Result<Answer> {
        let repo = open(hub, &self.repo).await?;
        let caller = hub.administrator(&self.user).await?;
        let best = |count: Option<u64>| {
            let metric = self.metric.clone().unwrap_or_default();
            count.map(|count| Best { count, metric, higher: self.higher })
        };
        let keep = |last: Option<u64>, every: Option<u64>, best: Option<Best>| {
            (last.is_some() || every.is_some() || best.is_some()).then_some(Keep { last, every, best })
        };
        let rules = Rules {
            checkpoints: keep(self.keep_last, self.keep_every, best(self.keep_best)),
            versions: keep(self.versions_last, self.versions_every, best(self.versions_best)),
        };
        hub.set_retention(&caller, &repo, &rules).await?;
        let id = &repo.record.id;
        let text = match rules.is_empty() {
            true => format!("{id} keeps everything"),
            false => format!("set the rules of {id}\nnext: wh admin retention preview {}", self.repo),
        };
        Ok(Answer { text, json: json!({ "schema": "weighthouse.retention/1", "repo": id, "rules": rules }), code: 0 })
    }
}

fn plan_answer(id: &str, plan: &RetentionPlan, applied: Option<&str>) -> Answer {
    let line = |judged: &Judged| {
        let metric = judged.metric.as_ref().map_or(String::new(), |value| format!("  {value}"));
        let bytes = if judged.size_bytes > 0 { format!("  {}", size(judged.size_bytes)) } else { String::new() };
        match &judged.kept {
            Some(why) => format!("  keep    {}{metric}{bytes}  {why}", judged.name),
            None => format!("  give up {}{metric}{bytes}", judged.name),
        }
    };
    let mut lines = Vec::new();
    if !plan.checkpoints.is_empty() {
        lines.push("checkpoints".to_owned());
        lines.extend(plan.checkpoints.iter().map(line));
    }
    if !plan.versions.is_empty() {
        lines.push("versions".to_owned());
        lines.extend(plan.versions.iter().map(line));
    }
    if lines.is_empty() {
        lines.push("the rules give up nothing".to_owned());
    }
    match applied {
        Some("") => lines.push("applied; no folder had to be removed".to_owned()),
        Some(commit) => lines.push(format!("applied by commit {commit}")),
        None => lines.push(format!("nothing was changed; to act: wh admin retention apply {id} --as USER")),
    }
    let judged = |judged: &Judged| {
        json!({
            "name": judged.name, "number": judged.number, "metric": judged.metric, "kept": judged.kept,
            "size_bytes": judged.size_bytes,
        })
    };
    Answer {
        text: lines.join("\n"),
        json: json!({
            "schema": "weighthouse.retention-plan/1", "repo": id, "rules": plan.rules, "head": plan.head.to_string(),
            "checkpoints": plan.checkpoints.iter().map(judged).collect::<Vec<_>>(),
            "versions": plan.versions.iter().map(judged).collect::<Vec<_>>(),
            "applied": applied.is_some(), "commit": applied.filter(|commit| !commit.is_empty()),
        }),
        code: 0,
    }
}

/// Opens a repository with every right.
async fn open(hub: &Hub, name: &str) -> anyhow::Result<weighthouse::access::Repo> {
    let (kind, id) = kind_and_id(name);
    Ok(hub.any_repo(kind, id).await?)
}
