//! Weights that are the same, however they are written down.

use weighthouse_format::difference::Rounding;
use weighthouse_format::source::MemoryFolder;
use weighthouse_format::{Dtype, Section};

use super::material::*;
use super::*;

/// Names as llama.cpp has them.
fn ggml_name(name: &str) -> String {
    let name = name.replace("model.layers.", "blk.").replace("attn.", "attn_").replace("mlp.up", "ffn_up");
    let name = name.replace("model.embed", "token_embd").replace("model.norm", "output_norm");
    name.replace(".norm.weight", ".attn_norm.weight").replace("lm_head", "output")
}

/// Rows of attention heads in llama.cpp's order.
fn interleaved(model: &mut Model, part: &str, heads: usize) {
    model.each(part, |values| {
        let (rows, columns) = (WIDTH as usize, WIDTH as usize);
        let half = rows / heads / 2;
        let old = values.clone();
        for row in 0..rows {
            let (head, side, at) = (row / (2 * half), row % (2 * half) / half, row % half);
            let to = head * 2 * half + at * 2 + side;
            values[to * columns..(to + 1) * columns].copy_from_slice(&old[row * columns..(row + 1) * columns]);
        }
    });
}

#[test]
fn a_copy_is_identical() {
    let found = compared(&Model::new(1), &Model::new(1));
    assert!(found.verdict.equal);
    assert_eq!(found.verdict.kind, Kind::Identical);
    assert_eq!(found.verdict.sentence, "identical weights: 31 tensors, bit for bit");
    assert!(found.tables[0].cells.iter().flatten().flatten().all(Cell::is_equal));
}

#[test]
fn shards_and_prefixes_do_not_matter() {
    let (a, mut b) = (Model::new(1), Model::new(1));
    b.shard = 5;
    let found = compared(&a, &b);
    assert!(found.verdict.equal && found.verdict.kind == Kind::Reencoded, "{}", found.verdict.sentence);
    assert!(found.verdict.sentence.contains("in 7 files instead of 1"), "{}", found.verdict.sentence);
    for prefix in ["module.", "_orig_mod.", "student.net.", "base_model.model."] {
        let mut b = Model::new(1);
        b.rename(|name| format!("{prefix}{name}"));
        let found = compared(&a, &b);
        assert!(found.verdict.equal && found.totals.renamed == 31, "{prefix} {}", found.verdict.sentence);
    }
}

#[test]
fn tensors_are_told_by_their_values_transposed_or_in_the_order_of_heads() {
    let (a, mut b) = (Model::new(1), Model::new(1));
    b.each("mlp.up.weight", |values| {
        let old = values.clone();
        let (rows, columns) = (2 * WIDTH as usize, WIDTH as usize);
        for (at, value) in values.iter_mut().enumerate() {
            *value = old[at % rows * columns + at / rows];
        }
    });
    for (name, shape, _) in &mut b.weights {
        if name.contains("mlp.up.weight") {
            shape.reverse();
        }
    }
    interleaved(&mut b, "attn.q", 4);
    interleaved(&mut b, "attn.k", 2);
    b.rename(ggml_name);
    let file = gguf(&b.weights, Dtype::F32, 0);
    let found = compared_folders(&a.folder(), &MemoryFolder::new(vec![Section::of_bytes("m.gguf", file)]));
    let odd: Vec<_> = found.tensors.iter().filter(|tensor| tensor.state != State::Equal).collect();
    assert!(odd.is_empty(), "{odd:#?}");
    assert!(found.verdict.equal && found.verdict.kind == Kind::Reencoded, "{}", found.verdict.sentence);
    assert!(found.verdict.sentence.contains("12 transposed or permuted"), "{}", found.verdict.sentence);
    let query = found.tensors.iter().find(|tensor| tensor.name() == "blk.2.attn_q.weight").unwrap();
    assert_eq!(query.a.as_ref().unwrap().name, "model.layers.2.attn.q.weight");
    assert_eq!((query.found, query.arrangement.as_str()), (Found::Values, Some("permuted")));
}

