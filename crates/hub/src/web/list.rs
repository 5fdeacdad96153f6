//! Lists of repositories.

use askama::Template;
use axum::response::Response;
use http::StatusCode;
use weighthouse::facts::Facts;
use weighthouse::repos::ListQuery;
use weighthouse::{Error, RepoKind, RepoRecord, RepoSort};

use super::address::{RepoPaths, encode_segment};
use super::error::PageError;
use super::format::{When, count};
use super::shell::{Shell, page};
use super::visit::{Visit, with_pairs};
use crate::server::address::KindSpelling;
use crate::wire::hf::repo::parse_bounds;

/// Repositories on one page.
const PAGE: u32 = 30;
/// Tags that a search may name.
const MAX_FILTERS: usize = 20;
/// Tags shown with each repository.
const SHOWN_TAGS: usize = 4;

#[derive(Template)]
#[template(path = "list.html")]
struct List {
    shell: Shell,
    /// Whether this is the front page.
    front: bool,
    base: String,
    heading: &'static str,
    path: &'static str,
    search: String,
    author: Option<Filter>,
    filters: Vec<Filter>,
    sorts: Vec<Sort>,
    /// Ranges of parameters; none for datasets.
    sizes: Vec<Size>,
    rows: Vec<Row>,
    /// Whether anything was asked for that may be taken back.
    narrowed: bool,
    previous: Option<String>,
    next: Option<String>,
}

/// Something that narrows the list, and the address of the list without it.
struct Filter {
    text: String,
    without: String,
}

struct Sort {
    word: &'static str,
    label: &'static str,
    chosen: bool,
}

/// A range of parameters.
struct Size {
    word: String,
    label: String,
    chosen: bool,
}

struct Row {
    url: String,
    namespace: Option<String>,
    name: String,
    private: bool,
    task: Option<(String, String)>,
    parameters: Option<String>,
    updated: When,
    downloads: Option<String>,
    tags: Vec<(String, String)>,
}

/// `GET /`
pub(super) async fn front(visit: Visit) -> Result<Response, PageError> {
    show(visit, RepoKind::Model, true).await
}

/// `GET /models`
pub(super) async fn models(visit: Visit) -> Result<Response, PageError> {
    show(visit, RepoKind::Model, false).await
}

/// `GET /datasets`
pub(super) async fn datasets(visit: Visit) -> Result<Response, PageError> {
    show(visit, RepoKind::Dataset, false).await
}

async fn show(visit: Visit, kind: RepoKind, front: bool) -> Result<Response, PageError> {
    let query = &visit.query;
    let sort_word = query.text("sort").unwrap_or("lastModified");
    let known = [
        ("lastModified", "Recently updated", RepoSort::Updated),
        ("createdAt", "Newest", RepoSort::Created),
        ("downloads", "Most downloads", RepoSort::Downloads),
    ];
    let sort = known.iter().find(|(word, ..)| *word == sort_word).map_or(RepoSort::Updated, |(.., sort)| *sort);
    let short = |text: &str| -> String { text.trim().chars().take(200).collect() };
    let tags: Vec<String> = query.values("filter").map(short).filter(|tag| !tag.is_empty()).take(MAX_FILTERS).collect();
    let search = query.text("search").map(short).filter(|text| !text.is_empty());
    let author = query.text("author").map(short).filter(|name| !name.is_empty());
    let number = visit.page()?;
    let size_word = query.text("num_parameters").unwrap_or("");
    let bounds = if size_word.is_empty() { Some((None, None)) } else { parse_bounds(size_word) };
    let bounds = bounds
        .ok_or_else(|| visit.refuse(Error::Malformed("`num_parameters` must be like `min:6B,max:128B`".to_owned())))?;
    let wanted = ListQuery {
        kind,
        search: search.clone(),
        author: author.clone(),
        tags: tags.clone(),
        min_parameters: bounds.0,
        max_parameters: bounds.1,
        sort,
        // One more tells whether there is a next page.
        limit: PAGE + 1,
        offset: number * u64::from(PAGE),
    };
    let found = visit.hub().list_repos(&visit.caller, wanted).await;
    let mut records = found.map_err(|error| visit.refuse(error))?;
    let more = records.len() > PAGE as usize;
    records.truncate(PAGE as usize);
    let now_ms = visit.hub().now_ms();
    let path = if kind == RepoKind::Model { "/models" } else { "/datasets" };
    let heading = if kind == RepoKind::Model { "Models" } else { "Datasets" };
    let to_page = |page: Option<u64>| {
        page.map(|page| match page {
            0 => visit.with_query(&[("p", None)]),
            page => visit.with_query(&[("p", Some(&page.to_string()))]),
        })
    };
    let offset = (number * u64::from(PAGE)).to_string();
    let limit = PAGE.to_string();
    let pairs = [
        ("search", search.as_deref().unwrap_or("")),
        ("author", author.as_deref().unwrap_or("")),
        ("num_parameters", size_word),
        ("sort", sort_word),
        ("limit", &limit),
        ("offset", if number > 0 { &offset } else { "" }),
    ];
    let twin = with_pairs(
        &format!("/api/{}", kind.plural()),
        pairs.into_iter().chain(tags.iter().map(|tag| ("filter", tag.as_str()))),
    );
    let template = List {
        front,
        base: visit.base.clone(),
        heading,
        path,
        sizes: sizes(kind, size_word),
        narrowed: search.is_some() || !size_word.is_empty() || author.is_some() || !tags.is_empty() || number > 0,
        search: search.unwrap_or_default(),
        author: author.map(|text| Filter { text, without: visit.with_query(&[("author", None), ("p", None)]) }),
        filters: tags.iter().map(|tag| filter(&visit, path, tag, &tags)).collect(),
        sorts: known.iter().map(|&(word, label, _)| Sort { word, label, chosen: word == sort_word }).collect(),
        rows: records.iter().map(|record| row(record, path, now_ms)).collect(),
        previous: to_page(number.checked_sub(1)),
        next: to_page(more.then_some(number + 1)),
        shell: visit.shell(if front { "" } else { heading }, Some(twin)),
    };
    Ok(page(StatusCode::OK, &template))
}

