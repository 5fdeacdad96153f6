//! The architecture as a picture of blocks, and as a table.

use askama::Template;
use axum::extract::Path;
use axum::response::Response;
use http::StatusCode;
use weighthouse::checkpoints::{Inside, Part};
use weighthouse::inspect::diagram::Block;

use super::error::PageError;
use super::format::{count, exact};
use super::inside::{Links, Opened, Shown, name, open, warnings};
use super::shell::{RepoHead, Shell, page};
use super::tree::{Choice, revisions};
use super::visit::Visit;

/// Width of the picture, in its own units: those of a narrow window, so that its text stays readable there.
const WIDTH: u64 = 360;
/// Height of a line, and space around a group.
const LINE: u64 = 36;
const GAP: u64 = 8;
/// Blocks that are drawn; more of them are in the table only.
const MAX_DRAWN: usize = 80;
/// Longest label that is drawn, in characters.
const MAX_LABEL_CHARS: usize = 30;

#[derive(Template)]
#[template(path = "architecture.html")]
struct Page {
    shell: Shell,
    head: RepoHead,
    revisions: Vec<Choice>,
    path: String,
    failure: Option<String>,
    facts: Vec<(String, String)>,
    dtypes: Vec<(String, String)>,
    shapes: Vec<Drawn>,
    width: u64,
    height: u64,
    rows: Vec<Line>,
    tensors_url: String,
    warnings: Vec<Shown>,
    more_warnings: usize,
}

/// A block, placed.
struct Drawn {
    /// Frame of a group; of several that are alike, there are two more behind it.
    frame: Option<Rect>,
    alike: u64,
    label: String,
    number: String,
    role: &'static str,
    text: Rect,
    bar: Rect,
    title: String,
    url: Option<String>,
    /// Where the arrow from the block before ends.
    arrow: Option<u64>,
}

#[derive(Clone, Copy)]
struct Rect {
    x: u64,
    y: u64,
    width: u64,
    height: u64,
}

impl Rect {
    fn right(&self) -> u64 {
        self.x + self.width
    }
}

/// A block in the table.
struct Line {
    depth: usize,
    label: String,
    url: Option<String>,
    role: &'static str,
    alike: u64,
    tensors: String,
    elements: String,
    share: String,
}

/// `GET /{id}/architecture/{rev}`
pub(super) async fn root(visit: Visit, Path(revision): Path<String>) -> Result<Response, PageError> {
    show(visit, revision, String::new()).await
}

/// `GET /{id}/architecture/{rev}/{path}`
pub(super) async fn below(visit: Visit, Path((revision, path)): Path<(String, String)>) -> Result<Response, PageError> {
    show(visit, revision, path).await
}

async fn show(visit: Visit, revision: String, path: String) -> Result<Response, PageError> {
    let path = path.trim_matches('/');
    let Opened { repo, head, inside, .. } = open(&visit, &revision, path, "architecture").await?;
    let links = Links::new(&head, &revision, path, Part::Weights);
    let known = inside.as_ref().ok();
    let blocks = known.map(|inside| inside.diagram()).unwrap_or_default();
    let total = blocks.iter().fold(0u64, |sum, block| sum.saturating_add(block.elements)).max(1);
    let mut picture = Picture { shapes: Vec::new(), total, links: &links };
    let height = picture.draw(&blocks, Rect { x: 4, y: 4, width: WIDTH - 8, height: 0 }, true);
    let mut rows = Vec::new();
    list(&blocks, 0, total, &links, &mut rows);
    let (warnings, more_warnings) = known.map(|inside| warnings(inside)).unwrap_or_default();
    let title =
        if path.is_empty() { format!("Architecture of {}", head.id) } else { format!("Architecture of {path}") };
    let template = Page {
        shell: visit.shell(title, Some(head.paths.api_at("architecture", &revision, path))),
        revisions: revisions(&visit, &repo, &head, ("architecture", &revision, path)).await?,
        path: path.to_owned(),
        facts: known.map(|inside| facts(inside)).unwrap_or_default(),
        dtypes: known.map(|inside| dtypes(inside)).unwrap_or_default(),
        shapes: picture.shapes,
        width: WIDTH,
        height: height + 8,
        rows,
        tensors_url: links.module(""),
        warnings,
        more_warnings,
        failure: inside.err(),
        head,
    };
    Ok(page(StatusCode::OK, &template))
}

