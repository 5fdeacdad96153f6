//! "Download as": the forms that a checkpoint can be had in, what is being made, and what is there.

use askama::Template;
use axum::body::Bytes;
use axum::extract::Path;
use axum::response::{IntoResponse, Redirect, Response};
use http::{HeaderMap, StatusCode};
use weighthouse::Error;
use weighthouse::conversions::{Made, Offered, Standing};

use super::account::{check_same_site, form};
use super::address::encode_segment;
use super::error::PageError;
use super::format::{exact, size};
use super::inside::name;
use super::shell::{RepoHead, Shell, page};
use super::tree::{Choice, revisions};
use super::visit::Visit;

/// How often a page that waits for something is loaded again, in seconds.
const LOOK_AGAIN_S: u32 = 3;

#[derive(Template)]
#[template(path = "convert.html")]
struct Convert {
    shell: Shell,
    head: RepoHead,
    revisions: Vec<Choice>,
    /// Folder or file that is converted; empty for the whole.
    path: String,
    whole_url: String,
    inside_url: String,
    /// Why nothing can be converted.
    failure: Option<String>,
    action: String,
    rows: Vec<Row>,
    refused: Vec<Refused>,
}

/// A form that is possible.
struct Row {
    word: &'static str,
    title: &'static str,
    purpose: &'static str,
    file: String,
    size: String,
    bytes: String,
    notes: Vec<String>,
    state: State,
}

/// Where it stands.
enum State {
    Unasked,
    Waiting,
    Running { done: String, total: String, percent: u64 },
    Done(Files),
    Failed(String),
}

struct Files {
    rows: Vec<FileRow>,
    record_url: String,
    record: String,
}

struct FileRow {
    name: String,
    url: String,
    size: String,
    sha256: String,
}

/// Forms that are not possible, for one reason.
struct Refused {
    title: String,
    reason: String,
}

/// `GET /{id}/convert/{rev}`
pub(super) async fn root(visit: Visit, Path(revision): Path<String>) -> Result<Response, PageError> {
    show(visit, revision, String::new()).await
}

/// `GET /{id}/convert/{rev}/{path}`
pub(super) async fn below(visit: Visit, Path((revision, path)): Path<(String, String)>) -> Result<Response, PageError> {
    show(visit, revision, path).await
}

