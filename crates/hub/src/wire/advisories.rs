//! Feeds of advisories and what they concern, as our own JSON.
//!
//! - `GET /api/settings/advisories`: [`FeedsReply`]
//! - `POST /api/settings/advisories` with [`PutFeed`]: [`FeedReply`]
//! - `DELETE /api/settings/advisories/{name}`: [`FeedReply`]
//! - `GET /api/settings/advisories/matches`, with `after` and `limit`: [`MatchesReply`]

use serde::{Deserialize, Serialize};
use serde_json::Value;
use weighthouse::advisories::{ConcernedList, ConcernedRepo, Evidence, FeedStatus, Imported};
use weighthouse::names::written;

/// `weighthouse.advisory-feeds/1`: all feeds.
#[derive(Debug, Serialize)]
pub struct FeedsReply {
    schema: &'static str,
    feeds: Vec<FeedEntry>,
}

#[derive(Debug, Serialize)]
struct FeedEntry {
    name: String,
    place: String,
    digest: String,
    advisories: u64,
    imported_at_ms: i64,
    repos: u64,
    commits: u64,
}

impl From<Vec<FeedStatus>> for FeedsReply {
    fn from(feeds: Vec<FeedStatus>) -> Self {
        let entry = |status: FeedStatus| FeedEntry {
            name: status.feed.name,
            place: status.feed.place,
            digest: status.feed.digest.to_string(),
            advisories: status.feed.advisories,
            imported_at_ms: status.feed.imported_at_ms,
            repos: status.repos,
            commits: status.commits,
        };
        Self { schema: "weighthouse.advisory-feeds/1", feeds: feeds.into_iter().map(entry).collect() }
    }
}

/// A feed to take in: either `place` or `advisories`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PutFeed {
    /// Name.
    pub name: String,
    /// A repository of this hub: `hub:NAMESPACE/NAME[@REVISION]`.
    #[serde(default)]
    pub place: Option<String>,
    /// The feed itself.
    #[serde(default)]
    pub advisories: Option<Value>,
}

/// `weighthouse.advisory-feed/1`: what became of a feed.
#[derive(Debug, Serialize)]
pub struct FeedReply {
    schema: &'static str,
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    advisories: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    changed: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    removed: Option<bool>,
}

impl FeedReply {
    /// A feed that was taken in.
    pub fn taken(name: String, imported: Imported) -> Self {
        let (advisories, changed) = (Some(imported.advisories), Some(imported.changed));
        Self { schema: "weighthouse.advisory-feed/1", name, advisories, changed, removed: None }
    }

    /// A feed that was removed.
    pub fn removed(name: String) -> Self {
        Self { schema: "weighthouse.advisory-feed/1", name, advisories: None, changed: None, removed: Some(true) }
    }
}

/// `weighthouse.advisory-matches/1`: what advisories concern. `next` is the `after` of the part that follows.
#[derive(Debug, Serialize)]
pub struct MatchesReply {
    schema: &'static str,
    matches: Vec<MatchEntry>,
    next: Option<String>,
}

#[derive(Debug, Serialize)]
struct MatchEntry {
    advisory: String,
    severity: &'static str,
    repo: String,
    commit: String,
    evidence: Vec<Evidence>,
    found_at_ms: i64,
}

impl From<ConcernedList> for MatchesReply {
    fn from(list: ConcernedList) -> Self {
        let entry = |found: ConcernedRepo| MatchEntry {
            advisory: found.concern.advisory.id,
            severity: found.concern.advisory.severity.as_str(),
            repo: written(found.kind, &found.id),
            commit: found.concern.commit.to_string(),
            evidence: found.concern.evidence,
            found_at_ms: found.concern.found_at_ms,
        };
        Self {
            schema: "weighthouse.advisory-matches/1",
            matches: list.matches.into_iter().map(entry).collect(),
            next: list.next,
        }
    }
}
