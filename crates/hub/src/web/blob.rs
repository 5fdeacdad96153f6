//! A file: its text if it is short text, its identity always.

use askama::Template;
use axum::extract::Path;
use axum::response::Response;
use http::StatusCode;
use weighthouse::Error;
use weighthouse::browse::FileRecord;
use weighthouse::format::safetensors::{Header, TensorInfo};

use super::error::PageError;
use super::format::{exact, size};
use super::scan::Badge;
use super::shell::{RepoHead, Shell, page};
use super::tree::{Choice, Crumb, crumbs, revisions};
use super::visit::Visit;

/// Longest file that is shown, in bytes.
const MAX_TEXT_BYTES: u64 = 512 << 10;
/// Lines that are shown.
const MAX_LINES: usize = 5_000;
/// Longest line that is shown, in characters.
const MAX_LINE_CHARS: usize = 4_000;
/// Tensors that are shown.
const MAX_TENSORS: usize = 2_000;
/// Largest image that is shown, in bytes.
const MAX_IMAGE_BYTES: u64 = 10 << 20;
/// Ends of names of images that every browser shows and that cannot carry script.
const IMAGES: &[&str] = &[".png", ".jpg", ".jpeg", ".gif", ".webp"];

/// Ends of names of weights.
const WEIGHTS: &[&str] = &[
    ".safetensors",
    ".gguf",
    ".bin",
    ".pt",
    ".pth",
    ".ckpt",
    ".onnx",
    ".h5",
    ".keras",
    ".msgpack",
    ".npz",
    ".npy",
    ".tflite",
    ".pb",
];

#[derive(Template)]
#[template(path = "blob.html")]
struct Blob {
    shell: Shell,
    head: RepoHead,
    crumbs: Vec<Crumb>,
    revisions: Vec<Choice>,
    name: String,
    size: String,
    bytes: Option<String>,
    sha256: String,
    oid: String,
    lfs: bool,
    download: String,
    raw: String,
    /// Where to look into a checkpoint.
    inside: Option<String>,
    /// Where it can be had in other forms.
    convert: Option<String>,
    view: View,
    badge: Badge,
    report: String,
    /// Why it cannot be downloaded.
    blocked: Option<String>,
}

/// What is shown of a file.
enum View {
    Text {
        lines: Vec<String>,
        cut: bool,
    },
    Image(String),
    Tensors {
        rows: Vec<Tensor>,
        total: String,
        parameters: String,
        cut: bool,
    },
    /// Why nothing is shown.
    None(&'static str),
}

/// A tensor of a safetensors file.
struct Tensor {
    name: String,
    dtype: String,
    shape: String,
    elements: String,
}

/// `GET /{id}/blob/{rev}/{path}`
pub(super) async fn show(visit: Visit, Path((revision, path)): Path<(String, String)>) -> Result<Response, PageError> {
    let path = path.trim_matches('/');
    let (repo, at) = visit.repo_at(&revision).await?;
    let head = RepoHead::new(&repo, &revision, "files");
    let hub = visit.hub();
    let file = match hub.file(&at, &revision, path).await {
        Err(Error::EntryNotFound { .. }) if hub.list_page(&at, &revision, path, false, 0..0).await.is_ok() => {
            return Err(PageError::Elsewhere(head.paths.at("tree", &revision, path)));
        }
        other => other.map_err(|error| visit.refuse(error))?,
    };
    let raw = head.paths.at("resolve", &revision, path);
    let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
    let status = hub.status(&at, &file).await.map_err(|error| visit.refuse(error))?;
    let blocked = hub.would_block(&visit.caller, &repo, &at, &file).await.map_err(|error| visit.refuse(error))?;
    let template = Blob {
        badge: Badge::of(status.verdict),
        report: head.paths.at("scan", &revision, path),
        shell: visit.shell(format!("{path} in {}", head.id), Some(head.paths.api_at("tree", &revision, folder))),
        crumbs: crumbs(&head, &revision, path),
        revisions: revisions(&visit, &repo, &head, ("tree", &revision, path)).await?,
        name: path.rsplit('/').next().unwrap_or(path).to_owned(),
        size: size(file.size_bytes),
        bytes: (file.size_bytes >= 1_000).then(|| exact(file.size_bytes)),
        sha256: file.sha256.to_string(),
        oid: file.oid.to_string(),
        lfs: file.lfs,
        download: format!("{raw}?download=true"),
        inside: may_hold_tensors(&file).then(|| head.paths.at("tensors", &revision, path)),
        convert: may_hold_tensors(&file).then(|| head.paths.at("convert", &revision, path)),
        view: match &blocked {
            Some(_) => View::None("The bytes of this file are kept back."),
            None => view(&visit, &file, &raw).await?,
        },
        blocked,
        raw,
        head,
    };
    Ok(page(StatusCode::OK, &template))
}

/// Whether it is worth a look inside: weights are large or called so. What the file is, its bytes will tell.
fn may_hold_tensors(file: &FileRecord) -> bool {
    let name = file.path.to_ascii_lowercase();
    let picture = IMAGES.iter().any(|end| name.ends_with(end));
    (file.lfs && !picture) || WEIGHTS.iter().any(|end| name.ends_with(end))
}

async fn view(visit: &Visit, file: &FileRecord, raw: &str) -> Result<View, PageError> {
    let name = file.path.to_ascii_lowercase();
    if IMAGES.iter().any(|end| name.ends_with(end)) && file.size_bytes <= MAX_IMAGE_BYTES {
        return Ok(View::Image(raw.to_owned()));
    }
    if name.ends_with(".safetensors") {
        let header = visit.hub().safetensors_header(file).await.map_err(|error| visit.refuse(error))?;
        return Ok(header.map_or(View::None("This is not a sound safetensors file."), |header| tensors(&header)));
    }
    if file.lfs {
        return Ok(View::None("This file is kept outside of git's history, so it is not shown here."));
    }
    let data = visit.hub().read_small(file, MAX_TEXT_BYTES).await.map_err(|error| visit.refuse(error))?;
    let Some(data) = data else { return Ok(View::None("This file is too long to be shown here.")) };
    match String::from_utf8(data) {
        Ok(text) if text.is_empty() => Ok(View::None("This file is empty.")),
        Ok(text) if !text.contains('\0') => Ok(text_view(&text)),
        _ => Ok(View::None("This file is not text.")),
    }
}

fn tensors(header: &Header) -> View {
    let row = |tensor: &TensorInfo| Tensor {
        name: tensor.name.chars().take(300).collect(),
        dtype: tensor.dtype.to_string(),
        shape: tensor.shape.iter().map(u64::to_string).collect::<Vec<_>>().join(" × "),
        elements: exact(tensor.elements),
    };
    View::Tensors {
        rows: header.tensors.iter().take(MAX_TENSORS).map(row).collect(),
        total: exact(header.tensors.len() as u64),
        parameters: exact(header.parameters().total),
        cut: header.tensors.len() > MAX_TENSORS,
    }
}

fn text_view(text: &str) -> View {
    let mut cut = false;
    let mut lines = Vec::new();
    for line in text.lines() {
        if lines.len() == MAX_LINES {
            cut = true;
            break;
        }
        let shown: String = line.chars().take(MAX_LINE_CHARS).collect();
        cut |= shown.len() < line.len();
        lines.push(shown);
    }
    View::Text { lines, cut }
}