/// Ranges of parameters to choose from; one that was typed is kept.
fn sizes(kind: RepoKind, chosen: &str) -> Vec<Size> {
    if kind != RepoKind::Model {
        return Vec::new();
    }
    let known = [
        ("", "Any size"),
        ("max:100M", "Up to 100M"),
        ("min:100M,max:1B", "100M to 1B"),
        ("min:1B,max:10B", "1B to 10B"),
        ("min:10B,max:100B", "10B to 100B"),
        ("min:100B", "100B and more"),
    ];
    let size =
        |(word, label): (&str, &str)| Size { chosen: word == chosen, word: word.to_owned(), label: label.to_owned() };
    let other = (!known.iter().any(|(word, _)| *word == chosen)).then_some((chosen, chosen));
    known.into_iter().chain(other).map(size).collect()
}

/// A tag of the search, with the address of the search without it.
fn filter(visit: &Visit, path: &str, tag: &str, all: &[String]) -> Filter {
    let query = &visit.query;
    let kept =
        ["search", "author", "sort", "num_parameters"].into_iter().filter_map(|key| Some((key, query.text(key)?)));
    let others = all.iter().filter(|other| *other != tag).map(|other| ("filter", other.as_str()));
    Filter { text: tag.to_owned(), without: with_pairs(path, kept.chain(others)) }
}

fn row(record: &RepoRecord, path: &str, now_ms: i64) -> Row {
    let facts = Facts::of(record);
    let by_tag = |tag: &str| format!("{path}?filter={}", encode_segment(tag));
    let (namespace, name) = match record.id.split_once('/') {
        Some((namespace, name)) => (Some(namespace.to_owned()), name.to_owned()),
        None => (None, record.id.clone()),
    };
    let task = facts.pipeline_tag.clone();
    let plain = |tag: &&String| {
        Some(*tag) != task.as_ref() && tag.len() <= 32 && *tag != "region:us" && !tag.starts_with("base_model:")
    };
    Row {
        url: RepoPaths::new(record.kind, &record.id).page,
        namespace,
        name,
        private: record.private,
        parameters: facts.parameter_count().map(count),
        updated: When::new(record.updated_at_ms, now_ms),
        downloads: (record.downloads > 0).then(|| count(record.downloads.cast_unsigned())),
        tags: facts.tags.iter().filter(plain).take(SHOWN_TAGS).map(|tag| (tag.clone(), by_tag(tag))).collect(),
        task: task.map(|task| (task.clone(), by_tag(&task))),
    }
}
