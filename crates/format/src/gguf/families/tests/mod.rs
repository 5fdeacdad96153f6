mod disk;
mod hostile;

use std::collections::BTreeMap;

use serde_json::{Map, Value as Json, json};

use super::table::{Change, FAMILIES, Family};
use super::*;
use crate::dtype::Dtype;
use crate::error::FormatError;
use crate::gguf::metadata::{self, Value};
use crate::gguf::write::{Options, plan};
use crate::gguf::{FileType, made};
use crate::limits::Limits;
use crate::output::OutputTensor;
use crate::source::{Folder, MemoryFolder, Section};
use crate::tensor::{Stored as Place, Tensor};

/// A model in memory.
struct Model {
    config: Map<String, Json>,
    tensors: Vec<Tensor>,
    folder: MemoryFolder,
    files: Files,
}

const VOCAB: u64 = 40;
const HIDDEN: u64 = 16;
const HEADS: u64 = 4;
const KV_HEADS: u64 = 2;
const HEAD: u64 = 8;
const INNER: u64 = 24;
const EXPERTS: u64 = 3;

/// The shape in which transformers keeps a module's weight.
fn shape(family: &Family, gguf: &str) -> Vec<u64> {
    let kind = gguf.rsplit('.').next().unwrap();
    let (heads, kv) = (HEADS * head(family), kv_heads(family) * head(family));
    match kind {
        "token_embd" | "output" => vec![VOCAB, HIDDEN],
        "position_embd" => vec![32, HIDDEN],
        "token_types" => vec![2, HIDDEN],
        "attn_q_norm" | "attn_k_norm" => vec![head(family)],
        "attn_q" => vec![heads, HIDDEN],
        "attn_k" | "attn_v" => vec![kv, HIDDEN],
        "attn_qkv" if family.arch == "gpt2" => vec![HIDDEN, 3 * HIDDEN],
        "attn_qkv" => vec![heads + 2 * kv, HIDDEN],
        "attn_output" => vec![HIDDEN, heads],
        "ffn_up" if family.arch == "gpt2" => vec![HIDDEN, INNER],
        "ffn_down" if family.arch == "gpt2" => vec![INNER, HIDDEN],
        "ffn_up" if family.arch == "phi3" => vec![2 * INNER, HIDDEN],
        "ffn_gate" | "ffn_up" | "ffn_gate_exps" | "ffn_up_exps" | "ffn_gate_shexp" | "ffn_up_shexp" => {
            vec![INNER, HIDDEN]
        }
        "ffn_down" | "ffn_down_exps" | "ffn_down_shexp" => vec![HIDDEN, INNER],
        "ffn_gate_inp" => vec![EXPERTS, HIDDEN],
        "ffn_gate_inp_shexp" => vec![1, HIDDEN],
        norm if norm.ends_with("norm") => vec![HIDDEN],
        other => panic!("{other}"),
    }
}

fn head(family: &Family) -> u64 {
    if matches!(family.arch, "gpt2" | "bert") { HIDDEN / HEADS } else { HEAD }
}

fn kv_heads(family: &Family) -> u64 {
    if matches!(family.arch, "gpt2" | "bert") { HEADS } else { KV_HEADS }
}

/// A small model of a family with two blocks; every number is another.
fn model(family: &Family, model_type: &str) -> Model {
    let moe = family.arch.ends_with("moe") || model_type == "mixtral";
    let mut config = json!({
        "model_type": model_type, "vocab_size": VOCAB, "hidden_size": HIDDEN, "num_hidden_layers": 2,
        "num_attention_heads": HEADS, "num_key_value_heads": KV_HEADS, "head_dim": HEAD, "intermediate_size": INNER,
        "max_position_embeddings": 32, "rms_norm_eps": 1e-6, "layer_norm_eps": 1e-12, "sliding_window": null,
        "rope_parameters": {"rope_theta": 1234.5, "rope_type": "default"}, "tie_word_embeddings": family.tied,
        "type_vocab_size": 2,
    });
    if family.arch == "gpt2" {
        config = json!({
            "model_type": "gpt2", "n_layer": 2, "n_embd": HIDDEN, "n_head": HEADS, "n_positions": 32, "n_inner": INNER,
            "layer_norm_epsilon": 1e-5,
        });
    }
    if family.arch == "bert" {
        config["num_key_value_heads"] = Json::Null;
        config["head_dim"] = Json::Null;
    }
    if family.arch.starts_with("gemma") {
        config["sliding_window"] = 8.into();
        config["query_pre_attn_scalar"] = HEAD.into();
    }
    if family.arch == "gemma2" {
        config["attn_logit_softcapping"] = 50.0.into();
        config["final_logit_softcapping"] = 30.0.into();
    }
    if moe {
        config["num_experts"] = EXPERTS.into();
        config["num_experts_per_tok"] = 2.into();
        config["moe_intermediate_size"] = INNER.into();
        config["shared_expert_intermediate_size"] = INNER.into();
    }
    let mut tensors = Vec::new();
    let mut bytes = Vec::new();
    let mut add = |name: String, shape: Vec<u64>| {
        let begin = bytes.len() as u64;
        for at in 0..shape.iter().product::<u64>() {
            bytes.extend(((begin / 4 + at) as f32 / 1024.0).to_le_bytes());
        }
        let stored = Place::File { file: "w".into(), begin, end: bytes.len() as u64 };
        tensors.push(Tensor::plain(name, Dtype::F32, shape, stored));
    };
    for rule in family.rules {
        if (rule.gguf == "output" && family.tied)
            || (rule.need == super::table::Need::Dense && moe)
            || (rule.need == super::table::Need::Experts && !moe)
        {
            continue;
        }
        for block in 0..if rule.gguf.starts_with("blk") { 2 } else { 1 } {
            for expert in 0..if rule.change == Change::Stack { EXPERTS } else { 1 } {
                let name = names::fill(rule.hf, &[rule.gguf.starts_with("blk").then_some(block), Some(expert)]);
                add(format!("{name}.weight"), shape(family, rule.gguf));
                if matches!(family.arch, "gpt2" | "bert" | "qwen2") && shape(family, rule.gguf).len() == 2 {
                    let transposed = rule.change == Change::Transpose;
                    add(format!("{name}.bias"), vec![shape(family, rule.gguf)[usize::from(transposed)]]);
                }
            }
        }
    }
    Model {
        config: config.as_object().cloned().unwrap(),
        tensors,
        folder: MemoryFolder::new(vec![Section::of_bytes("w", bytes)]),
        files: Files::default(),
    }
}

