//! YAML of strangers, read as JSON under a budget.
//!
//! Bytes, nodes, depth and what aliases repeat are bounded, so that a hostile text costs milliseconds.

use serde_json::Value;
use serde_saphyr::options::NonFiniteFloatPolicy;

use crate::error::FormatError;
use crate::limits::Limits;

/// Longest text, in bytes; configurations of models have tens of KiB.
const MAX_BYTES: usize = 1 << 20;

/// Reads one document; `what` names it in the error.
///
/// # Errors
/// [`FormatError::TooLarge`] for a longer text than 1 MiB, [`FormatError::Broken`] when it is no YAML, has custom tags, or
/// goes beyond the budget.
pub fn read(what: &'static str, text: &str) -> Result<Value, FormatError> {
    Limits::at_most("YAML in bytes", text.len() as u64, MAX_BYTES as u64)?;
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_events: 200_000,
            max_nodes: 100_000,
            max_depth: 64,
            flow_nesting_limit: 64,
            max_aliases: 1_000,
            max_anchors: 1_000,
            max_recorded_anchor_events: 100_000,
            max_recorded_anchor_bytes: 4 << 20,
            max_merge_keys: 100,
            // Alias replays count as well.
            max_total_scalar_bytes: 2 * MAX_BYTES,
            max_documents: 1,
        },
        alias_limits: serde_saphyr::alias_limits! {
            max_total_replayed_events: 50_000,
            max_replay_stack_depth: 8,
        },
        strict_booleans: true,
        reject_unsupported_tags: true,
        non_finite_float_policy: NonFiniteFloatPolicy::AsString,
        with_snippet: false,
    };
    serde_saphyr::from_str_with_options(text, options).map_err(|error| {
        let line = error.location().map_or(0, |at| at.line());
        let message = error.without_snippet().to_string();
        let first = message.lines().next().unwrap_or_default();
        let first = first.split(" at line ").next().unwrap_or(first);
        FormatError::Broken { what, at: 0, detail: format!("line {line}: {first}") }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn configurations_become_json_and_bombs_an_error() {
        let value = read("configuration", "a: {b: [1, no, 1e-3]}\nc: *d\n");
        assert!(value.is_err());
        let value = read("configuration", "a: &d {b: [1, no, 0.5]}\nc: *d\n").unwrap();
        assert_eq!(value["c"], serde_json::json!({"b": [1, "no", 0.5]}));
        let mut bomb = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
        for level in 1..12 {
            let before = format!("*a{}", level - 1);
            bomb += &format!("a{level}: &a{level} [{}]\n", [before.as_str(); 10].join(", "));
        }
        assert!(matches!(read("configuration", &bomb), Err(FormatError::Broken { .. })));
        assert!(read("configuration", &"[".repeat(100_000)).is_err());
        assert!(matches!(read("configuration", &" ".repeat(MAX_BYTES + 1)), Err(FormatError::TooLarge { .. })));
        assert!(read("configuration", "a: !!python/object/apply:os.system [id]").is_err());
    }
}
