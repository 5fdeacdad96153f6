//! Configurations, tensors and files that mean harm, or nothing.

use super::*;

#[test]
fn what_has_no_place_is_refused_by_name() {
    let with = |change: &dyn Fn(&mut Model)| {
        let mut llama = model(family("llama"), "llama");
        change(&mut llama);
        llama.error()
    };
    let config = |key: &'static str, value: Json| {
        with(&move |model: &mut Model| {
            model.config.insert(key.to_owned(), value.clone());
        })
    };
    let named = |name: &'static str| {
        with(&move |model: &mut Model| {
            let tensor = Tensor { name: name.to_owned(), ..model.tensors[0].clone() };
            model.tensors.push(tensor);
        })
    };
    assert!(config("model_type", json!("t5")).contains("`t5`; possible are llama, mistral"));
    assert!(config("model_type", Json::Null).contains("no `model_type`"));
    assert!(config("quantization_config", json!({"quant_method": "gptq"})).contains("`gptq`"));
    assert!(config("num_attention_heads", json!(0)).contains("`num_attention_heads` is `0`"));
    assert!(config("num_attention_heads", json!(7)).contains("does not divide"));
    assert!(config("head_dim", json!(5)).contains("has 32 rows, which are not 4 heads of 5"));
    assert!(config("num_hidden_layers", json!(1)).contains("is of block 1; config.json says 1 blocks"));
    assert!(config("num_hidden_layers", json!(8000)).contains("`model.layers.2.input_layernorm.weight` is missing"));
    assert!(config("num_hidden_layers", json!(1u64 << 31)).contains("the limit is 8192"));
    assert!(config("rms_norm_eps", Json::Null).contains("`rms_norm_eps` is missing"));
    assert!(config("max_position_embeddings", json!([1])).contains("`max_position_embeddings` is `a list`"));
    assert!(named("model.layers.0.self_attn.q_proj.weight_scale_inv").contains("weight_scale_inv` has no place"));
    assert!(named("layers.0.input_layernorm.weight").contains("appears twice"));
    assert!(named("lm_head.weight").contains("`lm_head.weight` appears twice"));
    let integers = with(&|model| model.tensors[3].dtype = Dtype::U8);
    assert!(integers.contains("is `U8`"), "{integers}");
    let flat = with(&|model| model.tensors[0].shape = vec![VOCAB * HIDDEN]);
    assert!(flat.contains("no matrix"), "{flat}");
    let tall = with(&|model| model.tensors[0].shape = vec![1 << 40, 0]);
    assert!(tall.contains("number of rows of the embedding"), "{tall}");
}

#[test]
fn experts_are_all_there_or_refused() {
    let mut qwen = model(family("qwen3moe"), "qwen3_moe");
    qwen.tensors.retain(|tensor| tensor.name != "model.layers.1.mlp.experts.1.up_proj.weight");
    assert!(qwen.error().contains("are 2; there are 3 experts"), "{}", qwen.error());
    let mut qwen = model(family("qwen3moe"), "qwen3_moe");
    qwen.config.insert("num_experts".to_owned(), json!(4_000_000_000u64));
    assert!(qwen.error().contains("are 3; there are 4000000000 experts"), "{}", qwen.error());
    let mut qwen = model(family("qwen3moe"), "qwen3_moe");
    qwen.config.insert("mlp_only_layers".to_owned(), json!([0]));
    assert!(qwen.error().contains("mlp_only_layers"));
}