fn facts(inside: &Inside) -> Vec<(String, String)> {
    let contents = &inside.checkpoint.contents;
    let architecture = &contents.architecture;
    let parameters = inside.checkpoint.parameters();
    let mut facts = Vec::new();
    let mut add = |label: &str, value: Option<String>| {
        facts.extend(value.filter(|value| !value.is_empty()).map(|value| (label.to_owned(), value)));
    };
    add("Family", architecture.family.as_deref().map(name));
    add("Class", architecture.class.as_deref().map(name));
    let formats: Vec<&str> = contents.formats.iter().map(|format| format.as_str()).collect();
    add("Formats", Some(formats.join(", ")));
    if parameters.total > 0 {
        add("Parameters", Some(format!("{} ({})", count(parameters.total), exact(parameters.total))));
    }
    add("Buffers", (parameters.buffers > 0).then(|| format!("{} elements", exact(parameters.buffers))));
    add("Shared", (parameters.shared > 0).then(|| format!("{} elements, counted once", exact(parameters.shared))));
    for (word, value) in architecture.sizes.iter().take(40) {
        add(&name(&word.replace('_', " ")), Some(exact(*value)));
    }
    if let Some(optimizer) = &contents.optimizer {
        let kind = optimizer.kind.as_deref().map_or_else(|| "unknown kind".to_owned(), name);
        let step = optimizer.step.map(|step| format!(" at step {}", exact(step))).unwrap_or_default();
        add("Optimizer", Some(format!("{kind}{step}")));
    }
    facts
}

fn dtypes(inside: &Inside) -> Vec<(String, String)> {
    let parameters = inside.checkpoint.parameters();
    parameters.by_dtype.iter().map(|(dtype, count)| (dtype.to_string(), exact(*count))).collect()
}

/// Blocks on their way to the page.
struct Picture<'a> {
    shapes: Vec<Drawn>,
    total: u64,
    links: &'a Links,
}

impl Picture<'_> {
    /// Draws blocks below each other from the top of `room` on; answers where they end.
    fn draw(&mut self, blocks: &[Block], room: Rect, flow: bool) -> u64 {
        let mut y = room.y;
        for (at, block) in blocks.iter().enumerate() {
            if self.shapes.len() >= MAX_DRAWN {
                break;
            }
            let grouped = !block.inner.is_empty() || flow;
            let stack = if block.alike > 1 && grouped { 2 * 3 } else { 0 };
            let pad = if grouped { GAP } else { 0 };
            let inner = Rect { x: room.x + pad, y, width: room.width - 2 * pad - stack, height: 0 };
            let place = self.shapes.len();
            self.shapes.push(self.block(block, Rect { height: LINE, ..inner }, flow && at > 0));
            let mut end = y + LINE;
            if !block.inner.is_empty() {
                end = self.draw(&block.inner, Rect { y: end, ..inner }, false);
            }
            if grouped {
                end += GAP / 2;
                let frame = Rect { x: room.x, y, width: room.width - stack, height: end - y };
                if let Some(shape) = self.shapes.get_mut(place) {
                    shape.frame = Some(frame);
                }
                end += stack + GAP + if flow { GAP } else { 0 };
            }
            y = end;
        }
        y
    }

    fn block(&self, block: &Block, room: Rect, arrow: bool) -> Drawn {
        let share = block.elements as f64 / self.total as f64;
        let full = room.width;
        // What is there can be seen.
        let width = ((share * full as f64).round() as u64).clamp(u64::from(block.elements > 0) * 2, full);
        let label = name(&block.label);
        let mut shown: String = label.chars().take(MAX_LABEL_CHARS).collect();
        if shown.len() < label.len() {
            shown.push('…');
        }
        let times = if block.alike > 1 { format!("{} × ", exact(block.alike)) } else { String::new() };
        let each = block.elements / block.alike.max(1);
        Drawn {
            frame: None,
            alike: block.alike,
            label: shown,
            number: format!("{times}{}", count(each)),
            role: block.role.as_str(),
            text: Rect { y: room.y + 17, ..room },
            bar: Rect { x: room.x, y: room.y + 23, width, height: 7 },
            title: format!("{label}: {} parameters, {}", exact(block.elements), percent(share)),
            url: (!block.module.is_empty()).then(|| self.links.module(&block.module)),
            arrow: arrow.then_some(room.y),
        }
    }
}

fn percent(share: f64) -> String {
    match share * 100.0 {
        share if share > 0.0 && share < 0.1 => "less than 0.1 %".to_owned(),
        share => format!("{share:.1} %"),
    }
}

fn list(blocks: &[Block], depth: usize, total: u64, links: &Links, rows: &mut Vec<Line>) {
    for block in blocks {
        rows.push(Line {
            depth,
            label: name(&block.label),
            url: (!block.module.is_empty()).then(|| links.module(&block.module)),
            role: block.role.as_str(),
            alike: block.alike,
            tensors: exact(block.tensors),
            elements: exact(block.elements),
            share: percent(block.elements as f64 / total as f64),
        });
        list(&block.inner, depth + 1, total, links, rows);
    }
}
