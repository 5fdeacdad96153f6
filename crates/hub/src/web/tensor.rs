//! One tensor: what it is, where it lies, what its values are, where else it is.

use std::sync::Arc;

use askama::Template;
use axum::extract::Path;
use axum::response::Response;
use http::StatusCode;
use weighthouse::checkpoints::values::{Histogram, Npy, WINDOW, Window, table_of};
use weighthouse::checkpoints::{Indexed, Inside, Part, TensorStats};
use weighthouse::format::Tensor;
use weighthouse::{Error, ErrorKind};

use super::address::RepoPaths;
use super::error::PageError;
use super::format::{exact, size};
use super::inside::{Links, Opened, name, number, open, pending, shape};
use super::shell::{RepoHead, Shell, page};
use super::tensors::crumbs;
use super::tree::Crumb;
use super::visit::{Visit, with_pairs};
use crate::server::inside::npy_reply;
use crate::wire::inside::Ask;

/// Statistics that a strip can show.
const STATS: &[&str] = &["std", "norm", "mean", "min", "max", "zeros"];
/// Height of a histogram.
const HEIGHT: f64 = 100.0;
/// Steps of a strip's colour.
const STEPS: usize = 9;

#[derive(Template)]
#[template(path = "tensor.html")]
struct Page {
    shell: Shell,
    head: RepoHead,
    crumbs: Vec<Crumb>,
    name: String,
    dtype: String,
    shape: String,
    elements: String,
    bytes: String,
    file: Option<(String, String)>,
    more_files: usize,
    offset: String,
    hash: Option<String>,
    npy: Option<NpyLink>,
    pending: Option<String>,
    stats: Vec<(&'static str, String)>,
    odd: Option<String>,
    histogram: Option<Bars>,
    strips: Vec<Strip>,
    choices: Vec<(&'static str, String, bool)>,
    window: Result<Grid, String>,
    also: Vec<Also>,
    /// What the form for another window keeps of the query.
    kept: Vec<(String, String)>,
    /// Whether there is a form.
    form: bool,
}

impl Page {
    fn kept(&self) -> impl Iterator<Item = (&str, &str)> {
        self.kept.iter().map(|(key, value)| (key.as_str(), value.as_str()))
    }
}

struct NpyLink {
    url: String,
    size: String,
    descr: &'static str,
    widened: bool,
}

/// A histogram, drawn.
struct Bars {
    bars: Vec<Bar>,
    low: String,
    high: String,
    note: String,
}

struct Bar {
    x: usize,
    y: String,
    height: String,
    title: String,
}

/// A statistic over layers.
struct Strip {
    pattern: String,
    cells: Vec<Cell>,
    width: usize,
    low: String,
    high: String,
}

struct Cell {
    x: usize,
    step: usize,
    here: bool,
    layer: u64,
    url: String,
    value: String,
}

/// A window of values.
struct Grid {
    rows: u64,
    columns: u64,
    row: u64,
    column: u64,
    heads: Vec<String>,
    lines: Vec<(String, Vec<String>)>,
    moves: Vec<(&'static str, String)>,
}

struct Also {
    repo: String,
    url: String,
    file: String,
    name: String,
    here: bool,
}

/// The page of a tensor.
pub(super) async fn show(
    visit: &Visit,
    opened: &Opened,
    inside: &Arc<Inside>,
    (ask, wanted, revision, path): (&Ask, &str, &str, &str),
) -> Result<Response, PageError> {
    let refuse = |error| visit.refuse(error);
    let hub = visit.hub();
    let missing = || Error::NotFound { what: "tensor", name: name(wanted) };
    let tensors = inside.tensors(ask.part);
    let Some(at) = inside.modules(ask.part).find(tensors, wanted) else {
        // The name came from another place, where the same tensor has it.
        let found = visit.query.text("place").and_then(|place| inside.at_place(place));
        let (part, tensor) = found.ok_or_else(|| refuse(missing()))?;
        return Err(PageError::Elsewhere(Links::new(&opened.head, revision, path, part).tensor(&tensor.name)));
    };
    let tensor = tensors.get(at).ok_or_else(|| refuse(missing()))?;
    let head = opened.head.clone();
    let links = Links::new(&head, revision, path, ask.part);
    let indexed = hub.indexed(inside, tensor).await.map_err(refuse)?;
    let progress = hub.reading(&opened.repo, &opened.at).await.map_err(refuse)?;
    let also = also_in(visit, opened, tensor, indexed.as_ref()).await?;
    let stats = indexed.as_ref().and_then(|indexed| indexed.stats);
    let histogram = match (&indexed, stats) {
        (Some(indexed), Some(stats)) => match hub.histogram(inside, ask.part, at, (indexed.hash, stats)).await {
            Ok(found) => found,
            // The page is worth more than its picture.
            Err(error) if matches!(error.kind(), ErrorKind::Malformed | ErrorKind::Transient) => None,
            Err(error) => return Err(refuse(error)),
        },
        _ => None,
    };
    let stat = visit.query.text("stat").and_then(|stat| STATS.iter().find(|known| **known == stat)).unwrap_or(&"std");
    let place = inside.place(tensor);
    let npy = Npy::of(tensor).ok().map(|npy| NpyLink {
        url: links.npy(&tensor.name),
        size: size(npy.size_bytes),
        descr: npy.descr,
        widened: npy.widened,
    });
    let twin = with_pairs(
        &head.paths.api_at("tensors", revision, path),
        [("part", if ask.part == Part::Optimizer { "optimizer" } else { "" })].into_iter(),
    );
    let joint = if twin.contains('?') { '&' } else { '?' };
    let twin = format!("{twin}{joint}name={}", super::address::encode_segment(&tensor.name));
    let template = Page {
        shell: visit.shell(format!("{} in {}", name(&tensor.name), head.id), Some(twin)),
        crumbs: crumbs(&links, &tensor.name),
        name: name(&tensor.name),
        dtype: tensor.dtype.to_string(),
        shape: shape(&tensor.shape),
        elements: exact(tensor.elements()),
        bytes: size(tensor.size_bytes()),
        file: place.as_ref().map(|(file, _)| (file.clone(), head.paths.at("blob", revision, file))),
        more_files: inside.files_of(tensor).saturating_sub(1),
        offset: place.map(|(_, offset)| exact(offset)).unwrap_or_default(),
        hash: indexed.as_ref().map(|indexed| indexed.hash.to_string()),
        npy,
        pending: if indexed.is_none() { pending(&progress) } else { None },
        odd: stats.and_then(|stats| odd(&stats)),
        stats: stats.map(|stats| table(&stats)).unwrap_or_default(),
        histogram: histogram.map(|histogram| bars(&histogram)),
        strips: strips(visit, inside, (ask.part, at, tensor), stat, &links).await?,
        choices: STATS.iter().map(|&word| (word, visit.with_query(&[("stat", Some(word))]), word == *stat)).collect(),
        window: grid(visit, inside, (ask.part, at, tensor)).await?,
        also,
        kept: visit
            .query
            .pairs()
            .iter()
            .filter(|(key, _)| matches!(key.as_str(), "name" | "part" | "stat"))
            .cloned()
            .collect(),
        // A form cannot carry every character, and shows them to nobody; the links beside it do.
        form: !tensor.name.is_empty() && name(&tensor.name) == tensor.name,
        head,
    };
    Ok(page(StatusCode::OK, &template))
}

async fn also_in(
    visit: &Visit,
    opened: &Opened,
    tensor: &Tensor,
    indexed: Option<&Indexed>,
) -> Result<Vec<Also>, PageError> {
    let Some(indexed) = indexed else { return Ok(Vec::new()) };
    let found = visit.hub().places_of(&visit.caller, tensor, &indexed.hash).await;
    let found = found.map_err(|error| visit.refuse(error))?;
    let also = |place: weighthouse::TensorPlace| {
        let paths = RepoPaths::new(place.kind, &place.repo);
        let commit = place.commit.to_string();
        let address = paths.at("tensors", &commit, &place.page);
        Also {
            url: format!("{address}?name={}&place={}", super::address::encode_segment(&place.name), place.place),
            here: place.repo == opened.repo.record.id && place.kind == opened.repo.record.kind,
            repo: place.repo,
            file: name(&place.path),
            name: name(&place.name),
        }
    };
    Ok(found.into_iter().map(also).collect())
}

fn table(stats: &TensorStats) -> Vec<(&'static str, String)> {
    let known = |value: Option<f64>| value.map_or_else(|| "–".to_owned(), number);
    vec![
        ("min", known(stats.min)),
        ("max", known(stats.max)),
        ("mean", known(stats.mean)),
        ("standard deviation", known(stats.std)),
        ("norm", known(stats.norm)),
        ("zeros", of_all(stats.zeros, stats.count())),
        ("NaN", exact(stats.nan)),
        ("infinite", exact(stats.infinite)),
    ]
}

fn of_all(part: u64, all: u64) -> String {
    if part == 0 || all == 0 {
        return exact(part);
    }
    format!("{} ({:.1} %)", exact(part), part as f64 * 100.0 / all as f64)
}

/// What a reader should notice.
fn odd(stats: &TensorStats) -> Option<String> {
    let count = stats.count();
    if stats.nan + stats.infinite > 0 {
        Some(format!("{} of its values are not finite.", exact(stats.nan + stats.infinite)))
    } else if count > 1 && stats.zeros == count {
        Some("All of its values are zero.".to_owned())
    } else if count > 1 && stats.min == stats.max {
        Some("All of its values are the same.".to_owned())
    } else {
        None
    }
}

fn bars(histogram: &Histogram) -> Bars {
    let tallest = histogram.counts.iter().copied().max().unwrap_or(0).max(1) as f64;
    let wide = (histogram.max - histogram.min) / histogram.counts.len().max(1) as f64;
    let bar = |(at, &count): (usize, &u64)| {
        let height = count as f64 / tallest * HEIGHT;
        // What is there can be seen.
        let height = if count > 0 { height.max(0.8) } else { 0.0 };
        let from = histogram.min + wide * at as f64;
        Bar {
            x: at * 10,
            y: format!("{:.1}", HEIGHT - height),
            height: format!("{height:.1}"),
            title: format!("{} to {}: {}", number(from), number(from + wide), exact(count)),
        }
    };
    Bars {
        bars: histogram.counts.iter().enumerate().map(bar).collect(),
        low: number(histogram.min),
        high: number(histogram.max),
        note: match histogram.sampled {
            true => format!("A sample of {} values, taken evenly from the whole.", exact(histogram.counted)),
            false => format!("{} values.", exact(histogram.counted)),
        },
    }
}

async fn strips(
    visit: &Visit,
    inside: &Inside,
    (part, here, tensor): (Part, usize, &Tensor),
    stat: &str,
    links: &Links,
) -> Result<Vec<Strip>, PageError> {
    let tensors = inside.tensors(part);
    let mut strips = Vec::new();
    for series in inside.series(part, tensor) {
        let members: Vec<(u64, usize, &Tensor)> =
            series.members.iter().filter_map(|&(layer, at)| Some((layer, at, tensors.get(at)?))).collect();
        let wanted: Vec<&Tensor> = members.iter().map(|(.., tensor)| *tensor).collect();
        let known = visit.hub().indexed_all(inside, &wanted).await.map_err(|error| visit.refuse(error))?;
        let values: Vec<Option<f64>> = known.iter().map(|one| value(one.as_ref()?.stats.as_ref()?, stat)).collect();
        let finite = || values.iter().flatten().copied().filter(|value| value.is_finite());
        let (low, high) = finite().fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), v| (l.min(v), h.max(v)));
        if low > high {
            continue;
        }
        let step = |value: f64| {
            let share = if high > low { (value / 2.0 - low / 2.0) / (high / 2.0 - low / 2.0) } else { 0.5 };
            ((share * STEPS as f64) as usize).min(STEPS - 1) + 1
        };
        let mut cells = Vec::with_capacity(members.len());
        for ((layer, at, tensor), value) in members.iter().zip(&values) {
            cells.push(Cell {
                x: cells.len() * 10,
                // Step 0 is for what is not known.
                step: value.map_or(0, step),
                here: *at == here,
                layer: *layer,
                url: links.tensor(&tensor.name),
                value: value.map_or_else(|| "–".to_owned(), number),
            });
        }
        strips.push(Strip {
            pattern: name(&series.pattern),
            width: members.len() * 10,
            cells,
            low: number(low),
            high: number(high),
        });
    }
    Ok(strips)
}

fn value(stats: &TensorStats, stat: &str) -> Option<f64> {
    match stat {
        "norm" => stats.norm,
        "mean" => stats.mean,
        "min" => stats.min,
        "max" => stats.max,
        "zeros" => Some(stats.zeros as f64 / stats.count().max(1) as f64),
        _ => stats.std,
    }
}

async fn grid(
    visit: &Visit,
    inside: &Arc<Inside>,
    (part, at, tensor): (Part, usize, &Tensor),
) -> Result<Result<Grid, String>, PageError> {
    let ask = |key| visit.query.number(key).map_err(|error| visit.refuse(Error::Malformed(error.to_string())));
    let corner = (ask("row")?.unwrap_or(0), ask("column")?.unwrap_or(0));
    if tensor.elements() == 0 {
        return Ok(Err("It has no elements.".to_owned()));
    }
    let window = match visit.hub().window(inside, part, at, corner).await {
        Ok(window) => window,
        Err(error) if matches!(error.kind(), ErrorKind::Malformed | ErrorKind::Transient) => {
            return Ok(Err(format!("Its values cannot be shown: {}.", name(&error.to_string()))));
        }
        Err(error) => return Err(visit.refuse(error)),
    };
    Ok(Ok(drawn(visit, &window, tensor)))
}

fn drawn(visit: &Visit, window: &Window, tensor: &Tensor) -> Grid {
    let (rows, columns) = table_of(&tensor.shape);
    let to = |row: u64, column: u64| {
        visit.with_query(&[("row", Some(&row.to_string())), ("column", Some(&column.to_string()))])
    };
    let (row, column) = (window.row, window.column);
    let mut moves = Vec::new();
    let mut go = |label, possible: bool, row: u64, column: u64| {
        if possible {
            moves.push((label, to(row, column)));
        }
    };
    go("← left", column > 0, row, column.saturating_sub(WINDOW));
    go("→ right", column + WINDOW < columns, row, column + WINDOW);
    go("↑ up", row > 0, row.saturating_sub(WINDOW), column);
    go("↓ down", row + WINDOW < rows, row + WINDOW, column);
    let vector = tensor.shape.len() < 2;
    let width = window.values.first().map_or(0, Vec::len) as u64;
    let line = |(at, values): (usize, &Vec<f64>)| {
        let row = row + at as u64;
        let label = if vector { exact(row.saturating_mul(columns)) } else { exact(row) };
        (label, values.iter().map(|&value| number(value)).collect())
    };
    Grid {
        rows,
        columns,
        row,
        column,
        heads: (0..width).map(|at| if vector { format!("+{}", column + at) } else { exact(column + at) }).collect(),
        lines: window.values.iter().enumerate().map(line).collect(),
        moves,
    }
}

/// `GET /{id}/npy/{rev}`
pub(super) async fn npy_of_root(visit: Visit, Path(revision): Path<String>) -> Result<Response, PageError> {
    npy(visit, revision, String::new()).await
}

/// `GET /{id}/npy/{rev}/{path}`
pub(super) async fn npy_below(
    visit: Visit,
    Path((revision, path)): Path<(String, String)>,
) -> Result<Response, PageError> {
    npy(visit, revision, path).await
}

async fn npy(visit: Visit, revision: String, path: String) -> Result<Response, PageError> {
    let refuse = |error| visit.refuse(error);
    let ask = Ask::of(&visit.query).map_err(|error| refuse(Error::Malformed(error.to_string())))?;
    let wanted = ask.name.unwrap_or_default();
    let opened = open(&visit, &revision, path.trim_matches('/'), "tensors").await?;
    visit.hub().pass_folder(&visit.caller, &opened.repo, &opened.at, &path).await.map_err(refuse)?;
    let inside = opened.inside.map_err(|failure| refuse(Error::Malformed(failure)))?;
    let missing = || refuse(Error::NotFound { what: "tensor", name: name(&wanted) });
    let at = inside.modules(ask.part).find(inside.tensors(ask.part), &wanted).ok_or_else(missing)?;
    let (npy, pieces) = visit.hub().npy(&inside, ask.part, at).await.map_err(refuse)?;
    Ok(npy_reply(&npy, pieces, &wanted))
}
