//! Shards in, and answers to "do you have this chunk?".

use std::convert::Infallible;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::Path;
use axum::response::{IntoResponse, Json, Response};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use tokio::sync::mpsc;
use weighthouse::xet::Progress;

use super::holder::{Holder, hash};
use crate::server::files::answer;
use crate::server::visitor::refuse;
use crate::wire::error::ErrorReply;
use crate::wire::xet::{CommitStage, ShardEvent, ShardStored};

/// How often a client that waits for a shard hears that it is not forgotten.
const HEARTBEAT: Duration = Duration::from_secs(10);

/// `POST /v1/shards`
pub(super) async fn put_shard(holder: Holder, body: Bytes) -> Result<Response, ErrorReply> {
    holder.require_write()?;
    let hub = holder.app.hub();
    let new = hub.put_shard(&holder.caller, &holder.repo, body, |_| {}).await.map_err(refuse)?;
    Ok(Json(ShardStored { result: u8::from(new), shard_hash: None }).into_response())
}

/// `POST /v2/shards`: the same, with lines that say how far it has come.
pub(super) async fn put_shard_v2(holder: Holder, body: Bytes) -> Result<Response, ErrorReply> {
    holder.require_write()?;
    let (sender, receiver) = mpsc::channel::<ShardEvent>(16);
    tokio::spawn(async move {
        let (progress, mut changed) = tokio::sync::watch::channel(Progress { done_bytes: 0, total_bytes: 0 });
        let hub = holder.app.hub();
        let work = hub.put_shard(&holder.caller, &holder.repo, body, |now| {
            progress.send_replace(now);
        });
        tokio::pin!(work);
        let mut last = ShardEvent::Validating { verified: 0, total: 0 };
        let done = loop {
            // At most one line in half a second, at least one in each heartbeat.
            let news = async {
                tokio::time::sleep(HEARTBEAT / 20).await;
                let _ = tokio::time::timeout(HEARTBEAT, changed.changed()).await;
            };
            tokio::select! {
                done = &mut work => break done,
                () = news => {}
            }
            let Progress { done_bytes, total_bytes } = *changed.borrow_and_update();
            if total_bytes > 0 {
                last = ShardEvent::Validating { verified: done_bytes, total: total_bytes };
            }
            if sender.send(last.clone()).await.is_err() {
                // The client is gone; what it sent is registered all the same.
                break work.await;
            }
        };
        let end = match done {
            Ok(_) => {
                let _ = sender.send(ShardEvent::Committing { stage: CommitStage::Syncing }).await;
                ShardEvent::Result { shard_hash: None }
            }
            Err(error) => {
                let reply = refuse(error);
                let retryable = reply.status().is_server_error() && reply.status() != StatusCode::INSUFFICIENT_STORAGE;
                ShardEvent::Error { message: reply.message().to_owned(), retryable }
            }
        };
        let _ = sender.send(end).await;
    });
    let lines = futures::stream::unfold(receiver, |mut receiver| async move {
        let event = receiver.recv().await?;
        Some((Ok::<_, Infallible>(event.to_ndjson()), receiver))
    });
    let headers = HeaderMap::from_iter([(header::CONTENT_TYPE, HeaderValue::from_static("application/x-ndjson"))]);
    answer(StatusCode::OK, headers, Body::from_stream(lines))
}

/// `GET /v1/chunks/default/{hash}`
pub(super) async fn dedup(
    holder: Holder,
    Path((_prefix, chunk)): Path<(String, String)>,
) -> Result<Response, ErrorReply> {
    let chunk = hash(&chunk)?;
    let found = holder.app.hub().dedup_answer(&holder.caller, &chunk).await.map_err(refuse)?;
    let shard = found.ok_or_else(|| ErrorReply::not_found("no such chunk"))?;
    let headers = HeaderMap::from_iter([(header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"))]);
    answer(StatusCode::OK, headers, Body::from(shard))
}