fn family(arch: &str) -> &'static Family {
    FAMILIES.iter().find(|family| family.arch == arch).unwrap()
}

impl Model {
    fn plan(&self, file_type: FileType) -> Result<Plan, FormatError> {
        let source = Source { tensors: &self.tensors, config: &self.config, files: &self.files };
        plan_hf(&source, &Wanted::new(file_type))
    }

    fn error(&self) -> String {
        self.plan(FileType::F32).unwrap_err().to_string()
    }

    fn values(&self, plan: &Plan, name: &str) -> Vec<f64> {
        let tensor = plan.tensors.iter().find(|tensor| tensor.name == name);
        made::floats(&self.folder, tensor.unwrap_or_else(|| panic!("{name}")))
    }

    fn own(&self, name: &str) -> Vec<f64> {
        let tensor = self.tensors.iter().find(|tensor| tensor.name == name);
        made::floats(&self.folder, &OutputTensor::same(tensor.unwrap_or_else(|| panic!("{name}"))))
    }
}

#[test]
fn every_family_comes_back_as_it_was() {
    let kinds = FAMILIES.iter().flat_map(|family| family.model_types.iter().map(move |kind| (family, *kind)));
    for (family, kind) in kinds {
        let model = model(family, kind);
        let planned = model.plan(FileType::F32).unwrap();
        let files = plan(&planned.metadata, &planned.tensors, &Options::new("m.gguf")).unwrap();
        let section = Section::of_bytes("m.gguf", made::file(&model.folder, &files[0], &planned.tensors));
        let limits = Limits::default();
        let read = crate::gguf::read(&section, &limits).unwrap();
        assert_eq!(read.warnings, [], "{kind}");
        let entries = metadata::read(&section, &limits).unwrap();
        assert_eq!(entries, planned.metadata, "{kind}");

        let folder = MemoryFolder::new(vec![section]);
        let stored = Stored { metadata: &entries, tensors: &read.tensors, folder: &folder, limits: &limits };
        let back = restore_hf(&stored, None).unwrap();
        let found: BTreeMap<&str, &OutputTensor> =
            back.tensors.iter().map(|tensor| (tensor.name.as_str(), tensor)).collect();
        assert_eq!(found.len(), model.tensors.len(), "{kind}");
        for tensor in &model.tensors {
            let restored = found.get(tensor.name.as_str()).unwrap_or_else(|| panic!("{kind}: {}", tensor.name));
            assert_eq!((restored.dtype, &restored.shape), (Dtype::F32, &tensor.shape), "{}", tensor.name);
            assert_eq!(made::floats(&folder, restored), model.own(&tensor.name), "{kind}: {}", tensor.name);
        }
        for key in [
            "vocab_size",
            "hidden_size",
            "num_hidden_layers",
            "num_attention_heads",
            "num_key_value_heads",
            "n_embd",
            "intermediate_size",
            "max_position_embeddings",
            "rms_norm_eps",
            "layer_norm_eps",
            "n_inner",
            "n_positions",
            "attn_logit_softcapping",
            "num_experts",
            "num_experts_per_tok",
            "moe_intermediate_size",
        ] {
            if let (Some(was), Some(is)) = (model.config.get(key).filter(|was| !was.is_null()), back.config.get(key)) {
                assert_eq!(was.as_f64(), is.as_f64(), "{kind}: {key}");
            }
        }
        if !matches!(family.arch, "gpt2" | "bert") {
            assert_eq!(back.config["rope_theta"], json!(1234.5), "{kind}");
            assert_eq!(back.config["tie_word_embeddings"], json!(family.tied), "{kind}");
        }
    }
}

