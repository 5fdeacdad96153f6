//! The tensors of a checkpoint, a level of modules at a time, or what a search finds.

use askama::Template;
use axum::extract::Path;
use axum::response::Response;
use http::StatusCode;
use weighthouse::Error;
use weighthouse::checkpoints::{Inside, Part, Progress};
use weighthouse::format::Tensor;
use weighthouse::inspect::modules::{Row, RowKind};

use super::address::encode_segment;
use super::error::PageError;
use super::format::{count, exact, size};
use super::inside::{Links, Opened, Shown, name, open, pending, shape, warnings};
use super::shell::{RepoHead, Shell, page};
use super::tree::{Choice, Crumb, revisions};
use super::visit::{Visit, with_pairs};
use crate::server::inside::search_names;
use crate::wire::inside::Ask;

/// Rows on one page.
const PAGE: usize = 200;
/// Longest text that is searched for, in characters.
const MAX_SEARCH_CHARS: usize = 200;

#[derive(Template)]
#[template(path = "tensors.html")]
struct Tensors {
    shell: Shell,
    head: RepoHead,
    revisions: Vec<Choice>,
    /// Folder or file that is shown; empty for the whole.
    path: String,
    whole_url: String,
    file_url: Option<String>,
    crumbs: Vec<Crumb>,
    /// Why nothing can be shown.
    failure: Option<String>,
    summary: Option<Summary>,
    pending: Option<String>,
    warnings: Vec<Shown>,
    more_warnings: usize,
    search: String,
    module: String,
    part: &'static str,
    /// The other part, if the checkpoint has both.
    parts: Vec<Choice>,
    rows: Vec<Line>,
    first: usize,
    last: usize,
    total: usize,
    previous: Option<String>,
    next: Option<String>,
    others: Vec<Other>,
    unfolded: bool,
    folded_url: String,
}

/// What the whole is.
struct Summary {
    formats: String,
    tensors: String,
    parameters: String,
    exact: String,
    bytes: String,
    architecture_url: String,
    convert_url: String,
    family: Option<String>,
}

/// A line of a level.
struct Line {
    label: String,
    url: String,
    /// Where each of several modules that are alike is shown.
    each: Option<(u64, String)>,
    tensor: Option<(String, String)>,
    tensors: String,
    elements: String,
    elements_exact: String,
    bytes: String,
    /// Width of its bar, in tenths of a percent of the widest.
    share: u64,
}

/// Weights in another form than the chosen one.
struct Other {
    format: String,
    file: String,
    url: String,
    tensors: String,
}

/// `GET /{id}/tensors/{rev}`
pub(super) async fn root(visit: Visit, Path(revision): Path<String>) -> Result<Response, PageError> {
    show(visit, revision, String::new()).await
}

/// `GET /{id}/tensors/{rev}/{path}`
pub(super) async fn below(visit: Visit, Path((revision, path)): Path<(String, String)>) -> Result<Response, PageError> {
    show(visit, revision, path).await
}

