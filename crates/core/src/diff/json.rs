//! A comparison as JSON, schema `weighthouse.diff/1`; documented in `docs/reference/diff.md`.

use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::{Map, Value, json};
use weighthouse_format::Dtype;

use super::{
    Arrangement, Cell, Comparison, ConfigChange, Outside, Proof, SideFacts, State, Table, TensorChange, TensorFacts,
    TokenizerChange,
};

/// The document, written as it is serialised: a million tensors do not pile up in memory.
#[derive(Clone, Copy, Debug)]
pub struct Document<'a> {
    /// What was found.
    pub comparison: &'a Comparison,
    /// The first side, in the words of the person who asked.
    pub a: &'a str,
    /// The second side.
    pub b: &'a str,
    /// The third side, if there is one.
    pub with: Option<&'a str>,
    /// Bytes of files that came over the network, if there was one.
    pub wire_bytes: Option<u64>,
}

impl Serialize for Document<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let found = self.comparison;
        let verdict = &found.verdict;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("schema", "weighthouse.diff/1")?;
        map.serialize_entry("a", &side(self.a, &found.a))?;
        map.serialize_entry("b", &side(self.b, &found.b))?;
        map.serialize_entry("with", &found.with.as_ref().map(|with| side(self.with.unwrap_or_default(), with)))?;
        let said = json!({
            "kind": verdict.kind.as_str(),
            "sentence": verdict.sentence,
            "equal": verdict.equal,
            "facts": verdict.facts,
        });
        map.serialize_entry("verdict", &said)?;
        let config = json!({"of": found.config.of, "changes": changes(&found.config.changes)});
        map.serialize_entry("config", &config)?;
        map.serialize_entry("tokenizer", &found.tokenizer.as_ref().map(tokenizer))?;
        let totals = &found.totals;
        let totals = json!({
            "equal": totals.equal,
            "encoded": totals.encoded,
            "changed": totals.changed,
            "added": totals.added,
            "removed": totals.removed,
            "tied": totals.tied,
            "unread": totals.unread,
            "renamed": totals.renamed,
            "elements": totals.elements,
            "changed_elements": totals.changed_elements,
            "bytes": totals.size_bytes,
            "changed_bytes": totals.changed_bytes,
        });
        map.serialize_entry("totals", &totals)?;
        map.serialize_entry("tables", &Tables(&found.tables))?;
        map.serialize_entry("outside", &found.outside.iter().map(outside).collect::<Vec<Value>>())?;
        map.serialize_entry("tensors", &Tensors(&found.tensors))?;
        map.serialize_entry("remarks", &found.remarks)?;
        if let Some(bytes) = self.wire_bytes {
            map.serialize_entry("wire_bytes", &bytes)?;
        }
        map.end()
    }
}

struct Tensors<'a>(&'a [TensorChange]);

impl Serialize for Tensors<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(tensor))
    }
}

struct Tables<'a>(&'a [Table]);

impl Serialize for Tables<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(table))
    }
}

fn side(target: &str, facts: &SideFacts) -> Value {
    let formats: Vec<&str> = facts.formats.iter().map(|format| format.as_str()).collect();
    let dtypes: Vec<&str> = facts.dtypes.iter().map(|dtype| dtype.as_str()).collect();
    json!({
        "target": target,
        "formats": formats,
        "family": facts.family,
        "class": facts.class,
        "parameters": facts.parameters,
        "tensors": facts.tensors,
        "size_bytes": facts.size_bytes,
        "dtypes": dtypes,
    })
}

fn changes(changes: &[ConfigChange]) -> Vec<Value> {
    let change = |change: &ConfigChange| {
        let mut map = Map::new();
        map.insert("key".to_owned(), change.key.as_str().into());
        // A key that is there with null is not a key that is not there.
        for (side, value) in [("a", &change.a), ("b", &change.b)] {
            if let Some(value) = value {
                map.insert(side.to_owned(), value.clone());
            }
        }
        Value::Object(map)
    };
    changes.iter().map(change).collect()
}

fn tokenizer(change: &TokenizerChange) -> Value {
    json!({
        "same": change.is_same(),
        "size_a": change.size_a,
        "size_b": change.size_b,
        "compared": change.compared,
        "added": change.added,
        "added_examples": change.added_examples,
        "removed": change.removed,
        "removed_examples": change.removed_examples,
        "moved": change.moved,
        "merges_changed": change.merges_changed,
        "special": changes(&change.special),
        "chat_template_changed": change.chat_template_changed,
    })
}

