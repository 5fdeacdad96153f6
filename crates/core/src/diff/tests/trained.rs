//! Weights that were trained, mixed, thinned out, cut off.

use weighthouse_format::Dtype;

use super::material::*;
use super::*;

fn kind(found: &Comparison) -> (Kind, &str) {
    (found.verdict.kind, &found.verdict.sentence)
}

#[test]
fn training_of_everything_is_a_fine_tune() {
    for rate in [1e-6, 1e-4, 4e-3] {
        let (a, mut b) = (Model::new(1), Model::new(1));
        b.train("", 3, rate);
        let found = compared(&a, &b);
        assert_eq!(kind(&found).0, Kind::FineTune, "{}", kind(&found).1);
        assert!(
            kind(&found).1.contains("in all 4 layers, the embeddings, the norms around and the head"),
            "{}",
            kind(&found).1
        );
        assert!(found.tensors.iter().all(|tensor| tensor.rank.is_none_or(|rank| rank.low.is_none())));
    }
    let (a, mut b) = (Model::new(1), Model::new(1));
    b.train("layers.1.", 3, 1e-3);
    let found = compared(&a, &b);
    assert!(kind(&found).1.contains("in layer 1 of 4;"), "{}", kind(&found).1);
    let share = found.verdict.facts["changed_share"].as_f64().unwrap();
    assert!((0.1..0.25).contains(&share), "{share}");
}

#[test]
fn a_merged_adapter_leaves_its_rank() {
    for dtype in [Dtype::F32, Dtype::BF16] {
        let (mut a, mut b) = (Model::new(1), Model::new(1));
        (a.dtype, b.dtype) = (dtype, dtype);
        let mut number = 0;
        for part in ["attn.q", "attn.v"] {
            b.each(part, |values| {
                number += 1;
                let (down, up) = (noise(number, 3 * WIDTH, 0.1), noise(number + 99, 3 * WIDTH, 0.1));
                let width = WIDTH as usize;
                for (at, value) in values.iter_mut().enumerate() {
                    *value += (0..3).map(|k| up[k * width + at / width] * down[k * width + at % width]).sum::<f32>();
                }
            });
        }
        let found = compared(&a, &b);
        assert_eq!(kind(&found).0, Kind::LowRank, "{}", kind(&found).1);
        let wanted = "LoRA-like: the differences of 8 matrices have rank 3, in q, v of all 4 layers;";
        assert!(kind(&found).1.starts_with(wanted), "{}", kind(&found).1);
    }
}

#[test]
fn a_frozen_backbone_is_told_from_a_fine_tune() {
    let (a, mut b) = (Model::new(1), Model::new(1));
    b.train("lm_head", 3, 1e-3);
    assert!(kind(&compared(&a, &b)).1.starts_with("frozen backbone: only the head changed, "));
    b.train("layers.3.", 3, 1e-3);
    let found = compared(&a, &b);
    assert!(kind(&found).1.starts_with("frozen backbone: only layer 3 and the head changed, "), "{}", kind(&found).1);
    b.train("layers.0.", 3, 1e-3);
    assert_eq!(kind(&compared(&a, &b)).0, Kind::FineTune);
}

#[test]
fn heads_and_vocabularies_are_new_while_the_rest_is_the_same() {
    let (a, mut b) = (Model::new(1), Model::new(1));
    b.weights.pop();
    b.weights.push(("score.weight".to_owned(), vec![3, WIDTH], noise(5, 3 * WIDTH, 0.02)));
    let found = compared(&a, &b);
    assert_eq!(kind(&found).0, Kind::NewHead, "{}", kind(&found).1);
    assert!(kind(&found).1.contains("`score.weight` added, `lm_head.weight` removed"), "{}", kind(&found).1);
    b.train("layers.", 3, 1e-3);
    let found = compared(&a, &b);
    assert!(kind(&found).0 == Kind::FineTune && kind(&found).1.contains("`score.weight` added"), "{}", kind(&found).1);

    let mut b = Model::new(1);
    for name in ["model.embed.weight", "lm_head.weight"] {
        let (_, shape, values) = b.weights.iter_mut().find(|(found, ..)| found == name).unwrap();
        shape[0] += 8;
        values.extend(noise(9, 8 * WIDTH, 0.02));
    }
    let found = compared(&a, &b);
    assert_eq!(kind(&found).0, Kind::Vocabulary, "{}", kind(&found).1);
    assert!(kind(&found).1.starts_with("vocabulary resized from 96 to 104; everything else is the same"));
}

#[test]
fn layers_that_are_gone_are_named_though_the_others_were_renumbered() {
    let (a, mut b) = (Model::new(1), Model::new(1));
    b.weights.retain(|(name, ..)| !name.contains("layers.1."));
    b.rename(|name| name.replace("layers.2.", "layers.1.").replace("layers.3.", "layers.2."));
    let found = compared(&a, &b);
    assert_eq!(kind(&found).0, Kind::Layers, "{}", kind(&found).1);
    let wanted = "layers were removed: 3 instead of 4 (layers 1 of A are gone); the others are the same";
    assert_eq!(kind(&found).1, wanted);
    b.train("attn", 3, 1e-4);
    let found = compared(&a, &b);
    assert!(kind(&found).0 == Kind::Layers && kind(&found).1.contains("were trained further"), "{}", kind(&found).1);
    let found = compared(&b, &a);
    assert!(kind(&found).1.starts_with("layers were added: 4 instead of 3"), "{}", kind(&found).1);
}