async fn show(visit: Visit, revision: String, path: String) -> Result<Response, PageError> {
    let path = path.trim_matches('/');
    let ask = Ask::of(&visit.query).map_err(|error| visit.refuse(Error::Malformed(error.to_string())))?;
    let opened = open(&visit, &revision, path, "tensors").await?;
    if let (Some(wanted), Ok(inside)) = (&ask.name, &opened.inside) {
        return super::tensor::show(&visit, &opened, inside, (&ask, wanted, &revision, path)).await;
    }
    let Opened { repo, at, head, inside } = opened;
    let links = Links::new(&head, &revision, path, ask.part);
    let search: String = ask.search.iter().flat_map(|text| text.chars()).take(MAX_SEARCH_CHARS).collect();
    let number = usize::try_from(visit.page()?).unwrap_or(usize::MAX);
    let first = number.saturating_mul(PAGE);
    let mut shown = Level::default();
    let mut progress = Progress::Never;
    if let Ok(inside) = &inside {
        progress = visit.hub().reading(&repo, &at).await.map_err(|error| visit.refuse(error))?;
        shown = level(inside, &ask, &search, first, &links);
    }
    let last = first.saturating_add(shown.lines.len());
    let to_page = |page: usize| match page {
        0 => visit.with_query(&[("p", None)]),
        page => visit.with_query(&[("p", Some(&page.to_string()))]),
    };
    let known = inside.as_ref().ok();
    let (warnings, more_warnings) = known.map(|inside| warnings(inside)).unwrap_or_default();
    let twin = with_pairs(
        &head.paths.api_at("tensors", &revision, path),
        [
            ("part", if ask.part == Part::Optimizer { "optimizer" } else { "" }),
            ("module", ask.module.as_str()),
            ("search", search.as_str()),
            ("fold", if ask.fold { "" } else { "false" }),
        ]
        .into_iter(),
    );
    let title = if path.is_empty() { format!("Tensors of {}", head.id) } else { format!("Tensors in {path}") };
    let template = Tensors {
        shell: visit.shell(title, Some(twin)),
        revisions: revisions(&visit, &repo, &head, ("tensors", &revision, path)).await?,
        path: path.to_owned(),
        whole_url: head.paths.at("tensors", &revision, ""),
        file_url: (!path.is_empty()).then(|| head.paths.at("blob", &revision, path)),
        crumbs: crumbs(&links, &ask.module),
        summary: known.map(|inside| summary(inside, &head, &revision, path)),
        pending: known.and_then(|_| pending(&progress)),
        warnings,
        more_warnings,
        part: ask.part.as_str(),
        parts: known.map(|inside| parts(inside, &head, &revision, path, ask.part)).unwrap_or_default(),
        first: first.saturating_add(1).min(shown.total),
        last,
        total: shown.total,
        previous: number.checked_sub(1).map(to_page),
        next: (last < shown.total && !shown.lines.is_empty()).then(|| to_page(number + 1)),
        rows: shown.lines,
        others: known.map(|inside| others(inside, &head, &revision, path)).unwrap_or_default(),
        unfolded: !ask.fold && search.is_empty(),
        folded_url: links.module(&ask.module),
        module: ask.module,
        search,
        failure: inside.err(),
        head,
    };
    Ok(page(StatusCode::OK, &template))
}

#[derive(Default)]
struct Level {
    lines: Vec<Line>,
    total: usize,
}

fn level(inside: &Inside, ask: &Ask, search: &str, first: usize, links: &Links) -> Level {
    let tensors = inside.tensors(ask.part);
    if !search.is_empty() {
        let found = search_names(inside, ask.part, search);
        let page: Vec<&Tensor> =
            found.iter().skip(first).take(PAGE).filter_map(|&number| tensors.get(number)).collect();
        let widest = page.iter().map(|tensor| tensor.elements()).max().unwrap_or(0);
        let lines = page.into_iter().map(|tensor| tensor_line(tensor, &tensor.name, widest, links)).collect();
        return Level { lines, total: found.len() };
    }
    let rows = inside.modules(ask.part).level(tensors, &ask.module, ask.fold);
    let total = rows.len();
    let widest = rows.iter().map(|row| row.elements).max().unwrap_or(0);
    let modules = inside.modules(ask.part);
    let line = |row: Row| match modules.only_tensor(tensors, &row).and_then(|number| tensors.get(number)) {
        Some(tensor) => tensor_line(tensor, below_module(&tensor.name, &ask.module), widest, links),
        None => line(&row, widest, links),
    };
    Level { lines: rows.into_iter().skip(first).take(PAGE).map(line).collect(), total }
}

/// The name of a tensor without that of the module it is shown in.
fn below_module<'a>(name: &'a str, module: &str) -> &'a str {
    if module.is_empty() {
        return name;
    }
    let parts = module.split(['.', '/']).count();
    let end = name.match_indices(['.', '/']).nth(parts - 1);
    end.and_then(|(at, _)| name.get(at + 1..)).unwrap_or_default()
}

fn line(row: &Row, widest: u64, links: &Links) -> Line {
    match &row.kind {
        RowKind::Tensor(_) => module_line(row, "", "", widest, links),
        RowKind::Module { name, parent } => module_line(row, name, parent, widest, links),
    }
}

