//! What a repository keeps: the form on its page **Storage**, and what rules would give up before they do.

use axum::body::Bytes;
use axum::response::{IntoResponse, Redirect, Response};
use http::{HeaderMap, StatusCode};
use weighthouse::access::{Caller, Repo};
use weighthouse::retention::{Best, Judged, Keep, RetentionPlan, Rules};
use weighthouse::revision::MAIN;
use weighthouse::{Error, ErrorKind};

use super::account::{check_same_site, form};
use super::error::PageError;
use super::format::size;
use super::shell::page;
use super::storage;
use super::visit::Visit;
use crate::wire::query::Query;

/// Checkpoints that a preview lists.
const LISTED: usize = 100;

/// The form as it is shown: what was typed stays, also when it is wrong.
#[derive(Default)]
pub(super) struct Retention {
    pub series: Vec<Series>,
    pub metric: String,
    pub higher: bool,
    /// What is wrong with what was typed.
    pub problem: Option<String>,
    pub saved: bool,
    pub preview: Option<Preview>,
}

/// Fields of one kind of rule.
pub(super) struct Series {
    /// Begins the names of the fields.
    pub key: &'static str,
    pub title: &'static str,
    pub every: &'static str,
    /// Values of last, every and best.
    pub values: [String; 3],
}

/// What rules would do.
pub(super) struct Preview {
    /// Folder, bytes, metric, and why it is kept.
    pub checkpoints: Vec<(String, String, String, Option<String>)>,
    pub more: usize,
    pub removed: usize,
    pub removed_bytes: String,
    pub versions: usize,
    pub thinned: usize,
}

const SERIES: [(&str, &str, &str); 2] = [
    ("checkpoints", "Folders checkpoint-N on the default branch", "those whose step is a multiple of"),
    ("versions", "Large files of commits", "one of every"),
];
const FIELDS: [&str; 3] = ["last", "every", "best"];

impl Retention {
    /// The form with the rules of a repository; `None` for those who may not set them.
    pub async fn of(visit: &Visit, repo: &Repo) -> Result<Option<Self>, PageError> {
        if !may_set(&visit.caller, repo) {
            return Ok(None);
        }
        let (rules, _) = visit.hub().retention(repo).await.map_err(|error| visit.refuse(error))?;
        let text = |number: Option<u64>| number.map(|number| number.to_string()).unwrap_or_default();
        let keeps = [&rules.checkpoints, &rules.versions];
        let values = keeps.map(|keep| {
            let keep = keep.clone().unwrap_or_default();
            [text(keep.last), text(keep.every), text(keep.best.map(|best| best.count))]
        });
        let best = keeps.into_iter().flatten().find_map(|keep| keep.best.clone());
        let (metric, higher) = best.map(|best| (best.metric, best.higher)).unwrap_or_default();
        let saved = visit.query.text("saved").is_some();
        Ok(Some(Self { series: series(values), metric, higher, saved, ..Self::default() }))
    }

    fn typed(form: &Query) -> Self {
        let text = |key: &str| form.text(key).unwrap_or("").trim().to_owned();
        let values = SERIES.map(|(key, ..)| FIELDS.map(|field| text(&format!("{key}-{field}"))));
        let higher = form.text("higher").is_some();
        Self { series: series(values), metric: text("metric"), higher, ..Self::default() }
    }

    fn rules(&self) -> Result<Rules, Error> {
        let [checkpoints, versions] = self.series.as_slice() else { return Ok(Rules::default()) };
        Ok(Rules { checkpoints: self.keep(checkpoints)?, versions: self.keep(versions)? })
    }

    fn keep(&self, series: &Series) -> Result<Option<Keep>, Error> {
        let number = |at: usize| -> Result<Option<u64>, Error> {
            let text = series.values.get(at).map_or("", String::as_str);
            let wrong = |_| Error::Malformed(format!("`{text}` is no whole number"));
            if text.is_empty() { Ok(None) } else { text.parse().map(Some).map_err(wrong) }
        };
        let (metric, higher) = (self.metric.clone(), self.higher);
        let best = number(2)?.map(|count| Best { count, metric, higher });
        let keep = Keep { last: number(0)?, every: number(1)?, best };
        Ok((keep != Keep::default()).then_some(keep))
    }
}

fn series([checkpoints, versions]: [[String; 3]; 2]) -> Vec<Series> {
    let values = [checkpoints, versions];
    let fields = SERIES.into_iter().zip(values);
    fields.map(|((key, title, every), values)| Series { key, title, every, values }).collect()
}

fn may_set(caller: &Caller, repo: &Repo) -> bool {
    caller.account().is_some() && repo.require_admin(caller, "set rules of retention").is_ok()
}

impl From<&RetentionPlan> for Preview {
    fn from(plan: &RetentionPlan) -> Self {
        let row = |judged: &Judged| {
            let metric = judged.metric.clone().unwrap_or_default();
            (judged.name.clone(), size(judged.size_bytes), metric, judged.kept.clone())
        };
        let removed = plan.removed_folders();
        Self {
            checkpoints: plan.checkpoints.iter().take(LISTED).map(row).collect(),
            more: plan.checkpoints.len().saturating_sub(LISTED),
            removed: removed.len(),
            removed_bytes: size(removed.iter().map(|judged| judged.size_bytes).sum()),
            versions: plan.versions.len(),
            thinned: plan.thinned_versions(),
        }
    }
}

/// `POST /{id}/settings/storage`, a form with `checkpoints-last` and its like, `metric`, `higher`, and `do`: `preview` or
/// `save`.
pub(super) async fn change(visit: Visit, headers: HeaderMap, body: Bytes) -> Result<Response, PageError> {
    check_same_site(&visit, &headers)?;
    let form = form(&visit, &body)?;
    let (repo, at) = visit.repo_at(MAIN).await?;
    let refuse = |error| visit.refuse(error);
    repo.require_admin(&visit.caller, "set rules of retention").map_err(refuse)?;
    let mut typed = Retention::typed(&form);
    let hub = visit.hub();
    let done = match typed.rules() {
        Ok(rules) if form.text("do") == Some("save") => match hub.set_retention(&visit.caller, &repo, &rules).await {
            Ok(()) => {
                let path = visit.here.split('?').next().unwrap_or("/");
                return Ok(Redirect::to(&format!("{path}?saved=1")).into_response());
            }
            Err(error) => Err(error),
        },
        Ok(rules) => hub.retention_plan(&repo, Some(&rules)).await,
        Err(error) => Err(error),
    };
    let mut status = StatusCode::OK;
    match done {
        Ok(plan) => typed.preview = Some(Preview::from(&plan)),
        Err(error) if error.kind() == ErrorKind::Malformed => {
            status = StatusCode::UNPROCESSABLE_ENTITY;
            typed.problem = Some(error.to_string());
        }
        Err(error) => return Err(refuse(error)),
    }
    Ok(page(status, &storage::template(&visit, &repo, &at, Some(typed)).await?))
}
