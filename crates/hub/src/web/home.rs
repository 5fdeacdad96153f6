//! The page of a repository: its card, what is known of it, how to use it.

use askama::Template;
use axum::response::Response;
use http::StatusCode;
use serde_json::Value;
use weighthouse::access::Repo;
use weighthouse::browse::PathRecord;
use weighthouse::card::{CARD_PATH, Card, Note};
use weighthouse::checkpoints::ReadingOptimizer;
use weighthouse::facts::Facts;
use weighthouse::revision::{MAIN, Revision};
use weighthouse::{AccountKind, Error, RepoKind, RepoRecord};

use super::address::{RepoPaths, encode_segment};
use super::advisories::{AdviceNote, notes};
use super::error::PageError;
use super::format::{When, count, exact};
use super::markdown::{self, MAX_MARKDOWN_BYTES, Place, Rendered};
use super::scan::Trust;
use super::shell::{RepoHead, Shell, page};
use super::usage::{Subject, Usage, usages};
use super::visit::{Visit, with_pairs};

/// Longest card that is read, in bytes: YAML and Markdown at their limits.
const MAX_CARD_BYTES: u64 = 4 << 20;
/// Entries of the root that are looked at for the lines of the clients.
const ROOT_ENTRIES: usize = 200;
/// Fields of a card, results and characters of a value that are shown.
const MAX_FIELDS: usize = 60;
const MAX_RESULTS: usize = 60;
const MAX_VALUE: usize = 400;

#[derive(Template)]
#[template(path = "home.html")]
struct Home {
    shell: Shell,
    head: RepoHead,
    tags: Vec<Linked>,
    card: Option<Rendered>,
    card_url: String,
    errors: Vec<Note>,
    facts: Vec<Fact>,
    parameters: Vec<(String, String)>,
    fields: Vec<(String, String)>,
    results: Vec<Score>,
    usages: Vec<Usage>,
    private: bool,
    trust: Trust,
    advice: Vec<AdviceNote>,
    commit: String,
    commit_url: String,
    commit_title: String,
    committed: When,
    dataset: bool,
    /// Where it is compared with what it was made from, or something else.
    compare_url: String,
}

/// A text that may lead somewhere.
struct Linked {
    text: String,
    url: Option<String>,
}

/// A line of the facts.
struct Fact {
    label: &'static str,
    values: Vec<Linked>,
}

/// An evaluation result of the card.
struct Score {
    task: String,
    dataset: String,
    metric: String,
    value: String,
}

/// `GET /{id}`
pub(super) async fn show(visit: Visit) -> Result<Response, PageError> {
    let (repo, at) = match visit.repo_at(MAIN).await {
        Ok(found) => found,
        Err(error) => return Err(namespace(&visit).await.unwrap_or(error)),
    };
    let hub = visit.hub();
    let refuse = |error| visit.refuse(error);
    let readme = match hub.file(&at, MAIN, CARD_PATH).await {
        Ok(file) => hub.read_small(&file, MAX_CARD_BYTES).await.map_err(refuse)?,
        Err(Error::EntryNotFound { .. }) => None,
        Err(error) => return Err(refuse(error)),
    };
    let files = hub.list_page(&at, MAIN, "", false, 0..ROOT_ENTRIES).await.map_err(refuse)?.entries;
    let status = hub.tree_status(&at).await.map_err(refuse)?;
    let text = readme.map(|data| String::from_utf8_lossy(&data).into_owned());
    let head = RepoHead::new(&repo, MAIN, "card");
    let trust = Trust::of(&status, head.paths.at("scan", MAIN, ""));
    let place = Place { repo: head.paths.page.clone(), revision: MAIN.to_owned(), folder: String::new() };
    // A long card takes a while, and other requests should not wait for it.
    let advice = notes(&visit, &repo, &at).await.map_err(refuse)?;
    let template = tokio::task::spawn_blocking({
        let visit = visit.clone();
        move || build(&visit, (&repo, &at), (head, trust, advice), &files, text.as_deref(), &place)
    });
    let template = template.await.map_err(|error| refuse(Error::Malformed(error.to_string())))?;
    Ok(page(StatusCode::OK, &template))
}