fn tensor_line(tensor: &Tensor, label: &str, widest: u64, links: &Links) -> Line {
    // A tensor with the name of a module has nothing left to be called by.
    let label = if label.is_empty() { &tensor.name } else { label };
    Line {
        label: name(label),
        url: links.tensor(&tensor.name),
        each: None,
        tensor: Some((tensor.dtype.to_string(), shape(&tensor.shape))),
        tensors: String::new(),
        elements: count(tensor.elements()),
        elements_exact: exact(tensor.elements()),
        bytes: size(tensor.size_bytes()),
        share: share(tensor.elements(), widest),
    }
}

fn module_line(row: &Row, module: &str, parent: &str, widest: u64, links: &Links) -> Line {
    Line {
        label: name(&row.label),
        url: links.module(module),
        each: (row.alike > 1).then(|| (row.alike, links.unfolded(parent))),
        tensor: None,
        tensors: exact(row.tensors),
        elements: count(row.elements),
        elements_exact: exact(row.elements),
        bytes: size(row.size_bytes),
        share: share(row.elements, widest),
    }
}

fn share(elements: u64, widest: u64) -> u64 {
    let tenths = u128::from(elements) * 1_000 / u128::from(widest.max(1));
    u64::try_from(tenths).unwrap_or(1_000).max(u64::from(elements > 0) * 4)
}

/// The modules around a level, the whole first.
pub(super) fn crumbs(links: &Links, module: &str) -> Vec<Crumb> {
    let mut found = vec![Crumb { name: "all modules".to_owned(), url: links.module(""), last: module.is_empty() }];
    if module.is_empty() {
        return found;
    }
    let mut begin = 0;
    let ends = module.match_indices(['.', '/']).map(|(at, _)| at).chain([module.len()]);
    for end in ends {
        // A hostile name has thousands of parts.
        if found.len() == 40 && end < module.len() {
            continue;
        }
        let (part, sofar) = (module.get(begin..end).unwrap_or_default(), module.get(..end).unwrap_or_default());
        found.push(Crumb { name: name(part), url: links.module(sofar), last: end == module.len() });
        begin = end + 1;
    }
    found
}

fn summary(inside: &Inside, head: &RepoHead, revision: &str, path: &str) -> Summary {
    let contents = &inside.checkpoint.contents;
    let parameters = inside.checkpoint.parameters();
    let tensors = inside.tensors(Part::Weights);
    let bytes = tensors.iter().fold(0u64, |sum, tensor| sum.saturating_add(tensor.size_bytes()));
    let architecture = &contents.architecture;
    let known = architecture.class.as_ref().or(architecture.family.as_ref());
    Summary {
        formats: contents.formats.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
        tensors: exact(tensors.len() as u64),
        parameters: count(parameters.total),
        exact: exact(parameters.total),
        bytes: size(bytes),
        architecture_url: head.paths.at("architecture", revision, path),
        convert_url: head.paths.at("convert", revision, path),
        family: known.map(|known| name(known)),
    }
}

/// Weights and optimizer, if there are both.
fn parts(inside: &Inside, head: &RepoHead, revision: &str, path: &str, chosen: Part) -> Vec<Choice> {
    let counts = [Part::Weights, Part::Optimizer].map(|part| (part, inside.tensors(part).len() as u64));
    if counts.iter().any(|(part, count)| *part == Part::Optimizer && *count == 0) {
        return Vec::new();
    }
    let choice = |(part, count): (Part, u64)| Choice {
        name: format!("{} ({})", part.as_str(), exact(count)),
        url: Links::new(head, revision, path, part).module(""),
        chosen: part == chosen,
    };
    counts.into_iter().map(choice).collect()
}

fn others(inside: &Inside, head: &RepoHead, revision: &str, path: &str) -> Vec<Other> {
    let folder = if path.is_empty() { String::new() } else { format!("{path}/") };
    let other = |other: &weighthouse::format::checkpoint::OtherWeights| {
        let file = other.files.first()?;
        Some(Other {
            format: other.format.to_string(),
            file: name(file),
            url: head.paths.at("tensors", revision, &format!("{folder}{file}")),
            tensors: exact(other.tensors),
        })
    };
    inside.checkpoint.others.iter().take(50).filter_map(other).collect()
}

impl Tensors {
    /// Address of the search form.
    fn action(&self) -> String {
        let slash = if self.path.is_empty() { "" } else { "/" };
        let path: Vec<String> = self.path.split('/').map(encode_segment).collect();
        format!("{}{slash}{}", self.whole_url, path.join("/"))
    }
}