#[test]
fn a_cast_is_verified_and_lossless_ones_are_equal() {
    let a = Model::new(1);
    for (dtype, name) in [(Dtype::BF16, "BF16"), (Dtype::F16, "F16"), (Dtype::F8E4M3, "F8_E4M3")] {
        let mut b = Model::new(1);
        b.dtype = dtype;
        let found = compared(&a, &b);
        assert_eq!(found.verdict.kind, Kind::Cast, "{}", found.verdict.sentence);
        assert!(!found.verdict.equal && found.verdict.sentence.contains(name), "{}", found.verdict.sentence);
        assert!(found.verdict.sentence.starts_with("same weights: B is A rounded"), "{}", found.verdict.sentence);
        let back = compared(&b, &a);
        assert!(back.verdict.sentence.starts_with("same weights: A is B rounded"), "{}", back.verdict.sentence);
    }
    // Rounded, and written as wide as before.
    let (mut short, mut wide) = (Model::new(1), Model::new(1));
    wide.each("", |values| values.iter_mut().for_each(|value| *value = Rounding::BF16.round(*value)));
    short.weights = wide.weights.clone();
    short.dtype = Dtype::BF16;
    let found = compared(&short, &wide);
    assert!(found.verdict.equal, "{}", found.verdict.sentence);
    assert!(
        found.verdict.sentence.contains("31 tensors in another type that holds every value"),
        "{}",
        found.verdict.sentence
    );
    assert_eq!(compared(&a, &wide).verdict.kind, Kind::Cast);
    // One number that is no rounding, and it is none.
    short.each("attn.q", |values| values[100] *= 1.01);
    assert_eq!(compared(&a, &short).verdict.kind, Kind::FineTune);
}

#[test]
fn a_quantised_model_is_verified_by_quantising_again() {
    let a = Model::new(1);
    let mut b = Model::new(1);
    b.rename(ggml_name);
    // Rows of 48 elements are no whole blocks: these are of 96.
    let widen = |model: &mut Model| {
        for (_, shape, _) in model.weights.iter_mut().filter(|(_, shape, _)| shape.len() == 2) {
            *shape = vec![shape[0] / 2, shape[1] * 2];
        }
    };
    let mut a = a;
    widen(&mut a);
    widen(&mut b);
    for (dtype, id) in [(Dtype::Q80, 8), (Dtype::Q40, 2), (Dtype::Q50, 6)] {
        let file = gguf(&b.weights, dtype, id);
        let folder = MemoryFolder::new(vec![Section::of_bytes("m.gguf", file.clone())]);
        let found = compared_folders(&a.folder(), &folder);
        let sentence = &found.verdict.sentence;
        assert_eq!(found.verdict.kind, Kind::Quantised, "{sentence}");
        assert!(
            sentence.starts_with(&format!("B is A quantised as {dtype}; verified: quantising again")),
            "{sentence}"
        );
        assert!(compared_folders(&folder, &a.folder()).verdict.sentence.starts_with("A is B quantised"));
        // A block that is another one.
        let mut file = file;
        let end = file.len();
        file[end - 40] ^= 1;
        let folder = MemoryFolder::new(vec![Section::of_bytes("m.gguf", file)]);
        let sentence = compared_folders(&a.folder(), &folder).verdict.sentence;
        assert!(sentence.contains("22 of 23 tensors") || sentence.contains("for 21 of 22 tensors"), "{sentence}");
    }
}

#[test]
fn a_tied_head_may_be_written_down_or_not() {
    let (mut a, mut b) = (Model::new(1), Model::new(1));
    let embedding = a.weights[0].2.clone();
    a.each("lm_head", |values| *values = embedding.clone());
    b.weights.pop();
    for found in [compared(&a, &b), compared(&b, &a)] {
        assert!(found.verdict.equal && found.totals.tied == 1, "{}", found.verdict.sentence);
    }
    let found = compared(&Model::new(1), &b);
    assert!(!found.verdict.equal && found.verdict.kind == Kind::NewHead, "{}", found.verdict.sentence);
}

#[test]
fn buffers_decide_nothing_unless_they_differ() {
    let (a, mut b) = (Model::new(1), Model::new(1));
    b.weights.push(("model.rotary.inv_freq".to_owned(), vec![4], vec![1.0; 4]));
    assert!(compared(&a, &b).verdict.equal);
}
