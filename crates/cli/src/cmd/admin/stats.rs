//! `wh admin stats`: how much is stored.

use serde_json::{Value, json};
use weighthouse::usage::{HubUsage, Waterfall};
use weighthouse::{AccountKind, Hub};

use super::Answer;
use crate::ui::size;

/// How much is stored.
pub async fn stats(hub: &Hub) -> anyhow::Result<Answer> {
    let users = hub.accounts(AccountKind::User).await?.len();
    let orgs = hub.accounts(AccountKind::Org).await?.len();
    let usage = hub.hub_usage().await?;
    let HubUsage { totals, waterfall, .. } = &usage;
    let row = |name: &str, value: String| format!("{name:<16}{value}");
    let mut lines = vec![
        row("users", users.to_string()),
        row("organisations", orgs.to_string()),
        row("repositories", totals.repos.to_string()),
        row("logical", size(waterfall.logical_bytes)),
        row("  chunks", format!("{} (each once)", size(waterfall.chunk_bytes))),
        row("  derived", format!("-{}", size(waterfall.derived_bytes))),
        row("  delta", format!("-{}", size(waterfall.delta_bytes))),
        row("  coded", format!("-{}", size(waterfall.coded_bytes))),
        row("stored", size(waterfall.stored_bytes)),
        row("packs", format!("{} of {}", totals.packs, size(totals.pack_bytes))),
        row("catalog", size(usage.catalog_bytes)),
        row("on disk", size(usage.disk_bytes)),
        row("to be removed", size(totals.condemned_bytes.saturating_add(totals.retired_bytes))),
        row(
            "scrub",
            format!(
                "{} of {} packs checked, {} damaged",
                usage.scrub.checked,
                usage.scrub.packs,
                usage.scrub.problems.len()
            ),
        ),
    ];
    lines.extend(usage.scrub.problems.iter().map(|(pack, problem)| format!("  pack {pack}: {problem}")));
    Ok(Answer {
        text: lines.join("\n"),
        json: json!({
            "schema": "weighthouse.stats/1", "users": users, "orgs": orgs, "repos": totals.repos,
            "packs": totals.packs, "stored_bytes": totals.pack_bytes,
            "logical_bytes": waterfall.logical_bytes, "unique_bytes": totals.unique_bytes,
            "converted_bytes": totals.converted_bytes,
            "waterfall": waterfall_json(waterfall),
            "condemned_bytes": totals.condemned_bytes, "retired_bytes": totals.retired_bytes,
            "catalog_bytes": usage.catalog_bytes, "unfinished_bytes": usage.unfinished_bytes,
            "disk_bytes": usage.disk_bytes,
            "scrub": {
                "packs": usage.scrub.packs, "checked": usage.scrub.checked, "oldest_ms": usage.scrub.oldest_ms,
                "problems": usage.scrub.problems.iter().map(|(pack, problem)| json!({
                    "pack": pack.to_string(), "problem": problem,
                })).collect::<Vec<_>>(),
            },
            "collected_at_ms": usage.collected_at_ms,
        }),
        code: 0,
    })
}

fn waterfall_json(waterfall: &Waterfall) -> Value {
    json!({
        "logical_bytes": waterfall.logical_bytes, "dedup_bytes": waterfall.dedup_bytes(),
        "chunk_bytes": waterfall.chunk_bytes, "derived_bytes": waterfall.derived_bytes,
        "delta_bytes": waterfall.delta_bytes, "coded_bytes": waterfall.coded_bytes,
        "stored_bytes": waterfall.stored_bytes,
    })
}