/// `POST /{id}/convert/{rev}`, a form with `form`.
pub(super) async fn ask_root(
    visit: Visit,
    Path(revision): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, PageError> {
    ask(visit, revision, String::new(), &headers, &body).await
}

/// `POST /{id}/convert/{rev}/{path}`, a form with `form`.
pub(super) async fn ask_below(
    visit: Visit,
    Path((revision, path)): Path<(String, String)>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, PageError> {
    ask(visit, revision, path, &headers, &body).await
}

async fn show(visit: Visit, revision: String, path: String) -> Result<Response, PageError> {
    let path = path.trim_matches('/');
    let (repo, at) = visit.repo_at(&revision).await?;
    let head = RepoHead::new(&repo, &revision, "convert");
    let (offers, failure) = match visit.hub().conversions(&repo, &at, path).await {
        Ok(offers) => (offers, None),
        Err(error @ Error::Malformed(_)) => (Vec::new(), Some(error.to_string())),
        Err(error) => return Err(visit.refuse(error)),
    };
    let waits = |offered: &Offered| matches!(offered.standing, Standing::Waiting | Standing::Running { .. });
    let title = if path.is_empty() { format!("{} in other forms", head.id) } else { format!("{path} in other forms") };
    let shell = visit.shell(title, Some(head.paths.api_at("convert", &revision, path)));
    let template = Convert {
        shell: Shell { refresh_s: offers.iter().any(waits).then_some(LOOK_AGAIN_S), ..shell },
        revisions: revisions(&visit, &repo, &head, ("convert", &revision, path)).await?,
        path: path.to_owned(),
        whole_url: head.paths.at("convert", &revision, ""),
        inside_url: head.paths.at("tensors", &revision, path),
        failure,
        action: head.paths.at("convert", &revision, path),
        rows: offers.iter().filter_map(|offered| row(&head, offered)).collect(),
        refused: refused(&offers),
        head,
    };
    Ok(page(StatusCode::OK, &template))
}

async fn ask(
    visit: Visit,
    revision: String,
    path: String,
    headers: &HeaderMap,
    body: &[u8],
) -> Result<Response, PageError> {
    check_same_site(&visit, headers)?;
    let path = path.trim_matches('/');
    let form = form(&visit, body)?;
    let word = form.text("form").unwrap_or_default();
    let (repo, at) = visit.repo_at(&revision).await?;
    let asked = visit.hub().ask_conversion(&visit.caller, &repo, &at, (path, word)).await;
    let offered = asked.map_err(|error| visit.refuse(error))?;
    let head = RepoHead::new(&repo, &revision, "convert");
    let here = head.paths.at("convert", &revision, path);
    Ok(Redirect::to(&format!("{here}#{}", offered.offer.choice.word)).into_response())
}

/// What is not possible, forms with the same reason together.
fn refused(offers: &[Offered]) -> Vec<Refused> {
    let mut found: Vec<Refused> = Vec::new();
    for offer in offers.iter().map(|offered| &offered.offer) {
        let Err(reason) = &offer.planned else { continue };
        match found.iter_mut().find(|refused| refused.reason == *reason) {
            Some(refused) => refused.title = format!("{}, {}", refused.title, offer.choice.title),
            None => found.push(Refused { title: offer.choice.title.to_owned(), reason: reason.clone() }),
        }
    }
    found
}

fn row(head: &RepoHead, offered: &Offered) -> Option<Row> {
    let offer = &offered.offer;
    let planned = offer.planned.as_ref().ok()?;
    Some(Row {
        word: offer.choice.word,
        title: offer.choice.title,
        purpose: purpose(offer.choice.word),
        file: offer.name.clone(),
        size: size(planned.size_bytes),
        bytes: exact(planned.size_bytes),
        notes: planned.notes.iter().map(|note| name(note)).collect(),
        state: match &offered.standing {
            Standing::Unasked => State::Unasked,
            Standing::Waiting => State::Waiting,
            Standing::Running { done_bytes, total_bytes } => State::Running {
                done: size(*done_bytes),
                total: size(*total_bytes),
                percent: u64::try_from(u128::from(*done_bytes) * 100 / u128::from((*total_bytes).max(1)))
                    .unwrap_or(100)
                    .min(100),
            },
            Standing::Failed(reason) => State::Failed(name(reason)),
            Standing::Done(made) => done(head, offered, made),
        },
    })
}

fn done(head: &RepoHead, offered: &Offered, made: &Made) -> State {
    let url = |file: &str| format!("{}/converted/{}/{}", head.paths.page, offered.digest, encode_segment(file));
    let file = |output: &weighthouse::ConversionOutput| FileRow {
        name: output.path.clone(),
        url: url(&output.path),
        size: size(output.size_bytes),
        sha256: output.sha256.to_string(),
    };
    State::Done(Files {
        rows: made.outputs.iter().map(file).collect(),
        record_url: url(&made.record_name),
        record: made.record.clone(),
    })
}

/// What a form is good for.
fn purpose(word: &str) -> &'static str {
    match word {
        "safetensors" => "One file that every library loads and that cannot run anything.",
        "gguf-f16" => "For llama.cpp and what is built on it, in half precision.",
        "gguf-q8_0" => "For llama.cpp, 8.5 bits a weight: close to the original.",
        "gguf-q4_k_m" => "For llama.cpp, about 4.8 bits a weight: small and usual.",
        "gguf-q4_0" => "For llama.cpp, 4.5 bits a weight: small and fast.",
        "torch" => "For torch.load(weights_only=True).",
        "npz" => "Arrays for numpy.load.",
        _ => "",
    }
}
