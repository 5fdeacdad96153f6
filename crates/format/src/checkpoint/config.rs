//! Configurations that lie beside the weights: `config.json` and its kin.

use serde_json::{Map, Value};

use crate::contents::{Architecture, Code, CodeWay};

/// Sizes in our output, and the names that configurations have for them, best first.
const SIZES: &[(&str, &[&str])] = &[
    ("hidden_size", &["hidden_size", "n_embd", "d_model", "dim", "hidden_dim", "n_text_state", "num_features"]),
    (
        "num_hidden_layers",
        &["num_hidden_layers", "n_layer", "num_layers", "n_layers", "encoder_layers", "n_text_layer"],
    ),
    ("num_decoder_layers", &["num_decoder_layers", "decoder_layers"]),
    (
        "num_attention_heads",
        &["num_attention_heads", "n_head", "num_heads", "n_heads", "encoder_attention_heads", "n_text_head"],
    ),
    ("num_key_value_heads", &["num_key_value_heads"]),
    ("head_dim", &["head_dim", "d_kv"]),
    ("intermediate_size", &["intermediate_size", "n_inner", "d_ff", "ffn_dim", "encoder_ffn_dim"]),
    ("vocab_size", &["vocab_size", "n_vocab"]),
    (
        "max_position_embeddings",
        &["max_position_embeddings", "n_positions", "n_ctx", "max_target_positions", "n_text_ctx"],
    ),
    ("num_experts", &["num_local_experts", "num_experts", "n_routed_experts"]),
    ("num_experts_per_tok", &["num_experts_per_tok"]),
    ("num_classes", &["num_classes", "num_labels"]),
    ("image_size", &["image_size", "sample_size"]),
    ("num_mel_bins", &["num_mel_bins", "n_mels"]),
    ("in_channels", &["in_channels", "num_channels"]),
];

/// Keys of configurations that have text, image and audio parts; the first that is there gives the sizes.
const PARTS: &[&str] = &["text_config", "llm_config", "language_config", "thinker_config"];

/// Architecture of a `config.json`, whatever library wrote it.
pub(super) fn architecture(config: &Map<String, Value>) -> Architecture {
    let text = |key: &str| config.get(key).and_then(Value::as_str).map(str::to_owned);
    let class = config.get("architectures").and_then(|list| list.get(0)).and_then(Value::as_str).map(str::to_owned);
    let timm =
        text("architecture").filter(|_| config.contains_key("pretrained_cfg") || config.contains_key("num_features"));
    let family = text("model_type").or_else(|| timm.as_deref().map(family_of_timm));
    let class = class.or_else(|| text("_class_name")).or(timm);
    let mut sizes = sizes(config);
    for part in PARTS {
        if let Some(Value::Object(inner)) = config.get(*part) {
            for (key, value) in self::sizes(inner) {
                sizes.entry(key).or_insert(value);
            }
            break;
        }
    }
    Architecture { family, class, sizes, config: config.clone() }
}

fn sizes(config: &Map<String, Value>) -> std::collections::BTreeMap<String, u64> {
    let find = |names: &[&str]| names.iter().find_map(|name| config.get(*name).and_then(Value::as_u64));
    SIZES.iter().filter_map(|(size, names)| Some(((*size).to_owned(), find(names)?))).collect()
}

/// `resnet` of `resnet50d.ra2_in1k`: the letters that the name of the model begins with.
fn family_of_timm(name: &str) -> String {
    name.chars().take_while(|character| character.is_ascii_alphabetic()).collect::<String>().to_lowercase()
}

/// Architecture of the `model_index.json` of a diffusers pipeline.
pub(super) fn pipeline(index: &Map<String, Value>) -> Architecture {
    let class = index.get("_class_name").and_then(Value::as_str).map(str::to_owned);
    let family = class.as_deref().map(|class| {
        let known =
            [("StableDiffusion3", "stable-diffusion-3"), ("StableDiffusion", "stable-diffusion"), ("Flux", "flux")];
        let found = known.iter().find(|(begin, _)| class.starts_with(begin)).map(|(_, family)| *family);
        found.map_or_else(|| class.trim_end_matches("Pipeline").to_lowercase(), str::to_owned)
    });
    Architecture { family, class, sizes: Default::default(), config: index.clone() }
}