fn table(table: &Table) -> Value {
    let cells: Vec<Vec<Option<Value>>> =
        table.cells.iter().map(|row| row.iter().map(|found| found.as_ref().map(cell)).collect()).collect();
    json!({"stack": table.stack, "layers": table.layers, "modules": table.modules, "cells": cells})
}

fn outside(outside: &Outside) -> Value {
    let mut value = cell(&outside.cell);
    if let Some(map) = value.as_object_mut() {
        map.insert("module".to_owned(), outside.module.as_str().into());
    }
    value
}

fn cell(cell: &Cell) -> Value {
    json!({
        "tensors": cell.tensors,
        "elements": cell.elements,
        "changed": cell.changed,
        "relative": real(cell.relative()),
        "added": cell.added,
        "removed": cell.removed,
        "encoded": cell.encoded,
        "other": cell.other,
    })
}

/// JSON has no infinity.
fn real(number: f64) -> Option<f64> {
    number.is_finite().then_some(number)
}

fn facts(tensor: &TensorFacts) -> Value {
    json!({"name": tensor.name, "dtype": tensor.dtype.as_str(), "shape": tensor.shape})
}

fn tensor(change: &TensorChange) -> Value {
    let mut map = Map::new();
    let mut put = |key: &str, value: Value| {
        map.insert(key.to_owned(), value);
    };
    put("state", change.state.as_str().into());
    put("a", change.a.as_ref().map_or(Value::Null, facts));
    put("b", change.b.as_ref().map_or(Value::Null, facts));
    put("found", change.found.as_str().into());
    if change.buffer {
        put("buffer", true.into());
    }
    match &change.arrangement {
        Arrangement::Same => {}
        Arrangement::Axes { shape, axes } => put("arrangement", json!({"shape": shape, "axes": axes})),
        Arrangement::Rows(rows) => put("arrangement", json!({"rows": rows})),
    }
    match &change.state {
        State::Cast { rounding, of } => put("cast", json!({"dtype": rounding.dtype().as_str(), "of": of.as_str()})),
        State::Quantised { dtype, of, proof } => {
            put("quantised", json!({"dtype": dtype.as_str(), "of": of.as_str(), "proof": proof_of(*proof)}));
        }
        State::Tied(twin) => put("tied", twin.as_str().into()),
        State::Unread(reason) => put("error", reason.as_str().into()),
        State::Shifted(shift) => put("shift", json!(shift)),
        _ => {}
    }
    if let Some(numbers) = &change.numbers {
        put("elements", numbers.elements.into());
        put("changed", numbers.changed.into());
        if numbers.changed > 0 {
            put("changed_bytes", numbers.changed_bytes.into());
            put("relative", json!(real(numbers.relative)));
            put("cosine", json!(numbers.cosine));
            put("largest", json!(real(numbers.largest)));
            put("new_zeros", numbers.new_zeros.into());
            put("zeros", numbers.zeros.into());
            put("not_finite", numbers.not_finite.into());
        }
    }
    if let Some(rank) = &change.rank {
        let low = rank.low;
        put("rank", json!({"low": low, "effective": rank.effective, "of": rank.of, "exact": rank.exact}));
    }
    if let Some(zeros) = &change.zeros {
        put("zeros_in", json!({"rows": zeros.rows, "columns": zeros.columns, "two_of_four": zeros.two_of_four}));
    }
    if let Some(blend) = &change.blend {
        put(
            "blend",
            json!({
                "linear": blend.linear,
                "linear_rest": blend.linear_rest,
                "spherical": blend.spherical,
                "spherical_rest": blend.spherical_rest,
            }),
        );
    }
    Value::Object(map)
}

fn proof_of(proof: Proof) -> Value {
    match proof {
        Proof::Recomputed { through } => json!({"recomputed": true, "through": through.map(Dtype::as_str)}),
        Proof::Nearly { same, blocks } => json!({"recomputed": false, "same_blocks": same, "blocks": blocks}),
        Proof::WithinError => json!({"recomputed": false}),
    }
}
