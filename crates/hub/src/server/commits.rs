//! Uploading by commit: advice on how files travel, the card's check, and the commit itself.

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{DefaultBodyLimit, Path};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::post;
use base64::Engine;
use futures::StreamExt;
use http::StatusCode;
use weighthouse::Error;
use weighthouse::commit::{CommitMessage, PendingCommit, Target};
use weighthouse::preupload::Candidate;
use weighthouse::revision::Revision;

use super::app::App;
use super::visitor::{Visitor, json as read_json};
use crate::wire::commit::{CommitBodyError, CommitHeader, CommitLimits, CommitLine, CommitParser, Operation};
use crate::wire::error::ErrorReply;
use crate::wire::hf::upload::{
    CommitDone, Preupload, PreuploadAnswer, PreuploadVerdict, UploadMode, ValidateYaml, YamlMessage, YamlReport,
};

pub(super) fn routes() -> Router<App> {
    Router::new()
        .route("/~api/preupload/{revision}", post(preupload))
        .route("/~api/commit/{revision}", post(commit).layer(DefaultBodyLimit::disable()))
        .route("/api/validate-yaml", post(validate_yaml))
}

/// `POST /api/models/{id}/preupload/{rev}`
async fn preupload(visitor: Visitor, Path(revision): Path<String>, body: Bytes) -> Result<Response, ErrorReply> {
    let asked: Preupload = read_json(&body)?;
    refuse_pull_request(&visitor)?;
    let (repo, at) = visitor.repo_at(&revision).await?;
    repo.require_write(&visitor.caller, "upload").map_err(|error| visitor.refuse(error))?;
    let mut files = Vec::with_capacity(asked.files.len());
    for file in asked.files {
        let sample = base64::engine::general_purpose::STANDARD
            .decode(&file.sample)
            .map_err(|_| ErrorReply::bad_request(format!("sample of `{}` is not base64", file.path)))?;
        files.push(Candidate { path: file.path, size_bytes: file.size, sample });
    }
    let hub = visitor.app.hub();
    let advice = hub
        .advise(&at, files, asked.git_ignore.as_deref(), asked.git_attributes.as_deref())
        .await
        .map_err(|error| visitor.refuse(error))?;
    let files = advice.into_iter().map(|advice| PreuploadVerdict {
        path: advice.path,
        upload_mode: if advice.lfs { UploadMode::Lfs } else { UploadMode::Regular },
        should_ignore: advice.ignore,
        oid: advice.present,
    });
    Ok(Json(PreuploadAnswer { files: files.collect(), commit_oid: Some(at.oid.to_string()) }).into_response())
}

/// `POST /api/models/{id}/commit/{rev}`
async fn commit(visitor: Visitor, Path(revision): Path<String>, body: Body) -> Result<Response, ErrorReply> {
    refuse_pull_request(&visitor)?;
    let repo = visitor.repo().await?;
    repo.require_write(&visitor.caller, "commit").map_err(|error| visitor.refuse(error))?;
    let limits = CommitLimits {
        max_file_bytes: visitor.app.hub().options().max_regular_bytes,
        max_total_bytes: visitor.app.options().max_commit_bytes,
        ..CommitLimits::default()
    };
    let begin = |header: CommitHeader| {
        let target = Target::branch(&revision, header.parent_commit)?;
        let message = CommitMessage { title: header.summary, body: header.description };
        visitor.app.hub().begin_commit(&visitor.caller, &repo, target, message)
    };
    let mut pending = None;
    let made = match fill(&mut pending, begin, CommitParser::new(limits), body).await {
        Ok(()) => match pending {
            Some(pending) => pending.finish().await.map_err(|error| visitor.refuse(error))?,
            None => return Err(CommitBodyError::Empty.into()),
        },
        Err(failed) => {
            if let Some(pending) = pending {
                pending.abort().await;
            }
            return Err(match failed {
                Failed::Body(error) => error.into(),
                Failed::Broken(error) => ErrorReply::bad_request(format!("the upload broke off: {error}")),
                Failed::UseCase(error) => visitor.refuse(error),
            });
        }
    };
    Ok(Json(done(&visitor, &repo, &made)).into_response())
}

enum Failed {
    Body(CommitBodyError),
    Broken(axum::Error),
    UseCase(Error),
}

impl From<CommitBodyError> for Failed {
    fn from(error: CommitBodyError) -> Self {
        Self::Body(error)
    }
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Self::UseCase(error)
    }
}

/// Feeds a commit from its body, line by line as they arrive.
async fn fill(
    pending: &mut Option<PendingCommit>,
    begin: impl Fn(CommitHeader) -> Result<PendingCommit, Error>,
    mut parser: CommitParser,
    body: Body,
) -> Result<(), Failed> {
    let mut body = body.into_data_stream();
    while let Some(piece) = body.next().await {
        let piece = piece.map_err(Failed::Broken)?;
        let mut rest: &[u8] = &piece;
        while let Some(line) = parser.next_line(&mut rest)? {
            apply(pending, &begin, line).await?;
        }
    }
    if let Some(line) = parser.finish()? {
        apply(pending, &begin, line).await?;
    }
    Ok(())
}

async fn apply(
    pending: &mut Option<PendingCommit>,
    begin: &impl Fn(CommitHeader) -> Result<PendingCommit, Error>,
    line: CommitLine,
) -> Result<(), Failed> {
    let operation = match line {
        CommitLine::Header(header) => {
            *pending = Some(begin(header)?);
            return Ok(());
        }
        CommitLine::Operation(operation) => operation,
    };
    let Some(pending) = pending else { return Err(CommitBodyError::Empty.into()) };
    match operation {
        Operation::File { path, content: Some(content), .. } => pending.put(&path, content).await?,
        Operation::File { path, content: None, old_path } => {
            let from = old_path.ok_or_else(|| Error::Malformed(format!("file `{path}` has no content")))?;
            pending.copy(&from, &path)?;
        }
        Operation::LfsFile { path, oid, size, .. } => {
            let sha256 = oid.parse().map_err(|_| Error::Malformed(format!("oid of `{path}` is not a SHA-256")))?;
            pending.put_lfs(&path, sha256, size)?;
        }
        Operation::DeletedFile { path } | Operation::DeletedFolder { path } => pending.remove(&path)?,
    }
    Ok(())
}

fn done(visitor: &Visitor, repo: &weighthouse::access::Repo, made: &Revision) -> CommitDone {
    CommitDone {
        success: true,
        commit_oid: made.oid.to_string(),
        commit_url: format!("{}/commit/{}", visitor.page_url(repo), made.oid),
        hook_output: String::new(),
        pull_request_url: None,
    }
}

fn refuse_pull_request(visitor: &Visitor) -> Result<(), ErrorReply> {
    if visitor.query.flag("create_pr")?.unwrap_or(false) {
        return Err(ErrorReply::bad_request(
            "this hub has no pull requests yet: commit to a branch instead (`revision=`)",
        ));
    }
    Ok(())
}

/// `POST /api/validate-yaml`
async fn validate_yaml(body: Bytes) -> Result<Response, ErrorReply> {
    let asked: ValidateYaml = read_json(&body)?;
    let found = weighthouse::card::validate(&asked.content);
    let messages = |notes: Vec<weighthouse::card::Note>| {
        notes.into_iter().map(|note| YamlMessage { message: note.message, line: note.line }).collect()
    };
    let report = YamlReport { errors: messages(found.errors), warnings: messages(found.warnings) };
    let status = if report.errors.is_empty() { StatusCode::OK } else { StatusCode::BAD_REQUEST };
    Ok((status, Json(report)).into_response())
}
