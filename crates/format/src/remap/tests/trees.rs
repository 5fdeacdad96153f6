use serde_json::json;

use super::*;
use crate::identity::Format;
use crate::remap::dequantise;

fn of_format(format: Format, tensors: &[(&str, &[u64])]) -> Contents {
    Contents { formats: vec![format], ..contents(tensors) }
}

/// The elements of a tensor, as the numbers that [`tensor`] counts from its first one.
fn places(contents: &Contents, name: &str) -> Vec<u32> {
    let bytes = of_contents(contents)[name].1.clone();
    let words: Vec<u32> = bytes.chunks_exact(4).map(|word| u32::from_le_bytes(word.try_into().unwrap())).collect();
    let least = words.iter().copied().min().unwrap_or(0);
    words.into_iter().map(|word| word.wrapping_sub(least)).collect()
}

#[test]
fn kernels_of_flax_are_transposed_and_leaves_renamed() {
    let source = of_format(
        Format::Flax,
        &[
            ("params.bert.encoder.layer.0.attention.self.query.kernel", &[2, 3]),
            ("params.bert.embeddings.word_embeddings.embedding", &[5, 2]),
            ("params.bert.embeddings.LayerNorm.scale", &[2]),
            ("params.resnet.embedder.embedder.convolution.kernel", &[1, 2, 3, 4]),
            ("batch_stats.resnet.embedder.embedder.normalization.mean", &[4]),
            ("batch_stats.resnet.embedder.embedder.normalization.var", &[4]),
            ("params.model.encoder.conv1.kernel", &[3, 2, 4]),
            ("params.vit.embeddings.cls_token", &[1, 1, 2]),
        ],
    );
    let done = written(&run(&source, NamingKind::Hf).unwrap());
    let shapes = shapes(&done);
    for (name, shape) in [
        ("bert.encoder.layer.0.attention.self.query.weight", &[3u64, 2][..]),
        ("bert.embeddings.word_embeddings.weight", &[5, 2]),
        ("bert.embeddings.LayerNorm.weight", &[2]),
        ("resnet.embedder.embedder.convolution.weight", &[4, 3, 1, 2]),
        ("resnet.embedder.embedder.normalization.running_mean", &[4]),
        ("resnet.embedder.embedder.normalization.num_batches_tracked", &[]),
        ("model.encoder.conv1.weight", &[4, 2, 3]),
        ("vit.embeddings.cls_token", &[1, 1, 2]),
    ] {
        assert_eq!(shapes.get(name), Some(&shape), "{name}");
    }
    // [in, out] = [[0, 1, 2], [3, 4, 5]].
    assert_eq!(places(&done, "bert.encoder.layer.0.attention.self.query.weight"), [0, 3, 1, 4, 2, 5]);
}

#[test]
fn heads_of_flax_are_joined() {
    let source = of_format(
        Format::Flax,
        &[
            ("params.attention.query.kernel", &[2, 2, 2]),
            ("params.attention.query.bias", &[2, 2]),
            ("params.attention.out.kernel", &[2, 2, 3]),
        ],
    );
    let done = written(&run(&source, NamingKind::Hf).unwrap());
    // Output n·d + k of input i is element i·4 + n·2 + k.
    assert_eq!(places(&done, "attention.query.weight"), [0, 4, 1, 5, 2, 6, 3, 7]);
    assert_eq!(places(&done, "attention.query.bias"), [0, 1, 2, 3]);
    assert_eq!(places(&done, "attention.out.weight"), [0, 3, 6, 9, 1, 4, 7, 10, 2, 5, 8, 11]);
}