/// Where to go when an address of one segment is no repository, but an account.
async fn namespace(visit: &Visit) -> Option<PageError> {
    let id = &visit.address().ok()?.id;
    let account = if id.contains('/') { None } else { visit.hub().account(id).await.ok() }?;
    matches!(account.kind, AccountKind::User | AccountKind::Org)
        .then(|| PageError::Elsewhere(format!("/models?author={}", encode_segment(&account.name))))
}

fn build(
    visit: &Visit,
    (repo, at): (&Repo, &Revision),
    (head, trust, advice): (RepoHead, Trust, Vec<AdviceNote>),
    files: &[PathRecord],
    text: Option<&str>,
    place: &Place,
) -> Home {
    let record = &repo.record;
    let facts = Facts::of(record);
    let card = Card::parse(text.unwrap_or_default());
    let names: Vec<&str> = files.iter().filter(|e| matches!(e, PathRecord::File(_))).map(PathRecord::path).collect();
    let subject = Subject {
        kind: record.kind,
        id: &record.id,
        private: record.private,
        facts: &facts,
        base: &visit.base,
        page: &head.paths.page,
        file: telling_file(&names),
    };
    let list = head.kind_url;
    let by_tag = |tag: &str| format!("{list}?filter={}", encode_segment(tag));
    // The rest is among the facts.
    let shown = |tag: &&String| {
        let among = ["arxiv:", "base_model:", "dataset:", "license:", "region:"];
        !among.iter().any(|prefix| tag.starts_with(prefix)) && *tag != "model-index"
    };
    let tag = |tag: &String| Linked { text: tag.clone(), url: Some(by_tag(tag)) };
    let has_body = card.body.len().min(MAX_MARKDOWN_BYTES) > 0 && !card.body.trim().is_empty();
    Home {
        shell: visit.shell(record.id.clone(), Some(head.paths.api.clone())),
        tags: facts.tags.iter().filter(shown).take(24).map(tag).collect(),
        card: has_body.then(|| markdown::render(card.body, place)),
        card_url: head.paths.at("blob", MAIN, CARD_PATH),
        facts: known(record, &head.paths, &facts, &card, list),
        parameters: facts.safetensors.iter().flat_map(|p| &p.by_dtype).map(|(d, n)| (d.clone(), exact(*n))).collect(),
        fields: fields(&card),
        results: results(card.data.get("model-index")),
        usages: usages(&subject),
        private: record.private,
        trust,
        advice,
        commit: at.oid.to_string(),
        commit_url: head.paths.commit(&at.oid.to_string()),
        commit_title: at.commit.title().to_owned(),
        committed: When::new(at.commit.author.time_s.saturating_mul(1_000), visit.hub().now_ms()),
        dataset: record.kind == RepoKind::Dataset,
        compare_url: {
            let base = facts.base_models.first().map(String::as_str).unwrap_or_default();
            with_pairs("/compare", [("a", base), ("b", &format!("{}@{MAIN}", record.id))].into_iter())
        },
        errors: card.validation.errors,
        head,
    }
}

/// The file that people most likely want on its own.
fn telling_file<'a>(names: &[&'a str]) -> Option<&'a str> {
    let ends = [".gguf", "model.safetensors", ".safetensors", ".parquet", "config.json", ".onnx", ".zip", CARD_PATH];
    ends.iter().find_map(|end| names.iter().copied().find(|name| name.ends_with(end))).or(names.first().copied())
}