/// Folders of a pipeline's components.
pub(super) fn components(index: &Map<String, Value>) -> Vec<&str> {
    let is_component =
        |value: &Value| value.as_array().is_some_and(|pair| pair.len() == 2 && pair.iter().any(Value::is_string));
    index
        .iter()
        .filter(|(key, value)| !key.starts_with('_') && is_component(value))
        .map(|(key, _)| key.as_str())
        .collect()
}

/// What a configuration asks to be run.
pub(super) fn code(file: &str, config: &Map<String, Value>) -> Vec<Code> {
    let note = |name: String| Code { file: file.to_owned(), name, way: CodeWay::Configuration };
    let mut found = Vec::new();
    if let Some(Value::Object(map)) = config.get("auto_map") {
        for (class, target) in map {
            found.push(note(format!("auto_map: {class} = {}", short(target))));
        }
    }
    let mut pending: Vec<(&str, &Value)> = config.iter().map(|(key, value)| (key.as_str(), value)).collect();
    let mut visits = 0;
    while let Some((key, value)) = pending.pop() {
        visits += 1;
        if visits > 100_000 {
            break;
        }
        match value {
            Value::Bool(true) if key == "trust_remote_code" => found.push(note("trust_remote_code: true".to_owned())),
            Value::String(text) if key.contains("attn_implementation") && text.contains('/') => {
                found.push(note(format!("{key}: {}", short(value))));
            }
            Value::String(_) if key == "_target_" => found.push(note(format!("_target_: {}", short(value)))),
            Value::Object(map) => pending.extend(map.iter().map(|(key, value)| (key.as_str(), value))),
            Value::Array(list) => pending.extend(list.iter().map(|value| (key, value))),
            _ => {}
        }
    }
    // diffusers imports components of a library that it does not know from the repository itself.
    if config.contains_key("_diffusers_version") {
        for (key, value) in config {
            let library = value.get(0).and_then(Value::as_str);
            if library.is_some_and(|library| !["diffusers", "transformers", "onnxruntime"].contains(&library)) {
                found.push(note(format!("{key}: {}", short(value))));
            }
        }
    }
    found
}

fn short(value: &Value) -> String {
    let text = value.to_string();
    text.chars().take(120).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn map(value: Value) -> Map<String, Value> {
        value.as_object().cloned().unwrap_or_default()
    }

    #[test]
    fn sizes_have_one_name_whatever_the_library() {
        let gpt2 = architecture(&map(
            json!({"model_type": "gpt2", "n_embd": 32, "n_layer": 2, "architectures": ["GPT2LMHeadModel"]}),
        ));
        assert_eq!((gpt2.family.as_deref(), gpt2.class.as_deref()), (Some("gpt2"), Some("GPT2LMHeadModel")));
        assert_eq!((gpt2.sizes["hidden_size"], gpt2.sizes["num_hidden_layers"]), (32, 2));
        let timm = architecture(&map(json!({"architecture": "resnet50d", "num_classes": 10, "num_features": 2048})));
        assert_eq!((timm.family.as_deref(), timm.sizes["num_classes"]), (Some("resnet"), 10));
        let nested = architecture(&map(json!({"model_type": "llava", "text_config": {"hidden_size": 8}})));
        assert_eq!(nested.sizes["hidden_size"], 8);
    }

    #[test]
    fn code_in_configurations_is_named() {
        let config = map(json!({
            "auto_map": {"AutoModel": "modeling_x.X"}, "nested": [{"trust_remote_code": true}],
            "_attn_implementation_internal": "someone/kernels", "inner": {"_target_": "os.system"},
        }));
        let names: Vec<String> = code("config.json", &config).into_iter().map(|code| code.name).collect();
        for wanted in ["auto_map: AutoModel = \"modeling_x.X\"", "trust_remote_code: true", "_target_: \"os.system\""] {
            assert!(names.iter().any(|name| name == wanted), "{wanted} in {names:?}");
        }
        assert_eq!(names.len(), 4);
        let pipeline = map(json!({"_diffusers_version": "1", "unet": ["diffusers", "U"], "x": ["my_module", "Y"]}));
        assert_eq!(code("model_index.json", &pipeline).len(), 1);
        assert_eq!(components(&pipeline), ["unet", "x"]);
    }
}