#[test]
fn new_zeros_are_pruning_and_their_structure_is_told() {
    let a = Model::new(1);
    let width = WIDTH as usize;
    type Choose = fn(usize, usize) -> bool;
    let ways: [(Choose, &str); 4] = [
        (|at, _| at * 7919 % 100 < 50, "single weights"),
        (|at, _| at % 4 < 2, "two of each four neighbours"),
        (|at, width| at / width % 3 == 0, "whole rows"),
        (|at, width| at % width % 3 == 0, "whole columns"),
    ];
    for (choose, wanted) in ways {
        let mut b = Model::new(1);
        for part in ["attn", "mlp.up.weight"] {
            b.each(part, |values| {
                values.iter_mut().enumerate().filter(|(at, _)| choose(*at, width)).for_each(|(_, value)| *value = 0.0);
            });
        }
        let found = compared(&a, &b);
        assert_eq!(kind(&found).0, Kind::Pruned, "{}", kind(&found).1);
        assert!(kind(&found).1.contains(wanted), "{wanted}: {}", kind(&found).1);
        assert!(kind(&found).1.ends_with("the others are the same"), "{}", kind(&found).1);
    }
}

/// Shares of two tensors in a mixture of both.
type Weigh<'a> = &'a dyn Fn(&[f32], &[f32]) -> (f32, f32);

#[test]
fn merges_give_their_method_and_their_share() {
    let (a, c) = (Model::new(1), Model::new(2));
    let mix = |weigh: Weigh<'_>| {
        let mut b = a.clone();
        for ((_, _, values), (_, _, others)) in b.weights.iter_mut().zip(&c.weights) {
            let (x, y) = weigh(values, others);
            values.iter_mut().zip(others).for_each(|(value, other)| *value = x * *value + y * other);
        }
        b
    };
    let found = compared_with(&a, &mix(&|_, _| (0.7, 0.3)), &c);
    assert_eq!(kind(&found).0, Kind::Merge, "{}", kind(&found).1);
    assert!(
        kind(&found).1.starts_with("linear merge of A and C, 30.0 % of it: B = 0.7000·A + 0.3000·C"),
        "{}",
        kind(&found).1
    );

    let arc = |a: &[f32], c: &[f32]| {
        let dot = |x: &[f32], y: &[f32]| x.iter().zip(y).map(|(x, y)| f64::from(*x) * f64::from(*y)).sum::<f64>();
        let cosine = dot(a, c) / (dot(a, a) * dot(c, c)).sqrt();
        let angle = cosine.clamp(-1.0, 1.0).acos();
        if angle < 1e-3 {
            return (0.6, 0.4);
        }
        (((0.6 * angle).sin() / angle.sin()) as f32, ((0.4 * angle).sin() / angle.sin()) as f32)
    };
    let merged = mix(&arc);
    let found = compared_with(&a, &merged, &c);
    assert!(kind(&found).1.starts_with("spherical merge of A and C, 40.0 % of it"), "{}", kind(&found).1);
    // Without the third it is something between.
    assert_eq!(kind(&compared(&a, &merged)).0, Kind::Mixture, "{}", kind(&compared(&a, &merged)).1);
    // A third that has nothing to do with it.
    let mut tuned = a.clone();
    tuned.train("", 5, 1e-3);
    assert_eq!(kind(&compared_with(&a, &tuned, &c)).0, Kind::FineTune);
}

#[test]
fn strangers_are_unrelated() {
    let found = compared(&Model::new(1), &Model::new(2));
    assert_eq!(kind(&found).0, Kind::Unrelated, "{}", kind(&found).1);
    let mut b = Model::new(2);
    b.rename(|name| format!("x{}", name.replace('.', "_")));
    let found = compared(&Model::new(1), &b);
    assert_eq!(kind(&found).0, Kind::Unrelated, "{}", kind(&found).1);
    assert!(kind(&found).1.contains("neither names nor values agree"), "{}", kind(&found).1);
}

#[test]
fn an_adapter_is_told_from_a_model() {
    let a = Model::new(1);
    let mut b = Model::new(1);
    b.weights = (0..LAYERS)
        .flat_map(|layer| {
            let name = |part: &str| format!("base_model.model.model.layers.{layer}.attn.q.{part}.weight");
            [
                (name("lora_A"), vec![4, WIDTH], noise(1, 4 * WIDTH, 0.02)),
                (name("lora_B"), vec![WIDTH, 4], vec![0.0; 4 * WIDTH as usize]),
            ]
        })
        .collect();
    let found = compared(&a, &b);
    assert_eq!(kind(&found).0, Kind::Adapter);
    let wanted = "the second side is an adapter of rank 4 for q: 4 of its 4 modules are in the other side";
    assert!(kind(&found).1.starts_with(wanted), "{}", kind(&found).1);
}