#[test]
fn both_generations_of_tensorflow_give_one_bert() {
    let google = of_format(
        Format::TensorBundle,
        &[
            ("bert/embeddings/word_embeddings", &[5, 2]),
            ("bert/embeddings/LayerNorm/gamma", &[2]),
            ("bert/encoder/layer_0/attention/self/query/kernel", &[2, 4]),
            ("bert/encoder/layer_0/attention/output/dense/bias", &[2]),
            ("bert/encoder/layer_0/output/LayerNorm/beta", &[2]),
            ("bert/pooler/dense/kernel", &[2, 2]),
            ("cls/predictions/output_bias", &[5]),
            ("cls/predictions/transform/dense/kernel", &[2, 2]),
            ("cls/seq_relationship/output_weights", &[2, 2]),
            ("bert/pooler/dense/kernel/adam_m", &[2, 2]),
            ("global_step", &[]),
        ],
    );
    let second = of_format(
        Format::KerasH5,
        &[
            ("bert/tf_bert_for_pre_training/bert/embeddings/word_embeddings/weight:0", &[5, 2]),
            ("bert/tf_bert_for_pre_training/bert/embeddings/LayerNorm/gamma:0", &[2]),
            ("bert/tf_bert_for_pre_training/bert/encoder/layer_._0/attention/self/query/kernel:0", &[2, 4]),
            ("bert/tf_bert_for_pre_training/bert/encoder/layer_._0/attention/output/dense/bias:0", &[2]),
            ("bert/tf_bert_for_pre_training/bert/encoder/layer_._0/output/LayerNorm/beta:0", &[2]),
            ("bert/tf_bert_for_pre_training/bert/pooler/dense/kernel:0", &[2, 2]),
            ("mlm___cls/tf_bert_for_pre_training/mlm___cls/predictions/bias:0", &[5]),
            ("mlm___cls/tf_bert_for_pre_training/mlm___cls/predictions/transform/dense/kernel:0", &[2, 2]),
            ("nsp___cls/tf_bert_for_pre_training/nsp___cls/seq_relationship/kernel:0", &[2, 2]),
        ],
    );
    let one = run(&google, NamingKind::Hf).unwrap();
    assert_eq!(one.notes.iter().filter(|note| note.contains("left out")).count(), 2);
    let (one, two) = (written(&one), written(&run(&second, NamingKind::Hf).unwrap()));
    assert_eq!(shapes(&one), shapes(&two));
    let expected: &[u64] = &[4, 2];
    assert_eq!(shapes(&one)["bert.encoder.layer.0.attention.self.query.weight"], expected);
    // Google's matrix of the second task is stored the way torch has it.
    assert_eq!(places(&one, "cls.seq_relationship.weight"), [0, 1, 2, 3]);
    assert_eq!(places(&two, "cls.seq_relationship.weight"), [0, 2, 1, 3]);
}

#[test]
fn heads_of_tensorflow_are_joined() {
    let source = of_format(
        Format::TensorBundle,
        &[
            ("bert/encoder/layer_0/attention/self/query/kernel", &[2, 2, 2]),
            ("bert/encoder/layer_0/attention/self/query/bias", &[2, 2]),
            ("bert/encoder/layer_0/attention/output/dense/kernel", &[2, 2, 2]),
        ],
    );
    let done = written(&run(&source, NamingKind::Hf).unwrap());
    assert_eq!(places(&done, "bert.encoder.layer.0.attention.self.query.weight"), [0, 4, 1, 5, 2, 6, 3, 7]);
    assert_eq!(places(&done, "bert.encoder.layer.0.attention.self.query.bias"), [0, 1, 2, 3]);
    assert_eq!(places(&done, "bert.encoder.layer.0.attention.output.dense.weight"), [0, 2, 4, 6, 1, 3, 5, 7]);
}

#[test]
fn layers_of_keras_have_the_shapes_of_torch() {
    let mut source = of_format(
        Format::KerasWeights,
        &[
            ("layers/dense/vars/0", &[3, 2]),
            ("layers/dense/vars/1", &[2]),
            ("layers/conv2d_1/vars/0", &[2, 3, 4, 5]),
            ("layers/depthwise_conv2d/vars/0", &[2, 2, 3, 2]),
            ("layers/batch_normalization/vars/2", &[4]),
            ("layers/batch_normalization/vars/3", &[4]),
            ("layers/gru/cell/vars/0", &[2, 2]),
        ],
    );
    source.metadata.insert("layers".to_owned(), json!({"layers/dense": "head"}));
    let done = run(&source, NamingKind::Hf).unwrap();
    assert!(done.notes.iter().any(|note| note.contains("1 variables")), "{:?}", done.notes);
    let done = written(&done);
    let shapes = shapes(&done);
    for (name, shape) in [
        ("head.weight", &[2u64, 3][..]),
        ("head.bias", &[2]),
        ("conv2d_1.weight", &[5, 4, 2, 3]),
        ("depthwise_conv2d.weight", &[6, 1, 2, 2]),
        ("batch_normalization.running_var", &[4]),
        ("batch_normalization.num_batches_tracked", &[]),
        ("gru.cell.vars.0", &[2, 2]),
    ] {
        assert_eq!(shapes.get(name), Some(&shape), "{name} in {shapes:?}");
    }
    // Channel i, multiplier m at row 0, column 0 is element i·2 + m.
    let first: Vec<u32> = places(&done, "depthwise_conv2d.weight").into_iter().step_by(4).collect();
    assert_eq!(first, [0, 1, 2, 3, 4, 5]);
    let mut legacy = of_format(
        Format::KerasH5,
        &[("first/first/kernel:0", &[3, 2]), ("norm/norm/gamma:0", &[2]), ("deep/deep/kernel:0", &[1, 1, 3, 2])],
    );
    let layer = json!({"class_name": "DepthwiseConv2D", "config": {"name": "deep"}});
    legacy.architecture.config = json!({"config": {"layers": [layer]}}).as_object().cloned().unwrap();
    let done = written(&run(&legacy, NamingKind::Hf).unwrap());
    let (shapes, expected): (_, &[u64]) = (self::shapes(&done), &[6, 1, 1, 1]);
    assert_eq!(shapes.keys().copied().collect::<Vec<_>>(), ["deep.weight", "first.weight", "norm.weight"]);
    assert_eq!(shapes["deep.weight"], expected);
}

