//! Every verdict, on small checkpoints in memory.

mod hostile;
mod material;
mod same;
mod trained;

use material::{Model, compared};

use super::*;

#[test]
fn the_document_has_what_the_comparison_has() {
    let (a, mut b) = (Model::new(1), Model::new(1));
    b.each("q", |values| values[3] += 0.5);
    b.config = r#"{"model_type":"llama","hidden_size":48,"x":{"y":1}}"#.to_owned();
    let found = compared(&a, &b);
    let document = Document { comparison: &found, a: "one", b: "other", with: None, wire_bytes: Some(7) };
    let json = serde_json::to_value(document).unwrap();
    assert_eq!(json["schema"], "weighthouse.diff/1");
    assert_eq!((&json["a"]["target"], &json["wire_bytes"]), (&"one".into(), &7.into()));
    assert_eq!(json["verdict"]["equal"], false);
    assert_eq!(json["config"]["changes"][0]["key"], "x");
    let tensors = json["tensors"].as_array().unwrap();
    assert_eq!(tensors.len(), found.tensors.len());
    let changed: Vec<&str> = tensors
        .iter()
        .filter(|tensor| tensor["state"] == "changed")
        .map(|tensor| tensor["b"]["name"].as_str().unwrap())
        .collect();
    assert_eq!(changed.len(), 4);
    assert!(changed.iter().all(|name| name.ends_with("q.weight")), "{changed:?}");
    let table = &json["tables"][0];
    assert_eq!((&table["stack"], table["layers"].as_array().unwrap().len()), (&"model.layers.".into(), 4));
    let column = table["modules"].as_array().unwrap().iter().position(|name| name == "attn.q").unwrap();
    assert_eq!(table["cells"][2][column]["changed"], 1);
    assert_eq!(json["outside"][0]["module"], "model.embed");
}

#[test]
fn every_byte_that_is_read_is_told() {
    let (a, b) = (Model::new(1), Model::new(2));
    let (folder_a, folder_b) = (a.folder(), b.folder());
    let (open_a, open_b) = (open(&folder_a, None).unwrap(), open(&folder_b, None).unwrap());
    let read = std::sync::Mutex::new((0, 0));
    let found = compare(Side::new(&folder_a, &open_a), Side::new(&folder_b, &open_b), None, &|bytes, total| {
        let mut read = read.lock().unwrap();
        *read = (read.0 + bytes, total);
    });
    let (done, total) = *read.lock().unwrap();
    assert!(done == total && total > 100_000, "{done} of {total}");
    assert_eq!(found.totals.unread, 0);
}

#[test]
fn files_that_are_known_to_be_the_same_are_not_read() {
    let a = Model::new(1);
    let folder = a.folder();
    let checkpoint = open(&folder, None).unwrap();
    // The second folder has the header of the first and other weights: nobody looks at them.
    let mut other = Model::new(1);
    other.each("q", |values| values.fill(9.0));
    let (folder_b, known) = (other.folder(), |_: &str| Some("the same".to_owned()));
    let checkpoint_b = open(&folder_b, None).unwrap();
    let side = |folder, checkpoint| Side { known: &known, ..Side::new(folder, checkpoint) };
    let found = compare(side(&folder, &checkpoint), side(&folder_b, &checkpoint_b), None, &|_, _| {});
    assert_eq!(found.verdict.kind, Kind::Identical);
    let found = compare(Side::new(&folder, &checkpoint), side(&folder_b, &checkpoint_b), None, &|_, _| {});
    assert_eq!(found.totals.changed, 4);
}