#[test]
fn rows_norms_and_matrices_change_as_the_loader_wants_them() {
    let llama = model(family("llama"), "llama");
    let plan = llama.plan(FileType::F32).unwrap();
    let (before, after) =
        (llama.own("model.layers.1.self_attn.q_proj.weight"), llama.values(&plan, "blk.1.attn_q.weight"));
    let row = |values: &[f64], row: usize| values[row * HIDDEN as usize];
    // Head 2 begins at row 16; its halves are 4 rows long.
    assert_eq!(
        (row(&after, 16), row(&after, 17), row(&after, 18)),
        (row(&before, 16), row(&before, 20), row(&before, 17))
    );

    let gemma = model(family("gemma"), "gemma");
    let plan = gemma.plan(FileType::F32).unwrap();
    let (before, after) = (gemma.own("model.norm.weight"), gemma.values(&plan, "output_norm.weight"));
    assert!(before.iter().zip(&after).all(|(before, after)| before + 1.0 == *after));

    let gpt2 = model(family("gpt2"), "gpt2");
    let plan = gpt2.plan(FileType::F32).unwrap();
    let (before, after) = (gpt2.own("transformer.h.0.mlp.c_fc.weight"), gpt2.values(&plan, "blk.0.ffn_up.weight"));
    assert_eq!((after[1], after[HIDDEN as usize]), (before[INNER as usize], before[1]));

    let qwen = model(family("qwen3moe"), "qwen3_moe");
    let plan = qwen.plan(FileType::F32).unwrap();
    let stack = qwen.values(&plan, "blk.1.ffn_down_exps.weight");
    let one = qwen.own("model.layers.1.mlp.experts.2.down_proj.weight");
    assert_eq!(stack[2 * one.len()..], one[..]);
}

#[test]
fn llama_3_gets_its_factors_and_gives_them_back() {
    let mut llama = model(family("llama"), "llama");
    let scaling = json!({
        "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
        "original_max_position_embeddings": 128, "rope_theta": 10000.0,
    });
    llama.config.insert("rope_parameters".to_owned(), scaling);
    let planned = llama.plan(FileType::F32).unwrap();
    assert_eq!(planned.tensors.iter().position(|tensor| tensor.name == "rope_freqs.weight"), Some(1));
    let files = plan(&planned.metadata, &planned.tensors, &Options::new("m.gguf")).unwrap();
    let section = Section::of_bytes("m.gguf", made::file(&llama.folder, &files[0], &planned.tensors));
    let limits = Limits::default();
    let tensors = crate::gguf::read(&section, &limits).unwrap().tensors;
    let entries = metadata::read(&section, &limits).unwrap();
    let folder = MemoryFolder::new(vec![section]);
    let stored = Stored { metadata: &entries, tensors: &tensors, folder: &folder, limits: &limits };
    let config = restore_hf(&stored, None).unwrap().config;
    assert_eq!(config["rope_scaling"]["factor"], json!(8.0));
    assert_eq!(config["rope_scaling"]["original_max_position_embeddings"], json!(128));
}

#[test]
fn a_tied_head_is_left_out_and_a_missing_weight_is_named() {
    let mut qwen = model(family("qwen2"), "qwen2");
    assert!(qwen.plan(FileType::F32).unwrap().tensors.iter().any(|tensor| tensor.name == "output.weight"));
    qwen.config.insert("tie_word_embeddings".to_owned(), true.into());
    let plan = qwen.plan(FileType::F32).unwrap();
    assert!(!plan.tensors.iter().any(|tensor| tensor.name == "output.weight"));
    assert!(plan.notes.contains(&"left out: the head, which is the embedding".to_owned()));
    qwen.tensors.retain(|tensor| tensor.name != "model.layers.1.mlp.up_proj.weight");
    assert_eq!(qwen.error(), "model at byte 0: `model.layers.1.mlp.up_proj.weight` is missing");
}

#[test]
fn a_quantised_type_keeps_small_things_and_says_what_did_not_fit() {
    let llama = model(family("llama"), "llama");
    let plan = llama.plan(FileType::Q4K).unwrap();
    let of = |name: &str| plan.tensors.iter().find(|tensor| tensor.name == name).unwrap().dtype;
    assert_eq!(of("blk.0.attn_norm.weight"), Dtype::F32);
    assert_eq!(of("blk.0.attn_output.weight"), Dtype::Q50);
    assert_eq!(of("blk.0.attn_q.weight"), Dtype::F16);
    assert!(plan.notes.iter().any(|note| note.contains("`Q5_0` instead of `Q4_K`")), "{:?}", plan.notes);
    assert_eq!(metadata::find(&plan.metadata, "general.file_type"), Some(&Value::U32(14)));
}

#[test]
fn a_model_without_a_tokenizer_says_so() {
    let plan = model(family("llama"), "llama").plan(FileType::F16).unwrap();
    assert_eq!(metadata::find(&plan.metadata, "tokenizer.ggml.model"), Some(&Value::text("no_vocab")));
    assert!(plan.notes.iter().any(|note| note.contains("no tokenizer")));
}