#[test]
fn packed_words_of_mlx_are_computed_from_their_groups() {
    // Numbers 0..8 of four bits, the first in the low ones; two groups of four.
    let words = u32::from_str_radix("76543210", 16).unwrap().to_le_bytes();
    let mut out = [0.0; 8];
    dequantise(&words, &[1.0, 0.5], &[0.0, -1.0], 4, 4, &mut out).unwrap();
    assert_eq!(out, [0.0, 1.0, 2.0, 3.0, 1.0, 1.5, 2.0, 2.5]);
    // Eight numbers of three bits in three bytes.
    let bits = (0u32..8).fold(0, |bits, number| bits | number << (3 * number)).to_le_bytes();
    dequantise(&bits[..3], &[1.0], &[0.0], 3, 8, &mut out).unwrap();
    assert_eq!(out, [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]);
    assert!(dequantise(&bits, &[1.0], &[0.0], 3, 8, &mut out).is_err());
    assert!(dequantise(&bits[..3], &[1.0, 1.0], &[0.0], 3, 8, &mut out).is_err());
    assert!(dequantise(&bits[..3], &[1.0], &[0.0], 3, 0, &mut out).is_err());
}

#[test]
fn mlx_gives_floats_and_channels_first() {
    let mut source = contents(&[
        ("layers.0.self_attn.q_proj.weight", &[3, 4]),
        ("layers.0.self_attn.q_proj.scales", &[3, 1]),
        ("layers.0.self_attn.q_proj.biases", &[3, 1]),
        ("layers.0.mlp.gate_proj.weight", &[2, 2]),
        ("patch_embed.conv.weight", &[5, 2, 2, 3]),
    ]);
    source.tensors[0].dtype = Dtype::U32;
    source.metadata.insert("format".to_owned(), "mlx".into());
    assert!(refusal(&source, NamingKind::Hf).contains("no configuration says its bits"));
    source.architecture.config = json!({"quantization": {"bits": 4, "group_size": 32}}).as_object().cloned().unwrap();
    let done = run(&source, NamingKind::Hf).unwrap();
    let component = &done.components[0];
    let names: Vec<&str> = component.tensors.iter().map(|tensor| tensor.name.as_str()).collect();
    assert_eq!(names, ["layers.0.self_attn.q_proj.weight", "layers.0.mlp.gate_proj.weight", "patch_embed.conv.weight"]);
    assert_eq!((component.tensors[0].dtype, component.tensors[0].shape.as_slice()), (Dtype::F32, &[3, 32][..]));
    assert_eq!(component.affine["layers.0.self_attn.q_proj.weight"].bits, 4);
    assert_eq!(component.tensors[2].shape, [5, 3, 2, 2]);
    assert!(done.documents["config.json"].get("quantization").is_none());
}

#[test]
fn mlx_and_transformers_are_each_others_inverse() {
    let source = contents(&[
        ("layers.0.self_attn.q_proj.weight", &[3, 4]),
        ("layers.0.mlp.gate_proj.weight", &[2, 2]),
        ("vision.patch_embed.weight", &[5, 3, 2, 2]),
        ("encoder.conv1.weight", &[4, 3, 2]),
    ]);
    let there = there_and_back(&source, NamingKind::Mlx);
    let expected: &[u64] = &[5, 2, 2, 3];
    assert_eq!(shapes(&there)["vision.patch_embed.weight"], expected);
    assert_eq!(there.metadata["format"], "mlx");
}

#[test]
fn initialisers_of_a_graph_pass_with_a_note() {
    let source = of_format(Format::Onnx, &[("onnx::MatMul_3", &[2, 2])]);
    let done = run(&source, NamingKind::Hf).unwrap();
    assert_eq!(done.components[0].tensors[0].name, "onnx::MatMul_3");
    assert!(done.notes.iter().any(|note| note.contains("ONNX")));
}
