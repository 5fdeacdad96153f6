//! Differences of configurations: nested keys, one a line.

use std::collections::BTreeSet;

use serde_json::{Map, Value};
use weighthouse_format::Format;

use super::{ConfigChange, ConfigChanges, Side};

/// Differences that are kept.
const MOST: usize = 4096;

/// Compares what both sides say of the model.
pub(super) fn changes(a: Side<'_>, b: Side<'_>) -> ConfigChanges {
    let (of_a, of_b) = (&a.checkpoint.contents.architecture, &b.checkpoint.contents.architecture);
    let gguf = |side: Side<'_>| side.checkpoint.contents.formats.contains(&Format::Gguf);
    if !of_a.config.is_empty() && !of_b.config.is_empty() && gguf(a) == gguf(b) {
        return ConfigChanges { of: "config", changes: maps(&of_a.config, &of_b.config) };
    }
    // Words that both have: what one format leaves out is no difference.
    let mut found: Vec<ConfigChange> = of_a
        .sizes
        .iter()
        .filter_map(|(key, one)| {
            let other = of_b.sizes.get(key)?;
            let change = || ConfigChange { key: key.clone(), a: Some((*one).into()), b: Some((*other).into()) };
            (one != other).then(change)
        })
        .collect();
    if let (Some(one), Some(other)) = (&of_a.family, &of_b.family)
        && one != other
    {
        found.push(ConfigChange {
            key: "family".to_owned(),
            a: Some(one.as_str().into()),
            b: Some(other.as_str().into()),
        });
    }
    ConfigChanges { of: "sizes", changes: found }
}

/// Differences of two objects, in the order of the keys; lists are values.
pub(super) fn maps(a: &Map<String, Value>, b: &Map<String, Value>) -> Vec<ConfigChange> {
    let mut found = Vec::new();
    let mut open = vec![(String::new(), a, b)];
    while let Some((path, a, b)) = open.pop() {
        let keys: BTreeSet<&String> = a.keys().chain(b.keys()).collect();
        for key in keys {
            if found.len() >= MOST {
                break;
            }
            let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
            match (a.get(key), b.get(key)) {
                (Some(one), Some(other)) if same(one, other) => {}
                (Some(Value::Object(one)), Some(Value::Object(other))) => open.push((path, one, other)),
                (one, other) => found.push(ConfigChange { key: path, a: one.cloned(), b: other.cloned() }),
            }
        }
    }
    found.sort_by(|one, other| one.key.cmp(&other.key));
    found
}

/// Numbers are the same whether they are written with a point or without.
fn same(a: &Value, b: &Value) -> bool {
    a == b || matches!((a.as_f64(), b.as_f64()), (Some(a), Some(b)) if a == b && a.abs() < 9e15)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn nested_keys_are_added_removed_and_changed() {
        let map = |value: Value| value.as_object().cloned().unwrap();
        let a = map(json!({"same": 1, "eps": 1, "gone": [1], "in": {"x": 1, "deep": {"y": "a"}}, "kind": {"z": 1}}));
        let b = map(json!({"same": 1, "eps": 1.0, "new": null, "in": {"x": 2, "deep": {"y": "b"}}, "kind": 3}));
        let found: Vec<String> = maps(&a, &b)
            .into_iter()
            .map(|change| {
                format!("{} {:?} {:?}", change.key, change.a.map(|v| v.to_string()), change.b.map(|v| v.to_string()))
            })
            .collect();
        assert_eq!(
            found,
            [
                "gone Some(\"[1]\") None",
                "in.deep.y Some(\"\\\"a\\\"\") Some(\"\\\"b\\\"\")",
                "in.x Some(\"1\") Some(\"2\")",
                "kind Some(\"{\\\"z\\\":1}\") Some(\"3\")",
                "new None Some(\"null\")",
            ]
        );
    }
}
