//! `wh admin advisory`

use clap::Subcommand;
use serde_json::{Value, json};
use weighthouse::Hub;
use weighthouse::advisories::ConcernedRepo;
use weighthouse::names::written;

use super::Answer;
use crate::words;

/// Matches that are asked for at once.
const PART: usize = 1_000;

/// Orders about advisories.
#[derive(Debug, Subcommand)]
pub enum Advisory {
    /// Take a feed in, in the place of what it said before
    Import {
        /// File or folder of JSON, or `hub:NAMESPACE/NAME[@REVISION]`
        place: String,
        /// Name of the feed [default: the last part of the place]
        #[arg(long)]
        name: Option<String>,
    },
    /// List feeds and their advisories
    List,
    /// Remove a feed with its advisories
    Remove {
        /// Name of the feed
        name: String,
    },
    /// List repositories that an advisory concerns
    Matches {
        /// Only this repository
        repo: Option<String>,
    },
    /// Read all feeds again and match everything that is stored, now
    Check,
}

impl Advisory {
    pub(super) async fn run(self, hub: &Hub) -> anyhow::Result<Answer> {
        match self {
            Self::Import { place, name } => {
                let name = name.unwrap_or_else(|| named(&place));
                let place = absolute(place);
                let imported = hub.import_feed(&name, &place).await?;
                let what = if imported.changed { "took in" } else { "unchanged:" };
                Ok(Answer {
                    code: 0,
                    text: format!("{what} {} advisories of the feed {name}", words::digits(imported.advisories)),
                    json: json!({
                        "schema": "weighthouse.advisory-feed/1", "name": name, "place": place,
                        "advisories": imported.advisories, "changed": imported.changed,
                    }),
                })
            }
            Self::List => list(hub).await,
            Self::Remove { name } => {
                hub.remove_feed(&name).await?;
                Ok(Answer {
                    code: 0,
                    text: format!("removed the feed {name}"),
                    json: json!({ "schema": "weighthouse.advisory-feed/1", "name": name, "removed": true }),
                })
            }
            Self::Matches { repo } => matches(hub, repo.as_deref()).await,
            Self::Check => check(hub).await,
        }
    }
}

/// A place that stays the same wherever the server is started.
fn absolute(place: String) -> String {
    if place.starts_with("hub:") {
        return place;
    }
    match std::path::absolute(&place) {
        Ok(path) => path.to_string_lossy().into_owned(),
        Err(_) => place,
    }
}

/// The last part of a place, without its ending.
fn named(place: &str) -> String {
    let last = place.trim_end_matches('/').rsplit(['/', '\\', ':']).next().unwrap_or(place);
    last.split('@').next().unwrap_or(last).trim_end_matches(".json").to_owned()
}

async fn list(hub: &Hub) -> anyhow::Result<Answer> {
    let (feeds, advisories) = (hub.feeds().await?, hub.advisories().await?);
    let mut text = String::new();
    for feed in &feeds {
        text += &format!("feed {}  {} advisories  {}\n", feed.name, feed.advisories, words::plain(&feed.place));
    }
    for advisory in &advisories {
        let withdrawn = if advisory.is_standing() { "" } else { "  withdrawn" };
        let summary = words::plain(&advisory.summary);
        text += &format!("{}  {}{withdrawn}  {summary}\n", advisory.id, advisory.severity.as_str());
    }
    let feeds: Vec<Value> = feeds
        .iter()
        .map(|feed| {
            json!({
                "name": feed.name, "place": feed.place, "advisories": feed.advisories,
                "digest": feed.digest.to_string(), "imported_at_ms": feed.imported_at_ms,
            })
        })
        .collect();
    Ok(Answer {
        code: 0,
        text: text.trim_end().to_owned(),
        json: json!({ "schema": "weighthouse.advisories/1", "feeds": feeds, "advisories": advisories }),
    })
}

async fn matches(hub: &Hub, repo: Option<&str>) -> anyhow::Result<Answer> {
    let (mut found, mut after) = (Vec::new(), None);
    loop {
        let part = hub.concerned(after.as_deref(), PART).await?;
        found.extend(part.matches);
        after = part.next;
        if after.is_none() {
            break;
        }
    }
    let name = |found: &ConcernedRepo| written(found.kind, &found.id);
    found.retain(|found| repo.is_none_or(|wanted| name(found).eq_ignore_ascii_case(wanted)));
    let line = |found: &ConcernedRepo| {
        let concern = &found.concern;
        let commit: String = concern.commit.to_string().chars().take(12).collect();
        let why: Vec<String> = concern.evidence.iter().take(3).map(|why| words::plain(&why.to_string())).collect();
        format!(
            "{}  {}  {}@{commit}  {}",
            concern.advisory.id,
            concern.advisory.severity.as_str(),
            name(found),
            why.join(", ")
        )
    };
    let list: Vec<Value> = found
        .iter()
        .map(|found| {
            let concern = &found.concern;
            json!({
                "advisory": concern.advisory.id, "severity": concern.advisory.severity, "repo": name(found),
                "commit": concern.commit.to_string(), "evidence": concern.evidence, "found_at_ms": concern.found_at_ms,
            })
        })
        .collect();
    Ok(Answer {
        code: 0,
        text: found.iter().map(line).collect::<Vec<_>>().join("\n"),
        json: json!({ "schema": "weighthouse.advisory-matches/1", "matches": list }),
    })
}

async fn check(hub: &Hub) -> anyhow::Result<Answer> {
    let (feeds, looked) = hub.check_advisories().await?;
    let mut lines = Vec::new();
    let mut list = Vec::new();
    for (name, outcome) in &feeds {
        match outcome {
            Ok(imported) => {
                let changed = if imported.changed { ", changed" } else { "" };
                lines.push(format!("feed {name}  {} advisories{changed}", imported.advisories));
                list.push(json!({ "name": name, "advisories": imported.advisories, "changed": imported.changed }));
            }
            Err(error) => {
                lines.push(format!(
                    "feed {name}  cannot be read, and stays as it was: {}",
                    words::plain(&error.to_string())
                ));
                list.push(json!({ "name": name, "error": error.to_string() }));
            }
        }
    }
    lines.push(format!("looked at {} commits", words::digits(looked)));
    let matches = matches(hub, None).await?;
    if !matches.text.is_empty() {
        lines.push(matches.text);
    }
    Ok(Answer {
        code: 0,
        text: lines.join("\n"),
        json: json!({
            "schema": "weighthouse.advisory-check/1", "feeds": list, "commits": looked,
            "matches": matches.json.get("matches"),
        }),
    })
}

#[cfg(test)]
mod tests {
    use super::named;

    #[test]
    fn a_feed_is_called_as_its_place_ends() {
        assert_eq!(named("/var/feeds/lab.json"), "lab");
        assert_eq!(named("feeds/"), "feeds");
        assert_eq!(named("hub:lab/advisories@main"), "advisories");
    }
}