/// What is known, as lines of a list.
fn known(record: &RepoRecord, paths: &RepoPaths, facts: &Facts, card: &Card<'_>, list: &str) -> Vec<Fact> {
    let (kind, downloads) = (record.kind, record.downloads);
    let mut lines = Vec::new();
    let mut add = |label, values: Vec<Linked>| {
        if !values.is_empty() {
            lines.push(Fact { label, values });
        }
    };
    let plain = |text: String| Linked { text, url: None };
    let tagged = |prefix: &str, texts: Vec<String>| -> Vec<Linked> {
        let url = |text: &str| format!("{list}?filter={}", encode_segment(&format!("{prefix}{text}")));
        texts.into_iter().take(12).map(|text| Linked { url: Some(url(&text)), text }).collect()
    };
    let repos = |kind, texts: &[String]| -> Vec<Linked> {
        let url = |id: &String| {
            let well_formed = weighthouse::names::check_repo_id(id).is_ok();
            well_formed.then(|| RepoPaths::new(kind, id).page)
        };
        texts.iter().take(12).map(|id| Linked { url: url(id), text: id.clone() }).collect()
    };
    add("Task", tagged("", facts.pipeline_tag.iter().cloned().collect()));
    add("Library", tagged("", facts.library_name.iter().cloned().collect()));
    let read = facts.inside.iter().flat_map(|inside| inside.class.iter().chain(&inside.family)).take(1);
    let named: Vec<String> = if facts.architectures.is_empty() {
        read.cloned().collect()
    } else {
        facts.architectures.iter().take(4).cloned().collect()
    };
    add("Architecture", tagged("", named));
    let tensors = kind == RepoKind::Model && facts.parameter_count().is_some();
    let leads = |text: String| Linked { text, url: tensors.then(|| paths.at("tensors", MAIN, "")) };
    add("Parameters", facts.parameter_count().map(|total| leads(count(total))).into_iter().collect());
    let optimizer = facts.inside.as_ref().and_then(|inside| inside.optimizer.as_ref());
    add("Optimizer", optimizer.map(|found| plain(described(found))).into_iter().collect());
    add("Formats", tagged("", facts.formats.clone()));
    let label = match facts.base_model_relation.as_deref() {
        Some("adapter") => "Adapter for",
        Some("quantized") => "Quantised from",
        Some("merge") => "Merged from",
        _ => "Fine-tuned from",
    };
    add(label, repos(RepoKind::Model, &facts.base_models));
    add("License", tagged("license:", card.texts("license")));
    let languages = if kind == RepoKind::Dataset { "language:" } else { "" };
    add("Language", tagged(languages, card.texts("language")));
    if kind == RepoKind::Model {
        add("Trained on", repos(RepoKind::Dataset, &card.texts("datasets")));
    }
    let papers = facts.tags.iter().filter_map(|tag| tag.strip_prefix("arxiv:"));
    let paper = |number: &str| Linked { text: number.to_owned(), url: Some(format!("https://arxiv.org/abs/{number}")) };
    add("Papers", papers.take(6).map(paper).collect());
    if downloads > 0 {
        add("Downloads", vec![plain(count(downloads.cast_unsigned()))]);
    }
    lines
}

/// An optimizer's kind and step.
fn described(optimizer: &ReadingOptimizer) -> String {
    let kind = optimizer.kind.as_deref().unwrap_or("of unknown kind");
    optimizer.step.map_or_else(|| kind.to_owned(), |step| format!("{kind} at step {}", exact(step)))
}

/// The YAML of the card, a line for each field.
fn fields(card: &Card<'_>) -> Vec<(String, String)> {
    let long = |key: &str| matches!(key, "model-index" | "dataset_info" | "widget" | "configs");
    let fields = card.data.iter().filter(|(key, _)| !long(key)).take(MAX_FIELDS);
    fields.map(|(key, value)| (clipped(key), clipped(&flat(value)))).collect()
}

/// A value in one line.
fn flat(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(list) => list.iter().take(50).map(flat).collect::<Vec<_>>().join(", "),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

fn clipped(text: &str) -> String {
    let shown: String = text.chars().take(MAX_VALUE).collect();
    if shown.len() < text.len() { format!("{shown}…") } else { shown }
}

/// The evaluation results of the card, as a table.
fn results(index: Option<&Value>) -> Vec<Score> {
    let list = |value: Option<&Value>| value.and_then(Value::as_array).cloned().unwrap_or_default();
    let name = |value: &Value, key: &str| {
        let of = value.get(key);
        let text = of.and_then(|of| of.get("name").or(of.get("type")).or(Some(of))).map(flat).unwrap_or_default();
        text.chars().take(80).collect::<String>()
    };
    let mut found = Vec::new();
    for model in list(index) {
        for result in list(model.get("results")) {
            for metric in list(result.get("metrics")) {
                if found.len() == MAX_RESULTS {
                    return found;
                }
                let label = metric.get("name").or(metric.get("type")).map(flat).unwrap_or_default();
                found.push(Score {
                    task: name(&result, "task"),
                    dataset: name(&result, "dataset"),
                    metric: label.chars().take(80).collect(),
                    value: metric.get("value").map(flat).unwrap_or_default().chars().take(40).collect(),
                });
            }
        }
    }
    found
}