#[test]
fn hostile_files_are_not_restored() {
    let entry = |key: &str, value: Value| (key.to_owned(), value);
    let good = [
        entry("general.architecture", Value::text("llama")),
        entry("llama.block_count", Value::U32(1)),
        entry("llama.embedding_length", Value::U32(16)),
        entry("llama.attention.head_count", Value::U32(4)),
    ];
    let folder = MemoryFolder::default();
    let error = |metadata: &[(String, Value)], tensors: &[Tensor]| {
        let stored = Stored { metadata, tensors, folder: &folder, limits: &Limits::default() };
        restore_hf(&stored, None).unwrap_err().to_string()
    };
    let tensor = |name: &str, shape: Vec<u64>| Tensor::plain(name, Dtype::F32, shape, Place::inline(&[0; 64]));
    let embedding = tensor("token_embd.weight", vec![1, 16]);
    let with = |key: &str, value: Value| {
        let mut changed = good.to_vec();
        changed.retain(|(name, _)| name != key);
        changed.push(entry(key, value));
        error(&changed, std::slice::from_ref(&embedding))
    };
    assert!(error(&[], &[]).contains("possible are llama, qwen2"));
    assert!(with("general.architecture", Value::text("mamba")).contains("`mamba`"));
    assert!(with("llama.attention.head_count", Value::U32(0)).contains("`llama.attention.head_count`"));
    assert!(with("llama.attention.head_count_kv", Value::I32(-1)).contains("head_count_kv"));
    assert!(with("llama.block_count", Value::U64(u64::MAX)).contains("`llama.block_count`"));
    assert!(error(&good, &[]).contains("no embedding"));
    let stray = error(&good, &[embedding.clone(), tensor("blk.0.attn_q.weight.x", vec![4, 4])]);
    assert!(stray.contains("`blk.0.attn_q.weight.x` has no place"), "{stray}");
    let odd = error(&good, &[embedding.clone(), tensor("blk.0.attn_q.weight", vec![6, 4])]);
    assert!(odd.contains("6 rows of `blk.0.attn_q.weight` are not 4 heads"), "{odd}");
    let stack = error(&good, &[embedding, tensor("blk.0.ffn_up_exps.weight", vec![1 << 40, 0, 4])]);
    assert!(stack.contains("number of experts"), "{stack}");
}

/// Values that no size, name or list has.
fn strange() -> Vec<Json> {
    vec![
        Json::Null,
        json!(0),
        json!(1),
        json!(-1),
        json!(0.5),
        json!(1e300),
        json!(u64::MAX),
        json!(u32::MAX),
        json!(true),
        json!("\u{202e}"),
        json!([]),
        json!([[0]]),
        json!({"rope_type": "llama3", "factor": 1e30, "low_freq_factor": 1e-30, "high_freq_factor": 2}),
        json!({"type": "yarn", "factor": -1, "original_max_position_embeddings": -5}),
        json!({"type": "longrope", "long_factor": [1e39], "short_factor": []}),
        json!({"full_attention": {"rope_theta": 0}, "sliding_attention": []}),
    ]
}

#[test]
fn no_configuration_is_too_strange() {
    for family in FAMILIES {
        let mut model = model(family, family.model_types[0]);
        let good = model.config.clone();
        let more =
            ["rope_scaling", "text_config", "mlp_only_layers", "eos_token_id", "partial_rotary_factor", "n_inner"];
        let keys: Vec<String> = good.keys().cloned().chain(more.map(str::to_owned)).collect();
        for key in keys {
            for value in strange() {
                model.config = good.clone();
                model.config.insert(key.clone(), value);
                // Refused or not: what counts is that it ends, and writes what can be read.
                if let Ok(made) = model.plan(FileType::Q80) {
                    plan(&made.metadata, &made.tensors, &Options::new("m.gguf")).unwrap();
                }
            }
        }
    }
}

#[test]
fn no_metadata_is_too_strange() {
    let values = [
        Value::U32(0),
        Value::U64(u64::MAX),
        Value::I32(-1),
        Value::F32(f32::NAN),
        Value::F32(f32::INFINITY),
        Value::F32(0.0),
        Value::text("x"),
        Value::Bool(true),
        Value::Array(metadata::Array::U32(vec![0, 1])),
        Value::Array(metadata::Array::Text(vec![String::new(); 3])),
    ];
    for family in FAMILIES {
        let model = model(family, family.model_types[0]);
        let made = model.plan(FileType::F32).unwrap();
        let tensors: Vec<Tensor> = made
            .tensors
            .iter()
            .map(|tensor| {
                let one = Place::Fill(1f32.to_le_bytes().as_slice().into());
                Tensor::plain(tensor.name.as_str(), Dtype::F32, tensor.shape.clone(), one)
            })
            .chain([Tensor::plain("rope_freqs.weight", Dtype::F32, vec![4], Place::inline(&[0xff; 16]))])
            .collect();
        for at in 0..made.metadata.len() {
            for value in &values {
                let mut changed = made.metadata.clone();
                changed[at].1 = value.clone();
                let limits = Limits::default();
                let stored = Stored { metadata: &changed, tensors: &tensors, folder: &model.folder, limits: &limits };
                if let Ok(back) = restore_hf(&stored, None) {
                    assert!(serde_json::to_string(&back.config).is_ok());
                }
            }
        }
    }
}
