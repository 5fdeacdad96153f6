//! Asking the hub how each file should travel, and what it has already.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures::{StreamExt, TryStreamExt};
use reqwest::Method;

use super::super::api::Api;
use super::super::error::ClientError;
use super::super::target::{RepoRef, segment};
use super::walk::LocalFile;
use super::{blocking, read};
use crate::wire::hf::upload::{Preupload, PreuploadAnswer, PreuploadFile, PreuploadVerdict};

/// Files in one question.
const BATCH: usize = 256;
/// Questions at a time.
const PARALLEL: usize = 4;
/// Bytes of each file that the hub looks at.
const SAMPLE_BYTES: usize = 512;
/// Largest rules that go along, in bytes.
const MAX_RULES_BYTES: u64 = 1 << 20;

/// The hub's verdicts, one for each file in order.
pub(super) async fn ask(
    api: &Api,
    repo: &RepoRef,
    revision: &str,
    files: &[LocalFile],
) -> Result<(Vec<PreuploadVerdict>, Option<String>), ClientError> {
    let (git_ignore, git_attributes) = (rules(files, ".gitignore").await?, rules(files, ".gitattributes").await?);
    let path = format!("{}/preupload/{}", repo.api(), segment(revision));
    let (path, git_ignore, git_attributes) = (&path, &git_ignore, &git_attributes);
    let batches: Vec<Vec<LocalFile>> = files.chunks(BATCH).map(<[LocalFile]>::to_vec).collect();
    let questions = futures::stream::iter(batches).map(|batch| async move {
        let about = blocking(move || batch.iter().map(about).collect::<Result<Vec<_>, _>>()).await?;
        let asked = Preupload { files: about, git_ignore: git_ignore.clone(), git_attributes: git_attributes.clone() };
        let what = "asking how files should travel";
        let answer: PreuploadAnswer = api.json(what, || api.request(Method::POST, path).json(&asked)).await?;
        let same = answer.files.len() == asked.files.len()
            && answer.files.iter().zip(&asked.files).all(|(verdict, file)| verdict.path == file.path);
        if same { Ok(answer) } else { Err(ClientError::nonsense(what, "it is about other files")) }
    });
    let answers: Vec<PreuploadAnswer> = questions.buffered(PARALLEL).try_collect().await?;
    let head = answers.first().and_then(|answer| answer.commit_oid.clone());
    Ok((answers.into_iter().flat_map(|answer| answer.files).collect(), head))
}

fn about(file: &LocalFile) -> Result<PreuploadFile, ClientError> {
    let sample = STANDARD.encode(read::sample(file, SAMPLE_BYTES)?);
    Ok(PreuploadFile { path: file.path.clone(), size: file.stamp.size_bytes, sample })
}

/// Text of a rules file at the root of the folder.
async fn rules(files: &[LocalFile], name: &str) -> Result<Option<String>, ClientError> {
    let found = files.iter().find(|file| file.path == name && file.stamp.size_bytes <= MAX_RULES_BYTES);
    let Some(file) = found.cloned() else { return Ok(None) };
    Ok(String::from_utf8(blocking(move || read::whole(&file)).await?).ok())
}
